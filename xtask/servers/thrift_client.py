"""Thrift, with thriftpy2: calls, declared exceptions, one-way calls. `--kind framed`: in frames, compact."""

import os
import time
from types import SimpleNamespace

import thriftpy2
from thriftpy2.protocol import TBinaryProtocolFactory, TCompactProtocolFactory
from thriftpy2.rpc import make_client
from thriftpy2.transport import TBufferedTransportFactory, TFramedTransportFactory
from truth import LOG, OPTIONS, main, opened

orders = thriftpy2.load(os.path.join(os.path.dirname(__file__), "orders.thrift"), "orders_thrift")


def connect(port):
    framed = OPTIONS.kind == "framed"
    protocol = TCompactProtocolFactory() if framed else TBinaryProtocolFactory()
    transport = TFramedTransportFactory() if framed else TBufferedTransportFactory()
    made = lambda: make_client(orders.Orders, "127.0.0.1", port, proto_factory=protocol,
                               trans_factory=transport, timeout=20_000)
    client, wire = opened(port, made)
    return SimpleNamespace(client=client, wire=wire)


def warm(connection):
    connection.client.get(1)


def use(connection):
    client, wire = connection.client, connection.wire
    for number in range(OPTIONS.calls):
        with LOG.call(wire, "get"):
            assert client.get(number).id == number
        with LOG.call(wire, "all"):
            assert len(client.all(2000)) == 2000
        with LOG.call(wire, "get", status="error"):
            try:
                client.get(-1)
                raise AssertionError("there is no such order")
            except orders.Missing:
                pass
        with LOG.call(wire, "note", sized=False):
            client.note("nobody answers")
            time.sleep(0.005)


main(connect, warm, use)
