// Two calls a request on grpc-js: in turn, both at once. streams/front.js PORT BACKEND_PORT
'use strict';
const crypto = require('crypto');
const grpc = require('@grpc/grpc-js');

const [, , port, backend] = process.argv;
const insecure = grpc.credentials.createInsecure();
const client = new grpc.Client(`127.0.0.1:${backend}`, insecure);
const bytes = (message) => message;

function path(token, number) {
  const text = `${process.env.ARENA_KEY}:${token}:${number}`;
  return `/b/${crypto.createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
}

function call(token, number) {
  return new Promise((done, failed) => {
    client.makeUnaryRequest(path(token, number), bytes, bytes, Buffer.alloc(0), (error, body) => {
      if (error) failed(error); else done(body);
    });
  });
}

const ways = {
  direct: async (token) => [await call(token, 1), await call(token, 2)],
  parallel: (token) => Promise.all([call(token, 1), call(token, 2)]),
};

const methods = {};
const handlers = {};
for (const [name, work] of Object.entries(ways)) {
  methods[name] = {
    path: `/arena/${name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  };
  handlers[name] = (asked, answer) => {
    work(asked.request.toString()).then((both) => answer(null, Buffer.concat(both)), answer);
  };
}

const server = new grpc.Server();
server.addService(methods, handlers);
server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});
