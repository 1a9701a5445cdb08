"""HTTPS with Python's own TLS, as a server or a client: on sockets, or on memory (asyncio).

    peer.py blocking|asyncio serve PORT CERTIFICATE KEY      peer.py blocking|asyncio ask PORT CERTIFICATE

A client reads commands, `open NAME` and `get NAME PATH FILL`, and answers each with one line. A server
answers `GET /…/SIZE` with so many bytes. Both end with their standard input.
"""

import asyncio
import os
import socket
import ssl
import sys
import threading

KIND, ROLE, PORT, CERTIFICATE = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]


def context():
    if ROLE == "serve":
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(CERTIFICATE, sys.argv[5])
        return made
    return ssl.create_default_context(cafile=CERTIFICATE)


def answer(head):
    size = int(head.split(b" ")[1].rsplit(b"/", 1)[-1])
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size


def request(path, fill):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Fill: {'f' * int(fill)}\r\n\r\n".encode()


def length(head):
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def say(*words):
    print(*words, flush=True)


class Blocking:
    def serve(self):
        listener = socket.create_server(("127.0.0.1", PORT), backlog=128)
        say("ok")
        threading.Thread(target=self.accept, args=(listener,), daemon=True).start()
        sys.stdin.read()

    def accept(self, listener):
        while True:
            one, _ = listener.accept()
            threading.Thread(target=self.one, args=(one,), daemon=True).start()

    def one(self, plain):
        with context().wrap_socket(plain, server_side=True) as one:
            reader = one.makefile("rb")
            while head := b"".join(iter(reader.readline, b"\r\n")):
                one.sendall(answer(head))

    def ask(self):
        say("ok")
        kept = {}
        for line in sys.stdin:
            words = line.split()
            if words[0] == "open":
                plain = socket.create_connection(("127.0.0.1", PORT))
                one = context().wrap_socket(plain, server_hostname="localhost")
                kept[words[1]] = (one, one.makefile("rb"))
            else:
                one, reader = kept[words[1]]
                one.sendall(request(words[2], words[3]))
                head = b"".join(iter(reader.readline, b"\r\n"))
                reader.read(length(head))
            say("ok")


class Asyncio:
    def serve(self):
        asyncio.run(self.listen())

    async def listen(self):
        server = await asyncio.start_server(self.one, "127.0.0.1", PORT, ssl=context())
        say("ok")
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, sys.stdin.read)
        server.close()
        os._exit(0)

    async def one(self, reader, writer):
        try:
            while True:
                writer.write(answer(await reader.readuntil(b"\r\n\r\n")))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def ask(self):
        asyncio.run(self.client())

    async def client(self):
        say("ok")
        kept = {}
        loop = asyncio.get_running_loop()
        while words := (await loop.run_in_executor(None, sys.stdin.readline)).split():
            if words[0] == "open":
                made = asyncio.open_connection("127.0.0.1", PORT, ssl=context(), server_hostname="localhost")
                kept[words[1]] = await made
            else:
                reader, writer = kept[words[1]]
                writer.write(request(words[2], words[3]))
                await reader.readexactly(length(await reader.readuntil(b"\r\n\r\n")))
            say("ok")


getattr({"blocking": Blocking, "asyncio": Asyncio}[KIND](), ROLE)()
