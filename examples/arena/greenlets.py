"""Two calls a request on gevent: in the greenlet of the request, after sleeps, in two greenlets of their own.

greenlets.py PORT BACKEND_PORT
"""

from gevent import monkey

monkey.patch_all()

import sys

import gevent
from gevent.pywsgi import WSGIServer

from backend import call


def direct(token):
    return call(token, 1) + call(token, 2)


def sleep(token):
    body = b""
    for number in (1, 2):
        gevent.sleep(0.005)
        body += call(token, number)
    return body


def spawn(token):
    both = [gevent.spawn(call, token, number) for number in (1, 2)]
    return b"".join(one.get() for one in both)


WAYS = {"direct": direct, "sleep": sleep, "spawn": spawn}


def application(environ, start_response):
    _, way, token = environ["PATH_INFO"].split("/")
    body = WAYS[way](token)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


WSGIServer(("127.0.0.1", int(sys.argv[1])), application, log=None, backlog=256).serve_forever()
