"""The load: requests at a steady rate, sent on time whether or not earlier ones were answered,
over connections that are kept. Writes its own calls into the truth as well."""

import asyncio
import collections
import itertools
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

# Weight, method, path; {user} and {product} are drawn anew each time.
MIX = ((20, "GET", "/"), (30, "GET", "/product/{product}"), (15, "POST", "/cart/{user}?product={product}"),
       (10, "POST", "/checkout/{user}"), (10, "GET", "/search?text={word}"),
       (15, "GET", "/static/hours.txt"))
INTENDED = {("POST", "/checkout/{user}"): {502}}
WORDS = ("lamp", "chair", "table", "mirror", "carpet")


def options(parser):
    parser.add_argument("--port", type=int, default=18300, help="port of nginx")
    parser.add_argument("--rate", type=float, default=50, help="requests per second")
    parser.add_argument("--seconds", type=float, default=60, help="how long; 0: until Ctrl-C")
    parser.add_argument("--connections", type=int, default=64, help="at most")
    parser.add_argument("--seed", type=int, default=1, help="of the order of requests")
    parser.add_argument("--report", type=Path, help="write the counts here as JSON")


def run(arguments):
    truth = arguments.dir / "truth" / "load.jsonl"
    try:
        with open(truth, "a", encoding="ascii") as file:
            report = asyncio.run(Load(arguments, file).run())
    except OSError as error:
        print(f"load: {error}: is the shop running there?", file=sys.stderr)
        return 1
    if arguments.report:
        arguments.report.write_text(json.dumps(report, indent=1) + "\n")
    print(text(report))
    return 0 if report["errors"] == 0 and report["requests"] else 1


def text(report):
    counts = " ".join(f"{key} {report[key]}" for key in
                      ("requests", "ok", "refused_as_intended", "errors", "resets", "timeouts", "skipped"))
    times = " ".join(f"{key} {value}" for key, value in report["latency_ms"].items())
    return f"load: {counts}; latency in ms: {times}; {report['connections']} connections"


class Load:
    """One run of the load."""

    def __init__(self, arguments, truth):
        self.arguments, self.truth = arguments, truth
        self.random = random.Random(arguments.seed)
        self.numbers = itertools.count(1)
        self.idle, self.opened = [], 0
        self.counts, self.causes = collections.Counter(), collections.Counter()
        self.latencies = []
        self.write({"process": os.getpid(), "service": "load", "precision_ns": 100_000})

    async def run(self):
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        begun, tasks = time.monotonic(), set()
        for index in itertools.count():
            due = index / self.arguments.rate
            if self.arguments.seconds and due >= self.arguments.seconds:
                break
            wait = begun + due - time.monotonic()
            if wait > 0:
                try:
                    await asyncio.wait_for(stopped.wait(), wait)
                except asyncio.TimeoutError:
                    pass
            if stopped.is_set():
                break
            if index % 50 == 0:
                self.truth.flush()
            if len(tasks) >= self.arguments.connections:
                self.counts["skipped"] += 1
                continue
            task = asyncio.create_task(self.request(*self.choose()))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks)
        for _, writer in self.idle:
            writer.close()
        return self.report(time.monotonic() - begun)

    def choose(self):
        """A request by weight: method, path, statuses that are intended failures."""
        weights = [each[0] for each in MIX]
        _, method, path = self.random.choices(MIX, weights)[0]
        filled = path.format(user=self.random.randint(1, 40), product=self.random.randint(1, 100),
                             word=self.random.choice(WORDS))
        return method, filled, INTENDED.get((method, path), ())

    async def request(self, method, path, intended):
        self.counts["requests"] += 1
        began = time.monotonic()
        try:
            status = await asyncio.wait_for(self.exchange(method, path), 15)
        except asyncio.TimeoutError:
            self.fail("timeouts", "no answer within 15 s")
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.fail("resets", f"{method} {path}: {type(error).__name__}")
        except OSError as error:
            self.fail("unreachable", f"{error}")
        else:
            self.latencies.append((time.monotonic() - began) * 1000)
            if status < 400:
                self.counts["ok"] += 1
            elif status in intended:
                self.counts["refused_as_intended"] += 1
            else:
                self.fail("statuses", f"{method} {path.split('?')[0]}: {status}")

    def fail(self, kind, cause):
        self.counts[kind] += 1
        self.counts["errors"] += 1
        if len(self.causes) < 50:
            self.causes[cause] += 1

    async def exchange(self, method, path):
        reader, writer = self.idle.pop() if self.idle else await self.connect()
        number, begin = next(self.numbers), time.time_ns()
        try:
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status = int(head.split(" ", 2)[1])
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            if fields.get("transfer-encoding") == "chunked":
                await self.chunks(reader)
            else:
                await reader.readexactly(int(fields["content-length"]))
        except BaseException:
            writer.close()
            raise
        self.write({"call": number, "for": 0, "local": writer.get_extra_info("sockname")[1],
                    "peer": self.arguments.port, "begin": begin, "end": time.time_ns(),
                    "op": f"{method} {path}", "status": status})
        if fields.get("connection") == "close":
            writer.close()
        else:
            self.idle.append((reader, writer))
        return status

    @staticmethod
    async def chunks(reader):
        while True:
            size = int((await reader.readline()).split(b";")[0], 16)
            await reader.readexactly(size + 2)
            if size == 0:
                return

    async def connect(self):
        self.opened += 1
        return await asyncio.open_connection("127.0.0.1", self.arguments.port)

    def write(self, row):
        self.truth.write(json.dumps(row, separators=(",", ":")) + "\n")

    def report(self, seconds):
        ordered = sorted(self.latencies) or [0]
        at = {name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2)
              for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1))}
        counts = {key: self.counts[key] for key in
                  ("requests", "ok", "refused_as_intended", "errors", "resets", "timeouts",
                   "unreachable", "statuses", "skipped")}
        return {**counts, "seconds": round(seconds, 2), "connections": self.opened, "latency_ms": at,
                "causes": dict(self.causes)}
