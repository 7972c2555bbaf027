"""The handshake, and SYN and RST at any time (RFC 9293 section 3.5).

``receive`` checks every segment with SYN, and every segment before the handshake is complete. It
advances the phase and returns None, or returns the reason for dropping the segment. It does not
look at payload: the engine cuts it off any segment that passes before the connection is
established.
"""

from __future__ import annotations

from nfinspect.actions import DropReason
from nfinspect.events import REPLY, REQUEST
from nfinspect.packet.options import syn_options
from nfinspect.packet.segment import ACK, FIN, RST, SYN, Segment
from nfinspect.tcp.connection import ESTABLISHED, SYN_RECEIVED, SYN_SENT
from nfinspect.tcp.sequence import UNKNOWN, unwrap
from nfinspect.tcp.stream import Stream


def begin(client: Stream, segment: Segment) -> None:
    """Take the connection's parameters from its first SYN."""
    offered = syn_options(segment)
    client.open_at(segment.sequence + client.offset)
    client.offer(offered)
    client.connection.sack_permitted = offered.sack_permitted


def begin_proxied(client: Stream, segment: Segment) -> None:
    """Its SYN never came by: it is SYNPROXY's SYN that this SYN-ACK answers. It permits SACK only if
    that one did."""
    client.assume_proxied(segment.acknowledgment)
    connection = client.connection
    connection.sack_permitted = connection.proxied = connection.awaits_offset = True


def receive(stream: Stream, segment: Segment, *, incomplete: bool) -> DropReason | None:
    """Check a SYN, or a segment of a connection not yet established.

    ``incomplete``: a segment of the handshake may be missing, as in a capture. The SYN-ACK's
    sequence number is then taken from the client's acknowledgement.
    """
    flags = segment.flags
    if flags & SYN:
        if flags & (FIN | RST):
            return DropReason.BAD_FLAGS
        if stream.direction is REQUEST:
            return _client_syn(stream, flags, segment)
        return _server_syn(stream, flags, segment)
    if stream.direction is REQUEST:
        return _client_ack(stream, segment, incomplete=incomplete)
    return _server_early(stream, segment, incomplete=incomplete)


def _client_syn(stream: Stream, flags: int, segment: Segment) -> DropReason | None:
    if flags & ACK:
        return DropReason.BAD_SYN
    initial = stream.initial
    if initial == UNKNOWN or stream.absolute(segment.sequence, initial) != initial:
        return DropReason.DUPLICATE_SYN
    if stream.connection.phase is ESTABLISHED:
        return DropReason.BAD_SYN
    stream.offer_again(syn_options(segment))
    return None


def _server_syn(stream: Stream, flags: int, segment: Segment) -> DropReason | None:
    connection = stream.connection
    client = stream.peer
    if not flags & ACK or client.initial == UNKNOWN:
        # A simultaneous open or a split handshake: mail clients do neither.
        return DropReason.BAD_SYN
    if segment.length or unwrap(segment.acknowledgment, client.next) != client.initial + 1:
        return DropReason.BAD_SYN_ACK
    initial = stream.initial
    if connection.phase is ESTABLISHED:
        # The client's ACK was lost beyond the filter: the repeated SYN-ACK must reach the client.
        same = initial != UNKNOWN and stream.absolute(segment.sequence, initial) == initial
        return None if same else DropReason.BAD_SYN_ACK
    # Until the client answers, a server with SYN cookies may choose another sequence number.
    offered = syn_options(segment)
    stream.open_at(segment.sequence + stream.offset)
    stream.answer(offered, segment.options, segment.window)
    connection.sack_permitted = connection.sack_permitted and offered.sack_permitted
    connection.phase = SYN_RECEIVED
    return None


def _client_ack(stream: Stream, segment: Segment, *, incomplete: bool) -> DropReason | None:
    connection = stream.connection
    server = stream.peer
    if connection.phase is SYN_SENT:
        if not incomplete:
            return DropReason.NOT_ESTABLISHED
        server.assume_opened(segment.acknowledgment)
    elif (
        not connection.awaits_offset and unwrap(segment.acknowledgment, server.next) != server.next
    ):
        return DropReason.INVALID_ACK
    sequence = stream.absolute(segment.sequence, stream.next)
    # A SYN cookie is also valid for a few other numbers, where the server's stream would then begin.
    if sequence < stream.next or (sequence > stream.next and not incomplete):
        return DropReason.OUT_OF_WINDOW
    if connection.awaits_offset:
        server.learn_offset(segment.acknowledgment)
        connection.awaits_offset = False
    connection.phase = ESTABLISHED
    return None


def _server_early(stream: Stream, segment: Segment, *, incomplete: bool) -> DropReason | None:
    connection = stream.connection
    if connection.phase is SYN_RECEIVED:
        if incomplete:  # the client's ACK is missing from the capture
            connection.phase = ESTABLISHED
            return None
        # Until the client's ACK, the server has nothing to send but its SYN-ACK.
        return DropReason.NOT_ESTABLISHED
    if segment.length or segment.flags & FIN:
        return DropReason.NOT_ESTABLISHED
    # The server still knows an older connection and acknowledges that one's number; the client
    # answers with an RST at this number, and its next SYN is then accepted.
    connection.challenge = segment.acknowledgment
    return None


def resets(stream: Stream, segment: Segment) -> bool | None:
    """Check an RST: True if it ends the connection, False if it passes without ending it, None if
    it must be dropped.

    It ends the connection only at exactly the next sequence number (RFC 5961 section 3.2), so an
    RST that the receiver would ignore cannot make the filter forget the connection. Elsewhere in
    the window it passes: the receiver answers with a challenge ACK, and a sender that has really
    closed (with data in flight that never passed) answers that with an RST at the exact number.

    After the sender's FIN, the FIN's own sequence number is valid too: a closed socket uses it in
    its RST to data that crossed the FIN, and Linux accepts it (tcp_reset_check).
    """
    connection = stream.connection
    if connection.phase is SYN_SENT:
        if stream.direction is REPLY:
            refused = bool(segment.flags & ACK) and (
                unwrap(segment.acknowledgment, stream.peer.next) == stream.peer.next
            )
            return True if refused else None
        if connection.challenge is not None and segment.sequence == connection.challenge:
            return False
    unknown = connection.awaits_offset and stream.direction is REQUEST
    if (
        segment.flags & ACK
        and not unknown
        and unwrap(segment.acknowledgment, stream.peer.next) > stream.peer.next
    ):
        return None
    number = stream.absolute(segment.sequence, stream.next)
    if number in (stream.next, stream.fin):
        return True
    if stream.acknowledged <= number <= stream.edge:
        return False
    return None
