"""What the engine keeps: bytes for each open connection, and that the totals are bounded.

``python -m bench.memory SCENE COUNT [traced]`` plays one scene in a process of its own, with so many
connections, and prints what it has found as JSON; `results` makes a text of that.
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

from bench.loads import KIB, MB
from bench.report import NONE, facts_table, table
from bench.session import GSO_SEGMENT, SEGMENT, Packet, session
from nfinspect.actions import Drop
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.policy import default_policy
from nfinspect.tcp.limits import MEBIBYTE, Limits

LATER = 1000.0
"""A time when nothing older than the filter is taken up any more."""
PORTS = 60_000
TRACED = 20
"""The connections of a scene are divided by this where every allocation is recorded, which takes
its time."""


class Stage:
    """An engine, and packets that are made for any number of connections."""

    def __init__(self) -> None:
        self.engine = Engine(default_policy(), started=0.0)
        self.refused: Counter[str] = Counter()
        """Packets that were dropped, by reason."""
        self.worst: Counter[str] = Counter()
        """The greatest figures of the ledger."""

    def play(self, number: int, packets: Sequence[Packet]) -> None:
        """Show the engine packets of connection *number*."""
        for packet in packets:
            datagram = moved(packet, number)
            arrival = Arrival(object(), datagram, LATER, checksum_ready=False, gso=packet.gso)
            for action in self.engine.arrive(arrival):
                if isinstance(action, Drop):
                    self.refused[action.reason.value] += 1
        self.worst |= Counter(asdict(self.engine.ledger))


def moved(packet: Packet, number: int) -> bytes:
    """The packet between the server and the client of this number, which has an address and a port
    of its own. The checksum is not to be looked at."""
    datagram = bytearray(packet.at_port(1024 + number % PORTS))
    at = 12 if packet.from_client else 16
    datagram[at : at + 4] = (0xC612_0000 + number // PORTS).to_bytes(4, "big")  # 198.18.0.0/15
    return bytes(datagram)


def bare(packet: Packet) -> Packet:
    """Its acknowledgement alone."""
    size = 20 + (packet.datagram[32] >> 4) * 4
    datagram = packet.datagram[:2] + size.to_bytes(2, "big") + packet.datagram[4:size]
    return replace(packet, kind="ACK", datagram=datagram)


def wide(packet: Packet) -> Packet:
    """With the largest window that can be announced without another scale."""
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
    """Up to the packet at *end*, of which the acknowledgement alone comes. Then one more connection
    is tried."""
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
    behind = [packet for packet in packets[first + 1 :] if packet.kind == "message"]
    for packet in behind[: 64 * KIB // SEGMENT - 2]:
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
"""With the number of connections."""


# ---- what they leave ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """What is in memory at the end of a scene."""

    scene: str
    connections: int
    """That are open."""
    resident: int
    """Bytes that the process has more than before (proc_pid_statm(5))."""
    allocated: int
    """Bytes that Python has allocated more than before; 0 if that was not recorded."""
    worst: dict[str, int]
    refused: dict[str, int]


def play(scene: Callable[[Stage, int], None], count: int, *, traced: bool) -> Kept:
    """Play a scene in this process."""
    warm = Stage()
    warm.play(0, session(2 * KIB, SEGMENT))
    stage = Stage()
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


def measure(divisor: int, *, tell: Callable[[str], None]) -> Iterator[tuple[Kept, Kept]]:
    """Play every scene in two processes of its own: as it is, and with fewer connections and every
    allocation recorded. *divisor* makes all of it smaller."""
    for scene, count in SCENES.items():
        tell(f"{count // divisor:,} connections: {scene.__doc__}")
        yield (
            _elsewhere(scene.__name__, count // divisor),
            _elsewhere(scene.__name__, max(1, count // divisor // TRACED), "traced"),
        )


def _elsewhere(*arguments: object) -> Kept:
    argv = [sys.executable, "-m", "bench.memory", *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return Kept(**json.loads(done.stdout))


def results(measured: Sequence[tuple[Kept, Kept]], facts: Mapping[str, str], command: str) -> str:
    """The whole text."""
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


def main() -> None:
    name, count, *traced = sys.argv[1:]
    (scene,) = (each for each in SCENES if each.__name__ == name)
    print(json.dumps(asdict(play(scene, int(count), traced=bool(traced)))))


if __name__ == "__main__":
    main()
