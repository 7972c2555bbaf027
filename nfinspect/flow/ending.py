"""The end of a connection, and what still passes afterwards.

What inspection closed stays closed. The server has received a prefix of the approved stream and
receives no more; the client still receives the replies to commands that had passed, or it would
resend a mail that the server has already accepted (docs/appliance.md, section 4).

Where the rule says ``reset``, each end gets an RST in the other's name instead, with the number that follows
the last byte that passed to it. It ignores one with another number, and challenges it (RFC 5961 section
3.2): so whatever still comes from an end is answered with an RST of the number that it acknowledges.
"""

from __future__ import annotations

from nfinspect.actions import DropReason
from nfinspect.arrival import Arrival
from nfinspect.events import (
    REPLY,
    REQUEST,
    CloseCause,
    ConnectionTornDown,
    InspectionClosed,
    TeardownReason,
)
from nfinspect.flow import farewell
from nfinspect.flow.core import Core
from nfinspect.flow.passage import ENDING_FLAGS, Passage, pass_stray
from nfinspect.packet.craft import craft_reset
from nfinspect.packet.segment import ACK, FIN, RST, SYN, Segment
from nfinspect.tcp.connection import CLOSED, ESTABLISHED, TcpConnection
from nfinspect.tcp.sequence import UNKNOWN, unwrap
from nfinspect.tcp.stream import Stream
from nfinspect.tcp.table import Finished


def close_by_inspection(passage: Passage, cause: CloseCause) -> None:
    """Close the connection at this packet and drop all of it: the permitted part before the
    violation could end a mail, and the server's reply to that would be lost."""
    core, stream, now = passage.core, passage.stream, passage.arrival.now
    connection = stream.connection
    inspector = connection.inspector
    reset = inspector is not None and inspector.resetting
    text = inspector.closing_reply if inspector is not None and farewell.possible(passage) else b""
    told = bool(text)
    passage.emit(InspectionClosed(connection.identity, stream.direction, cause, reset, told))
    passage.emit(_torn_down(connection, now, TeardownReason.CLOSED_BY_INSPECTION))
    passage.drop(DropReason.INSPECTION)
    if connection.inspection is not None:
        connection.inspection.totals.count_closing(reset=reset)
    connection.phase = CLOSED
    stream.heard(now)
    core.table.close(connection, now)
    _release(core, connection)
    connection.client.forget()
    if reset or told:
        connection.reset = reset
        connection.inspector = None
        connection.server.forget()
        if told:
            farewell.tell(passage, text)
        for each in (connection.client, connection.server):
            if reset and not (told and each.direction is REPLY):
                inject_reset(core, each, each.next)
        return
    if stream.direction is REPLY:
        connection.inspector = None  # a reply was the violation: no further replies pass
    else:
        connection.ack_owed = passage.new_ack
    _forget_if_drained(core, connection)


def may_reopen(passage: Passage) -> bool:
    """Whether this segment of a connection that inspection has closed may open a new one: both ends got
    an RST, so the client's ports are free, and its SYN has another number than before."""
    stream, segment = passage.stream, passage.segment
    return (
        stream.connection.reset
        and segment.flags & (SYN | ACK) == SYN
        and stream.direction is REQUEST
        and unwrap(segment.sequence, stream.initial) != stream.initial
    )


def after_closing(passage: Passage) -> None:
    """A segment of a connection that inspection has closed: while replies are outstanding they pass, and
    after an RST whoever goes on gets another."""
    stream, segment = passage.stream, passage.segment
    connection, peer = stream.connection, stream.peer
    if segment.flags & (SYN | RST | ACK) != ACK:
        if not segment.flags & SYN:
            stream.heard(passage.arrival.now)
        passage.drop(DropReason.CLOSED_CONNECTION)
        return
    if connection.farewell is not None and (stream.direction is REQUEST or not connection.reset):
        farewell.answer(passage, connection.farewell)
        return
    acknowledgment = passage.acknowledgment
    if acknowledgment > peer.next or peer.too_old_to_acknowledge(acknowledgment):
        passage.drop(DropReason.CLOSED_CONNECTION)
        return
    stream.heard(passage.arrival.now)
    if connection.reset:
        passage.drop(DropReason.CLOSED_CONNECTION)
        if not passage.core.permissions.nobody_reacts:
            inject_reset(passage.core, peer, acknowledgment)
        return
    if stream.direction is REQUEST:
        if segment.length or passage.fin:
            passage.drop(DropReason.CLOSED_CONNECTION)
            return
        window = segment.window << stream.scale
        stream.take(passage.arrival.now, None, acknowledgment, window, acknowledgment + window)
        if acknowledgment == peer.next:
            connection.ack_owed = False
        passage.pass_on()
    else:
        _drain(passage)
    _forget_if_drained(passage.core, connection)


def inject_reset(core: Core, stream: Stream, number: int) -> None:
    """Send an RST in the name of the stream's sender to its receiver, who expects this number."""
    sequence = stream.on_the_wire(number)
    core.inject(stream, craft_reset(stream.key, sequence=sequence, hop_limit=stream.hop_limit))


def _drain(passage: Passage) -> None:
    """Pass replies to commands that had passed, and retransmissions of what has passed."""
    core, stream, sequence = passage.core, passage.stream, passage.sequence
    inspector = stream.connection.inspector
    payload = passage.payload
    if stream.fin is not None and passage.end > stream.fin:
        passage.drop(DropReason.CLOSED_CONNECTION)
        return
    old = max(0, min(stream.next - sequence, len(payload)))
    passed = stream.memory.recall(sequence, sequence + old) if old else b""
    fresh = payload[old:]
    if stream.beyond_window(sequence):
        passage.drop(DropReason.OUT_OF_WINDOW)
        return
    limits, ledger = core.options.limits, core.ledger
    if fresh and not limits.admits(len(fresh), stream.memory.size, ledger.memory_bytes):
        passage.drop(DropReason.MEMORY_BOUND)
        return
    if fresh and sequence <= stream.next and inspector is not None and inspector.replies_owed:
        approved = inspector.reply(fresh)
        passage.emit_all(inspector.events)
        if approved:
            stream.advance(fresh[: len(approved)], approved)
            passed += approved
    if payload and not passed:
        passage.drop(DropReason.CLOSED_CONNECTION)
    elif len(passed) == len(payload) and not passage.fin:
        passage.pass_on(None if passed == payload else passed)
    else:
        passage.pass_on(passed, ENDING_FLAGS)


def _forget_if_drained(core: Core, connection: TcpConnection) -> None:
    """Once nothing is outstanding, keep only the connection's key and time."""
    inspector = connection.inspector
    owed = inspector is not None and inspector.replies_owed > 0
    waits = owed or connection.ack_owed or connection.server.memory.size
    if waits or not core.table.holds(connection):
        return
    core.table.remove(connection)
    core.table.remember(connection.key, connection.last_seen, closed_by_inspection=True)


def end(core: Core, connection: TcpConnection, reason: TeardownReason | None) -> None:
    """Remove the connection from the table. ``reason`` is None if its end was logged already."""
    now = core.now
    if reason is not None:
        core.emit(_torn_down(connection, now, reason))
    _release(core, connection)
    connection.client.forget()
    connection.server.forget()
    core.table.remove(connection)
    if connection.phase is CLOSED and now < connection.last_seen + connection.closed_quiet:
        # One direction has been quiet for long enough, so nothing more is owed.
        core.table.remember(connection.key, connection.last_seen, closed_by_inspection=True)
        return
    began = connection.client.initial != UNKNOWN  # it was not picked up
    if (
        began
        and now < core.pickup_until
        and not core.table.remember(connection.key, now, closed_by_inspection=False)
    ):
        core.pickup_until = now  # no room left to tell ended connections from older ones


def clear(core: Core, connection: TcpConnection) -> None:
    """End the connection because an operator wants it. It is not picked up again."""
    end(core, connection, TeardownReason.CLEARED)
    if core.now < core.pickup_until:
        core.table.remember(connection.key, core.now, closed_by_inspection=False)


def finish(core: Core, stream: Stream) -> None:
    """End the connection: both FINs are acknowledged."""
    core.table.finish(stream.connection, core.now)
    end(core, stream.connection, TeardownReason.TCP_FINS)


def reset(core: Core, stream: Stream) -> None:
    """End the connection: an RST in this direction was valid."""
    connection = stream.connection
    from_inside = (stream.direction is REQUEST) == connection.identity.outbound
    reason = TeardownReason.TCP_RESET_INSIDE if from_inside else TeardownReason.TCP_RESET_OUTSIDE
    if connection.phase is ESTABLISHED:
        # Data in flight may be lost; the receiver would then answer the RST with a challenge ACK.
        core.table.finish(
            connection, core.now, reset=True, outstanding=stream.acknowledged != stream.next
        )
    end(core, connection, reason)


def of_finished(core: Core, arrival: Arrival, segment: Segment) -> bool:
    """Decide a segment of a connection that is finished: repeated FINs and ACKs pass, without
    payload, and the rest is dropped.

    False if it belongs to none; if a SYN, or an answer to one that TCP intercept has sent, may open a new
    connection in its place; or if it is no repetition and the connection ended with an RST. Then the
    caller decides.
    """
    found = core.table.find_finished(segment.key, arrival.now)
    if found is None:
        return False
    finished, client_key = found
    side = 0 if segment.key == client_key else 1
    syn = segment.flags & (SYN | ACK) == SYN
    if syn and _may_follow(finished, side, segment.sequence):
        return False
    if (
        segment.flags & SYN
        and side == 1
        and core.table.admission.interceptions.proven(
            segment.destination, segment.source, segment.source_port
        )
        and _may_follow(finished, 0, segment.acknowledgment - 1)
    ):
        return False
    if _is_repeated(finished, side, segment):
        pass_stray(core, arrival, segment, without_payload=segment.length > 0)
    elif finished.reset and not syn:
        return False
    else:
        reason = DropReason.BAD_SYN if segment.flags & SYN else DropReason.CLOSED_CONNECTION
        core.drop(arrival, reason)
    return True


def _may_follow(finished: Finished, side: int, sequence: int) -> bool:
    """Whether a SYN of this number may open a new connection: the number must be higher, or after an
    RST any other than before. (If the RST did not reach the server, a SYN-ACK of the old connection
    would answer the same number: inspection would begin anew, and the server would go on.)"""
    if finished.reset:
        initial = finished.initial if side == 0 else UNKNOWN
        return initial == UNKNOWN or unwrap(sequence, initial) != initial
    last = finished.next_numbers[side]
    return unwrap(sequence + finished.offsets[side], last) > last


def _is_repeated(finished: Finished, side: int, segment: Segment) -> bool:
    """Whether a segment by this side, client or server, has passed before."""
    own, other = finished.next_numbers[side], finished.next_numbers[1 - side]
    end = unwrap(segment.sequence + finished.offsets[side], own) + segment.length
    ends_as_before = finished.fins[side] and end + 1 == own if segment.flags & FIN else end <= own
    return (
        finished.outstanding
        and not segment.flags & SYN
        and ends_as_before
        and (not segment.flags & ACK or unwrap(segment.acknowledgment, other) <= other)
    )


def _release(core: Core, connection: TcpConnection) -> None:
    """Drop what is held, and report nothing more."""
    for stream in (connection.client, connection.server):
        for held in core.holding.take_all(stream):
            held.drop(DropReason.CLOSED_CONNECTION)
        stream.close_gap()
        core.waiting.forget(stream)


def _torn_down(connection: TcpConnection, now: float, reason: TeardownReason) -> ConnectionTornDown:
    return ConnectionTornDown(
        connection.identity, reason, now - connection.created, connection.payload_bytes
    )
