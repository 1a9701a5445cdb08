"""A call of the backend that blocks who makes it, as the fronts on threads and on greenlets make it."""

import http.client
import queue
import sys

from disguise import path

PORT = int(sys.argv[2])
IDLE = queue.LifoQueue()


def call(token, number):
    """Calls the backend on a connection that is kept."""
    try:
        connection = IDLE.get_nowait()
    except queue.Empty:
        connection = http.client.HTTPConnection("127.0.0.1", PORT)
    connection.request("GET", path(token, number))
    body = connection.getresponse().read()
    IDLE.put(connection)
    return body
