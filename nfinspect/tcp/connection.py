"""One TCP connection: its two streams, its phase, and what is known of each side.

Plain data and the arithmetic on it. Who may pass is decided in ``handshake.py`` (opening, RST,
SYN inside a connection), ``acknowledge`` here (the acknowledgement), and the engine (data).
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
"""RFC 7323 section 2.3; assumed where the handshake was not seen."""
LARGEST_HOP_LIMIT = 255
DEFAULT_SEGMENT_SIZE = 536
"""RFC 9293 section 3.7.1, without an MSS option over IPv4; IPv6's 1220 is larger."""
SMALLEST_SEGMENT_SIZE = 48
"""A smaller MSS counts as this one, as for Linux: it could be asked for to be sent many packets."""


class StreamObserver(Protocol):
    """Reads the two streams of a connection, each byte once and in order."""

    events: list[Event]

    def request(self, data: bytes, packet_length: int, acknowledged: int) -> bytes: ...

    def reply(self, data: bytes) -> bytes: ...


class StreamInspector(StreamObserver, Protocol):
    """Decides the two streams of a connection; ``esmtp.inspector`` says what each member means."""

    closing: CloseCause | None
    uninspected: UninspectedCause | None
    refusing: bool

    @property
    def replies_owed(self) -> int: ...


@dataclass(slots=True)
class InspectionTotals:
    """The top line of show service-policy (docs/appliance.md, section 10), in packets."""

    packet: int = 0
    """Given to inspection: with payload seen for the first time."""
    drop: int = 0
    """In which a rule closed the connection."""
    reset_drop: int = 0


class Phase(enum.IntEnum):
    """How far a connection has come (RFC 9293 section 3.3.2, as an observer can tell)."""

    SYN_SENT = 0
    SYN_RECEIVED = 1
    ESTABLISHED = 2
    """Data flows; also while one side or both have sent their FIN."""
    CLOSED = 3
    """Inspection has ended it; owed replies may still pass to the client."""


SYN_SENT, SYN_RECEIVED, ESTABLISHED, CLOSED = Phase
"""For what every packet asks: CPython 3.11 takes four times as long for a member as for a name."""


class Held:
    """A packet that waits for its verdict, at its absolute sequence number."""

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
    """The stream of one direction. "Sender" and "receiver" are those of this stream."""

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
        "link_source",
        "memory",
        "next",
        "observed",
        "offered_scale",
        "offset",
        "options",
        "passed",
        "peer",
        "port",
        "scale",
        "seen",
        "youngest",
    )

    peer: Half

    def __init__(self, connection: TcpConnection, direction: Direction) -> None:
        self.connection = connection
        self.direction = direction
        self.initial: int | None = None
        """The sender's initial sequence number."""
        self.next = 0
        """Every sequence number below has been decided; the next one that inspection expects."""
        self.acknowledged = 0
        """The receiver's highest cumulative acknowledgement."""
        self.edge: int | None = None
        """The highest right edge of its window that the receiver has announced."""
        self.fin: int | None = None
        """The sequence number of the FIN, once it has passed."""
        self.scale = 0
        """By how much the *sender* shifts the windows it announces."""
        self.offered_scale = 0
        """The same as its SYNs offer it; it holds if the other side's SYN-ACK scales too."""
        self.barred_port = ""
        """Where its packets cannot come in: the port where those of the other direction do, on a
        filter between two sides. Nobody answers himself in the server's name."""
        self.hop_limit = LARGEST_HOP_LIMIT
        """The smallest TTL seen: TTL evasion protection (docs/appliance.md, section 5)."""
        self.offset = 0
        """Added to the sender's sequence numbers, where something in front translates them."""
        self.passed = 0
        """Payload bytes passed, each once."""
        self.options = b""
        """The options of its last segment that lay behind no gap: the timestamps among them are the
        youngest that the receiver can know."""
        self.largest_segment = DEFAULT_SEGMENT_SIZE
        """What the receiver accepts at most, options included."""
        self.port = ""
        """Where its packets come in, and its link address, if the driver tells them."""
        self.link_source = b""
        self.youngest: int | None = None
        """The youngest timestamp passed since segments are held; the receiver may have kept it, and
        would then drop older ones (PAWS, RFC 7323 section 5)."""
        self.gap: Gap | None = None
        """While segments wait behind a gap, and until what was told of them is acknowledged."""
        self.observed = 0
        """On an uninspected connection: up to where the observer has read."""
        self.seen = False
        """Any packet of this direction has been seen."""
        self.memory = Memory()
        self.held: list[Held] = []
        """In sequence order."""

    @property
    def finished(self) -> bool:
        """Its FIN has been acknowledged."""
        return self.fin is not None and self.acknowledged > self.fin


class TcpConnection:
    __slots__ = (
        "challenge",
        "client",
        "closed_quiet",
        "created",
        "inspector",
        "key",
        "last_seen",
        "name",
        "observer",
        "phase",
        "plan",
        "sack_permitted",
        "server",
        "timer",
        "totals",
        "unheard",
        "uninspected",
    )

    def __init__(self, name: Connection, key: bytes, plan: Plan, now: float) -> None:
        self.name = name
        self.key = key
        """Of the packets that the client sends."""
        self.plan = plan
        self.created = now
        self.last_seen = now
        self.phase = Phase.SYN_SENT
        self.client = Half(self, Direction.REQUEST)
        self.server = Half(self, Direction.REPLY)
        self.client.peer, self.server.peer = self.server, self.client
        self.inspector: StreamInspector | None = None
        self.observer: StreamObserver | None = None
        self.totals: InspectionTotals | None = None
        """Where its packets are counted, if it is inspected."""
        self.uninspected = plan.inspection is None
        """Bytes pass as they are, except repetitions of what was passed while it was inspected."""
        self.timer = 0
        """The number of its timer in the table."""
        self.unheard = False
        """Inspection closed it at a packet that was the first to acknowledge a reply: the server
        has to be told again, or it would repeat that reply for long."""
        self.sack_permitted = False
        """Both ends permit it (RFC 2018 section 2)."""
        self.closed_quiet = 0.0
        """Seconds without a packet after which a closed connection is forgotten."""
        self.challenge: int | None = None
        """What the server acknowledged in answer to the SYN instead of the SYN (RFC 9293 section
        3.5.1: it still knows an older connection); the client resets that number."""

    @property
    def half_closed(self) -> bool:
        return self.client.fin is not None or self.server.fin is not None

    @property
    def payload_bytes(self) -> int:
        return self.client.passed + self.server.passed

    @property
    def expires(self) -> float:
        """When the connection times out, as things stand (docs/appliance.md, sections 5 and 9)."""
        timeouts = self.plan.timeouts
        if self.phase < Phase.ESTABLISHED:
            return self.created + timeouts.embryonic
        if self.phase is Phase.CLOSED:
            return self.last_seen + self.closed_quiet
        if self.half_closed:
            return self.last_seen + timeouts.half_closed
        return self.last_seen + timeouts.idle
