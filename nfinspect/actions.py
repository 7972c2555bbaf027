"""What the engine returns: an ordered list of actions. A packet without a verdict is held."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from nfinspect.arrival import Token
from nfinspect.events import Direction, Event


class DropReason(enum.Enum):
    """Why a packet was dropped; the value is the name that counters print. What each means is in
    `nfinspect.audit.catalogue` and docs/packets.md."""

    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    FRAGMENT = "fragment"
    NOT_TCP = "not-tcp"
    BAD_CHECKSUM = "bad-checksum"
    BAD_FLAGS = "bad-flags"
    NO_CONNECTION = "no-connection"
    TABLE_FULL = "table-full"
    CONNECTION_LIMIT = "connection-limit"
    PER_CLIENT_LIMIT = "per-client-limit"
    INTERCEPTED = "intercepted"
    CLOSED_CONNECTION = "closed-connection"
    INSPECTION = "inspection"
    BAD_SYN = "bad-syn"
    DUPLICATE_SYN = "duplicate-syn"
    BAD_SYN_ACK = "bad-syn-ack"
    BAD_RST = "bad-rst"
    INVALID_ACK = "invalid-ack"
    OUT_OF_WINDOW = "out-of-window"
    PAST_FIN = "past-fin"
    NOT_ESTABLISHED = "not-established"
    REPEATED_HELD = "repeated-held"
    ALREADY_REPORTED = "already-reported"
    HOLD_BOUND = "hold-bound"
    MEMORY_BOUND = "memory-bound"
    REFUSED = "refused"
    RATE_LIMIT = "rate-limit"
    AWAITS_REPLY = "awaits-reply"
    WRONG_SIDE = "wrong-side"
    GSO_CUT = "gso-cut"
    FILTER_ERROR = "filter-error"
    FLUSHED = "flushed"


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
