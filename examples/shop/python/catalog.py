"""catalog: products, from PostgreSQL. A thread for each connection, and a pool of database
connections that the threads share (http.server, psycopg2)."""

import json
import os
import queue
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import psycopg2
from psycopg2.extras import RealDictCursor

from truth import Truth

PORT = int(os.environ["PORT"])
POSTGRES = int(os.environ["POSTGRES_PORT"])

truth = Truth("catalog")
idle = queue.SimpleQueue()  # of (connection, its local port)


def connect():
    """A database connection with its own port."""
    connection = psycopg2.connect(host="127.0.0.1", port=POSTGRES, user="shop", dbname="shop",
                                  cursor_factory=RealDictCursor)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT inet_client_port() AS port")
        return connection, cursor.fetchone()["port"]


def query(request, operation, text, values=()):
    """Runs a statement on an idle connection for the request numbered `request`."""
    connection, port = idle.get()
    try:
        with connection.cursor() as cursor:
            number, begin = truth.next(), time.time_ns()
            cursor.execute(text, values)
            rows = cursor.fetchall()
            truth.called(number, request, port, POSTGRES, begin, operation, 0)
            return rows
    finally:
        idle.put((connection, port))


def listing(request, arguments):
    limit = int(arguments.get("limit", ["8"])[0])
    return 200, query(request, "SELECT products",
                      "SELECT id, name, price FROM products ORDER BY sold DESC LIMIT %s", (limit,))


def details(request, product):
    rows = query(request, "SELECT products",
                 "SELECT id, name, price, sold FROM products WHERE id = %s", (product,))
    if not rows:
        return 404, {"error": "no such product"}
    reviews = query(request, "SELECT reviews",
                    "SELECT stars, count(*) AS n FROM reviews WHERE product_id = %s GROUP BY stars",
                    (product,))
    return 200, {**rows[0], "reviews": reviews}


def search(request, arguments):
    """The slow one: no index helps, and the database takes another 120 ms."""
    text = arguments.get("text", ["a"])[0]
    return 200, query(request, "SELECT products",
                      "SELECT id, name FROM products, pg_sleep(0.12) WHERE name LIKE %s LIMIT 10",
                      (f"%{text}%",))


def answer(request, url):
    parts, arguments = url.path.strip("/").split("/"), parse_qs(url.query)
    if parts == ["products"]:
        return listing(request, arguments)
    if parts[0] == "products" and len(parts) == 2 and parts[1].isdigit():
        return details(request, int(parts[1]))
    if parts == ["search"]:
        return search(request, arguments)
    if parts == ["health"]:
        return 200, {"ok": True}
    return 404, {"error": "no such page"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one call

    def do_GET(self):
        number, begin = truth.next(), time.time_ns()
        status, body = answer(number, urlsplit(self.path))
        data = json.dumps(body, default=str).encode()  # prices are decimals
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()
        truth.served(number, PORT, self.client_address[1], begin, f"GET {self.path}", status)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for _ in range(6):
        idle.put(connect())
    Server(("127.0.0.1", PORT), Handler).serve_forever()


if __name__ == "__main__":
    main()
