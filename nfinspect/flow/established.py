"""A segment of an established, inspected connection: acknowledgement, order, inspection, holding.

Bytes are decided once and in order. Retransmissions are answered from memory. Segments beyond a gap
are held. While the request direction is shut, new requests are held, or cut off so that TCP sends
them again.
"""

from __future__ import annotations

from nfinspect.actions import Action, Drop, DropReason, Emit
from nfinspect.arrival import Arrival
from nfinspect.events import (
    REQUEST,
    CloseCause,
    ConflictingBytes,
    UninspectedCause,
    UnseenData,
)
from nfinspect.flow import gap as gaps
from nfinspect.flow.core import Core
from nfinspect.flow.ending import close_by_inspection, finish
from nfinspect.flow.timestamps import note_timestamp, with_newest_timestamp
from nfinspect.flow.uninspected import pass_uninspected, stop_inspecting
from nfinspect.flow.verdict import ENDING_FLAGS, pass_on
from nfinspect.packet.segment import FIN, Segment
from nfinspect.policy.model import UnseenDataAction
from nfinspect.tcp.connection import ESTABLISHED, Half, Held, TcpConnection
from nfinspect.tcp.sequence import unwrap


def established(
    core: Core, half: Half, arrival: Arrival, segment: Segment, actions: list[Action]
) -> None:
    """Decide one segment, and the held segments that it releases."""
    connection, peer = half.connection, half.peer
    if connection.uninspected:
        pass_uninspected(core, half, arrival, segment, actions)
        return
    sequence = unwrap(segment.sequence + half.offset, half.next)
    if half.edge is not None and sequence > half.edge:
        actions.append(Drop(arrival.token, DropReason.OUT_OF_WINDOW))
        return
    acknowledgment = unwrap(segment.acknowledgment, peer.next)
    if acknowledgment > peer.next:
        _unseen(core, half, arrival, segment, actions, sequence, acknowledgment)
        return
    if acknowledgment < peer.acknowledged - peer.largest_window:
        actions.append(Drop(arrival.token, DropReason.INVALID_ACK))
        return
    half.last_seen = arrival.now
    length = segment.end - segment.payload
    if sequence < half.acknowledged and half.gap is not None:
        half.gap.ack_lost = True
    # A FIN takes one sequence number, and its flag has the value 1.
    if sequence + length + (segment.flags & FIN) < half.acknowledged:
        _acknowledged_before(core, half, arrival, segment, actions, sequence)
        return
    if sequence <= half.next:
        half.options = segment.datagram[segment.transport + 20 : segment.payload]
    if arrival.link_source:
        half.port, half.link_source = arrival.ingress, arrival.link_source
    new_ack = acknowledgment > peer.acknowledged
    if new_ack:
        peer.acknowledged = acknowledgment
        if peer.memory.chunks:
            core.ledger.memory_bytes -= peer.memory.release(acknowledgment)
    window = segment.window << half.scale
    if window > peer.largest_window:
        peer.largest_window = window
    edge = acknowledgment + window
    window_update = peer.edge is None or edge > peer.edge
    if window_update:
        peer.edge = edge
    gap = peer.gap
    if gap is not None and gap.probes:
        segment = gaps.without_probe_report(gap, segment)

    if length or segment.flags & FIN:
        if sequence > half.next:
            _beyond_gap(core, half, arrival, segment, actions, sequence)
        else:
            before = len(actions)
            _in_order(core, half, arrival, segment, actions, sequence, acknowledgment, new_ack)
            if connection.phase is ESTABLISHED and (half.held or peer.held):
                last = gaps.fills(half)
                if half.held and not last:
                    note_timestamp(half, segment.options)
                _release(core, connection, actions)
                if last:
                    gaps.put_last(actions, before, arrival.token)
                    if half.held:
                        note_timestamp(half, segment.options)
                elif half.gap is not None:
                    gaps.partly_filled(half, half.gap, actions)
    elif (
        gap is not None
        and not (new_ack or window_update or gap.ack_lost)
        and gaps.already_reported(
            peer, gap, segment, answers_probe=segment.datagram is not arrival.datagram
        )
    ):
        actions.append(Drop(arrival.token, DropReason.ALREADY_REPORTED))
    else:
        pass_on(half, arrival, segment, actions)
        if gap is not None:
            gap.ack_lost = False
    if gap is not None and gap is peer.gap and new_ack and connection.phase is ESTABLISHED:
        gaps.acknowledged(core, peer, gap, actions)
    if peer.fin is not None and peer.finished and half.finished and core.table.holds(connection):
        finish(core, half, arrival.now, actions, arrival.token)


def _unseen(
    core: Core,
    half: Half,
    arrival: Arrival,
    segment: Segment,
    actions: list[Action],
    sequence: int,
    acknowledgment: int,
) -> None:
    """A segment acknowledges what the filter never passed: it is forged, or bytes bypassed the
    filter.

    Only a segment that its receiver would accept, inside both windows, counts as proof of the
    latter.
    """
    peer, connection = half.peer, half.connection
    plausible = (peer.edge is None or acknowledgment <= peer.edge) and (
        sequence >= half.acknowledged - 1
    )
    if not plausible or connection.plan.inspection is None:
        actions.append(Drop(arrival.token, DropReason.INVALID_ACK))
        return
    count = acknowledgment - peer.next
    actions.append(Emit(UnseenData(connection.name, peer.direction, count), arrival.token))
    wanted = connection.plan.inspection.map.parameters.unseen_data
    if wanted is None:
        recorded = core.options.recorded
        wanted = UnseenDataAction.UNINSPECTED if recorded else UnseenDataAction.DROP_CONNECTION
    if wanted is UnseenDataAction.DROP_CONNECTION:
        close_by_inspection(core, half, arrival, CloseCause.UNSEEN_DATA, actions)
        return
    cause = (
        UninspectedCause.UNSEEN_DATA if peer.last_seen is not None else UninspectedCause.ONE_SIDED
    )
    stop_inspecting(core, connection, cause, arrival, actions)
    pass_uninspected(core, half, arrival, segment, actions)


def _acknowledged_before(
    core: Core,
    half: Half,
    arrival: Arrival,
    segment: Segment,
    actions: list[Action],
    sequence: int,
) -> None:
    """Pass a segment that the receiver has acknowledged completely, and take nothing from it.

    The receiver ignores its contents too, and only acknowledges again (RFC 9293 section
    3.10.7.4). Half of all sequence numbers are that old, so such a segment is easily forged.
    """
    if segment.length or segment.flags & FIN:
        _in_order(core, half, arrival, segment, actions, sequence, 0, False)
    else:
        pass_on(half, arrival, segment, actions)


def _beyond_gap(
    core: Core,
    half: Half,
    arrival: Arrival,
    segment: Segment,
    actions: list[Action],
    sequence: int,
) -> None:
    if half.fin is not None:
        actions.append(Drop(arrival.token, DropReason.PAST_FIN))
        return
    held = _hold(core, half, arrival, segment, actions, sequence, DropReason.HOLD_BOUND)
    if held is not None:
        gaps.hold(core, half, held, actions)


def _hold(
    core: Core,
    half: Half,
    arrival: Arrival,
    segment: Segment,
    actions: list[Action],
    sequence: int,
    otherwise: DropReason,
) -> Held | None:
    """Delay the verdict; if the bounds do not allow it, drop for the reason ``otherwise``.

    Returns None if the packet is not held.
    """
    held = Held(arrival, segment, sequence)
    if core.holding.repeats(half, sequence, held.end, segment.flags & FIN):
        actions.append(Drop(arrival.token, DropReason.REPEATED_HELD))
        gaps.repeat(half, sequence, held.end, actions)
        return None
    admitted, evicted = core.holding.add(half, held)
    for other in evicted:
        actions.append(Drop(other.arrival.token, DropReason.HOLD_BOUND))
        gaps.evicted(core, core.table.halves[other.segment.key], other)
    if admitted:
        if len(half.held) == 1:
            half.newest_timestamp = None
        return held
    actions.append(Drop(arrival.token, otherwise))
    return None


def _in_order(
    core: Core,
    half: Half,
    arrival: Arrival,
    segment: Segment,
    actions: list[Action],
    sequence: int,
    acknowledgment: int,
    new_ack: bool,
) -> bool:
    """Decide a segment that begins at or before ``half.next``. ``new_ack``: it acknowledges bytes
    for the first time. False if nothing of it could pass yet and it was to be held."""
    connection, memory = half.connection, half.memory
    payload = segment.datagram[segment.payload : segment.end]
    length = len(payload)
    end = sequence + length
    fin = segment.flags & FIN
    if (fin or half.fin is not None) and _contradicts_fin(half, end, fin):
        actions.append(Drop(arrival.token, DropReason.PAST_FIN))
        return True

    start = half.next
    old = 0
    if sequence != start:
        old = min(start - sequence, length)
        fresh = payload[old:]
        if memory.conflicts(sequence, payload[:old]):
            actions.append(Emit(ConflictingBytes(connection.name, half.direction), arrival.token))
    else:
        fresh = payload
    passed = fresh
    if fresh:
        ledger = core.ledger
        size = len(fresh)
        if not core.options.limits.admits(size, memory.size, ledger.memory_bytes):
            if not old:
                actions.append(Drop(arrival.token, DropReason.MEMORY_BOUND))
                return True
            passed = b""
        else:
            approved = _inspect(
                core, half, arrival, actions, fresh, length, acknowledgment, new_ack
            )
            if approved is None:
                return True
            passed = approved
        if passed:
            decided = len(passed)
            memory.append(start, fresh if decided == size else fresh[:decided], passed)
            ledger.memory_bytes += decided
            half.passed += decided
            half.next = start + decided
        if len(passed) < size:
            return _cut(core, half, arrival, segment, actions, sequence, old, passed, new_ack)

    if fin and half.fin is None:
        half.fin = end
        half.next = end + 1
        core.table.set_timer(connection)
    if old:
        passed = memory.recall(sequence, sequence + old) + passed
        pass_on(half, arrival, segment, actions, None if passed == payload else passed)
    else:
        pass_on(half, arrival, segment, actions, None if passed is fresh else passed)
    if connection.inspector is not None and connection.inspector.uninspected is not None:
        stop_inspecting(core, connection, connection.inspector.uninspected, arrival, actions)
    return True


def _contradicts_fin(half: Half, end: int, fin: int) -> bool:
    """Data beyond the FIN, or a FIN at another sequence number than before, or below passed
    data."""
    if half.fin is not None:
        return end > half.fin or bool(fin and end != half.fin)
    return bool(fin) and end < half.next


def _inspect(
    core: Core,
    half: Half,
    arrival: Arrival,
    actions: list[Action],
    fresh: bytes,
    length: int,
    acknowledgment: int,
    new_ack: bool,
) -> bytes | None:
    """The part of ``fresh`` that may pass; None if inspection has closed the connection."""
    connection = half.connection
    inspector = connection.inspector
    if inspector is None:
        return fresh
    if half.direction is REQUEST:
        acknowledged = acknowledgment - (half.peer.initial or 0) - 1
        passed = inspector.request(fresh, length, acknowledged)
    else:
        passed = inspector.reply(fresh)
    if inspector.events:
        actions.extend([Emit(event, arrival.token) for event in inspector.events])
        inspector.events.clear()
        if half.direction is REQUEST:
            core.waiting.for_line_end(half, half.next + len(passed), _noted(core, arrival))
    closes = inspector.closing is not None
    if (passed or closes) and connection.totals is not None:
        connection.totals.packet += 1
    if inspector.closing is not None:
        close_by_inspection(core, half, arrival, inspector.closing, actions, new_ack=new_ack)
        return None
    return passed


def _cut(
    core: Core,
    half: Half,
    arrival: Arrival,
    segment: Segment,
    actions: list[Action],
    sequence: int,
    old: int,
    passed: bytes,
    new_ack: bool,
) -> bool:
    """Pass the approved part; TCP will send the rest again. If nothing is approved, hold the
    packet.

    A packet that acknowledges bytes for the first time is not held but cut to a bare ACK: the
    server may be waiting for it.
    """
    if old:
        passed = half.memory.recall(sequence, sequence + old) + passed
    inspector = half.connection.inspector
    if not passed and inspector is not None and inspector.refusing:
        actions.append(Drop(arrival.token, DropReason.REFUSED))
        return True
    if half.direction is REQUEST:
        rest = segment.datagram[segment.payload + half.next - sequence : segment.end]
        core.waiting.for_reply(half, half.next, rest, _noted(core, arrival))
    if not passed and not new_ack:
        _hold(core, half, arrival, segment, actions, sequence, DropReason.SHUT)
        return False
    pass_on(half, arrival, segment, actions, passed, ENDING_FLAGS)
    return True


def _noted(core: Core, arrival: Arrival) -> object:
    """The packet, for an event that may come much later. Live, nobody asks for it, and it would be
    kept in memory."""
    return arrival.token if core.options.recorded else None


def _release(core: Core, connection: TcpConnection, actions: list[Action]) -> None:
    """Decide the held packets that are now in order, in both directions, while any can move."""
    moved = True
    while moved:
        moved = False
        for half in (connection.server, connection.client):
            while (held := core.holding.next_in_order(half)) is not None:
                before = half.next
                verified = held.arrival.checksum_ready and not core.options.recorded
                segment = with_newest_timestamp(half, held.segment, verified=verified)
                acknowledgment = unwrap(segment.acknowledgment, half.peer.next)
                done = _in_order(
                    core, half, held.arrival, segment, actions, held.sequence, acknowledgment, False
                )
                if connection.phase is not ESTABLISHED or connection.uninspected:
                    return
                moved = moved or half.next != before
                if not done:
                    break
                gaps.cut_short(core, half, held)
