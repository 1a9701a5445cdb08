"""A Thrift server: `thrift_server.py PORT plain|framed`, the latter with the compact protocol."""

import os
import sys

import thriftpy2
from thriftpy2.protocol import TBinaryProtocolFactory, TCompactProtocolFactory
from thriftpy2.rpc import make_server
from thriftpy2.transport import TBufferedTransportFactory, TFramedTransportFactory

orders = thriftpy2.load(os.path.join(os.path.dirname(__file__), "orders.thrift"), "orders_thrift")


class Handler:
    def get(self, id):
        if id < 0:
            raise orders.Missing(why="no such order")
        return orders.Order(id=id, note="a note")

    def all(self, count):
        return [orders.Order(id=id, note="x" * 20) for id in range(count)]

    def note(self, text):
        pass


framed = sys.argv[2] == "framed"
protocol = TCompactProtocolFactory() if framed else TBinaryProtocolFactory()
transport = TFramedTransportFactory() if framed else TBufferedTransportFactory()
port = int(sys.argv[1])
make_server(orders.Orders, Handler(), "127.0.0.1", port, proto_factory=protocol,
            trans_factory=transport, client_timeout=None).serve()
