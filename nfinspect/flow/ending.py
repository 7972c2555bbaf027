"""The end of a connection, and what still passes afterwards.

What inspection closed stays closed. The server has received a prefix of the approved stream and
receives no more; the client still receives the replies to commands that had passed, or it would
resend a mail that the server has already accepted (docs/appliance.md, section 4).
"""

from __future__ import annotations

from nfinspect.actions import Action, Drop, DropReason, Emit
from nfinspect.arrival import Arrival
from nfinspect.events import (
    CloseCause,
    ConnectionTornDown,
    Direction,
    InspectionClosed,
    TeardownReason,
)
from nfinspect.flow import gap as gaps
from nfinspect.flow.core import Core
from nfinspect.flow.verdict import ENDING_FLAGS, pass_on
from nfinspect.packet.segment import ACK, FIN, RST, SYN, Segment
from nfinspect.tcp.connection import Half, Phase, TcpConnection
from nfinspect.tcp.sequence import unwrap
from nfinspect.tcp.table import Finished


def close_by_inspection(
    core: Core,
    half: Half,
    arrival: Arrival,
    cause: CloseCause,
    actions: list[Action],
    *,
    new_ack: bool = False,
) -> None:
    """Close the connection at this packet and drop all of it: the permitted part before the
    violation could end a mail, and the server's reply to that would be lost. ``new_ack``: the
    packet acknowledges bytes for the first time."""
    connection = half.connection
    token = arrival.token
    actions.append(Emit(InspectionClosed(connection.name, half.direction, cause), token))
    actions.append(
        Emit(_torn_down(connection, arrival.now, TeardownReason.CLOSED_BY_INSPECTION), token)
    )
    actions.append(Drop(token, DropReason.INSPECTION))
    if connection.totals is not None:
        connection.totals.drop += 1
    connection.phase = Phase.CLOSED
    core.table.closing[connection.key] = arrival.now
    half.last_seen = arrival.now
    _release(core, connection, DropReason.CLOSED_CONNECTION, actions)
    core.ledger.memory_bytes -= connection.client.memory.clear()
    if half.direction is Direction.REPLY:
        connection.inspector = None  # a reply was the violation: no further replies pass
    else:
        connection.ack_owed = new_ack
    _forget_if_drained(core, connection)


def closed_segment(
    core: Core, half: Half, arrival: Arrival, segment: Segment, actions: list[Action]
) -> None:
    """A segment of a connection that inspection has closed while replies were outstanding."""
    connection = half.connection
    if segment.flags & (SYN | RST | ACK) != ACK:
        if not segment.flags & SYN:
            half.last_seen = arrival.now
        actions.append(Drop(arrival.token, DropReason.CLOSED_CONNECTION))
        return
    peer = half.peer
    acknowledgment = unwrap(segment.acknowledgment, peer.next)
    if not peer.acknowledged - peer.largest_window <= acknowledgment <= peer.next:
        actions.append(Drop(arrival.token, DropReason.CLOSED_CONNECTION))
        return
    half.last_seen = arrival.now
    if half.direction is Direction.REQUEST:
        if segment.length or segment.flags & FIN:
            actions.append(Drop(arrival.token, DropReason.CLOSED_CONNECTION))
            return
        if acknowledgment > peer.acknowledged:
            peer.acknowledged = acknowledgment
            core.ledger.memory_bytes -= peer.memory.release(acknowledgment)
        edge = acknowledgment + (segment.window << half.scale)
        if peer.edge is None or edge > peer.edge:
            peer.edge = edge
        if acknowledgment == peer.next:
            connection.ack_owed = False
        pass_on(half, arrival, segment, actions)
    else:
        _drain(core, half, arrival, segment, actions)
    _forget_if_drained(core, connection)


def _drain(
    core: Core, half: Half, arrival: Arrival, segment: Segment, actions: list[Action]
) -> None:
    """Pass replies to commands that had passed, and retransmissions of what has passed."""
    inspector = half.connection.inspector
    sequence = unwrap(segment.sequence + half.offset, half.next)
    payload = segment.payload_bytes
    if half.fin is not None and sequence + len(payload) > half.fin:
        actions.append(Drop(arrival.token, DropReason.CLOSED_CONNECTION))
        return
    old = max(0, min(half.next - sequence, len(payload)))
    passed = half.memory.recall(sequence, sequence + old) if old else b""
    fresh = payload[old:]
    limits, ledger = core.options.limits, core.ledger
    if half.edge is not None and sequence > half.edge:
        actions.append(Drop(arrival.token, DropReason.OUT_OF_WINDOW))
        return
    if fresh and not limits.admits(len(fresh), half.memory.size, ledger.memory_bytes):
        actions.append(Drop(arrival.token, DropReason.MEMORY_BOUND))
        return
    if fresh and sequence <= half.next and inspector is not None and inspector.replies_owed:
        approved = inspector.reply(fresh)
        actions.extend(Emit(event, arrival.token) for event in inspector.events)
        inspector.events.clear()
        if approved:
            half.memory.append(half.next, fresh[: len(approved)], approved)
            ledger.memory_bytes += len(approved)
            half.next += len(approved)
            half.passed += len(approved)
            passed += approved
    if payload and not passed:
        actions.append(Drop(arrival.token, DropReason.CLOSED_CONNECTION))
    elif len(passed) == len(payload) and not segment.flags & FIN:
        pass_on(half, arrival, segment, actions, None if passed == payload else passed)
    else:
        pass_on(half, arrival, segment, actions, passed, ENDING_FLAGS)


def _forget_if_drained(core: Core, connection: TcpConnection) -> None:
    """Once nothing is outstanding, keep only the connection's key and time."""
    inspector = connection.inspector
    owed = inspector is not None and inspector.replies_owed > 0
    waits = owed or connection.ack_owed or connection.server.memory.size
    if waits or not core.table.holds(connection):
        return
    core.table.remove(connection)
    core.table.remember(connection.key, connection.last_seen, closed_by_inspection=True)


def end(
    core: Core,
    connection: TcpConnection,
    now: float,
    reason: TeardownReason | None,
    actions: list[Action],
    token: object = None,
) -> None:
    """Remove the connection from the table. ``reason`` is None if its end was logged already."""
    if reason is not None:
        actions.append(Emit(_torn_down(connection, now, reason), token))
    _release(core, connection, DropReason.CLOSED_CONNECTION, actions)
    for half in (connection.client, connection.server):
        core.ledger.memory_bytes -= half.memory.clear()
    core.table.remove(connection)
    if connection.phase is Phase.CLOSED and now < connection.last_seen + connection.closed_quiet:
        # One direction has been quiet for long enough, so nothing more is owed.
        core.table.remember(connection.key, connection.last_seen, closed_by_inspection=True)
        return
    began = connection.client.initial is not None  # it was not picked up
    if (
        began
        and now < core.pickup_until
        and not core.table.remember(connection.key, now, closed_by_inspection=False)
    ):
        core.pickup_until = now  # no room left to tell ended connections from older ones


def finish(core: Core, half: Half, now: float, actions: list[Action], token: object) -> None:
    """End the connection: both FINs are acknowledged."""
    core.table.finish(half.connection, now)
    end(core, half.connection, now, TeardownReason.TCP_FINS, actions, token)


def reset(core: Core, half: Half, now: float, actions: list[Action], token: object) -> None:
    """End the connection: an RST in this direction was valid."""
    from_inside = (half.direction is Direction.REQUEST) == half.connection.name.outbound
    reason = TeardownReason.TCP_RESET_INSIDE if from_inside else TeardownReason.TCP_RESET_OUTSIDE
    if half.connection.phase is Phase.ESTABLISHED:
        # Data in flight may be lost; the receiver would then answer the RST with a challenge ACK.
        core.table.finish(
            half.connection, now, reset=True, outstanding=half.acknowledged != half.next
        )
    end(core, half.connection, now, reason, actions, token)


def may_reopen(finished: Finished, from_client: bool, segment: Segment) -> bool:
    """Whether this SYN may open a new connection in place of a finished one: its sequence number
    must be higher, or after an RST any other than before. (If the RST did not reach the server, a
    SYN-ACK of the old connection would answer the same number: inspection would begin anew, and
    the server would go on.)"""
    if segment.flags & (SYN | ACK) != SYN:
        return False
    if finished.reset:
        initial = finished.initial if from_client else None
        return initial is None or unwrap(segment.sequence, initial) != initial
    last = finished.next_numbers[0 if from_client else 1]
    return unwrap(segment.sequence, last) > last


def repeats_finished(
    finished: Finished,
    from_client: bool,
    arrival: Arrival,
    segment: Segment,
    actions: list[Action],
) -> bool:
    """Pass repeated FINs and ACKs of a finished connection, without payload, and drop the rest.

    False if the segment is no repetition and the connection ended with an RST: then the caller
    decides.
    """
    own, other = finished.next_numbers if from_client else finished.next_numbers[::-1]
    had_fin = finished.fins[0 if from_client else 1]
    end = unwrap(segment.sequence, own) + segment.length
    stale = (
        finished.outstanding
        and not segment.flags & SYN
        and (had_fin and end + 1 == own if segment.flags & FIN else end <= own)
        and (not segment.flags & ACK or unwrap(segment.acknowledgment, other) <= other)
    )
    if stale:
        if segment.length:
            pass_on(None, arrival, segment, actions, b"", ENDING_FLAGS)
        else:
            pass_on(None, arrival, segment, actions)
    elif finished.reset and segment.flags & (SYN | ACK) != SYN:
        return False
    else:
        reason = DropReason.BAD_SYN if segment.flags & SYN else DropReason.CLOSED_CONNECTION
        actions.append(Drop(arrival.token, reason))
    return True


def _release(
    core: Core, connection: TcpConnection, reason: DropReason, actions: list[Action]
) -> None:
    for half in (connection.client, connection.server):
        for held in core.holding.take_all(half):
            actions.append(Drop(held.arrival.token, reason))
        gaps.forget(core, half)
        core.waiting.forget(half)


def _torn_down(connection: TcpConnection, now: float, reason: TeardownReason) -> ConnectionTornDown:
    return ConnectionTornDown(
        connection.name, reason, now - connection.created, connection.payload_bytes
    )
