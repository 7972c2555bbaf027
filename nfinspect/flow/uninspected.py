"""Connections passed without inspection: TLS has started, they are older than the filter, or bytes
bypassed it.

Retransmissions of what passed under inspection are still answered from memory until it is
acknowledged: a retransmission must not unmask a masked greeting.
"""

from __future__ import annotations

from nfinspect.actions import Action, Emit
from nfinspect.arrival import Arrival
from nfinspect.esmtp.watch import watch
from nfinspect.events import Direction, Uninspected, UninspectedCause
from nfinspect.flow import gap as gaps
from nfinspect.flow.core import Core
from nfinspect.flow.ending import finish
from nfinspect.flow.timestamps import note_timestamp, with_newest_timestamp
from nfinspect.flow.verdict import pass_on
from nfinspect.packet.segment import FIN, Segment
from nfinspect.tcp.connection import Half, StreamWatcher, TcpConnection
from nfinspect.tcp.sequence import unwrap


def stop_inspecting(
    core: Core,
    connection: TcpConnection,
    cause: UninspectedCause,
    arrival: Arrival,
    actions: list[Action],
) -> None:
    """Stop inspecting the connection, and pass all its held packets."""
    connection.uninspected = True
    inspector, connection.inspector = connection.inspector, None
    actions.append(Emit(Uninspected(connection.name, cause), arrival.token))
    if core.options.transcript and cause is not UninspectedCause.TLS:
        inspection = core.plan(connection.name.client, connection.name.server).inspection
        connection.observer = watch(
            connection.name, cause, inspector, None if inspection is None else inspection.map
        )
    for half in (connection.client, connection.server):
        half.observed = half.next
        if half.held:
            note_timestamp(half, half.options)
        for held in core.holding.take_all(half):
            segment = with_newest_timestamp(half, held.segment, verified=False)
            pass_uninspected(core, half, held.arrival, segment, actions)
        gaps.forget(core, half)
        core.waiting.forget(half)


def pass_uninspected(
    core: Core, half: Half, arrival: Arrival, segment: Segment, actions: list[Action]
) -> None:
    """Pass a segment of an uninspected connection, and track its sequence numbers if they lie
    inside the windows: an attacker who does not know these cannot end the connection."""
    connection, peer = half.connection, half.peer
    half.last_seen = arrival.now
    sequence = unwrap(segment.sequence + half.offset, half.next)
    length = segment.end - segment.payload
    end = sequence + length
    acknowledgment = unwrap(segment.acknowledgment, peer.next)
    if (
        (half.edge is None or sequence <= half.edge)
        and end + (segment.flags & FIN) >= half.acknowledged
        and (peer.edge is None or acknowledgment <= max(peer.edge, peer.next))
        and acknowledgment >= peer.acknowledged - peer.largest_window
    ):
        _follow(core, half, segment, end, sequence, acknowledgment)
    payload = None
    boundary = half.memory.end
    if length and boundary is not None and sequence < boundary:
        old = min(boundary, end) - sequence
        own = segment.payload_bytes
        payload = half.memory.recall(sequence, sequence + old) + own[old:]
        if payload == own:
            payload = None
    if connection.observer is not None and end > half.observed:
        _observe(connection.observer, half, sequence, arrival, segment, actions)
    pass_on(half, arrival, segment, actions, payload)
    if half.finished and peer.finished and core.table.holds(connection):
        finish(core, half, arrival.now, actions, arrival.token)


def _follow(
    core: Core, half: Half, segment: Segment, end: int, sequence: int, acknowledgment: int
) -> None:
    peer = half.peer
    if acknowledgment > peer.acknowledged:
        peer.acknowledged = acknowledgment
        if peer.memory.size:
            core.ledger.memory_bytes -= peer.memory.release(acknowledgment)
    window = segment.window << half.scale
    if window > peer.largest_window:
        peer.largest_window = window
    edge = acknowledgment + window
    if peer.edge is None or edge > peer.edge:
        peer.edge = edge
    before = half.next
    if end > before:
        half.passed += end - max(sequence, before)
        half.next = end
    if segment.flags & FIN and half.fin is None and end + 1 >= before:
        half.fin = end
        half.next = end + 1
        core.table.set_timer(half.connection)


def _observe(
    observer: StreamWatcher,
    half: Half,
    sequence: int,
    arrival: Arrival,
    segment: Segment,
    actions: list[Action],
) -> None:
    """Show the observer the bytes not seen before, in order of arrival; gaps are not waited for."""
    fresh = segment.payload_bytes[max(0, half.observed - sequence) :]
    missed = half.observed < sequence and half.acknowledged < sequence
    half.observed = sequence + segment.length
    if half.direction is Direction.REQUEST:
        if missed:
            observer.missed()
        observer.request(fresh, segment.length, 0)
    else:
        observer.reply(fresh)
    actions.extend(Emit(event, arrival.token) for event in observer.events)
    observer.events.clear()
