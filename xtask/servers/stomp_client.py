"""STOMP 1.2, with stomp.py: sends with and without receipts, deliveries, acknowledgements."""

import queue
import time
from types import SimpleNamespace

import stomp
from truth import LOG, OPTIONS, main, opened


class Listener(stomp.ConnectionListener):
    def __init__(self):
        self.messages, self.receipts = queue.Queue(), queue.Queue()

    def on_message(self, frame):
        self.messages.put((time.time_ns(), frame.headers["ack"]))

    def on_receipt(self, _):
        self.receipts.put(time.time_ns())


def connect(port):
    start = time.time_ns()
    client = stomp.Connection12([("127.0.0.1", port)], heartbeats=(0, 0), vhost="/")
    listener = Listener()
    client.set_listener("", listener)
    _, wire = opened(port, lambda: client.connect("guest", "guest", wait=True))
    LOG.opening(wire.port, ["connect"], start, time.time_ns())
    return SimpleNamespace(client=client, listener=listener, wire=wire)


def warm(connection):
    connection.client.send("/queue/warm", "1", receipt="warm")
    connection.listener.receipts.get(timeout=20)


def use(connection):
    client, listener, wire = connection.client, connection.listener, connection.wire
    where = f"/queue/orders-{wire.port}"
    with LOG.call(wire, f"subscribe {where}", sized=False):
        client.subscribe(where, "1", "client-individual", headers={"receipt": "s"})
        listener.receipts.get(timeout=20)
    for number in range(OPTIONS.calls):
        with LOG.call(wire, f"send {where}", sized=False) as entry:
            client.send(where, "x" * 500, receipt=f"r{number}")
            entry["end"] = listener.receipts.get(timeout=20)
        end, ack = listener.messages.get(timeout=20)
        LOG.answered(wire, f"deliver {where}", entry["start"], end=end)
        with LOG.call(wire, "ack", sized=False):
            client.ack(ack)
            time.sleep(0.005)


main(connect, warm, use)
