"""The handshake, and SYN and RST at any time (RFC 9293 section 3.5).

``receive`` checks every segment with SYN, and every segment before the handshake is complete. It
advances the phase and returns None, or returns the reason for dropping the segment. It does not
look at payload: the engine cuts it off any segment that passes before the connection is
established.
"""

from __future__ import annotations

from nfinspect.actions import DropReason
from nfinspect.events import Direction
from nfinspect.packet.options import SynOptions, syn_options
from nfinspect.packet.segment import ACK, FIN, RST, SYN, Segment
from nfinspect.tcp.connection import (
    DEFAULT_SEGMENT_SIZE,
    LARGEST_WINDOW_SCALE,
    SMALLEST_SEGMENT_SIZE,
    Half,
    Phase,
)
from nfinspect.tcp.sequence import unwrap


def begin(client: Half, segment: Segment) -> None:
    """Take the connection's parameters from its first SYN."""
    client.initial = client.acknowledged = segment.sequence + client.offset
    client.next = client.initial + 1
    offered = syn_options(segment)
    client.scale = client.offered_scale = offered.window_scale or 0
    client.peer.largest_segment = _largest_segment(offered)
    client.connection.sack_permitted = offered.sack_permitted


def _largest_segment(offered: SynOptions) -> int:
    return max(offered.mss or DEFAULT_SEGMENT_SIZE, SMALLEST_SEGMENT_SIZE)


def receive(half: Half, segment: Segment, *, recorded: bool) -> DropReason | None:
    """Check a SYN, or a segment of a connection not yet established.

    ``recorded``: a capture may lack the SYN-ACK; its sequence number is then taken from the
    client's acknowledgement.
    """
    flags = segment.flags
    if flags & SYN:
        if flags & (FIN | RST):
            return DropReason.BAD_FLAGS
        if half.direction is Direction.REQUEST:
            return _client_syn(half, flags, segment)
        return _server_syn(half, flags, segment)
    if half.direction is Direction.REQUEST:
        return _client_ack(half, segment, recorded=recorded)
    return _server_early(half, segment, recorded=recorded)


def _client_syn(half: Half, flags: int, segment: Segment) -> DropReason | None:
    if flags & ACK:
        return DropReason.BAD_SYN
    if half.initial is None or unwrap(segment.sequence + half.offset, half.initial) != half.initial:
        return DropReason.DUPLICATE_SYN
    if half.connection.phase is Phase.ESTABLISHED:
        return DropReason.BAD_SYN
    # A retransmitted SYN may offer other options, and which one reaches the server is unknown. To
    # assume too large a window does no harm, too small a one would.
    offered = syn_options(segment)
    half.offered_scale = max(half.offered_scale, offered.window_scale or 0)
    half.peer.largest_segment = min(half.peer.largest_segment, _largest_segment(offered))
    return None


def _server_syn(half: Half, flags: int, segment: Segment) -> DropReason | None:
    connection = half.connection
    client = half.peer
    if not flags & ACK or client.initial is None:
        # A simultaneous open or a split handshake: mail clients do neither.
        return DropReason.BAD_SYN
    if segment.length or unwrap(segment.acknowledgment, client.next) != client.initial + 1:
        return DropReason.BAD_SYN_ACK
    number = segment.sequence + half.offset
    if connection.phase is Phase.ESTABLISHED:
        # The client's ACK was lost beyond the filter: the repeated SYN-ACK must reach the client.
        same = half.initial is not None and unwrap(number, half.initial) == half.initial
        return None if same else DropReason.BAD_SYN_ACK
    # Until the client answers, a server with SYN cookies may choose another sequence number.
    half.initial = half.acknowledged = number
    half.next = number + 1
    half.scale = 0
    offered = syn_options(segment)
    if offered.window_scale is None:
        client.scale = 0  # RFC 7323 section 2.2: both or neither
    else:
        client.scale, half.scale = client.offered_scale, offered.window_scale
    client.largest_segment = _largest_segment(offered)
    connection.sack_permitted = connection.sack_permitted and offered.sack_permitted
    half.options = segment.options
    client.acknowledged = client.next
    client.edge = client.next + segment.window  # a SYN's is not scaled (RFC 7323 section 2.2)
    connection.phase = Phase.SYN_RECEIVED
    return None


def _client_ack(half: Half, segment: Segment, *, recorded: bool) -> DropReason | None:
    connection = half.connection
    server = half.peer
    if connection.phase is Phase.SYN_SENT:
        if not recorded:
            return DropReason.NOT_ESTABLISHED
        server.initial = segment.acknowledgment - 1
        server.next = server.acknowledged = segment.acknowledgment
        server.scale = LARGEST_WINDOW_SCALE
    elif unwrap(segment.acknowledgment, server.next) != server.next:
        return DropReason.INVALID_ACK
    sequence = unwrap(segment.sequence + half.offset, half.next)
    # A SYN cookie is also valid for a few other numbers, where the server's stream would then begin.
    if sequence < half.next or (sequence > half.next and not recorded):
        return DropReason.OUT_OF_WINDOW
    connection.phase = Phase.ESTABLISHED
    return None


def _server_early(half: Half, segment: Segment, *, recorded: bool) -> DropReason | None:
    connection = half.connection
    if connection.phase is Phase.SYN_RECEIVED:
        if recorded:  # the client's ACK is missing from the capture
            connection.phase = Phase.ESTABLISHED
            return None
        # Until the client's ACK, the server has nothing to send but its SYN-ACK.
        return DropReason.NOT_ESTABLISHED
    if segment.length or segment.flags & FIN:
        return DropReason.NOT_ESTABLISHED
    # The server still knows an older connection and acknowledges that one's number; the client
    # answers with an RST at this number, and its next SYN is then accepted.
    connection.challenge = segment.acknowledgment
    return None


def resets(half: Half, segment: Segment) -> bool | None:
    """Check an RST: True if it ends the connection, False if it passes without ending it, None if
    it must be dropped.

    It ends the connection only at exactly the next sequence number (RFC 5961 section 3.2), so an
    RST that the receiver would ignore cannot make the filter forget the connection. Elsewhere in
    the window it passes: the receiver answers with a challenge ACK, and a sender that has really
    closed (with data in flight that never passed) answers that with an RST at the exact number.

    After the sender's FIN, the FIN's own sequence number is valid too: a closed socket uses it in
    its RST to data that crossed the FIN, and Linux accepts it (tcp_reset_check).
    """
    connection = half.connection
    if connection.phase is Phase.SYN_SENT:
        if half.direction is Direction.REPLY:
            refused = bool(segment.flags & ACK) and (
                unwrap(segment.acknowledgment, half.peer.next) == half.peer.next
            )
            return True if refused else None
        if connection.challenge is not None and segment.sequence == connection.challenge:
            return False
    if segment.flags & ACK and unwrap(segment.acknowledgment, half.peer.next) > half.peer.next:
        return None
    number = unwrap(segment.sequence + half.offset, half.next)
    if number in (half.next, half.fin):
        return True
    if half.edge is not None and half.acknowledged <= number <= half.edge:
        return False
    return None
