"""What the engine returns: an ordered list of actions. A packet without a verdict is held."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from nfinspect.arrival import Token
from nfinspect.events import Direction, Event


class DropReason(enum.Enum):
    """Why a packet was dropped; the value is the name that counters print."""

    TRUNCATED = "truncated"
    """Fewer bytes than the IP header says, or a total length of 0 (BIG TCP)."""
    MALFORMED = "malformed"
    """A header that contradicts itself or the datagram's length."""
    FRAGMENT = "fragment"
    """An IP fragment: connection tracking should have reassembled it before the queue."""
    NOT_TCP = "not-tcp"
    BAD_CHECKSUM = "bad-checksum"
    BAD_FLAGS = "bad-flags"
    """SYN with FIN or RST, no flags at all, data or FIN without ACK."""
    NO_CONNECTION = "no-connection"
    TABLE_FULL = "table-full"
    CLOSED_CONNECTION = "closed-connection"
    """A packet of a connection that inspection closed, or that has ended."""
    INSPECTION = "inspection"
    """The packet at which a rule closed the connection."""
    BAD_SYN = "bad-syn"
    """A SYN on an established or finished connection, or one that no client would send."""
    DUPLICATE_SYN = "duplicate-syn"
    """A SYN whose initial sequence number is not the connection's."""
    BAD_SYN_ACK = "bad-syn-ack"
    """A SYN-ACK that carries data, does not acknowledge the SYN, or has a new sequence number."""
    BAD_RST = "bad-rst"
    """An RST outside the window, or one that acknowledges what was never sent."""
    INVALID_ACK = "invalid-ack"
    """An acknowledgement of bytes that were never sent."""
    OUT_OF_WINDOW = "out-of-window"
    PAST_FIN = "past-fin"
    """Data beyond the FIN, or a contradictory FIN."""
    NOT_ESTABLISHED = "not-established"
    """Data before the handshake is complete."""
    REPEATED_HELD = "repeated-held"
    """A retransmission of a segment that is already held."""
    ALREADY_REPORTED = "already-reported"
    """A duplicate ACK: the filter has already reported to the sender what it says of a gap."""
    HOLD_BOUND = "hold-bound"
    """A segment beyond a gap that cannot be held within the bounds."""
    MEMORY_BOUND = "memory-bound"
    """New data while the memory of unacknowledged bytes is full; the sender slows down."""
    REFUSED = "refused"
    """A fragment of a verb, where the map says ``incomplete-command drop``."""
    AWAITS_REPLY = "awaits-reply"
    """A request sent before a reply that must come first (to DATA, AUTH or STARTTLS, for example),
    and that cannot be held within the bounds."""
    WRONG_SIDE = "wrong-side"
    """A packet with the server's address that came from the client's side."""
    GSO_CUT = "gso-cut"
    """A GSO packet that had to be shortened; its approved part is injected as small segments."""
    FILTER_ERROR = "filter-error"
    """The filter itself failed on it: a bug, reported on stderr."""
    FLUSHED = "flushed"
    """Still held when the filter stopped or the capture ended."""


# Compiled, a constructor written out takes a third of the instructions of a dataclass's.


@dataclass(slots=True, init=False)
class Accept:
    """Pass the packet unchanged."""

    token: Token

    def __init__(self, token: Token) -> None:
        self.token = token


@dataclass(slots=True, init=False)
class Replace:
    """Pass the packet with these bytes, whose checksums are correct."""

    token: Token
    datagram: bytes

    def __init__(self, token: Token, datagram: bytes) -> None:
        self.token = token
        self.datagram = datagram


@dataclass(slots=True)
class Drop:
    token: Token
    reason: DropReason


@dataclass(slots=True)
class Inject:
    """Send a packet that the filter made, to the receiver of ``direction``."""

    datagram: bytes
    direction: Direction
    device: str
    """On a bridge: the device of the bridge it leaves by (see ``Arrival.ingress``)."""
    link_destination: bytes = b""
    """On a bridge: the receiver's link-layer address; empty where packets are routed."""
    link_source: bytes = b""
    """On a bridge: the link-layer address of the peer in whose name it is sent."""


@dataclass(slots=True, init=False)
class Emit:
    """Report an event at this packet (None: at a tick or a flush)."""

    event: Event
    token: Token

    def __init__(self, event: Event, token: Token = None) -> None:
        self.event = event
        self.token = token


@dataclass(slots=True)
class Would:
    """In monitor mode: what the filter would have done with a packet, which has passed."""

    decision: Replace | Drop


Action = Accept | Replace | Drop | Inject | Emit | Would
