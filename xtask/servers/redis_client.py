"""Redis, with redis-py: simple commands, an error, pipelines."""

import time
from types import SimpleNamespace

import redis
from truth import LOG, OPTIONS, main, opened


def connect(port):
    start = time.time_ns()
    how = {"ssl": True, "ssl_ca_certs": OPTIONS.tls} if OPTIONS.tls else {}
    made = lambda: redis.Redis(port=port, single_connection_client=True, protocol=2, **how)
    client, wire = opened(port, made)
    # Redis has it since 7.2, which Debian has not.
    names = ["CLIENT SETINFO", "CLIENT SETINFO"]
    LOG.opening(wire.port, names, start, time.time_ns(), status="error")
    return SimpleNamespace(client=client, wire=wire)


def warm(connection):
    connection.client.set("warm", 1)


def use(connection):
    client, wire = connection.client, connection.wire
    for number in range(OPTIONS.calls):
        key = f"key-{wire.port}-{number}"
        with LOG.call(wire, "SET"):
            client.set(key, "v" * number * 100)
        with LOG.call(wire, "GET"):
            assert client.get(key) == b"v" * number * 100
        with LOG.call(wire, "LPUSH", status="error", attributes={"error.type": "WRONGTYPE"}):
            try:
                client.lpush(key, 1)
                raise AssertionError("a text took an item")
            except redis.ResponseError:
                pass
        pipeline(connection, key)


def pipeline(connection, key):
    """Several commands in one send; the answers are read one by one."""
    line = connection.client.connection
    commands = [("GET", key), ("EXISTS", key), ("INCR", key), ("DEL", key)]
    start = time.time_ns()
    line.send_packed_command(line.pack_commands(commands))
    for command, _ in commands:
        status = "ok"
        try:
            line.read_response()
        except redis.ResponseError:
            status = "error"
        LOG.answered(connection.wire, command, start, status=status)
        assert status == ("error" if command == "INCR" else "ok")


main(connect, warm, use)
