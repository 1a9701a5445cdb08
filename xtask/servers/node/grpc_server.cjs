// A gRPC server with the methods of grpc_server.py: PORT [CERTIFICATE KEY]. Messages are bytes without a schema.
const fs = require("fs");
const grpc = require("@grpc/grpc-js");

const same = (bytes) => bytes;
const method = (name, requestStream, responseStream) => ({
  path: `/shop.Orders/${name}`,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});
const service = {
  Get: method("Get", false, false),
  Refuse: method("Refuse", false, false),
  Items: method("Items", false, true),
  Total: method("Total", true, false),
};
const server = new grpc.Server();
server.addService(service, {
  Get: (call, done) => done(null, Buffer.concat([Buffer.from("order "), call.request])),
  Refuse: (_, done) => done({ code: grpc.status.NOT_FOUND, details: "no such order" }),
  Items: (call) => {
    for (let number = 0; number < 5; number++) call.write(Buffer.from(`item ${number}`));
    call.end();
  },
  Total: (call, done) => {
    let total = 0;
    call.on("data", (bytes) => (total += bytes.length));
    call.on("end", () => done(null, Buffer.from(String(total))));
  },
});
const [port, certificate, key] = process.argv.slice(2);
const pair = () => ({ cert_chain: fs.readFileSync(certificate), private_key: fs.readFileSync(key) });
const how = certificate ? grpc.ServerCredentials.createSsl(null, [pair()]) : grpc.ServerCredentials.createInsecure();
server.bindAsync(`127.0.0.1:${port}`, how, (error) => {
  if (error) throw error;
});
