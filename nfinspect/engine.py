"""The way of one packet: parse, find its connection, order its stream, inspect, act.

A datagram goes in with what the kernel knows of it, an ordered list of actions comes out. The
engine is driven: it does no I/O and knows no time but what it is told. Live queue, replay, tests
and benchmarks drive the same engine. ``actions.py`` says what each action means, ``flow/`` has the
steps.

Laws
- A packet gets exactly one verdict. One without a verdict is held and gets it later, at the latest
  at ``flush``.
- What leaves is a prefix of what inspection approved, each byte in its place: lengths never change,
  a packet is at most cut at its end.
- Bytes that were decided are decided for good: what repeats them is answered from memory.
"""

from __future__ import annotations

from nfinspect.actions import Action, Drop, DropReason
from nfinspect.arrival import Arrival
from nfinspect.events import TeardownReason
from nfinspect.flow.core import Core, EngineOptions
from nfinspect.flow.ending import closed_segment, end
from nfinspect.flow.established import established
from nfinspect.flow.opening import begin, opening_or_reset
from nfinspect.packet.checksum import offloaded, tcp_checksum_valid
from nfinspect.packet.segment import ACK, RST, SYN, Segment, parse
from nfinspect.policy.model import Inspection, Policy
from nfinspect.tcp.connection import CLOSED, ESTABLISHED, InspectionTotals, Phase, TcpConnection
from nfinspect.tcp.limits import Ledger

__all__ = ["Engine", "EngineOptions", "InspectionTotals"]


class Engine:
    """``started`` and every ``now`` are seconds on one clock of the driver's."""

    def __init__(
        self, policy: Policy, options: EngineOptions | None = None, *, started: float
    ) -> None:
        self._core = Core(policy, options or EngineOptions(), started)

    def arrive(self, arrival: Arrival) -> list[Action]:
        """Decide one datagram, and whatever else its coming decides."""
        core = self._core
        actions: list[Action] = []
        segment = parse(arrival.datagram, arrival.captured_length)
        if not isinstance(segment, Segment):
            actions.append(Drop(arrival.token, segment))
            return actions
        if arrival.checksum_ready and not self._checksum_valid(segment):
            actions.append(Drop(arrival.token, DropReason.BAD_CHECKSUM))
            return actions
        half = core.table.halves.get(segment.key) or begin(core, arrival, segment, actions)
        if half is None:
            return actions
        if half.barred_port and arrival.ingress == half.barred_port:
            actions.append(Drop(arrival.token, DropReason.WRONG_SIDE))
            return actions
        phase = half.connection.phase
        if phase is CLOSED:
            closed_segment(core, half, arrival, segment, actions)
        elif (
            phase is ESTABLISHED and segment.flags & (SYN | RST | ACK) == ACK
        ) or opening_or_reset(core, half, arrival, segment, actions):
            established(core, half, arrival, segment, actions)
        return actions

    def tick(self, now: float) -> list[Action]:
        """End what has timed out."""
        core = self._core
        actions: list[Action] = []
        while (connection := core.table.expired(now)) is not None:
            end(core, connection, now, _timeout_of(connection), actions)
        if now >= core.pickup_until:
            core.table.forget_ended()
        return actions

    def deadline(self) -> float | None:
        """When the engine wants its next tick; None: not before another packet."""
        return self._core.table.deadline()

    def flush(self, now: float, reason: DropReason = DropReason.FLUSHED) -> list[Action]:
        """Give every held packet its verdict: the filter stops, or the capture has ended."""
        holding = self._core.holding
        return [
            Drop(held.arrival.token, reason)
            for half in holding.halves()
            for held in holding.take_all(half)
        ]

    @property
    def totals(self) -> dict[Inspection, InspectionTotals]:
        """Show's top line, for each ``inspect`` of the policy."""
        return self._core.totals

    @property
    def ledger(self) -> Ledger:
        """What all connections keep together."""
        return self._core.ledger

    @property
    def held(self) -> int:
        """Packets that wait for their verdict."""
        return self._core.ledger.held_packets

    @property
    def connections(self) -> int:
        """Connections in the table."""
        return len(self._core.table)

    def payload_bytes(self, key: bytes) -> int:
        """Payload passed so far, both ways and each byte once, by the open connection that packets
        with this key belong to; 0 if there is none."""
        half = self._core.table.halves.get(key)
        return half.connection.payload_bytes if half else 0

    def _checksum_valid(self, segment: Segment) -> bool:
        return tcp_checksum_valid(segment) or (self._core.options.recorded and offloaded(segment))


def _timeout_of(connection: TcpConnection) -> TeardownReason | None:
    """Which timeout has ended it; None where its line has been written at the close."""
    if connection.phase is CLOSED:
        return None
    if connection.phase < Phase.ESTABLISHED:
        return TeardownReason.SYN_TIMEOUT
    if connection.half_closed:
        return TeardownReason.FIN_TIMEOUT
    return TeardownReason.CONNECTION_TIMEOUT
