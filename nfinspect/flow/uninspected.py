"""Connections passed without inspection: TLS has started, they are older than the filter, or bytes
bypassed it.

Retransmissions of what passed under inspection are still answered from memory until it is
acknowledged: a retransmission must not unmask a masked greeting.
"""

from __future__ import annotations

from nfinspect.actions import DropReason
from nfinspect.events import REQUEST, CloseCause, Uninspected, UninspectedCause, WouldClose
from nfinspect.flow.core import Core
from nfinspect.flow.ending import close_by_inspection, finish
from nfinspect.flow.passage import Passage
from nfinspect.flow.timestamps import renew_timestamp
from nfinspect.tcp.connection import TcpConnection
from nfinspect.tcp.inspection import StreamWatcher


def close(passage: Passage, cause: CloseCause) -> None:
    """Inspection closes the connection at this packet, or if it only watches, says so, and the
    connection goes on uninspected."""
    connection = passage.stream.connection
    if not passage.core.permissions.only_watches:
        close_by_inspection(passage, cause)
        return
    inspector = connection.inspector
    reset = inspector is not None and inspector.resetting
    passage.emit(WouldClose(connection.identity, passage.stream.direction, cause, reset))
    if connection.inspection is not None:
        connection.inspection.totals.count_closing(reset=reset)
    passage.drop(DropReason.INSPECTION)
    stop_inspecting(passage, UninspectedCause.WOULD_CLOSE)
    pass_uninspected(passage)


def stop_inspecting(passage: Passage, cause: UninspectedCause) -> None:
    """From this packet on, pass the connection without inspection; pass all its held packets."""
    core, connection = passage.core, passage.stream.connection
    passage.emit(Uninspected(connection.identity, cause))
    connection.uninspected = True
    if core.options.transcript and cause is not UninspectedCause.TLS:
        connection.watcher = _watcher(core, connection, cause)
    connection.inspector = None
    connection.client.keep(0)
    for stream in (connection.client, connection.server):
        stream.watch_from_here()
        if stream.held:
            stream.pass_timestamp(stream.options)
        for held in core.holding.take_all(stream):
            renew_timestamp(held, verified=False)
            pass_uninspected(held)
        stream.close_gap()
        core.waiting.forget(stream)


def _watcher(
    core: Core, connection: TcpConnection, cause: UninspectedCause
) -> StreamWatcher | None:
    """Who reads on, for the transcript."""
    identity = connection.identity
    inspection = core.plan(identity.client, identity.server).inspection
    if inspection is None:
        return None
    return core.prepared(inspection).watch(identity, cause, connection.inspector)


def pass_uninspected(passage: Passage) -> None:
    """Pass a segment of an uninspected connection, and track its sequence numbers if they lie
    inside the windows: an attacker who does not know these cannot end the connection."""
    core, stream = passage.core, passage.stream
    connection, peer = stream.connection, stream.peer
    stream.heard(passage.arrival.now)
    last = passage.end + passage.fin
    if stream.believes(passage.sequence, last, passage.acknowledgment, peer.may_have_sent):
        _follow(passage)
    if connection.watcher is not None and passage.end > stream.observed:
        _watched(passage, connection.watcher)
    passage.pass_on(_as_passed_before(passage))
    if stream.finished and peer.finished and core.table.holds(connection):
        finish(core, stream)


def _as_passed_before(passage: Passage) -> bytes | None:
    """The payload, if it begins with bytes that passed otherwise under inspection; else None."""
    stream, sequence = passage.stream, passage.sequence
    boundary = stream.memory.end
    if boundary is None or sequence >= boundary or sequence == passage.end:
        return None
    old = min(boundary, passage.end) - sequence
    own = passage.payload
    payload = stream.memory.recall(sequence, sequence + old) + own[old:]
    return None if payload == own else payload


def _follow(passage: Passage) -> None:
    stream, segment = passage.stream, passage.segment
    acknowledgment = passage.acknowledgment
    window = segment.window << stream.scale
    stream.take(passage.arrival.now, None, acknowledgment, window, acknowledgment + window)
    before = stream.next
    stream.advance_unread(passage.sequence, passage.end)
    if passage.fin and stream.fin is None and passage.end + 1 >= before:
        stream.finish(passage.end)
        passage.core.table.set_timer(stream.connection)


def _watched(passage: Passage, watcher: StreamWatcher) -> None:
    """Show the watcher the bytes not seen before, in order of arrival; gaps are not waited for."""
    stream, sequence = passage.stream, passage.sequence
    observed = stream.observed
    fresh = passage.payload[max(0, observed - sequence) :]
    missed = observed < sequence and stream.acknowledged < sequence
    stream.watched(passage.end)
    if stream.direction is REQUEST:
        if missed:
            watcher.missed()
        watcher.request(fresh, passage.segment.length, 0)
    else:
        watcher.reply(fresh)
    passage.emit_all(watcher.events)
