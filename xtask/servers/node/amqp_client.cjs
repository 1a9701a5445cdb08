// AMQP 0-9-1 with amqplib, under TLS where it is told so: as amqp_client.py.
const amqp = require("amqplib");
const { OPTIONS, call, main, opened, secured } = require("./truth.cjs");

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function connect(port) {
  const where = { protocol: OPTIONS.tls ? "amqps" : "amqp", hostname: "localhost", port, heartbeat: 0 };
  const names = ["connection.start", "connection.open"];
  const made = await opened(port, names, () => amqp.connect(where, secured().tls));
  return { channel: await made.result.createChannel(), port: made.port };
}

async function warm({ channel, port }) {
  await channel.assertQueue(`warm-${port}`);
}

async function use({ channel, port }) {
  const name = `orders-${port}`;
  await call(port, "queue.declare", {}, () => channel.assertQueue(name, { exclusive: true }));
  // Until the agent knows what a connection speaks, it copies little of a call.
  await pause(1000);
  for (let number = 0; number < OPTIONS.calls; number++) {
    await call(port, `publish ${name}`, {}, async () => {
      channel.sendToQueue(name, Buffer.alloc(1000 * number, "x"));
      // It is written in a later turn.
      await pause(20);
    });
    const told = { attributes: { "messaging.destination.name": name } };
    let message;
    await call(port, `get ${name}`, told, async () => (message = await channel.get(name)));
    await call(port, "ack", {}, async () => {
      channel.ack(message);
      await pause(20);
    });
  }
}

main(connect, warm, use);
