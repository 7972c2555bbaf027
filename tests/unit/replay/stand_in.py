"""A stand-in for the engine, with the interface that the driver uses, and helpers for captures.

It follows connections only by their SYNs and FINs and inspects nothing; a test can script anything
else.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from struct import pack

from nfinspect.actions import Accept, Action, Drop, DropReason, Emit
from nfinspect.arrival import Arrival
from nfinspect.events import (
    CommandSeen,
    Connection,
    ConnectionBuilt,
    ConnectionTornDown,
    Endpoint,
    ReplySeen,
    TeardownReason,
)
from nfinspect.packet.segment import FIN, SYN, Segment, parse
from nfinspect.policy import default_configuration
from nfinspect.replay.capture import Capture, Frame
from nfinspect.replay.driver import Replay
from nfinspect.replay.output import CaptureWriter
from nfinspect.replay.result import Result

POLICY = default_configuration().policy
Script = Callable[[Arrival, Segment], list[Action] | None]


class StandIn:
    """Accepts every packet for which *script* returns no actions."""

    def __init__(self, script: Script | None = None) -> None:
        self.totals = {}
        self.arrivals = 0
        self.held: list[Arrival] = []
        self.ticks: list[float] = []
        self.deadlines: list[float] = []
        self._script = script
        self._open: dict[bytes, tuple[Connection, float]] = {}
        self._number = 0

    def arrive(self, arrival: Arrival) -> list[Action]:
        self.arrivals += 1
        segment = parse(arrival.datagram, arrival.captured_length)
        if isinstance(segment, DropReason):
            return [Drop(arrival.token, segment)]
        actions: list[Action] = []
        if segment.flags & SYN and segment.key not in self._open and segment.destination_port == 25:
            self._number += 1
            client = Endpoint("outside", segment.source, segment.source_port)
            server = Endpoint("inside", segment.destination, segment.destination_port)
            connection = Connection(self._number, client, server)
            self._open[segment.key] = (connection, arrival.now)
            actions.append(Emit(ConnectionBuilt(connection), arrival.token))
        scripted = self._script(arrival, segment) if self._script else None
        if scripted is not None:
            return actions + scripted
        for key in (segment.key, segment.reverse_key):
            if key in self._open:
                connection, since = self._open[key]
                if segment.length:
                    kind = CommandSeen if key == segment.key else ReplySeen
                    line = segment.payload_bytes.split(b"\r\n")[0]
                    actions.append(Emit(kind(connection, line), arrival.token))
                if segment.flags & FIN and segment.source_port == 25:
                    del self._open[key]
                    actions.append(
                        Emit(
                            ConnectionTornDown(
                                connection, TeardownReason.TCP_FINS, arrival.now - since, 7
                            ),
                            arrival.token,
                        )
                    )
        actions.append(Accept(arrival.token))
        return actions

    def hold(self, arrival: Arrival) -> list[Action]:
        self.held.append(arrival)
        return []

    def release(self) -> list[Action]:
        actions: list[Action] = [Accept(arrival.token) for arrival in self.held]
        self.held.clear()
        return actions

    def deadline(self) -> float | None:
        return self.deadlines[0] if self.deadlines else None

    def tick(self, now: float) -> list[Action]:
        self.ticks.append(now)
        while self.deadlines and self.deadlines[0] <= now:
            self.deadlines.pop(0)
        return []

    def flush(self, now: float) -> list[Action]:
        held, self.held = self.held, []
        return [Drop(arrival.token, DropReason.FLUSHED) for arrival in held]

    def payload_bytes(self, key: bytes) -> int:
        return 11 if key in self._open else 0


def replayed(
    capture: bytes, out: Path | None = None, engine: StandIn | None = None
) -> tuple[Result, StandIn]:
    """Replay a capture through the stand-in; return the result and the engine."""
    engine = engine or StandIn()
    writer = CaptureWriter(out) if out is not None else None
    replay = Replay(POLICY, engine, writer)
    replay.feed(Capture(io.BytesIO(capture), "test.pcap"))
    result = replay.finish()
    if writer is not None:
        writer.close()
    return result, engine


def frames(capture: bytes | Path) -> list[Frame]:
    data = capture if isinstance(capture, bytes) else capture.read_bytes()
    reader = Capture(io.BytesIO(data), "test.pcap")
    found = list(reader)
    assert reader.damage is None, reader.damage
    return found


def pcap(
    packets: Iterable[bytes],
    link_type: int = 1,
    *,
    order: str = "<",
    nanoseconds: bool = False,
    start: int = 1_700_000_000,
    step: int = 1_000,
) -> bytes:
    """A pcap file with a packet every *step* microseconds or nanoseconds."""
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    unit = 10**9 if nanoseconds else 10**6
    pieces = [pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link_type)]
    for position, packet in enumerate(packets):
        seconds, fraction = divmod(start * unit + position * step, unit)
        pieces.append(pack(order + "IIII", seconds, fraction, len(packet), len(packet)) + packet)
    return b"".join(pieces)
