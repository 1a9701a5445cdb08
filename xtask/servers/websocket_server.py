"""A WebSocket server that says what it hears."""

import sys

from websockets.sync.server import serve


def echo(connection):
    for message in connection:
        connection.send(message)


serve(echo, "127.0.0.1", int(sys.argv[1]), compression=None).serve_forever()
