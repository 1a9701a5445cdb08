"""ZeroMQ, with pyzmq: requests of one and of several frames, and messages that are pushed."""

import time
from types import SimpleNamespace

import zmq
from truth import LOG, OPTIONS, main, opened

CONTEXT = zmq.Context()


def reach(kind, port):
    own = CONTEXT.socket(kind)
    own.setsockopt(zmq.LINGER, 0)

    def ready():
        own.connect(f"tcp://127.0.0.1:{port}")
        # Another thread does it.
        time.sleep(0.3)

    _, wire = opened(port, ready)
    return own, wire


def connect(port):
    ask, wire = reach(zmq.REQ, port)
    push, pushes = reach(zmq.PUSH, OPTIONS.other)
    # What the two ends say of themselves goes first.
    time.sleep(0.1)
    return SimpleNamespace(ask=ask, push=push, wire=wire, pushes=pushes, wires=[pushes])


def warm(connection):
    connection.ask.send(b"1")
    connection.ask.recv_multipart()


def use(connection):
    ask, wire = connection.ask, connection.wire
    # Which end asks was told when the connection was opened.
    is_old = wire.port in LOG.old
    for number in range(OPTIONS.calls):
        for parts in ([b"order"], [b"order", b"%d" % number, b"x" * 3000]):
            start = time.time_ns()
            ask.send_multipart(parts)
            ask.recv_multipart()
            for operation in ("send", "send") if is_old else ("request",):
                LOG.answered(wire, operation, start, status="ok" if is_old else "unset")
        if not is_old:
            with LOG.call(connection.pushes.port, "send"):
                connection.push.send(b"item %d" % number)
                time.sleep(0.01)


main(connect, warm, use)
