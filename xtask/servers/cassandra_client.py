"""Cassandra, with DataStax's driver: plain and prepared statements, errors, several at once."""

import time
from types import SimpleNamespace

from cassandra import InvalidRequest
from cassandra.cluster import Cluster
from cassandra.policies import RoundRobinPolicy
from truth import LOG, OPTIONS, main, wires


def connect(port):
    cluster = Cluster(["127.0.0.1"], port=port, load_balancing_policy=RoundRobinPolicy(),
                      protocol_version=4, idle_heartbeat_interval=0)
    session = cluster.connect()
    host = next(iter(session.get_pools()))
    line = next(iter(host._connections.values())) if hasattr(host, "_connections") else host._connection
    wire = line._socket.getsockname()[1]
    return SimpleNamespace(session=session, cluster=cluster, wire=wire)


def warm(connection):
    session = connection.session
    session.execute("CREATE KEYSPACE IF NOT EXISTS shop WITH replication = "
                    "{'class': 'SimpleStrategy', 'replication_factor': 1}")
    session.execute("CREATE TABLE IF NOT EXISTS shop.items (id int PRIMARY KEY, name text)")


def use(connection):
    session, wire = connection.session, connection.wire
    for number in range(OPTIONS.calls):
        with LOG.call(wire, "INSERT shop.items", sized=False):
            session.execute(f"INSERT INTO shop.items (id, name) VALUES ({number}, 'x')")
        with LOG.call(wire, "SELECT shop.items", sized=False):
            session.execute(f"SELECT * FROM shop.items WHERE id = {number}")
        with LOG.call(wire, "SELECT shop.nowhere", status="error", sized=False):
            try:
                session.execute("SELECT * FROM shop.nowhere")
                raise AssertionError("there is no such table")
            except InvalidRequest:
                pass
        start = time.time_ns()
        waiting = [session.execute_async("SELECT name FROM shop.items WHERE id = 0")
                   for _ in range(10)]
        for one in waiting:
            one.result()
            LOG.answered(wire, "SELECT shop.items", start)


main(connect, warm, use)
