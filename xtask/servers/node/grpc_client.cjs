// gRPC with grpc-js, under TLS where it is told so: as grpc_client.py.
const assert = require("assert");
const fs = require("fs");
const grpc = require("@grpc/grpc-js");
const { OPTIONS, add, call, main, ports, time } = require("./truth.cjs");

const AT_ONCE = 10;
const same = (bytes) => bytes;

async function connect(port) {
  const before = ports(port);
  const tls = () => grpc.credentials.createSsl(fs.readFileSync(OPTIONS.tls));
  const how = OPTIONS.tls ? tls() : grpc.credentials.createInsecure();
  const client = new grpc.Client(`localhost:${port}`, how, { "grpc.use_local_subchannel_pool": 1 });
  await new Promise((resolve, reject) => {
    client.waitForReady(Date.now() + 10_000, (error) => (error ? reject(error) : resolve()));
  });
  return { client, port: ports(port).find((own) => !before.includes(own)) };
}

const unary = (connection, method, text) =>
  new Promise((resolve, reject) => {
    const done = (error, answer) => (error ? reject(error) : resolve(answer));
    connection.client.makeUnaryRequest(`/shop.Orders/${method}`, same, same, Buffer.from(text), done);
  });

const items = (connection) =>
  new Promise((resolve, reject) => {
    let count = 0;
    const answers = connection.client.makeServerStreamRequest("/shop.Orders/Items", same, same, Buffer.from("all"));
    answers.on("data", () => count++).on("error", reject).on("end", () => resolve(count));
  });

const total = (connection) =>
  new Promise((resolve, reject) => {
    const done = (error, answer) => (error ? reject(error) : resolve(answer));
    const requests = connection.client.makeClientStreamRequest("/shop.Orders/Total", same, same, done);
    for (let number = 0; number < 5; number++) requests.write(Buffer.alloc(1000, "x"));
    requests.end();
  });

async function warm(connection) {
  await unary(connection, "Get", "1");
  await unary(connection, "Get", "2");
}

function of(method, status = "ok", code = "OK") {
  const attributes = { "rpc.method": `shop.Orders/${method}`, "rpc.response.status_code": code };
  // What is the client's mistake is no error of the server.
  return { attributes, status, server_status: "ok" };
}

async function use(connection) {
  const { port } = connection;
  const one = (method, told, act) => call(port, `shop.Orders/${method}`, told, act);
  for (let number = 0; number < OPTIONS.calls; number++) {
    await one("Get", of("Get"), () => unary(connection, "Get", String(number)));
    // Until the agent knows what a connection speaks, it copies little of a call.
    if (number === 0) await new Promise((resolve) => setTimeout(resolve, 1000));
    await one("Refuse", of("Refuse", "error", "NOT_FOUND"), async () => {
      const refused = await unary(connection, "Refuse", "").then(() => null, (error) => error);
      assert.equal(refused?.code, grpc.status.NOT_FOUND);
    });
    await one("Items", of("Items"), async () => assert.equal(await items(connection), 5));
    await one("Total", of("Total"), async () => assert.equal(String(await total(connection)), "5000"));
    const asked = Array.from({ length: AT_ONCE }, async (_, part) => {
      const start = time();
      await unary(connection, "Get", `${part} of ${number}`);
      add(port, "shop.Orders/Get", start, time(), of("Get"));
    });
    await Promise.all(asked);
  }
}

main(connect, warm, use);
