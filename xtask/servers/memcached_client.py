"""Memcached, with pymemcache: values small and large, misses, errors, several commands in one send."""

import time
from types import SimpleNamespace

from pymemcache.client.base import Client
from truth import LOG, OPTIONS, main, opened


def connect(port):
    client = Client(("127.0.0.1", port), default_noreply=False)
    start = time.time_ns()
    _, wire = opened(port, client.version)
    LOG.opening(wire.port, ["version"], start, time.time_ns())
    return SimpleNamespace(client=client, wire=wire)


def warm(connection):
    connection.client.set("warm", "1")


def use(connection):
    client, wire = connection.client, connection.wire
    for number in range(OPTIONS.calls):
        key, value = f"key-{wire.port}-{number}", b"v" * (number * 1000)
        with LOG.call(wire, "set"):
            client.set(key, value)
        with LOG.call(wire, "get"):
            assert client.get(key) == value
        with LOG.call(wire, "get"):
            assert client.get(key + "-missing") is None
        with LOG.call(wire, "incr", status="error"):
            # The library would close the connection at an error.
            client.sock.sendall(f"incr {key} 1\r\n".encode())
            assert client.sock.recv(1000).startswith(b"CLIENT_ERROR")
        start = time.time_ns()
        client.set_many({f"{key}-{part}": str(part) for part in range(3)})
        for _ in range(3):
            LOG.answered(wire, "set", start)
        with LOG.call(wire, "get"):
            assert len(client.get_many([f"{key}-{part}" for part in range(3)])) == 3
        with LOG.call(wire, "delete"):
            client.delete(key)


main(connect, warm, use)
