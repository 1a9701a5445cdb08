"""HTTP/2 with PyPI's h2: many streams at once, answers of all kinds, uploads."""

import socket
import ssl
import time
from types import SimpleNamespace

import h2.config
import h2.connection
import h2.events
from truth import LOG, OPTIONS, Wire, main

STREAMS = 20


def connect(port):
    own = socket.create_connection(("127.0.0.1", port))
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if OPTIONS.tls:
        tls = ssl.create_default_context(cafile=OPTIONS.tls)
        tls.set_alpn_protocols(["h2"])
        own = tls.wrap_socket(own, server_hostname="localhost")
    h2c = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    h2c.initiate_connection()
    own.sendall(h2c.data_to_send())
    connection = SimpleNamespace(own=own, h2c=h2c, wire=Wire(own), port=port)
    return connection


def warm(connection):
    talk(connection, requests(connection, 3), lambda *_: None)


def requests(connection, count, number=0):
    """Paths with numbers, and one that stays: its header field is in the encoder's table."""
    kinds = [("GET", "/orders/", 200, 0), ("POST", "/orders/", 200, 500), ("GET", "/nothing/", 404, 0)]
    kinds += [("GET", "/broken/", 503, 0), ("GET", "/files/big?", 200, 0)]
    made = []
    for part in range(count):
        method, path, code, size = kinds[part % len(kinds)]
        path += f"{connection.wire.port}{number:03}{part:03}"
        made.append((method, path, code, size))
    made.append(("GET", "/orders/kept", 200, 0))
    return made


def head(connection, method, path):
    fields = [(":method", method), (":authority", f"127.0.0.1:{connection.port}")]
    return [*fields, (":scheme", "https" if OPTIONS.tls else "http"), (":path", path), ("user-agent", "probe")]


def talk(connection, asked, log):
    """All requests in one send; the answers as they come."""
    h2c, own = connection.h2c, connection.own
    open_streams, codes = {}, {}
    start = time.time_ns()
    for method, path, code, size in asked:
        stream = h2c.get_next_available_stream_id()
        open_streams[stream] = (method, path, code)
        h2c.send_headers(stream, head(connection, method, path), end_stream=not size)
        if size:
            h2c.send_data(stream, b"b" * size, end_stream=True)
    own.sendall(h2c.data_to_send())
    while open_streams:
        # Of a call at most 16 KiB are copied; what a larger read brings behind them is lost.
        data = own.recv(1 << 14)
        assert data, "the server closed the connection"
        for event in h2c.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                codes[event.stream_id] = int(dict(event.headers)[":status"])
            elif isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                h2c.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                method, path, code = open_streams.pop(event.stream_id)
                assert codes[event.stream_id] == code, (path, codes[event.stream_id])
                log(method, path, code, start)
        own.sendall(h2c.data_to_send())


def use(connection):
    def log(method, path, code, start):
        plain = path.split("?")[0]
        folder, last = plain.rsplit("/", 1)
        name = f"{method} {folder}/{'{id}' if last.isdigit() else last}"
        status = "ok" if code < 400 else "error"
        told = {"url.path": plain, "http.response.status_code": code}
        told = {"status": status, "server_status": "error" if code >= 500 else "ok", "attributes": told}
        LOG.answered(connection.wire, name, start, vague=method, **told)

    # Until the agent knows what a connection speaks, it copies little of a call.
    talk(connection, requests(connection, 0), log)
    time.sleep(1)
    for number in range(OPTIONS.calls):
        talk(connection, requests(connection, STREAMS, number), log)


main(connect, warm, use)
