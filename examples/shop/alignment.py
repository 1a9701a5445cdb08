"""Alignment: which exchange of one record is which of another, on one connection.

Both records hold the exchanges of a connection in order, with times that may be off by a given
tolerance, and either may lack some. Exchanges that cannot overlap are never paired; among what is
left, as many as possible are paired, in order, at the least distance in time.
"""

from typing import NamedTuple, Optional

LABEL_PENALTY_NS = 1_000_000_000  # other method or command: paired only where nothing else is left
CELLS_MAX = 4_000_000  # beyond that, a burst without a pause is paired from its front


class Exchange(NamedTuple):
    """One exchange as one record has it; times in nanoseconds since the Unix epoch."""

    begin: int
    end: int
    label: str = ""  # method and path, or command; empty where not known
    pid: Optional[int] = None


def order(exchange):
    """Key by which exchanges are sorted as they were sent on one connection. Answers come in that order; a
    caller may have begun before it had the connection."""
    return exchange.end, exchange.begin


def align(left, right, tolerance_ns):
    """Pairs of indexes into `left` and `right`, both in the order in which they were sent."""
    pairs = []
    for lefts, rights in bursts(left, right, tolerance_ns):
        if len(lefts) * len(rights) > CELLS_MAX:
            pairs.extend(zip(lefts, rights))
        elif lefts and rights:
            pairs.extend(best(left, right, lefts, rights, tolerance_ns))
    return pairs


def bursts(left, right, tolerance_ns):
    """Cuts both records at the pauses that they share."""
    items = sorted([(each.begin, 0, index) for index, each in enumerate(left)]
                   + [(each.begin, 1, index) for index, each in enumerate(right)])
    burst, until = ([], []), None
    for begin, side, index in items:
        if until is not None and begin - tolerance_ns > until:
            yield sorted(burst[0]), sorted(burst[1])
            burst, until = ([], []), None
        burst[side].append(index)
        end = (left, right)[side][index].end
        until = end if until is None else max(until, end)
    yield sorted(burst[0]), sorted(burst[1])


def distance(a, b, tolerance_ns):
    """How far apart two exchanges are; None where they cannot be the same."""
    if a.begin - tolerance_ns > b.end or b.begin - tolerance_ns > a.end:
        return None
    if a.pid is not None and b.pid is not None and a.pid != b.pid:
        return None
    other = a.label and b.label and a.label != b.label
    return abs(a.begin - b.begin) + abs(a.end - b.end) + (LABEL_PENALTY_NS if other else 0)


def best(left, right, lefts, rights, tolerance_ns):
    """The most pairs, then the nearest (dynamic programming over both orders)."""
    rows, columns = len(lefts), len(rights)
    table = [[(0, 0)] * (columns + 1) for _ in range(rows + 1)]  # (minus pairs, distance), from the end
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            table[i][j] = min(table[i + 1][j], table[i][j + 1])
            near = distance(left[lefts[i]], right[rights[j]], tolerance_ns)
            if near is not None:
                pairs, far = table[i + 1][j + 1]
                table[i][j] = min(table[i][j], (pairs - 1, far + near))
    i = j = 0
    while i < rows and j < columns:
        if table[i][j] == table[i + 1][j]:
            i += 1
        elif table[i][j] == table[i][j + 1]:
            j += 1
        else:
            yield lefts[i], rights[j]
            i, j = i + 1, j + 1
