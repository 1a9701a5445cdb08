"""Two calls a request on threads: by the thread of the request, by a pool of eight, by the pool at once.

threads.py PORT BACKEND_PORT
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from backend import call

POOL = ThreadPoolExecutor(8)


def direct(token):
    return call(token, 1) + call(token, 2)


def pool(token):
    return POOL.submit(call, token, 1).result() + POOL.submit(call, token, 2).result()


def futures(token):
    both = [POOL.submit(call, token, number) for number in (1, 2)]
    return b"".join(each.result() for each in both)


WAYS = {"direct": direct, "pool": pool, "futures": futures}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def do_GET(self):
        _, way, token = self.path.split("/")
        body = WAYS[way](token)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
