"""Two calls a request on grpc.aio, in turn.

grpc_loop.py PORT BACKEND_PORT
"""

import asyncio
import pathlib
import sys

import grpc

sys.path.append(str(pathlib.Path(__file__).parent.parent))
from disguise import path


async def main():
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{sys.argv[2]}")

    async def direct(token, _):
        token, body = token.decode(), b""
        for number in (1, 2):
            body += await channel.unary_unary(path(token, number))(b"")
        return body

    class Handlers(grpc.GenericRpcHandler):
        def service(self, _):
            return grpc.unary_unary_rpc_method_handler(direct)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handlers(),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    await server.wait_for_termination()


asyncio.run(main())
