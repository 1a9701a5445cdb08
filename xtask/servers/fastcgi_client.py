"""FastCGI: a small client of its own, as web servers have one inside; connections are kept."""

import socket
import struct
from types import SimpleNamespace

from truth import LOG, OPTIONS, Wire, main

BEGIN, END, PARAMS, STDIN, STDOUT, KEEP = 1, 3, 4, 5, 6, 1


def record(kind, content):
    return struct.pack("!BBHHBB", 1, kind, 1, len(content), 0, 0) + content


def pair(name, value):
    size = lambda text: bytes([len(text)]) if len(text) < 128 else struct.pack("!I", len(text) | 1 << 31)
    return size(name) + size(value) + name.encode() + value.encode()


def connect(port):
    own = socket.create_connection(("127.0.0.1", port))
    own.settimeout(20)
    return SimpleNamespace(own=own, wire=Wire(own), script=OPTIONS.truth.rsplit("/", 1)[0])


def warm(connection):
    ask(connection, "GET", "/index.php")


def read(own, count):
    data = b""
    while len(data) < count:
        more = own.recv(count - len(data))
        assert more, "the server closed the connection"
        data += more
    return data


def ask(connection, method, script, path="", body=b""):
    fields = {"REQUEST_METHOD": method, "SCRIPT_FILENAME": connection.script + script}
    fields |= {"SCRIPT_NAME": script, "REQUEST_URI": path or script, "SERVER_PROTOCOL": "HTTP/1.1"}
    fields |= {"QUERY_STRING": "", "CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "text/plain"}
    sent = record(BEGIN, struct.pack("!HB5x", 1, KEEP))
    sent += record(PARAMS, b"".join(pair(*field) for field in fields.items())) + record(PARAMS, b"")
    for at in range(0, len(body), 30_000):
        sent += record(STDIN, body[at : at + 30_000])
    connection.own.sendall(sent + record(STDIN, b""))
    answer = b""
    while True:
        _, kind, _, length, padding, _ = struct.unpack("!BBHHBB", read(connection.own, 8))
        content = read(connection.own, length + padding)[:length]
        if kind == END:
            return answer
        if kind == STDOUT:
            answer += content


def use(connection):
    wire = connection.wire
    for number in range(OPTIONS.calls):
        path = f"/orders/{wire.port}{number:04}"
        with call(wire, "GET /orders/{id}", 200, path):
            assert b"hello" in ask(connection, "GET", "/index.php", path)
        with call(wire, "POST /orders/{id}", 200, path):
            ask(connection, "POST", "/index.php", path, b"b" * 100_000)
        with call(wire, "GET /missing.php", 404):
            assert b"404" in ask(connection, "GET", "/missing.php")
        with call(wire, "GET /broken.php", 500):
            assert b"500" in ask(connection, "GET", "/broken.php")


def call(wire, operation, code, path=None):
    told = {"http.response.status_code": code} | ({"url.path": path} if path else {})
    status = ["ok" if code < limit else "error" for limit in (400, 500)]
    return LOG.call(wire, operation, status=status[0], server_status=status[1], attributes=told)


main(connect, warm, use)
