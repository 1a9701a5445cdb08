"""Kafka, with confluent-kafka: messages sent one by one, each acknowledged before the next; with `--kind
consume` each is taken before the next is sent."""

import time
from types import SimpleNamespace

from confluent_kafka import Consumer, Producer, TopicPartition
from truth import LOG, OPTIONS, main, wires

NAMES = iter("abcdefghijklmnop")
# Topics have numbers, whose names the library asks for on another connection.
ELSEWHERE = {"vague": "poll", "elsewhere": True}


def connect(port):
    start = time.time_ns()
    before = set(wires(port))
    where = {"bootstrap.servers": f"127.0.0.1:{port}", "linger.ms": 0, "acks": 1}
    connection = SimpleNamespace(producer=Producer(where), topic=f"orders-{next(NAMES)}")
    # Of its connections it sends on the one that moves with a message.
    send(connection, b"first")
    time.sleep(0.5)
    connection.wire = moved(port, before, 0, lambda: send(connection, b"second" * 1000))
    names = [f"send {connection.topic}"] * 2
    if OPTIONS.kind == "consume":
        attach(connection, port)
        names.append(f"send {connection.topic}")
    LOG.opening(connection.wire.port, names, start, time.time_ns())
    return connection


def moved(port, before, way, act):
    """The connection, not among the ports `before`, that moves most (sent, received) while `act` runs."""
    own = {number: wire for number, wire in wires(port).items() if number not in before}
    moved = {number: wire.moved()[way] for number, wire in own.items()}
    act()
    return own[max(own, key=lambda it: own[it].moved()[way] - moved[it])]


def attach(connection, port):
    """A consumer of the topic, which always has one question under way."""
    start = time.time_ns()
    before = set(wires(port))
    patience = {"fetch.wait.max.ms": 60_000, "socket.timeout.ms": 120_000}
    where = {"bootstrap.servers": f"127.0.0.1:{port}", "group.id": "shop", "enable.auto.commit": False}
    connection.consumer = Consumer({**where, **patience})
    connection.consumer.assign([TopicPartition(connection.topic, 0, 0)])
    take(connection)
    take(connection)
    time.sleep(0.5)
    connection.asked = time.time_ns()

    def third():
        send(connection, b"third" * 1000)
        take(connection)

    wire = moved(port, before, 1, third)
    connection.wires = [wire]
    LOG.opening(wire.port, [f"poll {connection.topic}"] * 2, start, time.time_ns(), **ELSEWHERE)


def send(connection, value):
    connection.producer.produce(connection.topic, value)
    assert connection.producer.flush(30) == 0


def take(connection):
    message = connection.consumer.poll(30)
    assert message is not None and not message.error()


def warm(connection):
    pass


def use(connection):
    for number in range(OPTIONS.calls):
        # The next question of a consumer is under way.
        time.sleep(0.1 if OPTIONS.kind == "consume" else 0)
        item = f"{connection.topic}/{number}"
        with LOG.call(connection.wire, f"send {connection.topic}", sized=False, puts=item) as entry:
            # Who takes is linked to who put by bytes that both saw: no two may be alike.
            send(connection, item.encode() * (number + 1))
        if OPTIONS.kind == "consume":
            consume(connection, number, item)
            connection.asked = entry["start"]


def consume(connection, number, item):
    take(connection)
    [wire] = connection.wires
    # The question that this answers was sent before the agent came.
    if number == 0 and wire.port in LOG.old:
        return
    LOG.answered(wire, f"poll {connection.topic}", connection.asked, takes=item, **ELSEWHERE)


main(connect, warm, use)
