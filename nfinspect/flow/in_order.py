"""A segment in order: inspection of its new bytes, repetitions from memory, what must wait.

Bytes are decided once. Retransmissions are answered from memory. While the request direction is
shut, new requests are held, or cut off so that TCP sends them again.
"""

from __future__ import annotations

from nfinspect.actions import DropReason
from nfinspect.events import REQUEST, ConflictingBytes
from nfinspect.flow import gap as gaps
from nfinspect.flow.passage import ENDING_FLAGS, Passage
from nfinspect.flow.uninspected import close, stop_inspecting
from nfinspect.packet.edit import without_beginning
from nfinspect.packet.segment import FIN
from nfinspect.tcp.inspection import StreamInspector
from nfinspect.tcp.stream import Stream


def decide(passage: Passage) -> None:
    """Decide a segment that begins at or before the next number expected. ``passage.waits`` tells
    whether something of it is held."""
    stream, segment, sequence = passage.stream, passage.segment, passage.sequence
    passage.waits = False
    fin = segment.flags & FIN
    if (fin or stream.fin is not None) and stream.contradicts_fin(passage.end, fin):
        passage.drop(DropReason.PAST_FIN)
        return
    payload = fresh = segment.datagram[segment.payload : segment.end]
    repeated = b""
    if sequence != stream.next:
        old = min(stream.next - sequence, len(payload))
        repeated, fresh = payload[:old], payload[old:]
        if stream.memory.conflicts(sequence, repeated):
            passage.emit(ConflictingBytes(stream.connection.identity, stream.direction))
    passed = fresh
    if fresh:
        approved = _approved(passage, fresh, repeats=bool(repeated))
        if approved is None:
            return
        passed = approved
        if passed:
            size = len(passed)
            stream.advance(fresh if size == len(fresh) else fresh[:size], passed)
    whole = len(passed) == len(fresh)
    rewritten = passed is not fresh
    if repeated:
        passed = stream.memory.recall(sequence, sequence + len(repeated)) + passed
        rewritten = passed != payload
    if not whole:
        _cut(passage, passed)
        return
    if fin and stream.fin is None:
        stream.finish(passage.end)
        passage.core.table.set_timer(stream.connection)
    if stream.gap is not None:
        passage.leaves_last = _fills_gap(passage, stream)
    passage.pass_on(passed if rewritten else None)
    inspector = stream.connection.inspector
    if inspector is not None and inspector.uninspected is not None:
        stop_inspecting(passage, inspector.uninspected)


def hold(passage: Passage, *, otherwise: DropReason) -> bool:
    """Delay the verdict; if the bounds do not allow it, drop for the reason ``otherwise``. Whether
    the packet is held."""
    core, stream = passage.core, passage.stream
    if core.holding.repeats(passage):
        passage.drop(DropReason.REPEATED_HELD)
        gaps.report_again(passage)
        return False
    admitted, evicted = core.holding.add(passage)
    for other in evicted:
        other.drop(DropReason.HOLD_BOUND)
        gaps.evicted(other)
    if not admitted:
        passage.drop(otherwise)
    elif len(stream.held) == 1:
        stream.forget_timestamp()
    return admitted


def _approved(passage: Passage, fresh: bytes, *, repeats: bool) -> bytes | None:
    """The part of ``fresh`` that may pass; None if the packet has been decided. ``repeats``: bytes
    that passed before come in front of it."""
    stream, core = passage.stream, passage.core
    limits, ledger = core.options.limits, core.ledger
    if not limits.admits(len(fresh), stream.memory.size, ledger.memory_bytes):
        if repeats:
            return b""
        passage.drop(DropReason.MEMORY_BOUND)
        return None
    connection = stream.connection
    inspector = connection.inspector
    if inspector is None:
        return fresh
    if connection.inspection is not None:
        connection.inspection.clock.now = passage.arrival.now
    if stream.direction is REQUEST:
        acknowledged = passage.acknowledgment - max(0, stream.peer.initial) - 1
        inspector.frugal = ledger.kept_bytes > limits.kept_bytes_total
        passed = inspector.request(fresh, passage.segment.length, acknowledged)
        if inspector.kept != stream.kept:
            stream.keep(inspector.kept)
    elif stream.peer.held and core.permissions.nobody_reacts:
        passed = _one_reply(stream, fresh, inspector)
    else:
        passed = inspector.reply(fresh)
    if inspector.events:
        passage.emit_all(inspector.events)
        if stream.direction is REQUEST:
            line_end = stream.next + len(passed)
            core.waiting.for_line_end(stream, line_end, passage.token_to_keep)
    if connection.inspection is not None and (passed or inspector.closing is not None):
        connection.inspection.totals.packet += 1
    if inspector.closing is not None:
        close(passage, inspector.closing)
        return None
    return passed


def _one_reply(stream: Stream, fresh: bytes, inspector: StreamInspector) -> bytes:
    """In a capture: only the first line of the replies, as what the client sent early may answer
    it."""
    client = stream.peer
    if client.held[0].sequence > client.next:
        return inspector.reply(fresh)
    line = fresh[: fresh.find(b"\n") + 1] or fresh
    passed = inspector.reply(line)
    return passed if inspector.uninspected is None else passed + fresh[len(line) :]


def _cut(passage: Passage, passed: bytes) -> None:
    """Pass the approved part; TCP will send the rest again. If nothing is approved, hold the
    packet. In a capture nobody sends the rest again: hold it, to pass by itself.

    A packet that acknowledges bytes for the first time is not held but cut to a bare ACK: the
    server may be waiting for it.
    """
    core, stream, segment = passage.core, passage.stream, passage.segment
    inspector = stream.connection.inspector
    if not passed and inspector is not None and inspector.refusing:
        passage.drop(DropReason.RATE_LIMIT if inspector.slowing else DropReason.REFUSED)
        return
    if stream.direction is REQUEST:
        waiting = segment.datagram[segment.payload + stream.next - passage.sequence : segment.end]
        core.waiting.for_reply(stream, stream.next, waiting, passage.token_to_keep)
    if not passed and not passage.new_ack:
        passage.waits = True
        hold(passage, otherwise=DropReason.AWAITS_REPLY)
        return
    if stream.gap is not None:
        passage.leaves_last = _fills_gap(passage, stream)
    passage.pass_on(passed, ENDING_FLAGS)
    if core.permissions.nobody_reacts:
        passage.waits = True
        rest = Passage(core, passage.arrival, without_beginning(segment, len(passed)), stream)
        rest.rewritten = True
        hold(rest, otherwise=DropReason.AWAITS_REPLY)


def _fills_gap(passage: Passage, stream: Stream) -> bool:
    """Whether the packet, just decided, fills a gap and must leave last."""
    inspector = stream.connection.inspector
    ends = inspector is not None and inspector.uninspected is not None
    return not (ends or passage.released) and gaps.filled(stream)
