"""PostgreSQL, with psycopg: plain and prepared statements, errors, COPY, transactions, pipelines."""

import time
from types import SimpleNamespace

import psycopg
from truth import LOG, OPTIONS, main, opened

KEPT = "SELECT name FROM items WHERE id = %s"


def connect(port):
    start = time.time_ns()
    where = f"host=127.0.0.1 port={port} user=postgres dbname=postgres"
    where += f" sslmode=verify-full sslrootcert={OPTIONS.tls}" if OPTIONS.tls else ""
    client, wire = opened(port, lambda: psycopg.connect(where, autocommit=True))
    # Nothing is prepared but what says so.
    client.prepare_threshold = 1 << 30
    LOG.opening(wire.port, ["StartupMessage"], start, time.time_ns())
    return SimpleNamespace(client=client, wire=wire, prepared=False)


def warm(connection):
    client = connection.client
    client.execute("SELECT pg_advisory_lock(1)")
    client.execute("CREATE TABLE IF NOT EXISTS items (id int, name text)")
    client.execute("CREATE TABLE IF NOT EXISTS orders (id int, note text)")
    client.execute("SELECT pg_advisory_unlock(1)")
    # Its text is sent now, and never again.
    client.execute(KEPT, [0], prepare=True)
    connection.prepared = True


def use(connection):
    client, wire = connection.client, connection.wire
    for number in range(OPTIONS.calls):
        with LOG.call(wire, "INSERT items"):
            client.execute(f"INSERT INTO items VALUES ({number}, 'n-{wire.port}')")
        with LOG.call(wire, "SELECT items"):
            client.execute("SELECT * FROM items WHERE id = %s AND name = %s", [number, "x"])
        with LOG.call(wire, "SELECT", sized=False):
            client.execute("SELECT repeat('x', 100000)").fetchall()
        kept(connection, number)
        with LOG.call(wire, "SELECT nowhere", status="error",
                      attributes={"db.response.status_code": "42P01"}):
            try:
                client.execute("SELECT * FROM nowhere")
                raise AssertionError("there is no such table")
            except psycopg.errors.UndefinedTable:
                pass
        copy(connection, number)
        batch(connection, number)


def kept(connection, number):
    """Prepared: the second time only its number is sent."""
    client, wire = connection.client, connection.wire
    if not connection.prepared:
        start = time.time_ns()
        client.execute(KEPT, [0], prepare=True)
        connection.prepared = True
        LOG.opening(wire.port, ["Parse SELECT items", "SELECT items"], start, time.time_ns())
    with LOG.call(wire, "SELECT items", vague="Execute"):
        client.execute(KEPT, [number], prepare=True)


def copy(connection, number):
    start = time.time_ns()
    with connection.client.cursor() as cursor, cursor.copy("COPY orders FROM STDIN") as copy:
        for row in range(50):
            copy.write_row([row, f"note {number}"])
    LOG.answered(connection.wire, "COPY orders", start)


def batch(connection, number):
    """Several statements with one Sync."""
    client, wire = connection.client, connection.wire
    start = time.time_ns()
    with client.pipeline():
        for part in range(3):
            client.execute("UPDATE items SET name = %s WHERE id = %s", ["x", -part], prepare=False)
    LOG.answered(wire, "BATCH UPDATE items", start)


main(connect, warm, use)
