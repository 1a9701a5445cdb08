"""Kafka, with confluent-kafka: messages sent one by one, each acknowledged before the next."""

import time
from types import SimpleNamespace

from confluent_kafka import Producer
from truth import LOG, OPTIONS, main, wires

NAMES = iter("abcdefghijklmnop")


def connect(port):
    start = time.time_ns()
    before = set(wires(port))
    where = {"bootstrap.servers": f"127.0.0.1:{port}", "linger.ms": 0, "acks": 1}
    connection = SimpleNamespace(producer=Producer(where), topic=f"orders-{next(NAMES)}")
    # Of its connections it sends on the one that moves with a message.
    send(connection, b"first")
    time.sleep(0.5)
    own = {number: wire for number, wire in wires(port).items() if number not in before}
    moved = {number: wire.moved()[0] for number, wire in own.items()}
    send(connection, b"second" * 1000)
    number = max(own, key=lambda it: own[it].moved()[0] - moved[it])
    connection.wire = own[number]
    LOG.opening(number, [f"send {connection.topic}"] * 2, start, time.time_ns())
    return connection


def send(connection, value):
    connection.producer.produce(connection.topic, value)
    assert connection.producer.flush(30) == 0


def warm(connection):
    pass


def use(connection):
    for number in range(OPTIONS.calls):
        with LOG.call(connection.wire, f"send {connection.topic}", sized=False):
            send(connection, b"x" * number * 100)


main(connect, warm, use)
