#!/usr/bin/env python3
"""Compares exported spans with the truth of the shop: what was captured, joined between processes,
given its parent inside a process, and which traces are whole and right. See README.md."""

import argparse
import json
import sys
from collections import Counter, defaultdict
from datetime import datetime
from itertools import groupby
from pathlib import Path

from alignment import Exchange, align, order
from expectation import TruthError, read

COUNTS = ("spans", "captured", "joins", "joined", "unjoined", "misjoined",
          "calls", "right", "none", "wrong", "roots", "false_parents")


def main():
    options = arguments()
    try:
        spans = json.loads((sys.stdin if options.spans == "-" else open(options.spans)).read())
        sides = read(options.truth, options.without)
    except (OSError, ValueError, TruthError) as error:
        print(f"score: {error}", file=sys.stderr)
        return 1
    result = score(sides, spans, window(options, spans))
    if options.format == "json":
        print(json.dumps(result, indent=1))
    else:
        print(table(result))
    for line in result["examples"][:options.show]:
        print(line, file=sys.stderr)
    failures = floors(options, result)
    for line in failures:
        print(f"score: {line}", file=sys.stderr)
    return 1 if failures else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", type=Path, required=True, help="the truth folder of the shop")
    parser.add_argument("--spans", required=True, help="'deeptrace export --format json'; '-': standard input")
    parser.add_argument("--start", type=moment, help="requests that began since then count (RFC 3339 or "
                        "seconds since 1970); default: 2 s after the first span")
    parser.add_argument("--end", type=moment, help="until then; default: 2 s before the last span")
    parser.add_argument("--without", action="append", default=[], metavar="SERVICE",
                        help="was not watched, e.g. load; can be given several times")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print N of what is not right")
    parser.add_argument("--min-captured", type=float, metavar="PERCENT")
    parser.add_argument("--min-joined", type=float, metavar="PERCENT")
    parser.add_argument("--max-wrong-joins", type=int, metavar="N")
    parser.add_argument("--min-traces", type=int, default=1, metavar="N", help="requests that must count")
    return parser.parse_args()


def moment(text):
    """Nanoseconds since the Unix epoch."""
    try:
        return round(float(text) * 1e9)
    except ValueError:
        return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1e9)


def window(options, spans):
    starts = [span["start_time_unix_nano"] for span in spans] or [0]
    since = options.start if options.start is not None else min(starts) + 2_000_000_000
    until = options.end if options.end is not None else max(starts) - 2_000_000_000
    return since, until


def score(sides, spans, between):
    """All counts, as the JSON format prints them."""
    spare = match(sides, spans)
    counts, methods = defaultdict(Counter), defaultdict(Counter)
    traces, examples = defaultdict(list), []
    exported = {span["span_id"] for span in spans}
    for side in sides:
        root = side.root
        if between[0] <= root.begin < between[1]:
            verdict = judge(side, exported, counts[side.service], methods)
            traces[root].append((side, verdict))
            if verdict != "right":
                examples.append(f"{verdict}: {side.service} {side.kind} {side.operation} at {side.begin} "
                                f"ports {side.local} {side.peer}")
    for span in spare:
        if between[0] <= span["start_time_unix_nano"] < between[1]:
            counts[span["service"]]["extra"] += 1
    services = {name: percent(each) for name, each in sorted(counts.items())}
    everything = sum(counts.values(), Counter())
    return {"window": list(between), "all": percent(everything), "services": services,
            "methods": {name: dict(each) for name, each in sorted(methods.items())},
            "traces": whole(traces), "examples": examples}


def match(sides, spans):
    """Gives each side its span; returns the spans of the shop's ports that nothing asked for."""
    expected, seen = defaultdict(list), defaultdict(list)
    for side in sorted(sides, key=order):
        expected[side.connection].append(side)
    ports = {side.local for side in sides if side.kind == "server"}
    for span in sorted(spans, key=lambda each: each["start_time_unix_nano"]):
        local, peer = (attribute(span, f"network.{end}.port") for end in ("local", "peer"))
        if (local if span["kind"] == "server" else peer) in ports:
            seen[span["kind"], local, peer].append(span)
    spare = []
    for connection, here in seen.items():
        there = expected.get(connection, [])
        kind, local, peer = connection
        here = as_sent(here, there, seen.get(("client", peer, local), []) if kind == "server" else [])
        exchanges = [exchange(span) for span in here]
        tolerance = max((side.precision for side in there), default=0)
        pairs = align([side.exchange for side in there], exchanges, tolerance)
        for index, other in pairs:
            there[index].span = here[other]
        taken = {other for _, other in pairs}
        spare += [span for other, span in enumerate(here) if other not in taken]
    return spare


def as_sent(here, there, calls):
    """Commands that one call brought begin at the same moment: they are put into the order in which the
    other end sent just these bytes, as far as it was captured, else into that of the truth's commands."""
    ordered = []
    bytes_sent = [(span["start_time_unix_nano"], span.get("request_payload"), span["span_id"])
                  for span in calls]
    names_sent = [(side.exchange.begin, side.exchange.label, None) for side in there]
    for start, run in groupby(here, key=lambda span: span["start_time_unix_nano"]):
        run = list(run)
        if len(run) > 1:
            run = (in_order(run, [span.get("request_payload") for span in run], bytes_sent, start)
                   or in_order(run, [exchange(span).label for span in run], names_sent, start) or run)
        ordered += run
    return ordered


def in_order(run, keys, sent, start):
    """The run in the order of the last run of just these keys that was sent until `start`. Which of two
    with the same bytes came first nobody can say but the join."""
    if None in keys:
        return None
    count = len(run)
    for at in range(len(sent) - count, -1, -1):
        places = sent[at:at + count]
        if places[-1][0] <= start and Counter(key for _, key, _ in places) == Counter(keys):
            left = list(zip(keys, run))
            ordered = []
            for _, wanted, caller in places:
                alike = [each for each in left if each[0] == wanted]
                best = next((each for each in alike if each[1]["parent_span_id"] == caller), alike[0])
                left.remove(best)
                ordered.append(best[1])
            return ordered
    return None


def attribute(span, name):
    value = span["attributes"].get(name)
    return None if value is None else int(value)


def exchange(span):
    first = span["name"].split(" ")[0].upper()
    path = span["attributes"].get("url.path")
    label = f"{first} {path}" if path else first
    return Exchange(span["start_time_unix_nano"], span["end_time_unix_nano"], label,
                    attribute(span, "process.pid"))


def judge(side, exported, counts, methods):
    """Counts one side; `right`, or what is not right about it. Where the right parent was not
    captured, naming one that was not exported is no parent, naming another is wrong."""
    join = side.kind == "server" and side.parent is not None
    call = side.kind == "client" and side.parent is not None
    counts["spans"] += 1
    counts["joins"] += join
    counts["calls"] += call
    counts["roots"] += side.parent is None
    if side.span is None:
        counts["unjoined"] += join
        return "not captured"
    counts["captured"] += 1
    given = side.span["parent_span_id"]
    known = side.parent.span if side.parent is not None else None
    if side.parent is None:
        counts["false_parents"] += given is not None
        return "right" if given is None else "false parent"
    right = known is not None and given == known["span_id"]
    absent = given is None or (known is None and given not in exported)
    verdict = "right" if right else "none" if absent else "wrong"
    method = (side.span.get("link") or {}).get("method")
    if given is not None:
        methods[method or "unnamed"][verdict] += 1
    if join:
        counts[{"right": "joined", "none": "unjoined", "wrong": "misjoined"}[verdict]] += 1
    else:
        counts[verdict] += 1
    return {"right": "right", "none": "no parent", "wrong": "wrong parent"}[verdict]


def whole(traces):
    """How many traces have all their spans, all rightly linked, under an id of their own."""
    owners = defaultdict(set)
    for root, members in traces.items():
        for side, _ in members:
            if side.span is not None:
                owners[side.span["trace_id"]].add(root.begin)
    captured = right = 0
    for root, members in traces.items():
        spans = [side.span for side, _ in members if side.span is not None]
        ids = {span["trace_id"] for span in spans}
        captured += len(spans) == len(members)
        right += (all(verdict == "right" for _, verdict in members) and len(ids) == 1
                  and all(len(owners[each]) == 1 for each in ids))
    return {"expected": len(traces), "captured": captured, "right": right,
            "right_percent": share(right, len(traces))}


def percent(counts):
    filled = {name: counts[name] for name in (*COUNTS, "extra")}
    return {**filled, "captured_percent": share(counts["captured"], counts["spans"]),
            "joined_percent": share(counts["joined"], counts["joins"]),
            "right_percent": share(counts["right"], counts["calls"])}


def share(part, of):
    return round(100 * part / of, 3) if of else None


def table(result):
    """The same for people."""
    head = ("service", "spans", "captured", "%", "joins", "right", "missing", "wrong", "%",
            "calls", "right", "none", "wrong", "%", "extra")
    lines = [head]
    for name, each in [*result["services"].items(), ("all", result["all"])]:
        figures = [each[key] for key in ("spans", "captured", "captured_percent", "joins", "joined",
                                         "unjoined", "misjoined", "joined_percent", "calls", "right",
                                         "none", "wrong", "right_percent", "extra")]
        lines.append((name, *("-" if figure is None else f"{figure:.2f}" if isinstance(figure, float)
                              else str(figure) for figure in figures)))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = ["  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                      for column, (cell, width) in enumerate(zip(line, widths))) for line in lines]
    for name, each in result["methods"].items():
        text.append(f"links by {name}: " + ", ".join(f"{count} {verdict}" for verdict, count in each.items()))
    traces = result["traces"]
    text.append(f"whole traces: {traces['captured']} of {traces['expected']} captured, {traces['right']} right"
                + (f" ({traces['right_percent']:.2f} %)" if traces["expected"] else ""))
    return "\n".join(text)


def floors(options, result):
    """One line for each floor that was not kept."""
    every, failures = result["all"], []
    if result["traces"]["expected"] < options.min_traces:
        failures.append(f"{result['traces']['expected']} requests in the window, {options.min_traces} asked for")
    for name, least in (("captured", options.min_captured), ("joined", options.min_joined)):
        reached = every[f"{name}_percent"]
        if least is not None and (reached is None or reached < least):
            failures.append(f"{name} {reached} %, floor {least} %")
    wrong = every["misjoined"] + every["false_parents"]
    if options.max_wrong_joins is not None and wrong > options.max_wrong_joins:
        failures.append(f"{wrong} wrong joins, at most {options.max_wrong_joins} allowed")
    return failures


if __name__ == "__main__":
    sys.exit(main())
