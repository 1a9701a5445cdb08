"""gRPC with grpcio: unary calls one by one and many at once, errors, streams both ways."""

import threading
import time
from types import SimpleNamespace

import grpc
from truth import LOG, OPTIONS, main, opened

AT_ONCE = 10


def connect(port):
    def ready():
        # Channels share connections, unless they must not.
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        grpc.channel_ready_future(channel).result(10)
        return channel

    channel, wire = opened(port, ready)
    get = channel.unary_unary("/shop.Orders/Get")
    refuse = channel.unary_unary("/shop.Orders/Refuse")
    items = channel.unary_stream("/shop.Orders/Items")
    total = channel.stream_unary("/shop.Orders/Total")
    return SimpleNamespace(wire=wire, get=get, refuse=refuse, items=items, total=total)


def warm(connection):
    connection.get(b"1")
    connection.get(b"2")


def use(connection):
    wire = connection.wire
    for number in range(OPTIONS.calls):
        with call(wire, "Get"):
            connection.get(b"%d" % number)
        if number == 0:
            # Until the agent knows what a connection speaks, it copies little of a call.
            time.sleep(1)
        with call(wire, "Refuse", "error", "NOT_FOUND"):
            try:
                connection.refuse(b"")
                raise AssertionError("it was to be refused")
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.NOT_FOUND
        with call(wire, "Items"):
            assert len(list(connection.items(b"all"))) == 5
        with call(wire, "Total"):
            assert connection.total(iter([b"x" * 1000] * 5)) == b"5000"
        at_once(connection, number)


def call(wire, method, status="ok", code="OK"):
    told = {"rpc.method": f"shop.Orders/{method}", "rpc.response.status_code": code}
    # What is the client's mistake is no error of the server.
    told = {"attributes": told, "status": status, "server_status": "ok", "sized": False}
    return LOG.call(wire, f"shop.Orders/{method}", **told)


def at_once(connection, number):
    done = threading.Semaphore(0)
    told = {"rpc.method": "shop.Orders/Get", "rpc.response.status_code": "OK"}

    def ask(part):
        start = time.time_ns()

        def answered(_):
            LOG.answered(connection.wire, "shop.Orders/Get", start, attributes=told)
            done.release()

        connection.get.future(b"%d of %d" % (part, number)).add_done_callback(answered)

    for part in range(AT_ONCE):
        ask(part)
    for _ in range(AT_ONCE):
        done.acquire()


main(connect, warm, use)
