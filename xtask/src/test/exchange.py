"""One real program for the live tests: a small HTTP server, or a client of such servers.

    exchange.py serve ADDRESS...     exchange.py ask

ADDRESS is `HOST:PORT`, `[HOST]:PORT` or a path; `[::]` serves both families; a server at
`ADDRESS>ADDRESS` asks the second one before it answers. Both read one command a line, answer each with one line (`ok ...` or `failed ...`), and end with their standard input.
"""

import http.client
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

BODY = b"x" * 20_000
PATIENCE = 15


def parse(address):
    if address.startswith("/"):
        return socket.AF_UNIX, address
    host, port = address.rsplit(":", 1)
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    return family, (host.strip("[]"), int(port))


class Handler(BaseHTTPRequestHandler):
    """Answers with the path that was asked for, so that the client knows its own answer."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        rest = int(self.headers.get("Content-Length", 0))
        while rest > 0:
            rest -= len(self.rfile.read(rest))
        if self.server.behind:
            self.ask_behind()
        answer = f"{self.path} {os.getpid()}".encode()
        fails = "/fail" if self.server.behind else ("/fail", "/last-fails")
        self.send_response(500 if self.path.startswith(fails) else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def ask_behind(self):
        """On a connection that lives as long as the one it works for, which has a thread of its own."""
        if not hasattr(self, "behind"):
            self.behind = Connection(self.server.behind)
        self.behind.ask(self.path, False)

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address):
        address, _, self.behind = address.partition(">")
        self.address_family, where = parse(address)
        super().__init__(where, Handler, bind_and_activate=False)
        if self.address_family == socket.AF_INET6:
            # Linux serves both families then; the default of a host may be another.
            both = 0 if where[0] == "::" else 1
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, both)
        self.server_bind()
        self.server_activate()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def get_request(self):
        connection, peer = super().get_request()
        return connection, peer or ("", 0)


def fork(address):
    """A child without a program of its own, as pre-forking servers have."""
    there, here = os.pipe()
    child = os.fork()
    if child == 0:
        Server(address)
        os.write(here, b"x")
        # Nobody writes: this ends when the parent does.
        os.close(CHILDREN[1])
        os.read(CHILDREN[0], 1)
        os._exit(0)
    os.close(here)
    os.read(there, 1)
    os.close(there)
    return child


def start(program, address):
    """A child with a program of its own; `program` is its executable."""
    command = [program, os.path.abspath(__file__), "serve", address]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    CHILDREN[2].append(child)
    child.stdout.readline()
    return child.pid


class Connection(http.client.HTTPConnection):
    def __init__(self, address, port=0):
        self.family, self.where = parse(address)
        self.own_port = port
        host = "unix" if self.family == socket.AF_UNIX else self.where[0]
        super().__init__(host, timeout=PATIENCE)

    def connect(self):
        self.sock = socket.socket(self.family)
        self.sock.settimeout(PATIENCE)
        if self.own_port:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind(("", self.own_port))
        self.sock.connect(self.where)

    def ask(self, path, big):
        if big:
            self.request("POST", path, BODY)
        else:
            self.request("GET", path)
        answer = self.getresponse().read().decode()
        if answer.split()[0] != path:
            raise ValueError(f"{path} got {answer}")
        return answer.split()[1]


class Client:
    def __init__(self):
        self.connections = {}
        self.threads = []
        self.failures = []

    def open(self, key, address, port):
        self.connections[key] = Connection(address, int(port))
        self.connections[key].connect()

    def ask(self, key, prefix, first, count):
        """On a connection that is kept, in the background."""
        connection = self.connections[key]
        self.later(connection.ask, [(n, prefix) for n in numbers(first, count)])

    def each(self, address, prefix, first, count):
        """A connection for every request, in the background."""

        def once(path, big):
            connection = Connection(address)
            connection.ask(path, big)
            connection.close()

        self.later(once, [(n, prefix) for n in numbers(first, count)])

    def load(self, address, prefix, first, count, pause_ms):
        """So many requests with pauses between them, on one connection, in the background."""
        connection = Connection(address)

        def once(path, big):
            connection.ask(path, False)
            time.sleep(int(pause_ms) / 1000)

        self.later(once, [(n, prefix) for n in numbers(first, count)])

    def later(self, ask, requests):
        def run():
            try:
                for number, prefix in requests:
                    ask(f"{prefix}/{number}", number % 5 == 4)
            except Exception as error:  # told to the test, which fails
                self.failures.append(f"{requests[0][1]}: {error!r}")

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def wait(self):
        for thread in self.threads:
            thread.join()
        self.threads.clear()
        if self.failures:
            raise RuntimeError("; ".join(self.failures))

    def get(self, address, path):
        """One request now; answers with the pid that served it."""
        connection = Connection(address)
        pid = connection.ask(path, False)
        connection.close()
        return pid


def numbers(first, count):
    return range(int(first), int(first) + int(count))


def main():
    if sys.argv[1] == "serve":
        servers = [Server(address) for address in sys.argv[2:]]
        commands = {"fork": fork, "start": start, "serve": lambda a: servers.append(Server(a))}
    else:
        client = Client()
        commands = {name: getattr(client, name) for name in ("open", "ask", "each", "load", "wait", "get")}
    print("ok", os.getpid(), flush=True)
    for line in sys.stdin:
        name, *arguments = line.split()
        try:
            print("ok", commands[name](*arguments) or "", flush=True)
        except Exception as error:  # told to the test, which fails
            print("failed", repr(error), flush=True)


# Children without a program end with this pipe, those with one with their standard input.
CHILDREN = (*os.pipe(), [])
if __name__ == "__main__":
    main()
