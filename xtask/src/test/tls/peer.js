// HTTPS with Node's own TLS, as a server or a client; see peer.py.
//   peer.js serve PORT CERTIFICATE KEY      peer.js ask PORT CERTIFICATE
const fs = require("fs");
const https = require("https");
const readline = require("readline");

const [role, port, certificate, key] = process.argv.slice(2);
const cert = fs.readFileSync(certificate);

function serve() {
  const answer = (request, response) => {
    const size = Number(request.url.split("/").pop());
    response.writeHead(200, { "Content-Length": size });
    response.end("x".repeat(size));
  };
  const options = { key: fs.readFileSync(key), cert, keepAliveTimeout: 60000 };
  https.createServer(options, answer).listen(Number(port), "127.0.0.1", () => console.log("ok"));
  process.stdin.resume().on("end", () => process.exit(0));
}

async function get(agent, path, fill) {
  const headers = { "X-Fill": "f".repeat(Number(fill)) };
  const options = { host: "127.0.0.1", servername: "localhost", port, path, agent, headers, ca: cert };
  await new Promise((resolve, reject) => {
    https.get(options, (response) => response.on("end", resolve).resume()).on("error", reject);
  });
}

async function ask() {
  console.log("ok");
  const kept = {};
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [command, name, path, fill] = line.split(" ");
    if (command === "open") {
      kept[name] = new https.Agent({ keepAlive: true, maxSockets: 1 });
    } else {
      await get(kept[name], path, fill);
    }
    console.log("ok");
  }
}

role === "serve" ? serve() : ask();
