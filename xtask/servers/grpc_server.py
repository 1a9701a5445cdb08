"""A gRPC server with unary and streaming methods; its messages are bytes without a schema."""

import sys
from concurrent import futures

import grpc


def get(request, _):
    return b"order " + request


def refuse(_, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such order")


def items(request, _):
    for number in range(5):
        yield b"item %d of " % number + request


def total(requests, _):
    return b"%d" % sum(len(request) for request in requests)


METHODS = {
    "Get": grpc.unary_unary_rpc_method_handler(get),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "Items": grpc.unary_stream_rpc_method_handler(items),
    "Total": grpc.stream_unary_rpc_method_handler(total),
}

server = grpc.server(futures.ThreadPoolExecutor(16))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop.Orders", METHODS)])
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
