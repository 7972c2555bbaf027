"""One TCP connection: its two streams, its phase, and what is known of each side.

Plain data, no decisions: ``handshake.py`` decides about SYN, handshake and RST, ``flow/`` about
everything else.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from nfinspect.arrival import Arrival
from nfinspect.events import CloseCause, Connection, Direction, Event, UninspectedCause
from nfinspect.packet.segment import Segment
from nfinspect.policy.model import Plan
from nfinspect.tcp.gap import Gap
from nfinspect.tcp.memory import Memory

LARGEST_WINDOW_SCALE = 14
"""RFC 7323 section 2.3; assumed if the handshake was not seen."""
LARGEST_HOP_LIMIT = 255
DEFAULT_SEGMENT_SIZE = 536
"""The default over IPv4 without an MSS option (RFC 9293 section 3.7.1); IPv6's 1220 is larger."""
SMALLEST_SEGMENT_SIZE = 48
"""A smaller MSS counts as this one, as in Linux; else a peer could demand very many packets."""


class StreamObserver(Protocol):
    """Reads the two streams of a connection, each byte once and in order."""

    events: list[Event]

    def request(self, data: bytes, packet_length: int, acknowledged: int) -> bytes: ...

    def reply(self, data: bytes) -> bytes: ...


class StreamInspector(StreamObserver, Protocol):
    """Decides the two streams of a connection; see ``esmtp.inspector`` for its members."""

    closing: CloseCause | None
    uninspected: UninspectedCause | None
    refusing: bool

    @property
    def replies_owed(self) -> int: ...

    @property
    def outstanding(self) -> int: ...

    @property
    def awaits(self) -> str: ...

    def waiting_line(self, data: bytes) -> bytes: ...

    @property
    def unended(self) -> int: ...

    @property
    def unended_line(self) -> bytes: ...


@dataclass(slots=True)
class InspectionTotals:
    """The top line of show service-policy (docs/appliance.md, section 10), in packets."""

    packet: int = 0
    """Packets given to inspection: those with new payload."""
    drop: int = 0
    """Packets at which a rule closed the connection."""
    reset_drop: int = 0


class Phase(enum.IntEnum):
    """A connection's state (RFC 9293 section 3.3.2), as far as an observer can tell."""

    SYN_SENT = 0
    SYN_RECEIVED = 1
    ESTABLISHED = 2
    """The handshake is complete; one side or both may have sent a FIN."""
    CLOSED = 3
    """Inspection has closed it; outstanding replies may still pass to the client."""


SYN_SENT, SYN_RECEIVED, ESTABLISHED, CLOSED = Phase
"""For the hot path: in CPython 3.11 ``Phase.X`` takes four times as long as a plain name."""


class Held:
    """A packet waiting for its verdict, at its absolute sequence number."""

    __slots__ = ("arrival", "end", "segment", "sequence")

    def __init__(self, arrival: Arrival, segment: Segment, sequence: int) -> None:
        self.arrival = arrival
        self.segment = segment
        self.sequence = sequence
        self.end = sequence + segment.end - segment.payload

    @property
    def size(self) -> int:
        return len(self.segment.datagram)


class Half:
    """The stream in one direction. "Sender" and "receiver" are those of this stream."""

    __slots__ = (
        "acknowledged",
        "barred_port",
        "connection",
        "direction",
        "edge",
        "fin",
        "gap",
        "held",
        "hop_limit",
        "initial",
        "largest_segment",
        "largest_window",
        "last_seen",
        "link_source",
        "memory",
        "newest_timestamp",
        "next",
        "observed",
        "offered_scale",
        "offset",
        "options",
        "passed",
        "peer",
        "port",
        "scale",
    )

    peer: Half

    def __init__(self, connection: TcpConnection, direction: Direction) -> None:
        self.connection = connection
        self.direction = direction
        self.initial: int | None = None
        """The sender's initial sequence number."""
        self.next = 0
        """The next sequence number that inspection expects; everything below has been decided."""
        self.acknowledged = 0
        """The receiver's highest cumulative acknowledgement."""
        self.edge: int | None = None
        """The highest right window edge that the receiver has announced."""
        self.fin: int | None = None
        """The sequence number of the FIN, once it has passed."""
        self.scale = 0
        """The window scale of the windows that the *sender* announces."""
        self.offered_scale = 0
        """The window scale offered in its SYNs; in force if the SYN-ACK offers one too."""
        self.barred_port = ""
        """The port at which its packets are refused: the port where the other direction comes in,
        if that differs from where it leaves. So no client can forge the server's packets."""
        self.hop_limit = LARGEST_HOP_LIMIT
        """The smallest TTL seen: TTL evasion protection (docs/appliance.md, section 5)."""
        self.offset = 0
        """Added to the sender's sequence numbers, if a device in front translates them."""
        self.passed = 0
        """Payload bytes passed, each counted once."""
        self.options = b""
        """The TCP options of its latest segment not beyond a gap: their timestamps are the newest
        that the receiver can have seen."""
        self.largest_segment = DEFAULT_SEGMENT_SIZE
        """The receiver's MSS: the largest segment it accepts, options included."""
        self.largest_window = 0
        """The largest window that the receiver has announced, in bytes."""
        self.last_seen: float | None = None
        """When its latest packet arrived; None before the first."""
        self.port = ""
        """The port where its packets come in, if the driver knows it."""
        self.link_source = b""
        """The sender's link-layer address, if the driver knows it."""
        self.newest_timestamp: int | None = None
        """The newest timestamp that has passed while segments were held: the receiver may discard
        segments with an older one (PAWS, RFC 7323 section 5)."""
        self.gap: Gap | None = None
        """Set while segments are held beyond a gap, and until what was reported is acknowledged."""
        self.observed = 0
        """On an uninspected connection: the next sequence number that the observer has not seen."""
        self.memory = Memory()
        self.held: list[Held] = []
        """In sequence order."""

    @property
    def finished(self) -> bool:
        """Whether its FIN has been acknowledged."""
        return self.fin is not None and self.acknowledged > self.fin


class TcpConnection:
    __slots__ = (
        "ack_owed",
        "challenge",
        "client",
        "closed_quiet",
        "created",
        "inspector",
        "key",
        "name",
        "observer",
        "phase",
        "plan",
        "recorded",
        "sack_permitted",
        "server",
        "timer",
        "totals",
        "uninspected",
    )

    def __init__(self, name: Connection, key: bytes, plan: Plan, now: float) -> None:
        self.name = name
        self.key = key
        """The key of packets from the client."""
        self.plan = plan
        self.created = now
        self.phase = Phase.SYN_SENT
        self.client = Half(self, Direction.REQUEST)
        self.server = Half(self, Direction.REPLY)
        self.client.peer, self.server.peer = self.server, self.client
        self.inspector: StreamInspector | None = None
        self.observer: StreamObserver | None = None
        self.totals: InspectionTotals | None = None
        """Where its packets are counted, if it is inspected."""
        self.uninspected = plan.inspection is None
        """Bytes pass unchanged, except retransmissions of what passed under inspection."""
        self.timer = 0
        """The number of its latest timer in the table."""
        self.ack_owed = False
        """Inspection closed it at a packet that was the first to acknowledge a reply. The client's
        next ACK must pass, or the server would retransmit that reply for a long time."""
        self.sack_permitted = False
        """Both ends permit SACK (RFC 2018 section 2)."""
        self.recorded = False
        """Its packets come from a capture, where one direction may be missing."""
        self.closed_quiet = 0.0
        """Seconds without a packet after which a closed connection is forgotten."""
        self.challenge: int | None = None
        """The number that the server acknowledged in answer to the SYN because it still knows an
        older connection (RFC 9293 section 3.5.1); the client's RST carries it."""

    @property
    def half_closed(self) -> bool:
        return self.client.fin is not None or self.server.fin is not None

    @property
    def last_seen(self) -> float:
        """When the latest packet of either direction arrived."""
        return max(self.client.last_seen or self.created, self.server.last_seen or self.created)

    @property
    def payload_bytes(self) -> int:
        return self.client.passed + self.server.passed

    @property
    def expires(self) -> float:
        """When the connection times out without further packets (docs/appliance.md, sections 5 and
        9).

        The direction that has been quiet for longer counts: a live peer acknowledges whatever the
        other sends. Otherwise a client could keep entries alive for connections that the server
        has long forgotten, or never had.
        """
        timeouts = self.plan.timeouts
        client, server = self.client.last_seen, self.server.last_seen
        if self.recorded and self.phase >= Phase.ESTABLISHED:
            quiet_since = self.last_seen
        elif client is None or server is None or self.phase < Phase.ESTABLISHED:
            return self.created + timeouts.embryonic
        else:
            quiet_since = min(client, server)
        if self.phase is Phase.CLOSED:
            return quiet_since + self.closed_quiet
        return quiet_since + (timeouts.half_closed if self.half_closed else timeouts.idle)
