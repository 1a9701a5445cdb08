// Redis with ioredis, under TLS where it is told so: as redis_client.py.
const assert = require("assert");
const Redis = require("ioredis");
const { OPTIONS, add, call, main, opened, secured, time } = require("./truth.cjs");

async function connect(port) {
  const how = { lazyConnect: true, enableReadyCheck: false, disableClientInfo: true, ...secured() };
  const client = new Redis({ host: "localhost", port, ...how });
  return { client, ...(await opened(port, ["HELLO"], () => client.connect())) };
}

async function warm({ client }) {
  await client.set("warm", "1");
}

async function use({ client, port }) {
  for (let number = 0; number < OPTIONS.calls; number++) {
    const key = `key-${port}-${number}`;
    const value = "v".repeat(number * 100);
    await call(port, "SET", {}, () => client.set(key, value));
    await call(port, "GET", {}, async () => assert.equal(await client.get(key), value));
    const wrong = { status: "error", attributes: { "error.type": "WRONGTYPE" } };
    await call(port, "LPUSH", wrong, () => assert.rejects(client.lpush(key, 1)));
    await pipeline(client, port, key);
  }
}

/** Several commands before an answer is read. */
async function pipeline(client, port, key) {
  const asked = ["get", "exists", "incr", "del"].map(async (command) => {
    const start = time();
    const status = await client[command](key).then(() => "ok", () => "error");
    assert.equal(status, command === "incr" ? "error" : "ok");
    add(port, command.toUpperCase(), start, time(), { status });
  });
  await Promise.all(asked);
}

main(connect, warm, use);
