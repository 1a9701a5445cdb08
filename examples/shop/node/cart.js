// cart: shopping carts, in Redis. One event loop, one Redis connection that all requests share,
// and kept-alive connections to catalog.
'use strict';
const http = require('http');
const Redis = require('ioredis');
const { Truth } = require('./truth');

const PORT = Number(process.env.PORT);
const CATALOG = Number(process.env.CATALOG_PORT);
const REDIS = Number(process.env.REDIS_PORT);

const truth = new Truth('cart');
const redis = new Redis({ host: '127.0.0.1', port: REDIS });
const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });

/** Sends a Redis command for the request numbered `request`. */
async function command(request, name, ...args) {
  const begun = truth.begin();
  const local = redis.stream.localPort;
  const answer = await redis.call(name, ...args);
  truth.called(begun, request, local, REDIS, name, 0);
  return answer;
}

/** Asks catalog for the price of a product, for the request numbered `request`. */
function price(request, product) {
  const begun = truth.begin();
  const path = `/products/${product}`;
  return new Promise((resolve, reject) => {
    const call = http.get({ host: '127.0.0.1', port: CATALOG, path, agent }, (response) => {
      const local = response.socket.localPort;
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => {
        truth.called(begun, request, local, CATALOG, `GET ${path}`, response.statusCode);
        resolve(JSON.parse(Buffer.concat(chunks)).price || 0);
      });
    });
    call.on('error', reject);
  });
}

/** What is in a cart, and what it costs: the prices are asked for in parallel. */
async function show(request, user) {
  const items = await command(request, 'HGETALL', `cart:${user}`);
  const products = items.filter((_, index) => index % 2 === 0).slice(0, 4);
  const prices = await Promise.all(products.map((product) => price(request, product)));
  const total = prices.reduce((sum, each) => sum + Number(each), 0);
  return { user: Number(user), products, total };
}

/** Puts a product into a cart: two commands, sent together. */
async function add(request, user, product) {
  const [count] = await Promise.all([
    command(request, 'HINCRBY', `cart:${user}`, product, '1'),
    command(request, 'EXPIRE', `cart:${user}`, '600'),
  ]);
  return { user: Number(user), product, count };
}

async function clear(request, user) {
  return { user: Number(user), removed: await command(request, 'DEL', `cart:${user}`) };
}

async function answer(request, method, url) {
  const [, kind, user, what] = url.pathname.split('/');
  if (kind === 'health') return [200, { ok: true }];
  if (kind !== 'carts' || !/^\d+$/.test(user || '')) return [404, { error: 'no such page' }];
  if (method === 'GET') return [200, await show(request, user)];
  if (method === 'DELETE') return [200, await clear(request, user)];
  if (method === 'POST' && what === 'items') {
    return [200, await add(request, user, url.searchParams.get('product') || '1')];
  }
  return [405, { error: 'no such method' }];
}

const server = http.createServer(async (request, response) => {
  const begun = truth.begin();
  const peer = request.socket.remotePort;
  request.resume();
  const url = new URL(request.url, 'http://cart');
  let [status, body] = [500, { error: 'internal' }];
  try {
    [status, body] = await answer(begun.number, request.method, url);
  } catch (error) {
    console.error(error);
  }
  const data = JSON.stringify(body);
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(data),
  });
  response.end(data);
  truth.served(begun, PORT, peer, `${request.method} ${url.pathname}`, status);
});
server.keepAliveTimeout = 300000; // longer than any caller keeps an idle connection
server.headersTimeout = 310000;
redis.once('ready', () => server.listen(PORT, '127.0.0.1'));
redis.on('error', (error) => console.error(error));
process.on('SIGTERM', () => process.exit(0));
