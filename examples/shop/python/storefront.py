"""storefront: what customers talk to, behind nginx. One asyncio loop (aiohttp, asyncpg)."""

import asyncio
import os
import signal
import sys
import time

import aiohttp
import asyncpg
from aiohttp import web

from truth import Truth

PORT = int(os.environ["PORT"])
PEERS = {name: int(os.environ[f"{name.upper()}_PORT"])
         for name in ("catalog", "cart", "recommend", "checkout", "postgres")}
PROMOTIONS = "SELECT title, percent FROM promotions WHERE product_id % 4 = $1 ORDER BY percent DESC LIMIT 3"

truth = Truth("storefront")
http_ports = {}  # task that makes a call -> local port of the connection it was given
database_ports = {}  # pid of the PostgreSQL backend -> our port


class Connector(aiohttp.TCPConnector):
    """aiohttp's own pool, noting which connection it gave to the calling task."""

    async def connect(self, *args, **kwargs):
        connection = await super().connect(*args, **kwargs)
        http_ports[asyncio.current_task()] = connection.transport.get_extra_info("sockname")[1]
        return connection


class Database(asyncpg.Connection):
    """A connection without the clean-up statements that asyncpg sends after each use."""

    def get_reset_query(self):
        return ""


async def prepare(connection):
    """Before a connection's first use: its port, and the statement that is used on it later."""
    port = await connection.fetchval("SELECT inet_client_port()")
    database_ports[connection.get_server_pid()] = port
    await connection.fetch(PROMOTIONS, 0)


async def call(app, request, name, method, path):
    """Calls another service for the request numbered `request`; returns status and JSON."""
    number, begin, status = truth.next(), time.time_ns(), 0
    try:
        url = f"http://127.0.0.1:{PEERS[name]}{path}"
        async with app["http"].request(method, url) as response:
            body = await response.json()
            status = response.status
            return status, body
    finally:
        local = http_ports.pop(asyncio.current_task(), 0)
        truth.called(number, request, local, PEERS[name], begin, f"{method} {path}", status)


async def promotions(app, request, group):
    """Reads the promotions of a product group."""
    async with app["database"].acquire() as connection:
        number, begin = truth.next(), time.time_ns()
        rows = await connection.fetch(PROMOTIONS, group)
        truth.called(number, request, database_ports[connection.get_server_pid()],
                     PEERS["postgres"], begin, "SELECT promotions", 0)
    return [dict(row) for row in rows]


async def home(app, request, http):
    user = int(http.query.get("user", "1"))
    products, liked, cart, offers = await asyncio.gather(
        call(app, request, "catalog", "GET", "/products?limit=8"),
        call(app, request, "recommend", "GET", f"/recommend/{user}"),
        call(app, request, "cart", "GET", f"/carts/{user}"),
        promotions(app, request, user % 4))
    return 200, {"products": products[1], "liked": liked[1], "cart": cart[1], "offers": offers}


async def product(app, request, http):
    chosen = int(http.match_info["id"])
    (status, details), (_, similar) = await asyncio.gather(
        call(app, request, "catalog", "GET", f"/products/{chosen}"),
        call(app, request, "recommend", "GET", f"/similar/{chosen}"))
    offers = await promotions(app, request, chosen % 4)
    return status, {"product": details, "similar": similar, "offers": offers}


async def search(app, request, http):
    return await call(app, request, "catalog", "GET", f"/search?text={http.query.get('text', 'a')}")


async def add_to_cart(app, request, http):
    user, chosen = int(http.match_info["user"]), int(http.query.get("product", "1"))
    status, _ = await call(app, request, "catalog", "GET", f"/products/{chosen}")
    if status != 200:
        return status, {"error": "no such product"}
    return await call(app, request, "cart", "POST", f"/carts/{user}/items?product={chosen}")


async def buy(app, request, http):
    return await call(app, request, "checkout", "POST", f"/checkout/{int(http.match_info['user'])}")


async def health(app, request, http):
    return 200, {"ok": True}


def handler(answer):
    """Wraps an endpoint: numbers its request, writes its truth."""
    async def handle(http):
        number, begin = truth.next(), time.time_ns()
        try:
            status, body = await answer(http.app, number, http)
        except (aiohttp.ClientError, asyncio.TimeoutError, asyncpg.PostgresError) as error:
            print(f"{http.path}: {error!r}", file=sys.stderr)
            status, body = 503, {"error": "a service did not answer"}
        peer = http.transport.get_extra_info("peername")[1] if http.transport else 0
        truth.served(number, PORT, peer, begin, f"{http.method} {http.path}", status)
        # nginx cannot name its own port in its log, so it is told.
        return web.json_response(body, status=status, headers={"X-Peer-Port": str(peer)})
    return handle


async def pools(app):
    async with aiohttp.ClientSession(connector=Connector(limit_per_host=16)) as app["http"], \
            asyncpg.create_pool(host="127.0.0.1", port=PEERS["postgres"], user="shop",
                                database="shop", min_size=6, max_size=6,
                                max_inactive_connection_lifetime=0,
                                connection_class=Database, init=prepare) as app["database"]:
        yield


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app = web.Application()
    app.cleanup_ctx.append(pools)
    app.add_routes([web.get("/", handler(home)), web.get("/product/{id:\\d+}", handler(product)),
                    web.get("/search", handler(search)), web.get("/health", handler(health)),
                    web.post("/cart/{user:\\d+}", handler(add_to_cart)),
                    web.post("/checkout/{user:\\d+}", handler(buy))])
    web.run_app(app, host="127.0.0.1", port=PORT, print=None, access_log=None)


if __name__ == "__main__":
    main()
