"""ZooKeeper, with kazoo: nodes made, read, changed and removed, errors, several requests at once."""

import time
from types import SimpleNamespace

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from truth import LOG, OPTIONS, main, opened


def connect(port):
    client = KazooClient(f"127.0.0.1:{port}")
    _, wire = opened(port, client.start)
    return SimpleNamespace(client=client, wire=wire)


def warm(connection):
    connection.client.exists("/")


def use(connection):
    client, wire = connection.client, connection.wire
    for number in range(OPTIONS.calls):
        path = f"/node-{wire.port}-{number}"
        with LOG.call(wire, "create", sized=False):
            client.create(path, b"value")
        with LOG.call(wire, "getData", sized=False):
            client.get(path)
        with LOG.call(wire, "setData", sized=False):
            client.set(path, b"x" * 2000)
        with LOG.call(wire, "exists", sized=False):
            assert client.exists(path + "-not") is None
        with LOG.call(wire, "getData", status="error", sized=False):
            try:
                client.get(path + "-not")
                raise AssertionError("there is no such node")
            except NoNodeError:
                pass
        start = time.time_ns()
        waiting = [client.get_async(path) for _ in range(5)]
        for one in waiting:
            one.get(10)
            LOG.answered(wire, "getData", start)
        with LOG.call(wire, "delete", sized=False):
            client.delete(path)


main(connect, warm, use)
