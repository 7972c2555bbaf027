"""Passing one packet: what the normalizer removes, and what replaces its payload.

Docs/appliance.md, section 5: TCP options 6, 7 and 9 to 255 become NOP, the urgent flag and pointer
are cleared, a TTL is lowered to the smallest seen in its direction.
"""

from __future__ import annotations

from nfinspect.actions import Accept, Action, Drop, DropReason, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.packet.edit import rewrite
from nfinspect.packet.options import clean_options, plain_options
from nfinspect.packet.segment import ACK, FIN, PSH, RST, URG, Segment, parse
from nfinspect.packet.split import split
from nfinspect.tcp.connection import Half
from nfinspect.tcp.sequence import unwrap

ENDING_FLAGS = FIN | PSH
"""Flags removed from a packet whose end is cut off."""

FITS_ANY_PATH = {4: 536, 6: 1220}
"""The largest segment, per IP version, that needs no knowledge of the path MTU (RFC 9293 section
3.7.1). The sender may know of a path MTU smaller than the receiver's MSS suggests, but the kernel
does not reveal a GSO packet's segment size."""


def pass_on(
    half: Half | None,
    arrival: Arrival,
    segment: Segment,
    actions: list[Action],
    payload: bytes | None = None,
    clear_flags: int = 0,
) -> None:
    """Pass a packet, normalised, with ``payload`` in place of its own (None: unchanged).

    A verdict cannot shorten a GSO packet: it is dropped, and the approved part is injected in
    segments that the receiver accepts.
    """
    if segment.flags & URG:
        clear_flags |= URG
    options = None if plain_options(segment) else clean_options(segment)
    hop_limit = None
    if half is not None:
        current = segment.datagram[8 if segment.version == 4 else 7]
        if current < half.hop_limit:
            if _acceptable(half, segment):
                half.hop_limit = current
        elif current > half.hop_limit:
            hop_limit = half.hop_limit
    changed = segment.datagram is not arrival.datagram
    if payload is None and options is None and hop_limit is None and not clear_flags:
        token = arrival.token
        actions.append(Replace(token, segment.datagram) if changed else Accept(token))
        return
    datagram = rewrite(
        segment, payload=payload, clear_flags=clear_flags, options=options, hop_limit=hop_limit
    )
    if payload is not None and arrival.gso and len(payload) < segment.end - segment.payload:
        _replace_by_pieces(half, arrival, datagram, actions)
    else:
        actions.append(Replace(arrival.token, datagram))


def _acceptable(half: Half, segment: Segment) -> bool:
    """Whether the receiver may accept any of it. A forger easily guesses an old sequence number, or
    one in the window if that were enough; the receiver ignores such a segment, so its TTL must not
    count. Nor must an RST's: the receiver at most challenges one that ends nothing here."""
    if segment.flags & RST:
        return False
    peer = half.peer
    sequence = unwrap(segment.sequence + half.offset, half.next)
    if sequence + max(1, segment.length) <= half.acknowledged or (
        half.edge is not None and sequence > half.edge
    ):
        return False
    acknowledgment = unwrap(segment.acknowledgment, peer.next)
    latest = peer.next if peer.edge is None else max(peer.edge, peer.next)
    return not segment.flags & ACK or (
        peer.acknowledged - peer.largest_window <= acknowledgment <= latest
    )


def _replace_by_pieces(
    half: Half | None, arrival: Arrival, datagram: bytes, actions: list[Action]
) -> None:
    """Drop the packet, and inject ``datagram``, its approved part, as small segments."""
    actions.append(Drop(arrival.token, DropReason.GSO_CUT))
    short = parse(datagram)
    if half is None or isinstance(short, DropReason):
        return
    largest = min(half.largest_segment, FITS_ANY_PATH[short.version])
    receiver = half.peer
    actions.extend(
        Inject(piece, half.direction, receiver.port, receiver.link_source, arrival.link_source)
        for piece in split(short, max(1, largest - len(short.options)))
    )
