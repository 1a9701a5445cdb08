"""DNS, with dnspython: names that are there and such as are not, over UDP, several at once, and TCP."""

import socket
import time
from types import SimpleNamespace

import dns.message
import dns.query
import dns.rcode
from truth import LOG, OPTIONS, main


def connect(port):
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind(("127.0.0.1", 0))
    stream = socket.create_connection(("127.0.0.1", port))
    number = own.getsockname()[1]
    more = [stream.getsockname()[1]]
    return SimpleNamespace(own=own, stream=stream, port=port, wire=number, wires=more)


def warm(connection):
    ask(connection, "www.probe.test", "A")


def ask(connection, name, kind):
    question = dns.message.make_query(name, kind)
    return dns.query.udp(question, "127.0.0.1", 5, connection.port, sock=connection.own)


def use(connection):
    own, wire = connection.own, connection.wire
    stream = connection.stream.getsockname()[1]
    for number in range(OPTIONS.calls):
        with call(wire, "A", "www.probe.test", "NOERROR"):
            assert len(ask(connection, "www.probe.test", "A").answer) == 1
        with call(wire, "TXT", "text.probe.test", "NOERROR"):
            ask(connection, "text.probe.test", "TXT")
        name = f"no{number}.probe.test"
        with call(wire, "AAAA", name, "NXDOMAIN"):
            assert ask(connection, name, "AAAA").rcode() == dns.rcode.NXDOMAIN
        with call(wire, "A", "elsewhere.test", "REFUSED", "error"):
            assert ask(connection, "elsewhere.test", "A").rcode() == dns.rcode.REFUSED
        with call(stream, "A", "www.probe.test", "NOERROR"):
            question = dns.message.make_query("www.probe.test", "A")
            dns.query.tcp(question, "127.0.0.1", 5, connection.port, sock=connection.stream)
        at_once(connection, own, number)


def call(wire, kind, name, code, status="ok"):
    told = {"dns.question.name": name, "dns.response_code": code}
    return LOG.call(wire, f"DNS {kind}", status=status, attributes=told)


def at_once(connection, own, number):
    """Questions that are under way together, as libc sends them."""
    open_questions, start = {}, time.time_ns()
    for part, kind in enumerate(["A", "AAAA"] * 3):
        name = f"x{number}-{part}.any.probe.test"
        question = dns.message.make_query(name, kind)
        open_questions[question.id] = (name, kind)
        own.sendto(question.to_wire(), ("127.0.0.1", connection.port))
    while open_questions:
        answer = dns.message.from_wire(own.recv(4096))
        name, kind = open_questions.pop(answer.id)
        told = {"dns.question.name": name}
        LOG.answered(connection.wire, f"DNS {kind}", start, attributes=told)


main(connect, warm, use)
