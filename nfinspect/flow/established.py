"""A segment of an established, inspected connection: does its receiver believe it, what does it
acknowledge, where does it stand, and what does it release?

Bytes are decided once and in order (``in_order.py``). Segments beyond a gap are held.
"""

from __future__ import annotations

from nfinspect.actions import DropReason
from nfinspect.events import CloseCause, SentEarly, UninspectedCause, UnseenData
from nfinspect.flow import gap as gaps
from nfinspect.flow.ending import finish
from nfinspect.flow.in_order import decide, hold
from nfinspect.flow.passage import Passage
from nfinspect.flow.timestamps import renew_timestamp
from nfinspect.flow.uninspected import close, pass_uninspected, stop_inspecting
from nfinspect.packet.segment import FIN
from nfinspect.policy.model import UnseenDataAction
from nfinspect.tcp.connection import ESTABLISHED
from nfinspect.tcp.gap import Gap


def established(passage: Passage) -> None:
    """Decide one segment, and the held segments that it releases."""
    stream, segment = passage.stream, passage.segment
    connection, peer = stream.connection, stream.peer
    if connection.uninspected:
        pass_uninspected(passage)
        return
    sequence, fin = passage.sequence, segment.flags & FIN
    reached = passage.acknowledgment
    if not stream.believes(sequence, passage.end + fin, reached, peer.next) and not _goes_on(
        passage
    ):
        return
    if sequence < stream.acknowledged and stream.gap is not None:
        stream.gap.note_repetition()
    arrival = passage.arrival
    options = None
    if sequence <= stream.next:
        options = segment.datagram[segment.transport + 20 : segment.payload]
    if arrival.link_source:
        stream.came_from(arrival.ingress, arrival.link_source)
    window, edge = segment.window << stream.scale, peer.edge
    passage.new_ack = stream.take(
        arrival.now, options, passage.acknowledgment, window, reached + window
    )
    gap = peer.gap
    if gap is not None and gap.probes:
        gaps.remove_probe_report(passage, gap)

    if fin or passage.end > sequence:
        if sequence > stream.next:
            _beyond_gap(passage)
        else:
            decide(passage)
            if (stream.held or peer.held) and connection.phase is ESTABLISHED:
                _release(passage)
            if passage.leaves_last:
                passage.leave()
    elif gap is None:
        passage.pass_on()
    else:
        _acknowledges_only(passage, gap, repeats=not passage.new_ack and edge == peer.edge)
    if gap is not None and gap is peer.gap and passage.new_ack and connection.phase is ESTABLISHED:
        gaps.acknowledged(passage.core, peer, gap)
    if peer.fin is not None and peer.finished and stream.finished:
        if passage.core.table.holds(connection):
            finish(passage.core, stream)


def _goes_on(passage: Passage) -> bool:
    """Decide a segment that its receiver does not believe. False if it has been decided; True if it
    only acknowledges bytes that wait here, in a capture."""
    stream, peer = passage.stream, passage.stream.peer
    if stream.beyond_window(passage.sequence):
        passage.drop(DropReason.OUT_OF_WINDOW)
        return False
    if passage.acknowledgment > peer.next:
        if not _acknowledges_waiting(passage):
            _unseen(passage)
            return False
        passage.acknowledgment = peer.next
    elif peer.too_old_to_acknowledge(passage.acknowledgment):
        passage.drop(DropReason.INVALID_ACK)
        return False
    if passage.end + passage.fin >= stream.acknowledged:
        return True
    _acknowledged_before(passage)
    return False


def _acknowledged_before(passage: Passage) -> None:
    """Pass a segment that its receiver has acknowledged entirely, and take nothing from it, as its
    receiver does."""
    stream = passage.stream
    stream.heard(passage.arrival.now)
    if stream.gap is not None:
        stream.gap.note_repetition()
    if passage.end > passage.sequence or passage.fin:
        passage.acknowledgment = 0
        decide(passage)
        passage.leave()
    else:
        passage.pass_on()


def _acknowledges_waiting(passage: Passage) -> bool:
    """In a capture: whether it acknowledges bytes that wait here, which were sent early."""
    core, stream, reached = passage.core, passage.stream.peer, passage.acknowledgment
    if not core.permissions.nobody_reacts or reached > stream.waiting_until:
        return False
    if stream.acknowledge_waiting(reached):
        identity, count = stream.connection.identity, reached - stream.next
        passage.emit(SentEarly(identity, stream.direction, count))
    return True


def _unseen(passage: Passage) -> None:
    """A segment acknowledges what the filter never passed: it is forged, or bytes bypassed the
    filter.

    Only a segment that its receiver would accept, inside both windows, counts as proof of the
    latter; one that repeats acknowledged bytes does not, a keep-alive probe does.
    """
    stream, permissions = passage.stream, passage.core.permissions
    peer, connection = stream.peer, stream.connection
    first, reached = passage.sequence, passage.acknowledgment
    plausible = stream.believes(first, first + 1, reached, peer.may_have_sent)
    if not plausible or connection.plan.inspection is None:
        passage.drop(DropReason.INVALID_ACK)
        return
    one_sided = permissions.missing_side and not peer.heard_from
    if not one_sided:
        count = passage.acknowledgment - peer.next
        passage.emit(UnseenData(connection.identity, peer.direction, count))
    wanted = connection.plan.inspection.map.parameters.unseen_data or permissions.unseen_data
    if wanted is UnseenDataAction.DROP_CONNECTION:
        close(passage, CloseCause.UNSEEN_DATA)
        return
    cause = UninspectedCause.ONE_SIDED if one_sided else UninspectedCause.UNSEEN_DATA
    stop_inspecting(passage, cause)
    pass_uninspected(passage)


def _beyond_gap(passage: Passage) -> None:
    if passage.stream.fin is not None:
        passage.drop(DropReason.PAST_FIN)
    elif hold(passage, otherwise=DropReason.HOLD_BOUND):
        gaps.report(passage)


def _acknowledges_only(passage: Passage, gap: Gap, *, repeats: bool) -> None:
    """An ACK by the receiver while there is a gap; ``repeats``: of nothing new, with no new
    window."""
    if repeats and not gap.ack_lost and gaps.already_reported(passage, gap):
        passage.drop(DropReason.ALREADY_REPORTED)
    else:
        passage.pass_on()
        gap.note_passed_acknowledgement()


def _release(passage: Passage) -> None:
    """After a packet has been decided: decide the held packets that are in order now."""
    stream, core = passage.stream, passage.core
    options = passage.segment.options
    if gaps.filled(stream):
        _release_all(passage)
        passage.leave()
        if stream.held:
            stream.pass_timestamp(options)
        return
    if stream.held:
        stream.pass_timestamp(options)
    _release_all(passage)
    if stream.gap is not None:
        gaps.partly_filled(core, stream, stream.gap)


def _release_all(passage: Passage) -> None:
    """Decide the held packets that are now in order, in both directions, while any can move."""
    core, connection = passage.core, passage.stream.connection
    streams = (connection.client, connection.server)
    verified_before = not core.permissions.unverified_checksums
    moved = True
    while moved:
        moved = False
        for stream in streams:
            while (held := core.holding.next_in_order(stream)) is not None:
                before = stream.next
                renew_timestamp(held, verified=held.arrival.checksum_ready and verified_before)
                held.resume()
                decide(held)
                if connection.phase is not ESTABLISHED or connection.uninspected:
                    return
                moved = moved or stream.next != before
                if held.waits:
                    break
                gaps.cut_short(held)
    for stream in streams:
        stream.settle_waiting()
