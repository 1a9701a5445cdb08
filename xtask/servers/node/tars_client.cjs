// TARS: calls one by one and at once, errors, calls without an answer.
const assert = require("assert");
const Tars = require("@tars/rpc");
const stream = require("@tars/stream");
const { OPTIONS, add, call, main, ports, time } = require("./truth.cjs");

const AT_ONCE = 10;
const ONE_WAY = 1;

/** What a generator would make. */
function Proxy() {}
Proxy.prototype.setTimeout = function (timeout) {
  this._worker.timeout = timeout;
};
Proxy.prototype.ask = function (method, order, options) {
  const question = new stream.TarsOutputStream();
  question.writeString(1, order);
  return this._worker.tars_invoke(method, question.getBinBuffer(), options ?? {});
};

const get = async (connection, order) => {
  const answer = await connection.proxy.ask("get", order);
  const text = new stream.TarsInputStream(answer.response.sBuffer).readString(0, true, "");
  assert.equal(text, `got ${order}`);
};

async function connect(port) {
  const before = ports(port);
  const communicator = Tars.Communicator.New();
  const proxy = communicator.stringToProxy(Proxy, `Shop.Orders.OrdersObj@tcp -h 127.0.0.1 -p ${port} -t 60000`);
  proxy.setTimeout(20_000);
  const connection = { proxy };
  const start = time();
  // The first call opens the connection.
  await get(connection, "first");
  connection.port = ports(port).find((own) => !before.includes(own));
  add(connection.port, name("get"), start, time(), { ...of("get"), opening: true });
  return connection;
}

async function warm(connection) {
  await get(connection, "1");
}

const name = (method) => `Shop.Orders.OrdersObj/${method}`;

const of = (method, status = "ok") => ({ attributes: { "rpc.method": name(method) }, status });

async function use(connection) {
  const one = (method, status, act) => call(connection.port, name(method), of(method, status), act);
  for (let number = 0; number < OPTIONS.calls; number++) {
    await one("get", "ok", () => get(connection, "x".repeat(400 * number)));
    // Until the agent knows what a connection speaks, it copies little of a call.
    if (number === 0) await new Promise((resolve) => setTimeout(resolve, 1000));
    await one("refuse", "error", async () => {
      const refused = await connection.proxy.ask("refuse", "1").then(() => null, (error) => error);
      assert.equal(refused?.response?.iRet, -17);
    });
    await one("note", "ok", async () => {
      connection.proxy.ask("note", "1", { packetType: ONE_WAY });
      // It is written in a later turn.
      await new Promise((resolve) => setTimeout(resolve, 50));
    });
    const asked = Array.from({ length: AT_ONCE }, async (_, part) => {
      const start = time();
      await get(connection, `${part} of ${number}`);
      add(connection.port, name("get"), start, time(), of("get"));
    });
    await Promise.all(asked);
  }
}

main(connect, warm, use);
