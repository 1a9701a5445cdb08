"""NATS, with nats-py: publications, deliveries, requests that another subscription answers."""

import asyncio
import time
from types import SimpleNamespace

import nats
from truth import LOG, OPTIONS, main, opened


def connect(port):
    loop = asyncio.new_event_loop()
    where = f"nats://127.0.0.1:{port}"
    client, wire = opened(port, lambda: loop.run_until_complete(nats.connect(where)))
    return SimpleNamespace(client=client, wire=wire, loop=loop, port=port)


def warm(connection):
    connection.loop.run_until_complete(connection.client.publish("warm.up", b"1"))
    connection.loop.run_until_complete(connection.client.flush())


def use(connection):
    connection.loop.run_until_complete(talk(connection))


async def talk(connection):
    client, wire = connection.client, connection.wire
    got = asyncio.Queue()

    async def heard(_):
        got.put_nowait(time.time_ns())

    await client.subscribe(f"own.{wire.port}0000", cb=heard)
    await client.flush()
    for number in range(OPTIONS.calls):
        subject = f"orders.{wire.port}{number:04}"
        told = {"messaging.destination.name": subject}
        with LOG.call(wire, "publish orders.{id}", attributes=told, sized=False):
            await client.publish(subject, b"x" * 100)
            await client.flush()
        with LOG.call(wire, "publish own.{id}", sized=False) as entry:
            await client.publish(f"own.{wire.port}0000", b"x")
            end = await got.get()
        LOG.answered(wire, "deliver own.{id}", entry["start"], end=end)
        # Nobody listens: the server says so itself.
        with LOG.call(wire, "request nobody.{id}", status="error", sized=False):
            try:
                await client.request(f"nobody.{wire.port}{number:04}", b"", timeout=5)
                raise AssertionError("nobody was to answer")
            except nats.errors.NoRespondersError:
                pass


main(connect, warm, use)
