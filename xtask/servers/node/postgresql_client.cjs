// PostgreSQL with pg, under TLS where it is told so: plain and prepared statements, errors.
const assert = require("assert");
const pg = require("pg");
const { OPTIONS, call, main, opened, secured } = require("./truth.cjs");

const kept = (number) => ({ name: "kept", text: "SELECT name FROM items WHERE id = $1", values: [number] });

async function connect(port) {
  const ssl = secured().tls;
  const client = new pg.Client({ host: "localhost", port, user: "postgres", database: "postgres", ssl });
  return { client, ...(await opened(port, ["StartupMessage"], () => client.connect())) };
}

async function warm({ client }) {
  await client.query("CREATE TABLE IF NOT EXISTS items (id int, name text)");
  // Its text is sent now, and never again.
  await client.query(kept(0));
}

async function use({ client, port }) {
  const one = (name, query, told = {}) => call(port, name, told, () => client.query(query));
  for (let number = 0; number < OPTIONS.calls; number++) {
    await one("INSERT items", `INSERT INTO items VALUES (${number}, 'n-${port}')`);
    await one("SELECT items", { text: "SELECT * FROM items WHERE id = $1 AND name = $2", values: [number, "x"] });
    await one("SELECT", "SELECT repeat('x', 100000)");
    await one("SELECT items", kept(number), { vague: "Execute" });
    const missing = { status: "error", attributes: { "db.response.status_code": "42P01" } };
    await call(port, "SELECT nowhere", missing, async () => {
      await assert.rejects(client.query("SELECT * FROM nowhere"));
      // The library does not wait for the end of what it is answered.
      await new Promise((resolve) => setTimeout(resolve, 100));
    });
  }
}

main(connect, warm, use);
