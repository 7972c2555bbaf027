"""What the engine keeps in memory: bytes per open connection, and that the totals are bounded.

``python -m bench.memory SCENE COUNT [traced]`` plays one scene in a separate process with COUNT
connections and prints the figures as JSON; `results` turns them into a text.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

from bench.loads import KIB, MB
from bench.report import NONE, facts_table, table
from bench.session import GSO_SEGMENT, SEGMENT, Packet, session
from nfinspect.actions import Drop
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.flow.permissions import EngineOptions
from nfinspect.policy import default_policy
from nfinspect.tcp.limits import MEBIBYTE, Limits

LATER = 1000.0
"""A time at which connections older than the filter are no longer picked up."""
PORTS = 60_000
TRACED = 20
"""The number of connections is divided by this when every allocation is recorded, which is slow."""


class Stage:
    """An engine, to which packets of any number of connections are given."""

    def __init__(self, connections: int = 0) -> None:
        """The table has room for so many *connections*, if that is more than usual."""
        limits = Limits(connections=max(connections, Limits().connections))
        self.engine = Engine(default_policy(), EngineOptions(limits=limits), started=0.0)
        self.refused: Counter[str] = Counter()
        """Packets that were dropped, by reason."""
        self.worst: Counter[str] = Counter()
        """The highest figures of the ledger."""

    def play(self, number: int, packets: Sequence[Packet]) -> None:
        """Give the engine packets of connection *number*."""
        for packet in packets:
            datagram = moved(packet, number)
            arrival = Arrival(object(), datagram, LATER, checksum_ready=False, gso=packet.gso)
            for action in self.engine.arrive(arrival):
                if isinstance(action, Drop):
                    self.refused[action.reason.value] += 1
        self.worst |= Counter(asdict(self.engine.ledger))


def moved(packet: Packet, number: int) -> bytes:
    """The packet as part of connection *number*, with a different client address and port. Its
    checksum is not updated."""
    datagram = bytearray(packet.at_port(1024 + number % PORTS))
    at = 12 if packet.from_client else 16
    datagram[at : at + 4] = (0xC612_0000 + number // PORTS).to_bytes(4, "big")  # 198.18.0.0/15
    return bytes(datagram)


def bare(packet: Packet) -> Packet:
    """The packet without its payload: a bare ACK."""
    size = 20 + (packet.datagram[32] >> 4) * 4
    datagram = packet.datagram[:2] + size.to_bytes(2, "big") + packet.datagram[4:size]
    return replace(packet, kind="ACK", datagram=datagram)


def wide(packet: Packet) -> Packet:
    """The packet with the largest window that its window scale allows."""
    return replace(packet, datagram=packet.datagram[:34] + b"\xff\xff" + packet.datagram[36:])


# ---- scenes ------------------------------------------------------------------------------------


def idle(stage: Stage, count: int) -> None:
    """EHLO has been answered; the client is idle"""
    packets = session(2 * KIB, SEGMENT)
    answered = 1 + next(at for at, packet in enumerate(packets) if packet.kind == "EHLO reply")
    _leave_open(stage, count, packets, answered)


def after_mail(stage: Stage, count: int) -> None:
    """a mail of 2 KiB has been delivered; the client is idle"""
    packets = session(2 * KIB, SEGMENT)
    last = max(at for at, packet in enumerate(packets) if packet.kind == "command")
    _leave_open(stage, count, packets, last)


def _leave_open(stage: Stage, count: int, packets: Sequence[Packet], end: int) -> None:
    """Play the packets before *end*, and that one without its payload. Then try one connection more."""
    for number in range(count):
        stage.play(number, [*packets[:end], bare(packets[end])])
    stage.play(count, packets[:1])


def one_behind_each_gap(stage: Stage, count: int) -> None:
    """a segment is missing, and one after it is held"""
    packets = session(128 * KIB, SEGMENT)
    first = next(at for at, packet in enumerate(packets) if packet.kind == "message")
    for number in range(count):
        stage.play(number, [*packets[:first], packets[first + 2]])


def window_behind_each_gap(stage: Stage, count: int) -> None:
    """a segment is missing, and all that a window of 64 KiB admits after it has arrived, in turn"""
    packets = session(128 * KIB, SEGMENT)
    first = next(at for at, packet in enumerate(packets) if packet.kind == "message")
    for number in range(count):
        stage.play(number, packets[:first])
    beyond = [packet for packet in packets[first + 1 :] if packet.kind == "message"]
    for packet in beyond[: 64 * KIB // SEGMENT - 2]:
        for number in range(count):
            stage.play(number, [packet])


def unacknowledged(stage: Stage, count: int) -> None:
    """a mail of 5 MB arrives, of which the server acknowledges nothing"""
    packets = [wide(packet) for packet in session(5 * MB, GSO_SEGMENT)]
    last = max(at for at, packet in enumerate(packets) if packet.kind.startswith("message"))
    kept = [packet for packet in packets[: last + 1] if packet.from_client or packet.kind != "ACK"]
    for number in range(count):
        stage.play(number, kept)


SCENES: Mapping[Callable[[Stage, int], None], int] = {
    idle: 100_000,
    after_mail: 100_000,
    one_behind_each_gap: 1_000,
    window_behind_each_gap: 1_000,
    unacknowledged: 100,
}
"""Each scene with its number of connections."""


# ---- the end ---


@dataclass(frozen=True, slots=True)
class Expiry:
    """What idle connections cost the clock, in seconds of CPU."""

    connections: int
    resident: int
    """Bytes by which the process has grown for them."""
    tick: float
    """A tick at which none has timed out."""
    expired: float
    """One connection that has."""


TICKS = 10_000
EXPIRED = (20_000, 200_000)
"""Idle connections; a table of the second size is a setting (`nfinspect run --connections`)."""


def expiry(count: int) -> Expiry:
    """Let *count* idle connections time out, all at once."""
    stage = Stage(count)
    gc.collect()
    before = _resident()
    idle(stage, count)
    gc.collect()
    resident = _resident() - before
    engine = stage.engine
    before = process_time()
    engine.tick(LATER)  # sorts the timers of the second that is next
    sorting = process_time() - before
    before = process_time()
    for number in range(TICKS):
        engine.tick(LATER + number / TICKS)
    ticks = process_time() - before
    before = process_time()
    ended = engine.tick(LATER + default_policy().timeouts.idle)
    took = process_time() - before + sorting
    if engine.connections:
        raise RuntimeError(f"{engine.connections} connections are still open")
    return Expiry(count, resident, ticks / TICKS, took / len(ended))


# ---- measurement -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """What is in memory at the end of a scene."""

    scene: str
    connections: int
    """How many are open."""
    resident: int
    """By how many bytes the process has grown (proc_pid_statm(5))."""
    allocated: int
    """How many bytes Python has allocated since; 0 if that was not recorded."""
    worst: dict[str, int]
    refused: dict[str, int]


def play(scene: Callable[[Stage, int], None], count: int, *, traced: bool) -> Kept:
    """Play a scene in this process."""
    warm = Stage()
    warm.play(0, session(2 * KIB, SEGMENT))
    stage = Stage(count)
    gc.collect()
    if traced:
        tracemalloc.start()
    before = _resident()
    scene(stage, count)
    gc.collect()
    return Kept(
        scene.__name__,
        stage.engine.connections,
        _resident() - before,
        tracemalloc.get_traced_memory()[0],
        dict(stage.worst),
        dict(stage.refused),
    )


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure(divisor: int, *, report: Callable[[str], None]) -> Iterator[tuple[Kept, Kept]]:
    """Play every scene in two separate processes: as it is, and with fewer connections while
    recording every allocation. The numbers of connections are divided by *divisor*."""
    for scene, count in SCENES.items():
        report(f"{count // divisor:,} connections: {scene.__doc__}")
        yield (
            _in_process(scene.__name__, count // divisor),
            _in_process(scene.__name__, max(1, count // divisor // TRACED), "traced"),
        )


def _in_process(*arguments: object) -> Kept:
    return Kept(**_figures(*arguments))


def _figures(*arguments: object) -> dict[str, Any]:
    argv = [sys.executable, "-m", "bench.memory", *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure_expiry(divisor: int, *, report: Callable[[str], None]) -> Iterator[Expiry]:
    """Let each number of idle connections expire, in a separate process."""
    for count in EXPIRED:
        report(f"{count // divisor:,} idle connections expire")
        yield Expiry(**_figures("expiry", count // divisor))


def results(
    measured: Sequence[tuple[Kept, Kept]],
    expiries: Sequence[Expiry],
    facts: Mapping[str, str],
    command: str,
) -> str:
    """The complete text."""
    return "\n".join(
        [
            "# What the engine keeps",
            "",
            f"Written by `{command}`; [README.md](README.md) explains what is measured and how.",
            "",
            *facts_table(facts),
            "",
            "## Per connection",
            "",
            *_each(measured),
            "",
            "Resident: how much the process has grown. Allocated: what Python has allocated, measured",
            f"with one {TRACED}th of the connections.",
            "",
            "## Totals and their bounds",
            "",
            *_totals([kept for kept, _ in measured]),
            "",
            "## Idle connections and the clock",
            "",
            *_expiries(expiries),
            "",
            "CPU time, of a tick at which none has timed out, and of each when all time out at once.",
            "",
        ]
    )


DESCRIPTIONS = {scene.__name__: scene.__doc__ or "" for scene in SCENES}


def _each(measured: Sequence[tuple[Kept, Kept]]) -> list[str]:
    rows = [
        [
            f"{kept.connections:,}",
            DESCRIPTIONS[kept.scene],
            f"{kept.resident / MEBIBYTE:,.1f}",
            f"{kept.resident / kept.connections:,.0f}",
            f"{traced.allocated / traced.connections:,.0f}",
        ]
        for kept, traced in measured
    ]
    head = [
        "connections",
        "scene",
        "resident, MiB",
        "resident, bytes each",
        "allocated, bytes each",
    ]
    return table(head, rows)


def _totals(measured: Sequence[Kept]) -> list[str]:
    limits = Limits()
    bounds = {
        "held_packets": limits.held_packets_total,
        "held_bytes": limits.held_bytes_total,
        "memory_bytes": limits.memory_bytes_total,
    }
    rows = [
        [
            f"{kept.connections:,} of {limits.connections:,}",
            DESCRIPTIONS[kept.scene],
            *(f"{kept.worst.get(name, 0):,} of {bound:,}" for name, bound in bounds.items()),
            ", ".join(f"{count:,} {reason}" for reason, count in kept.refused.items()) or NONE,
        ]
        for kept in measured
    ]
    head = ["connections", "scene", "packets held", "bytes held", "bytes unacknowledged", "dropped"]
    return table(head, rows)


def _expiries(expiries: Sequence[Expiry]) -> list[str]:
    rows = [
        [
            f"{each.connections:,}",
            f"{each.resident / each.connections:,.0f}",
            f"{each.tick * 1e6:.2f}",
            f"{each.expired * 1e6:.1f}",
        ]
        for each in expiries
    ]
    head = ["connections", "resident, bytes each", "a tick, µs", "each one expired, µs"]
    return table(head, rows)


def main() -> None:
    name, count, *traced = sys.argv[1:]
    if name == "expiry":
        print(json.dumps(asdict(expiry(int(count)))))
        return
    (scene,) = (each for each in SCENES if each.__name__ == name)
    print(json.dumps(asdict(play(scene, int(count), traced=bool(traced)))))


if __name__ == "__main__":
    main()
