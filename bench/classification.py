"""What it costs to find the class of a connection, at its SYN, in long access lists.

Machine instructions, counted as `instructions` counts them, and the shortest times of several passes. One connection in
four is in no entry; the others are spread over the list. ``python -m bench.classification SHAPE ENTRIES COUNT``
classifies so many connections and ends.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from time import perf_counter_ns

from bench.instructions import VALGRIND, NoValgrindError, read
from bench.report import table
from nfinspect.policy import parse_policy
from nfinspect.policy.classify import Classifier, OpeningConnection

ENTRIES = 5000
SHORT = 5
COUNTED = 200, 1200
"""Classifications of the two runs in which instructions are counted."""
PASSES = 7
TIMED = 2000
"""Classifications of a pass."""

USE = """\
class-map listed
 match access-list l
policy-map global_policy
 class listed
  no inspect esmtp
"""
SERVER = 10 << 24
CLIENT = 172 << 24 | 16 << 16


def _text(address: int) -> str:
    return ".".join(map(str, address.to_bytes(4, "big")))


def hosts(number: int) -> str:
    return f"permit tcp any host {_text(SERVER + number)} eq smtp"


def networks(number: int) -> str:
    return f"permit ip {_text(SERVER + number * 16)} 255.255.255.240 any"


def pairs(number: int) -> str:
    return f"permit tcp host {_text(CLIENT + number % 70)} host {_text(SERVER + number)} eq smtp"


def port_ranges(number: int) -> str:
    return f"deny tcp any any range {30 + number} {90 + number}"


def nested_networks(number: int) -> str:
    """Half of the entries match every connection but for its port."""
    return f"permit tcp any {_text(SERVER)} 255.0.0.0 eq {26 + number % 60000}"


SHAPES: dict[str, Callable[[int], str]] = {
    "a host each": hosts,
    "a network each": networks,
    "two hosts each": pairs,
    "overlapping ranges of ports": port_ranges,
    "one network, a port each": nested_networks,
}


def classifier(shape: str, entries: int) -> Classifier:
    line = SHAPES[shape]
    text = "".join(f"access-list l {line(number)}\n" for number in range(entries))
    return Classifier(parse_policy(text + USE, "list").policy)


def connections(entries: int, count: int) -> Iterator[OpeningConnection]:
    for number in range(count):
        at = number * 7919 % entries
        server = SERVER + at if number % 4 else SERVER + (1 << 23)
        client = CLIENT + at % 70 if number % 2 else SERVER + at * 16 + 3
        yield OpeningConnection(4, client, 1024 + number % 60000, server, 25)


def classify(shape: str, entries: int, count: int) -> float:
    """Classify so many connections; return nanoseconds for each."""
    found = classifier(shape, entries)
    asked = list(connections(entries, count))
    gc.collect()
    gc.freeze()
    start = perf_counter_ns()
    for connection in asked:
        found.plan(connection)
    return (perf_counter_ns() - start) / count


def run() -> list[str]:
    """Measure every shape; return lines of text."""
    rows = []
    for shape in SHAPES:
        for entries in (SHORT, ENTRIES):
            time = min(classify(shape, entries, TIMED) for _ in range(PASSES)) / 1000
            rows.append([shape, f"{entries:,}", _counted(shape, entries), f"{time:.1f}"])
    return table(["list", "entries", "instructions", "µs"], rows)


def _counted(shape: str, entries: int) -> str:
    try:
        counted = [_count(shape, entries, count) for count in COUNTED]
    except NoValgrindError as error:
        return str(error)
    return f"{(counted[1] - counted[0]) / (COUNTED[1] - COUNTED[0]):,.0f}"


def _count(shape: str, entries: int, count: int) -> int:
    command = [
        *(VALGRIND, "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"),
        *(sys.executable, "-m", "bench.classification", shape, str(entries), str(count)),
    ]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    except FileNotFoundError as error:
        raise NoValgrindError("valgrind is not installed") from error
    return read(done.stderr)


if __name__ == "__main__":
    classify(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
