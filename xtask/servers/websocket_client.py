"""WebSocket, with websockets: the upgrade, texts, bytes, messages in fragments."""

import time
from types import SimpleNamespace

from truth import LOG, OPTIONS, main, opened
from websockets.sync.client import connect as dial


def connect(port):
    start = time.time_ns()
    where = f"ws://127.0.0.1:{port}/chat"
    made = lambda: dial(where, compression=None, ping_interval=None)
    client, wire = opened(port, made)
    LOG.opening(wire.port, ["GET /chat"], start, time.time_ns(), protocol="http")
    return SimpleNamespace(client=client, wire=wire)


def warm(connection):
    exchange(connection, "first")


def exchange(connection, message):
    connection.client.send(message)
    return connection.client.recv(20)


def use(connection):
    # Both what is sent and what comes back is a message of its own.
    for number in range(OPTIONS.calls):
        messages = [("text", f"message {number}"), ("binary", b"\x00" * 2000)]
        messages += [("text", "x" * 70_000), ("text", iter(["in ", "frag", "ments"]))]
        for kind, message in messages:
            start = time.time_ns()
            exchange(connection, message)
            for _ in range(2):
                LOG.answered(connection.wire, f"WebSocket {kind}", start)


main(connect, warm, use)
