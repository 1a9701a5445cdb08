"""MongoDB's protocol, with pymongo: documents inserted, found, changed and counted, errors, cursors."""

from types import SimpleNamespace

import pymongo
from truth import LOG, OPTIONS, main


def connect(port):
    client = pymongo.MongoClient("127.0.0.1", port, maxPoolSize=1, retryWrites=False)
    # Of its connections one is asked; the others watch the server.
    client.shop.items.count_documents({})
    return SimpleNamespace(items=client.shop.items, client=client, wire=own(client, port))


def own(client, port):
    """The port of the connection on which it asks."""
    with client._get_topology().select_server(lambda s: s, "probe").pool.checkout() as line:
        return line.conn.getsockname()[1]


def warm(connection):
    connection.items.insert_one({"warm": 1})


def use(connection):
    items, wire = connection.items, connection.wire
    for number in range(OPTIONS.calls):
        with LOG.call(wire, "insert items"):
            items.insert_one({"number": number, "who": wire, "text": "x" * 100})
        with LOG.call(wire, "find items"):
            assert items.find_one({"number": number, "who": wire})
        with LOG.call(wire, "update items"):
            items.update_one({"number": number, "who": wire}, {"$set": {"text": "y"}})
        with LOG.call(wire, "insert items"):
            items.insert_many([{"many": part} for part in range(10)])
        with LOG.call(wire, "delete items"):
            items.delete_many({"who": wire})
        with LOG.call(wire, "nonsense shop", status="error"):
            try:
                connection.client.shop.command("nonsense")
                raise AssertionError("there is no such command")
            except pymongo.errors.OperationFailure:
                pass


main(connect, warm, use)
