"""One packet on its way through the engine, from its place in a stream to its verdict.

A packet that has no verdict yet is held: its passage waits in the stream, and goes on when a later
packet releases it. What decisions about it have found is said in it.

What the normalizer removes (docs/appliance.md, section 5): TCP options 6, 7 and 9 to 255 become NOP,
the urgent flag and pointer are cleared, a TTL is lowered to the smallest seen in its direction.
"""

from __future__ import annotations

from typing import Final

from nfinspect.actions import Accept, Drop, DropReason, Emit, Replace
from nfinspect.arrival import Arrival, Token
from nfinspect.events import Event
from nfinspect.flow.core import Core
from nfinspect.packet.edit import rewrite
from nfinspect.packet.options import clean_options, plain_options
from nfinspect.packet.segment import ACK, FIN, PSH, RST, URG, Segment, parse
from nfinspect.packet.split import split
from nfinspect.tcp.placed import PlacedSegment
from nfinspect.tcp.sequence import UNKNOWN, unwrap
from nfinspect.tcp.stream import Stream

ENDING_FLAGS: Final = FIN | PSH
"""Flags removed from a packet whose end is cut off."""

FITS_ANY_PATH: Final = {4: 536, 6: 1220}
"""The largest segment, per IP version, that needs no knowledge of the path MTU (RFC 9293 section
3.7.1). The sender may know of a path MTU smaller than the receiver's MSS suggests, but the kernel
does not reveal a GSO packet's segment size."""


class Passage(PlacedSegment):
    __slots__ = (
        "acknowledgment",
        "core",
        "leaves_last",
        "new_ack",
        "released",
        "rewritten",
        "stream",
        "verdict",
        "waits",
    )

    def __init__(self, core: Core, arrival: Arrival, segment: Segment, stream: Stream) -> None:
        self.core = core
        self.arrival = arrival
        self.segment = segment
        self.stream = stream
        self.sequence = sequence = unwrap(segment.sequence + stream.offset, stream.next)
        self.end = sequence + segment.end - segment.payload
        self.acknowledgment = unwrap(segment.acknowledgment, stream.peer.next)
        """What it acknowledges of the other stream, absolute."""
        self.new_ack = False
        """It acknowledges bytes for the first time."""
        self.rewritten = False
        """The segment is no longer the one that arrived."""
        self.released = False
        """It has been held."""
        self.waits = False
        """It, or its rest, waits for its verdict."""
        self.leaves_last = False
        """Its verdict comes after those of the packets that it releases."""
        self.verdict: Accept | Replace | None = None
        """Its verdict, if that is still to come."""

    def __repr__(self) -> str:
        return f"<Passage {self.sequence} to {self.end} of {self.stream!r}>"

    @property
    def payload(self) -> bytes:
        segment = self.segment
        return segment.datagram[segment.payload : segment.end]

    @property
    def fin(self) -> int:
        """1 if it carries a FIN, which takes one sequence number; else 0."""
        return self.segment.flags & FIN

    @property
    def token_to_keep(self) -> Token:
        """The packet, for an event that may come much later. Live, nobody asks for it, and it would
        be kept in memory."""
        return self.arrival.token if self.core.permissions.tokens_kept else None

    def rewrite(self, segment: Segment) -> None:
        """Go on with another segment in its place, of the same sequence numbers."""
        if segment is not self.segment:
            self.segment = segment
            self.rewritten = True

    def resume(self) -> None:
        """Go on after having been held. What it acknowledges was noted when it arrived."""
        self.released = True
        self.new_ack = False
        self.acknowledgment = unwrap(self.segment.acknowledgment, self.stream.peer.next)

    def emit(self, event: Event) -> None:
        """Report an event at this packet."""
        self.core.actions.append(Emit(event, self.arrival.token))

    def emit_all(self, events: list[Event]) -> None:
        """Report the events of an observer, and clear them."""
        token = self.arrival.token
        self.core.actions.extend([Emit(event, token) for event in events])
        events.clear()

    def drop(self, reason: DropReason) -> None:
        self.core.actions.append(Drop(self.arrival.token, reason))

    def pass_on(self, payload: bytes | None = None, clear_flags: int = 0) -> None:
        """Pass the packet, normalised, with ``payload`` in place of its own (None: unchanged).

        A verdict cannot shorten a GSO packet: it is dropped, and the approved part is injected in
        segments that the receiver accepts.
        """
        segment, stream, arrival = self.segment, self.stream, self.arrival
        hop_limit = None
        current = segment.datagram[8 if segment.version == 4 else 7]
        if current > stream.hop_limit:
            hop_limit = stream.hop_limit
        elif current < stream.hop_limit and self._from_its_sender:
            stream.lower_hop_limit(current)
        datagram = None
        if not (
            payload is None
            and hop_limit is None
            and plain_options(segment)
            and not (clear_flags or segment.flags & URG)
        ):
            datagram = normalised(segment, payload, clear_flags, hop_limit)
        verdict: Accept | Replace
        if datagram is None:
            token = arrival.token
            verdict = Replace(token, segment.datagram) if self.rewritten else Accept(token)
        elif payload is not None and arrival.gso and len(payload) < self.end - self.sequence:
            self._replace_by_pieces(datagram)
            return
        else:
            verdict = Replace(arrival.token, datagram)
        if self.leaves_last:
            self.verdict = verdict
        else:
            self.core.actions.append(verdict)

    def leave(self) -> None:
        """Its verdict, now that the packets that it releases have theirs."""
        if self.verdict is not None:
            self.core.actions.append(self.verdict)
            self.verdict = None

    @property
    def _from_its_sender(self) -> bool:
        """Whether the receiver may accept any of it. A forger easily guesses an old sequence
        number, or one in the window if that were enough; the receiver ignores such a segment, so
        its TTL must not count. Nor must an RST's: the receiver at most challenges one that ends
        nothing here."""
        flags, stream = self.segment.flags, self.stream
        if flags & RST:
            return False
        peer = stream.peer
        sent = peer.next if peer.edge == UNKNOWN else peer.may_have_sent
        acknowledgment = self.acknowledgment if flags & ACK else sent
        return stream.believes(
            self.sequence, max(self.sequence, self.end - 1), acknowledgment, sent
        )

    def _replace_by_pieces(self, datagram: bytes) -> None:
        """Drop the packet, and inject ``datagram``, its approved part, as small segments."""
        self.drop(DropReason.GSO_CUT)
        short = parse(datagram)
        if isinstance(short, DropReason):
            return
        stream = self.stream
        largest = min(stream.largest_segment, FITS_ANY_PATH[short.version])
        for piece in split(short, max(1, largest - len(short.options))):
            self.core.inject(stream, piece)


def pass_stray(
    core: Core, arrival: Arrival, segment: Segment, *, without_payload: bool = False
) -> None:
    """Pass a packet that belongs to no connection in the table, in the same way."""
    token = arrival.token
    payload, clear_flags = (b"", ENDING_FLAGS) if without_payload else (None, 0)
    datagram = normalised(segment, payload, clear_flags, None)
    if datagram is None:
        core.actions.append(Accept(token))
    elif payload is not None and arrival.gso and len(payload) < segment.length:
        core.drop(arrival, DropReason.GSO_CUT)
    else:
        core.actions.append(Replace(token, datagram))


def normalised(
    segment: Segment, payload: bytes | None, clear_flags: int, hop_limit: int | None
) -> bytes | None:
    """The datagram as it may pass, with the given changes (None: unchanged); None if it may pass as
    it is."""
    if segment.flags & URG:
        clear_flags |= URG
    options = None if plain_options(segment) else clean_options(segment)
    if payload is None and options is None and hop_limit is None and not clear_flags:
        return None
    return rewrite(
        segment, payload=payload, clear_flags=clear_flags, options=options, hop_limit=hop_limit
    )
