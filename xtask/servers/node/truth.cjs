// Truth: what a client in JavaScript did, as truth.py says for those in Python.
const fs = require("fs");
const readline = require("readline");

const words = process.argv.slice(2);
const told = (name, otherwise) => {
  const at = words.indexOf(`--${name}`);
  return at < 0 ? otherwise : words[at + 1];
};
const OPTIONS = {
  port: Number(told("port")),
  truth: told("truth"),
  tls: told("tls", ""),
  calls: Number(told("calls", 10)),
  connections: Number(told("connections", 4)),
};

/** Nanoseconds since 1970, by `CLOCK_REALTIME`, of which `Date` tells milliseconds only. */
const shift = (() => {
  // The tick of `Date` is met as exactly as it can be.
  const before = Date.now();
  let now = before;
  while (now === before) now = Date.now();
  return BigInt(now) * 1_000_000n - process.hrtime.bigint();
})();
const time = () => process.hrtime.bigint() + shift;

const lines = [];
const old = new Set();

function add(port, operation, start, end, more) {
  lines.push({ connection: port, operation, status: "ok", start, end, old: old.has(port), ...more });
}

/** One call, which `act` makes. */
async function call(port, operation, more, act) {
  const start = time();
  await act();
  add(port, operation, start, time(), more);
}

/** This process' own ports on TCP connections to a server. */
function ports(server) {
  const inodes = new Set();
  for (const fd of fs.readdirSync("/proc/self/fd")) {
    try {
      const found = /^socket:\[(\d+)\]$/.exec(fs.readlinkSync(`/proc/self/fd/${fd}`));
      if (found) inodes.add(found[1]);
    } catch {
      // The folder was one of them.
    }
  }
  const rows = fs.readFileSync("/proc/self/net/tcp", "utf8").trim().split("\n").slice(1);
  const fields = rows.map((row) => row.trim().split(/\s+/));
  const port = (address) => parseInt(address.split(":")[1], 16);
  return fields.filter((it) => inodes.has(it[9]) && port(it[2]) === server).map((it) => port(it[1]));
}

/** What `open` makes, and the port of the connection that it opened; what the library says by itself meanwhile. */
async function opened(server, operations, open) {
  const before = ports(server);
  const start = time();
  const result = await open();
  const port = ports(server).find((own) => !before.includes(own));
  for (const operation of operations) add(port, operation, start, time(), { opening: true });
  return { result, port };
}

/** Under TLS: which authority is trusted. */
const secured = () => (OPTIONS.tls ? { tls: { ca: fs.readFileSync(OPTIONS.tls), servername: "localhost" } } : {});

const write = () => {
  const text = lines.map((line) => JSON.stringify(line, (_, value) => (typeof value === "bigint" ? `@${value}@` : value)));
  fs.writeFileSync(OPTIONS.truth, text.join("\n").replace(/"@(\d+)@"/g, "$1") + "\n");
};

/** `connect` opens a connection and returns it with its `port`; `warm` and `use` make calls on it. */
async function main(connect, warm, use) {
  const open = async (count) => {
    const made = [];
    for (let number = 0; number < count; number++) made.push(await connect(OPTIONS.port));
    return made;
  };
  const first = await open(Math.floor(OPTIONS.connections / 2));
  for (const connection of first) {
    await warm(connection);
    old.add(connection.port);
  }
  lines.length = 0;
  console.log("ready");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (line !== "go") break;
    const all = first.concat(await open(OPTIONS.connections - first.length));
    const results = await Promise.allSettled(all.map(use));
    write();
    const failed = results.filter((result) => result.reason).map((result) => String(result.reason));
    console.log(failed.length ? `failed ${failed.join("; ")}` : "done");
  }
  process.exit(0);
}

module.exports = { OPTIONS, add, call, main, opened, ports, secured, time };
