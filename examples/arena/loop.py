"""Two calls a request on asyncio: in turn, after sleeps, gathered, on the executor, by to_thread.

loop.py PORT BACKEND_PORT
"""

import asyncio
import sys

import aiohttp
from aiohttp import web

from backend import PORT as BACKEND
from backend import call as blocking
from disguise import path


async def call(client, token, number):
    async with client.get(f"http://127.0.0.1:{BACKEND}{path(token, number)}") as response:
        return await response.read()


async def direct(client, token):
    return await call(client, token, 1) + await call(client, token, 2)


async def sleep(client, token):
    body = b""
    for number in (1, 2):
        await asyncio.sleep(0.005)
        body += await call(client, token, number)
    return body


async def gather(client, token):
    return b"".join(await asyncio.gather(call(client, token, 1), call(client, token, 2)))


async def executor(_, token):
    loop, body = asyncio.get_running_loop(), b""
    for number in (1, 2):
        body += await loop.run_in_executor(None, blocking, token, number)
    return body


async def thread(_, token):
    return await asyncio.to_thread(blocking, token, 1) + await asyncio.to_thread(blocking, token, 2)


WAYS = {"direct": direct, "sleep": sleep, "gather": gather, "executor": executor, "thread": thread}


async def handle(request):
    way, token = request.match_info["way"], request.match_info["token"]
    return web.Response(body=await WAYS[way](request.app["client"], token))


async def application():
    app = web.Application()
    app.router.add_get("/{way}/{token}", handle)

    async def start(app):
        app["client"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    app.on_startup.append(start)
    return app


web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
