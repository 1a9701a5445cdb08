"""Expectation: the spans and parents that the truth folder says there must be."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Optional

from alignment import Exchange, align, order

NGINX_PRECISION_NS = 3_000_000
SILENT_SERVERS = ("redis", "postgres")  # keep no truth; known from those who call them


class TruthError(Exception):
    """What is wrong with the folder."""


@dataclass(eq=False)
class Side:
    """One side of one exchange: what one span must show."""

    service: str
    kind: str  # `server` or `client`
    local: int
    peer: int
    begin: int
    end: int
    operation: str
    precision: int
    pid: Optional[int]
    parent: Optional["Side"] = None
    span: Optional[dict] = None  # the span that was matched to it

    @property
    def connection(self):
        return self.kind, self.local, self.peer

    @property
    def exchange(self):
        first, _, rest = self.operation.partition(" ")
        label = f"{first} {rest.split('?')[0]}" if rest.startswith("/") else first.upper()
        return Exchange(self.begin, self.end, label, self.pid)

    @property
    def root(self):
        """The side with which its trace begins."""
        side = self
        while side.parent is not None:
            side = side.parent
        return side


def read(folder, without=()):
    """All sides, joined to traces; services in `without` are not expected to be seen."""
    try:
        ports = json.loads((folder / "ports.json").read_text())
    except (OSError, ValueError) as error:
        raise TruthError(f"{error}: not a truth folder of the shop") from None
    sides = []
    for path in sorted(folder.glob("*.jsonl")):
        if path.stem not in without:
            sides += read_nginx(path, ports) if path.stem == "nginx" else read_service(path)
    for name in SILENT_SERVERS:
        sides += [mirrored(side, name) for side in sides
                  if side.kind == "client" and side.peer == ports[name]]
    join(sides)
    return sides


def rows(path):
    """The lines of a file; one that is not whole can only be the last of a killed process."""
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def read_service(path):
    sides, process, served, calls = [], None, {}, []
    for row in rows(path):
        if "process" in row:  # started, or started again: numbers begin anew
            adopt(served, calls)
            process, served, calls = row, {}, []
            continue
        serve = "serve" in row
        side = Side(process["service"], "server" if serve else "client", row["local"], row["peer"],
                    row["begin"], row["end"], row["op"], process["precision_ns"], process["process"])
        if side.local == 0:
            continue  # a call that never had a connection
        sides.append(side)
        if serve:
            served[row["serve"]] = side
        else:
            calls.append((side, row["for"]))
    adopt(served, calls)
    return sides


def adopt(served, calls):
    """Gives calls their requests; none for those that the service made by itself."""
    for call, request in calls:
        call.parent = served.get(request)


def read_nginx(path, ports):
    sides = []
    for row in rows(path):
        end = round(row["msec"] * 1000) * 1_000_000
        begin = end - round(row["seconds"] * 1000) * 1_000_000
        served = Side("nginx", "server", ports["nginx"], row["peer"], begin, end, row["op"],
                      NGINX_PRECISION_NS, row["nginx"])
        sides.append(served)
        if row["upstream"]:
            sides.append(Side("nginx", "client", int(row["upstream"]), ports["storefront"], begin,
                              end, row["op"], NGINX_PRECISION_NS, row["nginx"], parent=served))
    return sides


def mirrored(call, service):
    """The server's side of a call, as far as the caller knows it."""
    return Side(service, "server", call.peer, call.local, call.begin, call.end, call.operation,
                call.precision, None, parent=call)


def join(sides):
    """Gives each served request the call that it came from: the same connection, in order."""
    calls, served = defaultdict(list), defaultdict(list)
    for side in sorted(sides, key=order):
        if side.kind == "client":
            calls[side.local, side.peer].append(side)
        elif side.parent is None:
            served[side.peer, side.local].append(side)
    for connection, here in served.items():
        there = calls.get(connection, [])
        tolerance = max(each.precision for each in here + there)
        # The pids are of two processes.
        left = [each.exchange._replace(pid=None) for each in here]
        right = [each.exchange._replace(pid=None) for each in there]
        for index, other in align(left, right, tolerance):
            here[index].parent = there[other]
            agree(here[index], there[other])


def agree(served, call):
    """Both ends must have written the same method and path, else no score means anything."""
    if served.operation.split("?")[0] != call.operation.split("?")[0]:
        raise TruthError(f"the truth contradicts itself: {call.service} called {call.operation!r}, "
                         f"{served.service} served {served.operation!r}")
