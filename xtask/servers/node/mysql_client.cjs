// MySQL's protocol with mysql2, under TLS where it is told so: plain and prepared statements, errors.
const assert = require("assert");
const mysql = require("mysql2/promise");
const { OPTIONS, call, main, opened, secured } = require("./truth.cjs");

const KEPT = "SELECT name FROM items WHERE id = ?";

async function connect(port) {
  const ssl = secured().tls;
  const where = { host: "127.0.0.1", port, user: "probe", password: "probe", database: "shop", ssl };
  const made = await opened(port, ["HandshakeResponse"], () => mysql.createConnection(where));
  return { client: made.result, port: made.port, isKept: false };
}

async function warm(connection) {
  await connection.client.query("CREATE TABLE IF NOT EXISTS items (id int, name text)");
  // Its text is sent now, and never again.
  await connection.client.execute(KEPT, [0]);
  connection.isKept = true;
}

async function use({ client, port, isKept }) {
  const one = (name, query, told = {}) => call(port, name, told, () => client.query(query));
  if (!isKept) {
    const told = { opening: true };
    await call(port, "Prepare SELECT items", told, () => call(port, "SELECT items", told, () => client.execute(KEPT, [0])));
  }
  for (let number = 0; number < OPTIONS.calls; number++) {
    await one("INSERT items", `INSERT INTO items VALUES (${number}, 'n-${port}')`);
    await one("SELECT items", `SELECT * FROM items WHERE id = ${number}`);
    await one("SELECT", "SELECT repeat('x', 100000)");
    await call(port, "SELECT items", { vague: "COM_STMT_EXECUTE" }, () => client.execute(KEPT, [number]));
    const missing = { status: "error", attributes: { "db.response.status_code": "1146" } };
    await call(port, "SELECT nowhere", missing, () => assert.rejects(client.query("SELECT * FROM nowhere")));
  }
}

main(connect, warm, use);
