"""MySQL's protocol, with MySQL's connector: plain and prepared statements, errors, large answers."""

import time
from types import SimpleNamespace

import mysql.connector
from truth import LOG, OPTIONS, main, opened

KEPT = "SELECT name FROM items WHERE id = %s"


def connect(port):
    start = time.time_ns()
    where = {"host": "127.0.0.1", "port": port, "user": "probe", "password": "probe"}
    where |= {"database": "shop", "use_pure": True, "autocommit": True}
    where |= {"ssl_ca": OPTIONS.tls} if OPTIONS.tls else {"ssl_disabled": True}
    where |= {"collation": "utf8mb4_general_ci"}
    client, wire = opened(port, lambda: mysql.connector.connect(**where))
    names = ["HandshakeResponse", "SET", "SET"]
    LOG.opening(wire.port, names, start, time.time_ns())
    return SimpleNamespace(client=client, wire=wire, kept=None)


def warm(connection):
    cursor = connection.client.cursor()
    cursor.execute("CREATE TABLE IF NOT EXISTS items (id int, name text)")
    cursor.execute("CREATE TABLE IF NOT EXISTS orders (id int, note text)")
    prepare(connection)


def prepare(connection):
    """Its text is sent now, and never again."""
    connection.kept = connection.client.cursor(prepared=True)
    connection.kept.execute(KEPT, [0])
    connection.kept.fetchall()


def use(connection):
    client, wire = connection.client, connection.wire
    cursor = client.cursor()
    if not connection.kept:
        start = time.time_ns()
        prepare(connection)
        names = ["Prepare SELECT items", "COM_STMT_RESET", "SELECT items"]
        LOG.opening(wire.port, names, start, time.time_ns())
    for number in range(OPTIONS.calls):
        with LOG.call(wire, "INSERT items"):
            cursor.execute(f"INSERT INTO items VALUES ({number}, 'n-{wire.port}')")
        with LOG.call(wire, "SELECT items"):
            cursor.execute(f"SELECT * FROM items WHERE id = {number}")
            cursor.fetchall()
        with LOG.call(wire, "SELECT"):
            cursor.execute("SELECT repeat('x', 100000)")
            cursor.fetchall()
        start = time.time_ns()
        connection.kept.execute(KEPT, [number])
        connection.kept.fetchall()
        LOG.opening(wire.port, ["COM_STMT_RESET"], start, time.time_ns())
        LOG.answered(wire, "SELECT items", start, vague="COM_STMT_EXECUTE")
        code = {"db.response.status_code": "1146"}
        with LOG.call(wire, "SELECT nowhere", status="error", attributes=code):
            try:
                cursor.execute("SELECT * FROM nowhere")
                raise AssertionError("there is no such table")
            except mysql.connector.ProgrammingError:
                pass
        rows = ", ".join(f"({row}, 'note {number}')" for row in range(20))
        with LOG.call(wire, "INSERT orders"):
            cursor.execute(f"INSERT INTO orders VALUES {rows}")
        with LOG.call(wire, "SELECT orders"):
            cursor.execute("SELECT * FROM orders LIMIT 50")
            cursor.fetchall()


main(connect, warm, use)
