"""What comes out of the engine: an ordered list of these. A packet without a verdict is held."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from nfinspect.events import Direction, Event


class DropReason(enum.Enum):
    """Why a packet was dropped; the value is the word that counters print."""

    TRUNCATED = "truncated"
    """Fewer bytes than the IP header says, or a total length of 0 (BIG TCP)."""
    MALFORMED = "malformed"
    """A header that contradicts itself or the datagram's end."""
    FRAGMENT = "fragment"
    """Connection tracking reassembles before the queue; what is still a fragment is not passed."""
    NOT_TCP = "not-tcp"
    BAD_CHECKSUM = "bad-checksum"
    BAD_FLAGS = "bad-flags"
    """SYN with FIN or RST, no flags at all, data or FIN without ACK."""
    NO_CONNECTION = "no-connection"
    TABLE_FULL = "table-full"
    CLOSED_CONNECTION = "closed-connection"
    """Of a connection that inspection closed, or that has ended."""
    INSPECTION = "inspection"
    """The packet in which a rule closed the connection."""
    BAD_SYN = "bad-syn"
    """A SYN inside a connection, or one that no client would send."""
    DUPLICATE_SYN = "duplicate-syn"
    """A SYN with another initial sequence number than the connection's."""
    BAD_SYN_ACK = "bad-syn-ack"
    """A SYN-ACK that carries data or acknowledges something else than the SYN."""
    BAD_RST = "bad-rst"
    """An RST outside the window, or one that acknowledges what was never sent."""
    INVALID_ACK = "invalid-ack"
    """Acknowledges what was never sent."""
    OUT_OF_WINDOW = "out-of-window"
    PAST_FIN = "past-fin"
    NOT_ESTABLISHED = "not-established"
    """Data before the handshake is complete."""
    REPEATED_HELD = "repeated-held"
    """A repetition of a segment that is held already."""
    ALREADY_REPORTED = "already-reported"
    """An acknowledgement that says of a gap what its sender has been told in the receiver's place."""
    HOLD_BOUND = "hold-bound"
    """A segment beyond a gap that the bounds of holding do not admit."""
    MEMORY_BOUND = "memory-bound"
    """New data while the memory of unacknowledged bytes is full: the sender slows down."""
    REFUSED = "refused"
    """Nothing of it may pass, and it is not to be held: a fragment of a verb, where the map says
    ``incomplete-command drop``."""
    SHUT = "shut"
    """Behind DATA, AUTH or STARTTLS whose reply is awaited, and not to be held."""
    WRONG_SIDE = "wrong-side"
    """In the name of the server, from where the client's packets come."""
    GSO_CUT = "gso-cut"
    """A GSO packet that had to be shortened: what may pass of it is injected in small ones."""
    FILTER_ERROR = "filter-error"
    """The filter itself failed on it; a bug, told on stderr."""
    FLUSHED = "flushed"
    """Still held when the filter stopped or the capture ended."""


@dataclass(slots=True)
class Accept:
    """The packet passes as it came."""

    token: object


@dataclass(slots=True)
class Replace:
    """The packet passes with these bytes, checksums correct."""

    token: object
    datagram: bytes


@dataclass(slots=True)
class Drop:
    token: object
    reason: DropReason


@dataclass(slots=True)
class Inject:
    """A packet of the filter's own making, for the receiver of ``direction``."""

    datagram: bytes
    direction: Direction
    port: str
    """On a bridge: the physical port it leaves by, as arrivals name it."""
    link_destination: bytes = b""
    """On a bridge: the link-layer address of its receiver; empty where packets are routed."""
    link_source: bytes = b""
    """On a bridge: that of the peer in whose place it is sent."""


@dataclass(slots=True)
class Emit:
    """Something happened, at this packet (None: at a tick or a flush)."""

    event: Event
    token: object = None


Action = Accept | Replace | Drop | Inject | Emit
