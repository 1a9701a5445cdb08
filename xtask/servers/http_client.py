"""HTTP/1.1, with Python's own client: answers of all kinds, files, uploads, pipelined requests."""

import http.client
import time
from types import SimpleNamespace

from truth import LOG, OPTIONS, Wire, main


def connect(port):
    client = http.client.HTTPConnection("127.0.0.1", port)
    client.connect()
    return SimpleNamespace(client=client, wire=Wire(client.sock))


def warm(connection):
    ask(connection, "GET", "/orders/0")


def ask(connection, method, path, body=None):
    connection.client.request(method, path, body)
    answer = connection.client.getresponse()
    answer.read()
    return answer.status


def use(connection):
    wire = connection.wire
    calls = [
        ("GET", "/orders/", "GET /orders/{id}", None, 200),
        ("GET", "/files/big?", "GET /files/big", None, 200),
        ("POST", "/orders/", "POST /orders/{id}", b"b" * 30_000, 200),
        ("GET", "/nothing/", "GET /nothing/{id}", None, 404),
        ("GET", "/broken/", "GET /broken/{id}", None, 503),
        ("HEAD", "/orders/", "HEAD /orders/{id}", None, 200),
    ]
    for number in range(OPTIONS.calls):
        for method, path, operation, body, code in calls:
            path = f"{path}{wire.port}{number:04}"
            status = "ok" if code < 400 else "error"
            told = {"url.path": path.split("?")[0], "http.response.status_code": code}
            server = "error" if code >= 500 else "ok"
            with LOG.call(wire, operation, status=status, server_status=server, attributes=told):
                assert ask(connection, method, path, body) == code
        pipeline(connection, number)


def pipeline(connection, number):
    """Several requests in one send; the answers are read one by one."""
    own, port = connection.client.sock, connection.wire.port
    codes = [200, 404, 200]
    paths = [f"/{'orders' if code == 200 else 'nothing'}/{port}{number:04}" for code in codes]
    paths = [f"{path}{part}" for part, path in enumerate(paths)]
    start = time.time_ns()
    own.sendall(b"".join(f"GET {path} HTTP/1.1\r\nHost: pipeline\r\n\r\n".encode() for path in paths))
    file = own.makefile("rb")
    for path, code in zip(paths, codes):
        answer = http.client.HTTPResponse(SimpleNamespace(makefile=lambda *_: file))
        # The file is shared by all answers.
        answer._close_conn = lambda: None
        answer.begin()
        answer.read()
        assert answer.status == code
        status = "ok" if code < 400 else "error"
        told = {"url.path": path, "http.response.status_code": code}
        operation = f"GET {path.rsplit('/', 1)[0]}/{{id}}"
        told = {"status": status, "server_status": "ok", "attributes": told}
        LOG.answered(connection.wire, operation, start, **told)


main(connect, warm, use)
