"""MQTT 3.1.1, with paho: publications of every quality of service, subscriptions, deliveries."""

import queue
import time
from types import SimpleNamespace

import paho.mqtt.client as mqtt
from truth import LOG, OPTIONS, main, opened


def connect(port):
    start = time.time_ns()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    if OPTIONS.tls:
        client.tls_set(OPTIONS.tls)
    connected, got = queue.Queue(), queue.Queue()
    client.on_connect = lambda *_: connected.put(True)
    client.on_subscribe = lambda *_: got.put(time.time_ns())
    client.on_message = lambda *_: got.put(time.time_ns())

    def ready():
        client.connect("127.0.0.1", port)
        client.loop_start()
        connected.get(timeout=10)

    _, wire = opened(port, ready)
    LOG.opening(wire.port, ["connect"], start, time.time_ns())
    return SimpleNamespace(client=client, wire=wire, got=got)


def warm(connection):
    publish(connection, "warm/up", 1)


def publish(connection, topic, quality):
    connection.client.publish(topic, b"21.5", quality).wait_for_publish(10)


def use(connection):
    wire, client = connection.wire, connection.client
    own = f"own/{wire.port}0000"
    with LOG.call(wire, "subscribe own/{id}", sized=False):
        client.subscribe(own)
        connection.got.get(timeout=10)
    for number in range(OPTIONS.calls):
        for quality in (0, 1, 2):
            topic = f"plant/{wire.port}{number:04}/temp"
            told = {"messaging.destination.name": topic}
            with LOG.call(wire, "publish plant/{id}/temp", attributes=told, sized=False):
                publish(connection, topic, quality)
                if quality == 0:
                    # It is sent by another thread.
                    time.sleep(0.01)
        start = time.time_ns()
        with LOG.call(wire, "publish own/{id}", sized=False):
            publish(connection, own, 0)
            end = connection.got.get(timeout=10)
        LOG.answered(wire, "deliver own/{id}", start, end=end)


main(connect, warm, use)
