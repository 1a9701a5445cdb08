"""Two calls a request on gRPC's C core: by its pool of sixteen threads, which share connections.

grpc_threads.py PORT BACKEND_PORT
"""

import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

sys.path.append(str(pathlib.Path(__file__).parent.parent))
from disguise import path

CHANNEL = grpc.insecure_channel(f"127.0.0.1:{sys.argv[2]}")


def call(token, number):
    return CHANNEL.unary_unary(path(token, number))(b"")


def direct(token, _):
    token = token.decode()
    return call(token, 1) + call(token, 2)


class Handlers(grpc.GenericRpcHandler):
    def service(self, _):
        return grpc.unary_unary_rpc_method_handler(direct)


server = grpc.server(ThreadPoolExecutor(16))
server.add_generic_rpc_handlers((Handlers(),))
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
