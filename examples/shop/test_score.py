"""Tests of the scorer: `python3 -m unittest discover examples/shop`."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from alignment import Exchange, align, order  # noqa: E402
from expectation import TruthError, read  # noqa: E402
from score import score  # noqa: E402

MS = 1_000_000
ALWAYS = (0, 1 << 62)
PORTS = {"nginx": 80, "storefront": 81, "redis": 90, "postgres": 91}

# Two requests over one connection each: load -> nginx -> storefront -> redis, once and twice.
TRUTH = {
    "load": [{"process": 1, "service": "load", "precision_ns": 1000},
             {"call": 1, "for": 0, "local": 5001, "peer": 80, "begin": 10 * MS, "end": 30 * MS, "op": "GET /", "status": 200},
             {"call": 2, "for": 0, "local": 5001, "peer": 80, "begin": 110 * MS, "end": 130 * MS, "op": "GET /", "status": 200}],
    "nginx": [{"nginx": 2, "connection": 1, "peer": 5001, "upstream": "6001", "msec": 0.029, "seconds": 0.018, "op": "GET /", "status": 200},
              {"nginx": 2, "connection": 1, "peer": 5001, "upstream": "6001", "msec": 0.129, "seconds": 0.018, "op": "GET /", "status": 200}],
    "storefront": [{"process": 3, "service": "storefront", "precision_ns": 1000},
                   {"call": 2, "for": 1, "local": 7001, "peer": 90, "begin": 16 * MS, "end": 20 * MS, "op": "GET", "status": 0},
                   {"serve": 1, "local": 81, "peer": 6001, "begin": 14 * MS, "end": 25 * MS, "op": "GET /", "status": 200},
                   {"call": 4, "for": 3, "local": 7001, "peer": 90, "begin": 116 * MS, "end": 120 * MS, "op": "GET", "status": 0},
                   {"call": 5, "for": 3, "local": 7001, "peer": 90, "begin": 116 * MS, "end": 121 * MS, "op": "INCR", "status": 0},
                   {"serve": 3, "local": 81, "peer": 6001, "begin": 114 * MS, "end": 125 * MS, "op": "GET /", "status": 200}],
}


def span(number, parent, kind, service, pid, local, peer, start, end, name, trace):
    return {"trace_id": f"{trace:032x}", "span_id": f"{number:016x}",
            "parent_span_id": None if parent is None else f"{parent:016x}", "kind": kind,
            "service": service, "name": name, "start_time_unix_nano": start * MS,
            "end_time_unix_nano": end * MS,
            "link": None if parent is None else {"method": "connection" if kind == "server" else "thread"},
            "attributes": {"network.local.port": local, "network.peer.port": peer, "process.pid": pid}}


def right_spans():
    """What a tracer that misses nothing shows: numbers 11 to 16 and 21 to 28."""
    spans = []
    for base, at, trace in ((10, 0, 1), (20, 100, 2)):
        spans += [span(base + 1, None, "client", "load", 1, 5001, 80, at + 10, at + 30, "GET", trace),
                  span(base + 2, base + 1, "server", "nginx", 2, 80, 5001, at + 11, at + 29, "GET /", trace),
                  span(base + 3, base + 2, "client", "nginx", 2, 6001, 81, at + 12, at + 28, "GET", trace),
                  span(base + 4, base + 3, "server", "storefront", 3, 81, 6001, at + 13, at + 25, "GET /", trace),
                  span(base + 5, base + 4, "client", "storefront", 3, 7001, 90, at + 16, at + 19, "GET", trace),
                  span(base + 6, base + 5, "server", "redis", 4, 90, 7001, at + 17, at + 18, "GET", trace)]
    spans += [span(27, 24, "client", "storefront", 3, 7001, 90, 116, 120, "INCR", 2),
              span(28, 27, "server", "redis", 4, 90, 7001, 118, 119, "INCR", 2)]
    return spans


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = Path(self.folder.name)
        (self.path / "ports.json").write_text(json.dumps(PORTS))
        for name, lines in TRUTH.items():
            (self.path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def score(self, spans, without=(), between=ALWAYS):
        return score(read(self.path, without), spans, between)

    def change(self, number, **changes):
        spans = right_spans()
        changed = next(each for each in spans if each["span_id"] == f"{number:016x}")
        changed.update(changes)
        return spans


class Scores(Folder):
    def check(self, result, spans=14, captured=14, joins=(7, 0, 0), calls=(5, 0, 0), traces=(2, 2), extra=0):
        every = result["all"]
        self.assertEqual((every["spans"], every["captured"]), (spans, captured))
        self.assertEqual((every["joined"], every["unjoined"], every["misjoined"]), joins)
        self.assertEqual((every["right"], every["none"], every["wrong"]), calls)
        self.assertEqual((result["traces"]["captured"], result["traces"]["right"]), traces)
        self.assertEqual(every["extra"], extra)

    def test_all_right(self):
        result = self.score(right_spans())
        self.check(result)
        self.assertEqual(result["methods"], {"connection": {"right": 7}, "thread": {"right": 5}})
        self.assertEqual(result["services"]["redis"]["spans"], 3)
        self.assertEqual(result["examples"], [])

    def test_nothing_seen(self):
        self.check(self.score([]), captured=0, joins=(0, 7, 0), calls=(0, 0, 0), traces=(0, 0))

    def test_span_missing(self):
        spans = [each for each in right_spans() if each["span_id"] != f"{14:016x}"]
        # Its call names a parent that is not there.
        self.check(self.score(spans), captured=13, joins=(6, 1, 0), calls=(4, 1, 0), traces=(1, 1))

    def test_span_missing_and_another_named(self):
        spans = self.change(15, parent_span_id=f"{24:016x}")
        spans = [each for each in spans if each["span_id"] != f"{14:016x}"]
        self.check(self.score(spans), captured=13, joins=(6, 1, 0), calls=(4, 0, 1), traces=(1, 1))

    def test_no_parent(self):
        self.check(self.score(self.change(15, parent_span_id=None, link=None)), calls=(4, 1, 0), traces=(2, 1))

    def test_wrong_parent(self):
        self.check(self.score(self.change(15, parent_span_id=f"{24:016x}")), calls=(4, 0, 1), traces=(2, 1))

    def test_wrong_join(self):
        self.check(self.score(self.change(12, parent_span_id=f"{21:016x}")), joins=(6, 0, 1), traces=(2, 1))

    def test_missing_join(self):
        self.check(self.score(self.change(12, parent_span_id=None, link=None)), joins=(6, 1, 0), traces=(2, 1))

    def test_pipelined_commands_are_told_apart(self):
        # Both commands overlap; only the first was captured on the server's side.
        spans = [each for each in right_spans() if each["span_id"] != f"{26:016x}"]
        result = self.score(spans)
        self.check(result, captured=13, joins=(6, 1, 0), traces=(1, 1))
        self.assertEqual(result["examples"][0].split(" at ")[0], "not captured: redis server GET")

    def test_commands_of_one_call_are_put_in_order(self):
        # The server read both at once, and they are told in any order.
        spans = right_spans()
        spans.insert(0, spans.pop())
        for each in spans:
            if each["service"] == "redis" and each["span_id"] in (f"{26:016x}", f"{28:016x}"):
                each["start_time_unix_nano"], each["end_time_unix_nano"] = 117 * MS, 119 * MS
        self.check(self.score(spans))

    def test_commands_of_one_name_and_one_call_are_told_apart_by_their_bytes(self):
        lines = [dict(line, op="GET") if line.get("op") == "INCR" else line for line in TRUTH["storefront"]]
        (self.path / "storefront.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        spans = right_spans()
        spans.insert(0, spans.pop())
        for each in spans:
            if each["trace_id"] == f"{2:032x}" and each["attributes"]["network.peer.port"] in (90, 7001):
                first = each["span_id"] in (f"{25:016x}", f"{26:016x}")
                each["name"], each["request_payload"] = "GET", "GET a" if first else "GET b"
                if each["service"] == "redis":
                    each["start_time_unix_nano"], each["end_time_unix_nano"] = 117 * MS, 119 * MS
                elif not first:
                    each["start_time_unix_nano"] += 1000
        self.check(self.score(spans))
        served = [each for each in spans if each["service"] == "redis" and each["trace_id"] == f"{2:032x}"]
        served[0]["parent_span_id"], served[1]["parent_span_id"] = (
            served[1]["parent_span_id"], served[0]["parent_span_id"])
        self.check(self.score(spans), joins=(5, 0, 2), traces=(2, 1))

    def test_one_trace_id_for_two_requests(self):
        spans = right_spans()
        for each in spans:
            each["trace_id"] = f"{1:032x}"
        self.check(self.score(spans), traces=(2, 0))

    def test_root_with_a_parent(self):
        result = self.score(self.change(11, parent_span_id=f"{24:016x}"))
        self.check(result, traces=(2, 1))
        self.assertEqual(result["all"]["false_parents"], 1)

    def test_load_not_watched(self):
        spans = [each for each in right_spans() if each["service"] != "load"]
        for each in spans:
            if each["service"] == "nginx" and each["kind"] == "server":
                each["parent_span_id"] = None
        self.check(self.score(spans, without=("load",)), spans=12, captured=12, joins=(5, 0, 0))

    def test_span_that_nothing_asked_for(self):
        spans = [*right_spans(), span(99, None, "server", "redis", 4, 90, 7999, 50, 51, "PING", 9)]
        self.check(self.score(spans), extra=1)

    def test_other_process(self):
        spans = right_spans()
        spans[0]["attributes"]["process.pid"] = 77
        self.check(self.score(spans), captured=13, joins=(6, 0, 1), traces=(1, 1), extra=1)

    def test_window(self):
        result = self.score(right_spans(), between=(100 * MS, 200 * MS))
        self.check(result, spans=8, captured=8, joins=(4, 0, 0), calls=(3, 0, 0), traces=(1, 1))

    def test_truth_contradicts_itself(self):
        path = self.path / "storefront.jsonl"
        path.write_text(path.read_text().replace('"op": "GET /"', '"op": "GET /other"'))
        with self.assertRaises(TruthError):
            read(self.path)

    def test_last_line_cut(self):
        path = self.path / "storefront.jsonl"
        path.write_text(path.read_text() + '{"serve":9,"loc')
        self.check(self.score(right_spans()))


class Floors(Folder):
    def run_with(self, spans, *options):
        done = subprocess.run([sys.executable, str(Path(__file__).parent / "score.py"), "--truth", str(self.path),
                               "--spans", "-", "--start", "0", "--end", "1", *options],
                              input=json.dumps(spans), capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def test_kept(self):
        code, out, _ = self.run_with(right_spans(), "--min-captured", "99.5", "--min-joined", "99.5",
                                     "--max-wrong-joins", "0")
        self.assertEqual(code, 0)
        self.assertIn("whole traces: 2 of 2 captured, 2 right (100.00 %)", out)

    def test_not_kept(self):
        wrong = self.change(12, parent_span_id=f"{21:016x}")
        for spans, options in ((right_spans()[:-1], ("--min-captured", "99.5")),
                               (wrong, ("--min-joined", "99.5")), (wrong, ("--max-wrong-joins", "0")),
                               (right_spans(), ("--min-traces", "3")), ([], ("--min-captured", "1"))):
            with self.subTest(options):
                self.assertEqual(self.run_with(spans, *options)[0], 1)

    def test_json(self):
        code, out, _ = self.run_with(right_spans(), "--format", "json")
        self.assertEqual((code, json.loads(out)["all"]["joined"]), (0, 7))


class Alignment(unittest.TestCase):
    def pairs(self, left, right, tolerance=0):
        return sorted(align([Exchange(*each) for each in left], [Exchange(*each) for each in right], tolerance))

    def test_one_lacks_the_first(self):
        self.assertEqual(self.pairs([(0, 10), (20, 30)], [(21, 29)]), [(1, 0)])

    def test_both_lack_one(self):
        self.assertEqual(self.pairs([(0, 10), (20, 30)], [(21, 29), (40, 50)]), [(1, 0)])

    def test_pipeline_lacks_the_middle(self):
        self.assertEqual(self.pairs([(0, 10), (1, 20), (2, 30)], [(0, 10), (2, 30)]), [(0, 0), (2, 1)])

    def test_begun_before_it_had_the_connection(self):
        sent = sorted([Exchange(0, 20, "GET /late"), Exchange(1, 9, "GET /soon")], key=order)
        self.assertEqual(self.pairs(sent, [(2, 8, "GET /soon"), (10, 19, "GET /late")]), [(0, 0), (1, 1)])

    def test_label_decides(self):
        self.assertEqual(self.pairs([(0, 10, "GET"), (1, 11, "SET")], [(0, 10, "SET")]), [(1, 0)])

    def test_tolerance(self):
        self.assertEqual(self.pairs([(0, 10)], [(12, 20)], 1), [])
        self.assertEqual(self.pairs([(0, 10)], [(12, 20)], 2), [(0, 0)])


if __name__ == "__main__":
    unittest.main()
