"""LDAP, with ldap3: entries added, searched for, compared, changed and removed, errors."""

import time
from types import SimpleNamespace

import ldap3
from truth import LOG, OPTIONS, main, opened

BASE = "dc=probe"


def connect(port):
    start = time.time_ns()
    server = ldap3.Server("127.0.0.1", port, get_info=ldap3.NONE)
    client = ldap3.Connection(server, f"cn=admin,{BASE}", "secret")
    _, wire = opened(port, client.bind)
    LOG.opening(wire.port, ["bind"], start, time.time_ns())
    return SimpleNamespace(client=client, wire=wire)


def warm(connection):
    connection.client.add(BASE, ["dcObject", "organization"], {"o": "probe"})


def use(connection):
    client, wire = connection.client, connection.wire
    for number in range(OPTIONS.calls):
        entry = f"cn=p{wire.port}n{number},{BASE}"
        with LOG.call(wire, "add"):
            assert client.add(entry, "person", {"sn": "Smith"})
        with LOG.call(wire, "search"):
            assert client.search(BASE, f"(cn=p{wire.port}n{number})", attributes=["sn"])
        with LOG.call(wire, "search"):
            assert client.search(BASE, "(objectClass=*)")
        with LOG.call(wire, "compare"):
            assert client.compare(entry, "sn", "Smith")
        with LOG.call(wire, "modify"):
            assert client.modify(entry, {"sn": [(ldap3.MODIFY_REPLACE, ["Jones"])]})
        with LOG.call(wire, "delete"):
            assert client.delete(entry)
        with LOG.call(wire, "delete", status="error"):
            assert not client.delete(entry)


main(connect, warm, use)
