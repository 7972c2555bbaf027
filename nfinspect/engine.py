"""The path of one packet: parse, find its connection, order its stream, inspect, act.

A datagram and its metadata go in; an ordered list of actions comes out. The engine does no I/O and
reads no clock: its driver (the live queue, replay, a test, a benchmark) passes in the time.
``actions.py`` defines the actions, ``flow/`` holds the steps.

Invariants
- A packet gets exactly one verdict. A packet without a verdict is held; it gets one later, at
  ``flush`` at the latest. In a capture, the rest of a packet that was cut gets one of its own (a
  Replace or a Drop of the same token): there nobody sends it again.
- What leaves is a prefix of what inspection approved, each byte at its sequence number: lengths
  never change, but a packet may be cut short.
- A decision about a byte is final: retransmissions are answered from memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from nfinspect.actions import Action, Drop, DropReason
from nfinspect.arrival import Arrival
from nfinspect.events import TeardownReason
from nfinspect.flow.core import Core, EngineOptions
from nfinspect.flow.ending import closed_segment, end
from nfinspect.flow.established import established
from nfinspect.flow.opening import begin, opening_or_reset
from nfinspect.packet.checksum import tcp_checksum_valid
from nfinspect.packet.segment import ACK, RST, SYN, Segment, parse
from nfinspect.policy.model import Inspection, Policy
from nfinspect.tcp.connection import CLOSED, ESTABLISHED, InspectionTotals, Phase, TcpConnection
from nfinspect.tcp.limits import Ledger

__all__ = ["Engine", "EngineOptions", "InspectionTotals"]


class Engine:
    """``started`` and every ``now`` are seconds on the driver's clock."""

    def __init__(
        self, policy: Policy, options: EngineOptions | None = None, *, started: float
    ) -> None:
        self._core = Core(policy, options or EngineOptions(), started)

    def arrive(self, arrival: Arrival) -> list[Action]:
        """Decide one datagram, and any held packets that its arrival releases."""
        core = self._core
        actions: list[Action] = []
        segment = parse(arrival.datagram, arrival.captured_length)
        if not isinstance(segment, Segment):
            actions.append(Drop(arrival.token, segment))
            return actions
        if arrival.checksum_ready and not tcp_checksum_valid(segment):
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
        """End the connections that have timed out, and report what has waited for too long."""
        core = self._core
        actions: list[Action] = []
        core.waiting.report(now, actions)
        while (
            connection := core.table.expired(now, picking_up=now < core.pickup_until)
        ) is not None:
            end(core, connection, now, _timeout_of(connection), actions)
        if now >= core.pickup_until:
            core.table.forget_ended()
        return actions

    def deadline(self) -> float | None:
        """When ``tick`` is next due; None if not before another packet arrives."""
        core = self._core
        timeout, wait = core.table.deadline(), core.waiting.deadline()
        if timeout is None or wait is None:
            return wait if timeout is None else timeout
        return min(timeout, wait)

    def flush(self, now: float, reason: DropReason = DropReason.FLUSHED) -> list[Action]:
        """Drop every held packet: the filter is stopping, or the capture has ended. Nobody knows how
        long a wait lasted beyond the end of a capture, so that each is reported then."""
        core = self._core
        actions: list[Action] = []
        core.waiting.report(now, actions, all_of_them=core.options.recorded)
        holding = core.holding
        actions.extend(
            Drop(held.arrival.token, reason)
            for half in holding.halves()
            for held in holding.take_all(half)
        )
        return actions

    def adopt(self, policy: Policy) -> None:
        """Follow *policy* with connections that begin from now on; open ones keep their plan."""
        self._core.adopt(policy)

    @property
    def totals(self) -> dict[Inspection, InspectionTotals]:
        """The figures in the top line of show service-policy, per ``inspect`` of the policy."""
        return self._core.totals

    @property
    def ledger(self) -> Ledger:
        """What all connections together hold and remember."""
        return self._core.ledger

    @property
    def held(self) -> int:
        """Packets waiting for their verdict."""
        return self._core.ledger.held_packets

    @property
    def waits(self) -> tuple[int, int]:
        """Reported waits that still last: for a reply, and for the end of a line."""
        return self._core.waiting.lasting()

    @property
    def connections(self) -> int:
        """Connections in the table."""
        return len(self._core.table)

    def closed_connections(self) -> Iterator[tuple[bytes, float]]:
        """See `Table.closed_connections`; for the driver to keep across a restart."""
        return self._core.table.closed_connections()

    def restore_closed(self, key: bytes, since: float, now: float) -> bool:
        """See `Table.restore_closed`; called before the first packet arrives."""
        return self._core.table.restore_closed(key, since, now)

    def payload_bytes(self, key: bytes) -> int:
        """Payload bytes passed so far in both directions, each byte once, on the open connection
        that packets with this key belong to; 0 if there is none."""
        half = self._core.table.halves.get(key)
        return half.connection.payload_bytes if half else 0


def _timeout_of(connection: TcpConnection) -> TeardownReason | None:
    """Which timeout has expired; None if inspection closed the connection, which logged it then."""
    if connection.phase is CLOSED:
        return None
    if connection.phase < Phase.ESTABLISHED:
        return TeardownReason.SYN_TIMEOUT
    if connection.half_closed:
        return TeardownReason.FIN_TIMEOUT
    return TeardownReason.CONNECTION_TIMEOUT
