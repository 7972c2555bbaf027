"""What the engine alone costs for each packet of an ordinary session; needs no root."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

from bench import instructions
from bench.instructions import NoValgrindError
from bench.loads import KIB, MB
from bench.report import table
from bench.session import FIRST_PORT, GSO_SEGMENT, SEGMENT, Packet, session
from nfinspect.actions import Accept, Replace
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.policy import default_policy


@dataclass(frozen=True, slots=True)
class Workload:
    """A number of sessions of one mail each."""

    name: str
    size: int
    segment: int
    sessions: int
    counted: tuple[int, int]
    """Sessions of the two runs in which instructions are counted."""


WORKLOADS = (
    Workload("2 KiB", 2 * KIB, SEGMENT, 500, counted=(20, 120)),
    Workload("5 MB in packets of 64 KiB", 5 * MB, GSO_SEGMENT, 5, counted=(1, 3)),
)
PASSES = 7


def run(workload: Workload, passes: int = PASSES) -> list[str]:
    """Time each packet of *workload*, and count the instructions of a session; return lines of text.

    Of all passes the shortest times are shown: other activity on the machine can only add time, so the
    minimum is closest to the true cost.
    """
    packets = session(workload.size, workload.segment)
    counts = Counter(packet.kind for packet in packets)
    timed = [_time(packets, workload.sessions) for _ in range(passes)]
    rows = [
        [kind, str(counts[kind]), f"{_per_packet(timed, kind, counts, workload):.1f}"]
        for kind in counts
    ]
    whole = min(sum(kinds.values()) for kinds in timed) / workload.sessions / 1000
    rows.append(["whole session", str(len(packets)), f"{whole / len(packets):.1f}"])
    return [
        f"{workload.name}: {whole:,.0f} µs per session, {workload.size / whole:,.1f} MB/s",
        _counted(packets, workload),
        "",
        *table(["kind", "packets", "µs per packet"], rows),
    ]


def _counted(packets: Sequence[Packet], workload: Workload) -> str:
    try:
        count = instructions.per_session(packets, *workload.counted)
    except NoValgrindError as error:
        return f"instructions: not counted, {error}"
    return f"{count:,.0f} instructions per session, {count / len(packets):,.0f} per packet"


def _per_packet(
    timed: Iterable[Counter[str]], kind: str, counts: Counter[str], workload: Workload
) -> float:
    return min(kinds[kind] for kinds in timed) / counts[kind] / workload.sessions / 1000


def _time(packets: Sequence[Packet], sessions: int) -> Counter[str]:
    """Nanoseconds by kind of packet, over all sessions, each from a different port."""
    engine = Engine(default_policy(), started=0.0)
    arrive, now = engine.arrive, perf_counter_ns
    spent: Counter[str] = Counter()
    overhead = _cost_of_timing()
    gc.collect()
    for port in range(FIRST_PORT, FIRST_PORT + sessions):
        for packet in packets:
            arrival = Arrival(
                None, packet.at_port(port), 1000.0, checksum_ready=False, gso=packet.gso
            )
            started = now()
            actions = arrive(arrival)
            spent[packet.kind] += now() - started - overhead
            assert any(isinstance(action, Accept | Replace) for action in actions), packet.kind
    assert engine.connections == 0
    return spent


def _cost_of_timing() -> int:
    def once() -> int:
        started = perf_counter_ns()
        return perf_counter_ns() - started

    return min(once() for _ in range(1000))
