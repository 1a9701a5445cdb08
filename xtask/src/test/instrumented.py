"""A service that reports its own spans, by an OpenTelemetry SDK, to `OTEL_EXPORTER_OTLP_ENDPOINT`.

    instrumented.py NAME ADDRESS NEXT [carry]

Answers every request on ADDRESS once NEXT has answered it. With `carry` the call of NEXT has a span of its own and
carries its ids (`traceparent`); without, NEXT is called as by a library that knows nothing of OpenTelemetry.
Prints `ok` when it is ready, and ends with its standard input.
"""

import http.client
import os
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

NAME, ADDRESS, NEXT = sys.argv[1:4]
CARRY = sys.argv[4:] == ["carry"]
REPORT_EVERY_MS = 500

provider = TracerProvider(resource=Resource.create({"service.name": NAME}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=REPORT_EVERY_MS))
tracer = provider.get_tracer("deeptrace.test", "1.0")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        attributes = {"http.request.method": "GET", "url.path": self.path, "http.route": "/order/{id}"}
        attributes["client.address"], attributes["client.port"] = self.client_address
        context = propagate.extract(self.headers)
        with tracer.start_as_current_span("GET /order/{id}", context, SpanKind.SERVER, attributes) as span:
            with tracer.start_as_current_span("prepare"):
                span.add_event("prepared", {"order": self.path})
            if CARRY:
                with tracer.start_as_current_span("GET", kind=SpanKind.CLIENT):
                    headers = {}
                    propagate.inject(headers)
                    self.ask(headers)
            else:
                self.ask({})
            answer = f"{self.path} {os.getpid()}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    def ask(self, headers):
        """On a connection that lives as long as the one it works for, which has a thread of its own."""
        if not hasattr(self, "behind"):
            self.behind = http.client.HTTPConnection(NEXT)
        self.behind.request("GET", self.path, headers=headers)
        self.behind.getresponse().read()

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True


host, port = ADDRESS.rsplit(":", 1)
server = Server((host, int(port)), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("ok", os.getpid(), flush=True)
sys.stdin.read()
provider.shutdown()
