"""Truth: what a client did, by its own clock (`CLOCK_REALTIME`), one JSON object a line.

A client gives `main` three functions:

    connect(port)       opens a connection and returns it; what it says by itself goes into the log
    warm(connection)    a few calls whose answers it reads
    use(connection)     the known calls, each in the log

Half of the connections are opened and used before the line `go` comes from standard input: they are
older than the agent. Each connection has a thread of its own, so all are used at once.
"""

import argparse
import json
import os
import socket
import struct
import sys
import threading
import time
from contextlib import contextmanager


class Wire:
    """What a TCP connection of this process has moved, as the kernel counts it (`tcp_info`)."""

    def __init__(self, own):
        self.own = own
        self.port = own.getsockname()[1]

    def moved(self):
        info = self.own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        received, sent, resent = (struct.unpack_from("=Q", info, at)[0] for at in (128, 200, 208))
        return sent - resent, received


class Log:
    """The calls of all threads."""

    def __init__(self):
        self.lines = []
        # Ports of connections that are older than the agent.
        self.old = set()

    @contextmanager
    def call(self, wire, operation, **told):
        """One call: `wire` is its connection (or only its port). `told` may say `status` (ok),
        `server_status` where the server's differs, `attributes`, `vague`: the name where what names it
        was sent before the agent came, or on another connection (`elsewhere`), `puts` and `takes`: a word
        for what it puts into a queue or takes out of it, `sized=False` where bytes of the connection are
        not all of messages, or others are under way on it."""
        port = wire.port if isinstance(wire, Wire) else wire
        # Under TLS the kernel counts what is encrypted.
        weigh = told.pop("sized", True) and isinstance(wire, Wire) and not OPTIONS.tls
        entry = {"connection": port, "operation": operation, "status": "ok", **told}
        before = wire.moved() if weigh else None
        entry["start"] = time.time_ns()
        yield entry
        entry.setdefault("end", time.time_ns())
        if weigh:
            after = wire.moved()
            entry["request_size"] = after[0] - before[0]
            entry["response_size"] = after[1] - before[1]
        self.add(entry)

    def answered(self, wire, operation, start, **told):
        """One of several calls that were under way at once was answered just now."""
        port = wire.port if isinstance(wire, Wire) else wire
        entry = {"connection": port, "operation": operation, "status": "ok", "start": start}
        self.add({"end": time.time_ns(), **entry, **told})

    def add(self, entry):
        entry["old"] = entry["connection"] in self.old
        self.lines.append(entry)

    def opening(self, port, operations, start, end, **told):
        """What a library says on its own while it opens a connection."""
        for operation in operations:
            self.answered(port, operation, start, **{"opening": True, "end": end, **told})

    def write(self, path):
        with open(path, "w", encoding="utf-8") as file:
            for line in sorted(self.lines, key=lambda line: line["start"]):
                print(json.dumps(line), file=file)


LOG = Log()
OPTIONS = argparse.Namespace(calls=10, tls="")


def wires(server_port):
    """This process' TCP connections to a server, by their own port."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            is_socket = os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
            own = socket.socket(fileno=os.dup(int(name))) if is_socket else None
        except OSError:
            continue
        if not own:
            continue
        try:
            if own.type == socket.SOCK_STREAM and own.getpeername()[1] == server_port:
                found[own.getsockname()[1]] = Wire(own)
                continue
        except (OSError, IndexError, TypeError):
            pass
        own.close()
    return found


def opened(server_port, function):
    """What `function` returns, and the connection that it opened; or `None` if it opened none."""
    before = wires(server_port)
    result = function()
    after = wires(server_port)
    new = [wire for port, wire in after.items() if port not in before]
    for wire in [*before.values(), *(wire for port, wire in after.items() if port in before)]:
        wire.own.close()
    return result, new[0] if new else None


def ends(connection):
    """The TCP connections, or ports, behind what `connect` made: `wire`, and `wires` if there are more."""
    return [connection.wire, *getattr(connection, "wires", [])]


def main(connect, warm, use, connections=4, ended=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--truth", required=True)
    parser.add_argument("--calls", type=int, default=10, help="calls of a kind on a connection")
    parser.add_argument("--connections", type=int, default=connections)
    parser.add_argument("--other", type=int, default=0, help="a second port")
    parser.add_argument("--kind", default="", help="which of several ways")
    parser.add_argument("--tls", default="", help="the certificate of the authority to trust")
    parser.parse_args(namespace=OPTIONS)
    old = [connect(OPTIONS.port) for _ in range(OPTIONS.connections // 2)]
    for connection in old:
        warm(connection)
        LOG.old |= {wire.port if isinstance(wire, Wire) else wire for wire in ends(connection)}
    LOG.lines.clear()
    print("ready", flush=True)
    if sys.stdin.readline().strip() != "go":
        return
    new = [connect(OPTIONS.port) for _ in range(OPTIONS.connections - len(old))]
    failures = []

    def run(connection):
        try:
            use(connection)
        except BaseException as error:  # told to the test, which fails
            failures.append(repr(error))

    threads = [threading.Thread(target=run, args=[connection]) for connection in old + new]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if ended:
        ended()
    LOG.write(OPTIONS.truth)
    print("failed " + "; ".join(failures) if failures else "done", flush=True)
    # The connections stay open until the test has read the spans.
    sys.stdin.read()
    os._exit(0)
