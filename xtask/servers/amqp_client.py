"""AMQP 0-9-1, with pika: queues, publications, gets, acknowledgements."""

import ssl
import time
from types import SimpleNamespace

import pika
from truth import LOG, OPTIONS, main, opened


def connect(port):
    start = time.time_ns()
    tls = pika.SSLOptions(ssl.create_default_context(cafile=OPTIONS.tls)) if OPTIONS.tls else None
    where = pika.ConnectionParameters("127.0.0.1", port, heartbeat=0, ssl_options=tls)
    client, wire = opened(port, lambda: pika.BlockingConnection(where))
    names = ["connection.start", "connection.open"]
    LOG.opening(wire.port, names, start, time.time_ns())
    return SimpleNamespace(client=client, channel=client.channel(), wire=wire)


def warm(connection):
    connection.channel.queue_declare(f"warm-{connection.wire.port}")


def use(connection):
    channel, wire = connection.channel, connection.wire
    name = f"orders-{wire.port}"
    with LOG.call(wire, "queue.declare", sized=False):
        channel.queue_declare(name, exclusive=True)
    # Until the agent knows what a connection speaks, it copies little of a call.
    time.sleep(1)
    for number in range(OPTIONS.calls):
        told = {"messaging.destination.name": name}
        with LOG.call(wire, "publish " + name, sized=False):
            channel.basic_publish("", name, b"x" * 1000 * number)
        with LOG.call(wire, "get " + name, attributes=told, sized=False) as entry:
            method = None
            while not method:
                method, _, _ = channel.basic_get(name)
        with LOG.call(wire, "ack", sized=False):
            channel.basic_ack(method.delivery_tag)
            connection.client.process_data_events(0)


main(connect, warm, use)
