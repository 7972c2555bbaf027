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

from collections.abc import Collection, Iterator

from mypy_extensions import mypyc_attr

from nfinspect.actions import Action, DropReason
from nfinspect.arrival import Arrival
from nfinspect.esmtp.prepared import prepare_esmtp
from nfinspect.flow import kernel
from nfinspect.flow.core import Core, Prepare
from nfinspect.flow.ending import after_closing, clear, may_reopen
from nfinspect.flow.established import established
from nfinspect.flow.idle import timed_out
from nfinspect.flow.intercept import flush as flush_intercept
from nfinspect.flow.intercept import handled, translate
from nfinspect.flow.intercept import tick as tick_intercept
from nfinspect.flow.opening import begin, expect, opening
from nfinspect.flow.passage import Passage
from nfinspect.flow.permissions import AS_LIVE, LIVE, RECORDED, EngineOptions, Permissions
from nfinspect.packet.checksum import tcp_checksum_valid
from nfinspect.packet.segment import ACK, RST, SYN, Segment, parse
from nfinspect.policy.model import Inspection, Policy
from nfinspect.tcp.connection import CLOSED, ESTABLISHED, TcpConnection
from nfinspect.tcp.inspection import InspectionTotals
from nfinspect.tcp.interception import Interceptions
from nfinspect.tcp.kernel_connection import KernelConnection, Sighting
from nfinspect.tcp.limits import Ledger

__all__ = [
    "AS_LIVE",
    "LIVE",
    "RECORDED",
    "Engine",
    "EngineOptions",
    "InspectionTotals",
    "Permissions",
]


@mypyc_attr(allow_interpreted_subclasses=True)
class Engine:
    """``started`` and every ``now`` are seconds on the driver's clock. ``prepare`` makes what
    inspects: an abstract inspection is all that the steps know."""

    def __init__(
        self,
        policy: Policy,
        options: EngineOptions | None = None,
        *,
        started: float,
        prepare: Prepare = prepare_esmtp,
    ) -> None:
        self._core = Core(policy, options or EngineOptions(), prepare, started)

    def arrive(self, arrival: Arrival) -> list[Action]:
        """Decide one datagram, and any held packets that its arrival releases."""
        core = self._core
        core.now, core.token = arrival.now, arrival.token
        actions: list[Action] = []
        core.actions = actions

        segment = parse(arrival.datagram, arrival.captured_length)
        if not isinstance(segment, Segment):
            core.drop(arrival, segment)
            return actions
        if arrival.checksum_ready and not tcp_checksum_valid(segment):
            core.drop(arrival, DropReason.BAD_CHECKSUM)
            return actions

        if not (core.proxy.busy and handled(core, arrival, segment, self._decide)):
            self._decide(arrival, segment)
        return actions

    def _decide(self, arrival: Arrival, segment: Segment) -> None:
        core = self._core
        stream = core.table.streams.get(segment.key) or begin(core, arrival, segment)
        if stream is None:
            return
        if stream.barred_device and arrival.ingress == stream.barred_device:
            core.drop(arrival, DropReason.WRONG_SIDE)
            return

        passage = Passage(core, arrival, segment, stream)
        phase = stream.connection.phase
        if phase is ESTABLISHED and segment.flags & (SYN | RST | ACK) == ACK:
            established(passage)
        elif phase is CLOSED and not may_reopen(passage):
            after_closing(passage)
        elif (opened := opening(passage)) is not None:
            established(opened)

    def tick(self, now: float) -> list[Action]:
        """End the connections that have timed out, and report what has waited for too long."""
        core = self._core
        actions = core.begin(now)
        core.report_waits(all_of_them=False)
        while (
            connection := core.table.expired(now, picking_up=now < core.pickup_until)
        ) is not None:
            if isinstance(connection, KernelConnection):
                kernel.timed_out(core, connection)
            elif isinstance(connection, TcpConnection):
                timed_out(core, connection)
        if now >= core.pickup_until:
            core.table.forget_ended()
        if core.proxy.busy:
            translate(core)
            tick_intercept(core)
        return actions

    def deadline(self) -> float | None:
        """When ``tick`` is next due; None if not before another packet arrives."""
        core = self._core
        timeout, wait = core.table.deadline(), core.waiting.deadline()
        if core.proxy.busy:
            intercept = core.proxy.deadline()
            if wait is None or (intercept is not None and intercept < wait):
                wait = intercept
        if timeout is None or wait is None:
            return wait if timeout is None else timeout
        return min(timeout, wait)

    def flush(self, now: float, reason: DropReason = DropReason.FLUSHED) -> list[Action]:
        """Drop every held packet: the filter is stopping, or the capture has ended. Nobody knows how
        long a wait lasted beyond the end of a capture, so that each is reported then."""
        core = self._core
        actions = core.begin(now)
        core.report_waits(all_of_them=core.permissions.nobody_reacts)
        for stream in core.holding.streams():
            for held in core.holding.take_all(stream):
                held.drop(reason)
        if core.proxy.busy:
            flush_intercept(core)
            translate(core)
        return actions

    def adopt(self, policy: Policy) -> None:
        """Follow *policy* with connections that begin from now on; open ones keep their plan."""
        self._core.adopt(policy)

    def clear(self, now: float, address: bytes | None = None) -> list[Action]:
        """End open connections, all or those of the host with this *address* (4 or 16 bytes): they
        get no more packets through, and begin anew under the present policy. Those that inspection
        has closed stay closed."""
        core = self._core
        actions = core.begin(now)
        for connection in core.table.connections():
            ends = connection.identity.client.address, connection.identity.server.address
            if connection.phase is not CLOSED and (address is None or address in ends):
                clear(core, connection)
        for passed in list(core.table.passed.values()):
            ends = passed.identity.client.address, passed.identity.server.address
            if address is None or address in ends:
                kernel.clear(core, passed)
        return actions

    def tell(self, sightings: Collection[Sighting], now: float) -> list[Action]:
        """Connection tracking has told something of connections that the kernel passes by itself."""
        core = self._core
        actions = core.begin(now)
        for sighting in sightings:
            kernel.told(core, sighting)
        return actions

    def look(self, sightings: Collection[Sighting], since: float, now: float) -> list[Action]:
        """All that connection tracking knows of such connections; it was asked at *since*. Those that it
        does not know are over; whoever has been quiet for too long is ended."""
        core = self._core
        actions = core.begin(now)
        kernel.looked(core, sightings, since)
        return actions

    def forgotten(self) -> list[bytes]:
        """Handles of entries that connection tracking must forget; each is returned once."""
        core = self._core
        found, core.forgotten = core.forgotten, []
        return found

    @property
    def passed(self) -> int:
        """Connections in the table that the kernel passes by itself."""
        return len(self._core.table.passed)

    @property
    def totals(self) -> dict[Inspection, InspectionTotals]:
        """The figures in the top line of show service-policy, for each ``inspect`` of the
        policy."""
        return {inspection: ready.totals for inspection, ready in self._core.inspections}

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

    def expect(self, keys: Collection[bytes], now: float) -> None:
        """Count connections older than the filter, by the keys of their packets from the client,
        against their limits, until they are picked up or `keep_expected` says that they are over."""
        core = self._core
        core.begin(now)
        if now < core.pickup_until:
            for key in keys:
                expect(core, key)

    def keep_expected(self, keys: Collection[bytes], now: float) -> None:
        """Count those no more that are not among *keys*; none if they are no longer picked up."""
        table = self._core.table
        over = now >= self._core.pickup_until
        for key in list(table.expected):
            if over or key not in keys:
                table.expect_no_more(key)

    @property
    def interceptions(self) -> Interceptions:
        """Whom TCP intercept protects; the driver says whether that is possible."""
        return self._core.table.admission.interceptions

    @property
    def intercepted(self) -> dict[str, int]:
        """TCP intercept on a bridge: what the filter itself has answered, and what is in progress."""
        return self._core.proxy.counts()

    @property
    def expected(self) -> int:
        """Connections older than the filter that count and of which no packet has come yet."""
        return len(self._core.table.expected)

    @property
    def open_connections(self) -> list[TcpConnection | KernelConnection]:
        """Those in the table that inspection has not closed, for show; to be read only."""
        table = self._core.table
        found: list[TcpConnection | KernelConnection] = []
        found += [each for each in table.connections() if each.phase is not CLOSED]
        found += table.passed.values()
        return found

    def clear_totals(self) -> None:
        """Count inspected packets anew."""
        for _, ready in self._core.inspections:
            ready.totals.clear()

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
        stream = self._core.table.streams.get(key)
        return stream.connection.payload_bytes if stream else 0
