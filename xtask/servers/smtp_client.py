"""SMTP, with Python's own client: mails, refused recipients; OpenSMTPD takes no
commands before it has answered the last."""

import smtplib
import socket
import time
from types import SimpleNamespace

from truth import LOG, OPTIONS, Wire, main

MAIL = "Subject: probe\r\n\r\n" + "A line of the mail.\r\n" * 50


def connect(port):
    start = time.time_ns()
    client = smtplib.SMTP("127.0.0.1", port)
    client.ehlo()
    wire = Wire(client.sock)
    LOG.opening(wire.port, ["EHLO"], start, time.time_ns())
    return SimpleNamespace(client=client, wire=wire)


def warm(connection):
    connection.client.noop()


def use(connection):
    client, wire = connection.client, connection.wire
    for number in range(OPTIONS.calls):
        with LOG.call(wire, "MAIL"):
            assert client.mail("probe@probe.test")[0] == 250
        with LOG.call(wire, "RCPT", status="error", attributes={"error.type": "550"}):
            assert client.rcpt("nobody@elsewhere.test")[0] == 550
        with LOG.call(wire, "RCPT"):
            assert client.rcpt("root@probe.test")[0] == 250
        with LOG.call(wire, "DATA", sized=False):
            assert client.data(MAIL)[0] == 250
        with LOG.call(wire, "NOOP"):
            client.noop()
        with LOG.call(wire, "RSET"):
            client.rset()


socket.setdefaulttimeout(20)
main(connect, warm, use)
