// Two calls a request on Node: in turn, both at once, after timers of equal length.
//
// front.js PORT BACKEND_PORT
'use strict';
const crypto = require('crypto');
const http = require('http');

const [, , port, backend] = process.argv;
const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function path(token, number) {
  const text = `${process.env.ARENA_KEY}:${token}:${number}`;
  return `/b/${crypto.createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
}

function call(token, number) {
  return new Promise((done, failed) => {
    const options = { host: '127.0.0.1', port: backend, path: path(token, number), agent };
    http.get(options, (response) => {
      let body = '';
      response.on('data', (part) => { body += part; });
      response.on('end', () => done(body));
    }).on('error', failed);
  });
}

const ways = {
  direct: async (token) => await call(token, 1) + await call(token, 2),
  parallel: async (token) => (await Promise.all([call(token, 1), call(token, 2)])).join(''),
  timers: async (token) => {
    let body = '';
    for (const number of [1, 2]) {
      await pause(5);
      body += await call(token, number);
    }
    return body;
  },
};

http.createServer(async (request, response) => {
  const [, way, token] = request.url.split('/');
  response.end(await ways[way](token));
}).listen(port, '127.0.0.1');
