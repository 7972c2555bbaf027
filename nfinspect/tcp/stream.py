"""One direction of a connection, which keeps its own books.

Everything that is known of a stream changes here and nowhere else (``tests/unit/tcp/test_books.py``
checks it): its numbers, the memory of what has passed, what has been reported of gaps, and its share
in the ledger. Others read the fields, and tell the stream what has happened.

All numbers are absolute (``sequence.py``), and those that the receiver sees: the sender's own are
translated where they come in (``absolute``) and where a packet is made in its name (``on_the_wire``).
"Sender" and "receiver" are those of this stream.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, Final

from nfinspect.events import REQUEST, Direction
from nfinspect.packet.options import SynOptions, timestamps_in
from nfinspect.packet.segment import FIN, reverse_key
from nfinspect.tcp.gap import Gap
from nfinspect.tcp.limits import Ledger
from nfinspect.tcp.memory import Memory
from nfinspect.tcp.placed import PlacedSegment
from nfinspect.tcp.sequence import UNKNOWN, unwrap

if TYPE_CHECKING:
    from nfinspect.tcp.connection import TcpConnection

LARGEST_WINDOW_SCALE: Final = 14
"""RFC 7323 section 2.3; assumed if the handshake was not seen."""
LARGEST_WINDOW_FIELD: Final = 0xFFFF
ANYWHERE: Final = 0x8000_0000
"""No absolute number is farther from another that it was placed by (``sequence.py``)."""
LARGEST_HOP_LIMIT: Final = 255
DEFAULT_SEGMENT_SIZE: Final = 536
"""The default over IPv4 without an MSS option (RFC 9293 section 3.7.1); IPv6's 1220 is larger."""
SMALLEST_SEGMENT_SIZE: Final = 48
"""A smaller MSS counts as this one, as in Linux; else a peer could demand very many packets."""


NOT_YET: Final = -1e300
"""A time before any other. A number, as one that may be None takes 24 bytes more."""

_NOTHING_REMEMBERED: Final = Memory()
"""Shared by all streams of which everything has been acknowledged; never changed."""
_NOTHING_HELD: Final[list[PlacedSegment]] = []
"""Shared by all streams that hold nothing, as most do at most times; never changed."""


class Stream:
    __slots__ = (
        "acknowledged",
        "barred_device",
        "connection",
        "device",
        "direction",
        "early",
        "edge",
        "fin",
        "gap",
        "held",
        "hop_limit",
        "initial",
        "kept",
        "largest_segment",
        "largest_window",
        "last_seen",
        "ledger",
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
        "scale",
    )

    peer: Stream

    def __init__(self, connection: TcpConnection, direction: Direction, ledger: Ledger) -> None:
        self.connection = connection
        self.direction = direction
        self.ledger = ledger
        self.initial = UNKNOWN
        """The sender's initial sequence number, if its SYN was seen."""
        self.next = 0
        """The next sequence number that inspection expects; everything below has been decided."""
        self.acknowledged = 0
        """The receiver's highest cumulative acknowledgement."""
        self.early = 0
        """In a capture: the receiver's highest acknowledgement of bytes that were waiting here."""
        self.edge = UNKNOWN
        """The highest right window edge that the receiver has announced, if it has."""
        self.fin: int | None = None
        """The sequence number of the FIN, once it has passed."""
        self.passed = 0
        """Payload bytes passed, each counted once."""
        self.observed = 0
        """On an uninspected connection: the next sequence number that the watcher has not seen."""
        self.scale = 0
        """The window scale of the windows that the *sender* announces."""
        self.offered_scale = 0
        """The window scale offered in its SYNs; in force if the SYN-ACK offers one too."""
        self.largest_segment = DEFAULT_SEGMENT_SIZE
        """The receiver's MSS: the largest segment it accepts, options included."""
        self.largest_window = 0
        """The largest window that the receiver has announced, in bytes."""
        self.offset = 0
        """What the path between filter and receiver adds to the sender's sequence numbers, as
        SYNPROXY does: the receiver's acknowledgements and SACK blocks come in the sum."""
        self.last_seen = NOT_YET
        """When its latest packet arrived; `NOT_YET` before the first."""
        self.device = ""
        """The device that its packets come in on, if the driver knows it."""
        self.barred_device = ""
        """The device on which its packets are refused: where the other direction comes in, if that
        differs from where it leaves. So no client can forge the server's packets."""
        self.link_source = b""
        """The sender's link-layer address, if the driver knows it."""
        self.hop_limit = LARGEST_HOP_LIMIT
        """The smallest TTL seen: TTL evasion protection (docs/appliance.md, section 5)."""
        self.options = b""
        """The TCP options of its latest segment not beyond a gap: their timestamps are the newest
        that the receiver can have seen."""
        self.newest_timestamp: int | None = None
        """The newest timestamp that has passed while segments were held: the receiver may discard
        segments with an older one (PAWS, RFC 7323 section 5)."""
        self.gap: Gap | None = None
        """Set while segments are held beyond a gap, and until what was reported is acknowledged."""
        self.kept = 0
        """Passed bytes that the inspection keeps."""
        self.memory = _NOTHING_REMEMBERED
        self.held = _NOTHING_HELD
        """In sequence order."""

    def join(self, peer: Stream) -> None:
        """Make ``peer`` the stream in the other direction of the same connection."""
        self.peer, peer.peer = peer, self

    def __repr__(self) -> str:
        state = f"{self.next} acknowledged {self.acknowledged} edge {self.edge}"
        if self.fin is not None:
            state += f" fin {self.fin}"
        if self.held:
            state += f" held {len(self.held)} from {self.held[0].sequence}"
        if self.gap is not None:
            state += f" {self.gap!r}"
        return f"<Stream {self.direction.name.lower()} {state}>"

    @property
    def finished(self) -> bool:
        """Whether its FIN has been acknowledged."""
        return self.fin is not None and self.acknowledged > self.fin

    @property
    def key(self) -> bytes:
        """The key of packets in this direction."""
        key = self.connection.key
        return key if self.direction is REQUEST else reverse_key(key)

    @property
    def window_field(self) -> int:
        """The window field of an acknowledgement of this stream in the receiver's name: what
        remains up to the right edge it has announced. (The last window field may belong to an older
        acknowledgement than the one that is repeated.)"""
        edge = self.acknowledged if self.edge == UNKNOWN else self.edge
        return min(max(0, edge - self.acknowledged) >> self.peer.scale, LARGEST_WINDOW_FIELD)

    @property
    def waiting_until(self) -> int:
        """The number after the packets that are held without a gap."""
        end = self.next
        for held in self.held:
            if held.sequence > end:
                break
            end = max(end, held.end + (held.segment.flags & FIN))
        return end

    # The door: where numbers come in and go out.

    def translate(self, offset: int) -> None:
        """The path to the receiver adds ``offset`` to the sender's sequence numbers. To be said
        before its first packet is decided."""
        self.offset = offset

    def absolute(self, sequence: int, near: int) -> int:
        """The sender's sequence number field as the absolute number nearest to ``near``."""
        return unwrap(sequence + self.offset, near)

    def on_the_wire(self, number: int) -> int:
        """The sequence number field of a packet in the sender's name."""
        return (number - self.offset) & 0xFFFF_FFFF

    # What the receiver would believe.

    def believes(self, first: int, last: int, acknowledgment: int, sent: int) -> bool:
        """Whether the receiver may take something from a segment of these numbers: they lie in its
        window and not before what it has acknowledged (RFC 9293 section 3.10.7.4), and the segment
        acknowledges what it may have sent, up to ``sent``, and nothing too old (RFC 5961 section
        5.2). Half of all numbers are old, so a segment is easily forged that it only acknowledges
        again."""
        peer = self.peer
        return (
            last >= self.acknowledged
            and (self.edge == UNKNOWN or first <= self.edge)
            and peer.acknowledged - peer.largest_window <= acknowledgment <= sent
        )

    def beyond_window(self, first: int) -> bool:
        """The receiver discards such a segment."""
        return first > self.edge > UNKNOWN

    def too_old_to_acknowledge(self, number: int) -> bool:
        """The sender discards an acknowledgement of this number."""
        return number < self.acknowledged - self.largest_window

    @property
    def may_have_sent(self) -> int:
        """The highest number that the sender can have reached, with bytes that never came by: any,
        while the receiver's window is not known."""
        return self.next + ANYWHERE if self.edge == UNKNOWN else max(self.edge, self.next)

    # The handshake.

    def open_at(self, initial: int) -> None:
        """A SYN or SYN-ACK with this sequence number has passed."""
        self.initial = self.acknowledged = initial
        self.next = initial + 1

    def pick_up_at(self, number: int) -> None:
        """The stream is older than the filter, and goes on at ``number``."""
        self.next = self.acknowledged = number
        self.scale = LARGEST_WINDOW_SCALE

    def assume_opened(self, acknowledged: int) -> None:
        """The SYN-ACK is missing; the client acknowledges it with this number."""
        self.open_at(acknowledged - 1)
        self.acknowledged = acknowledged
        self.scale = LARGEST_WINDOW_SCALE

    def assume_proxied(self, acknowledgment: int) -> None:
        """SYNPROXY opened the connection for the client, whose options went with its SYN. To assume
        too large a window does no harm."""
        self.open_at(acknowledgment - 1)
        self.scale = self.offered_scale = LARGEST_WINDOW_SCALE

    def learn_offset(self, acknowledgment: int) -> None:
        """The receiver acknowledges the SYN-ACK with this number, which SYNPROXY had sent it before
        the server chose its own: what it adds is known now."""
        self.translate((acknowledgment - self.next) & 0xFFFF_FFFF)
        self.open_at(self.initial + self.offset)

    def offer(self, offered: SynOptions) -> None:
        """The client's first SYN offers these options."""
        self.scale = self.offered_scale = offered.window_scale or 0
        self.peer.largest_segment = _largest_segment(offered)

    def offer_again(self, offered: SynOptions) -> None:
        """A retransmitted SYN may offer other options, and which one reaches the server is unknown.
        To assume too large a window does no harm, too small a one would."""
        self.offered_scale = max(self.offered_scale, offered.window_scale or 0)
        self.peer.largest_segment = min(self.peer.largest_segment, _largest_segment(offered))

    def answer(self, offered: SynOptions, options: bytes, window: int) -> None:
        """The server's SYN-ACK answers with these options, and this window field."""
        client = self.peer
        self.scale = 0
        if offered.window_scale is None:
            client.scale = 0  # RFC 7323 section 2.2: both or neither
        else:
            client.scale, self.scale = client.offered_scale, offered.window_scale
        client.largest_segment = _largest_segment(offered)
        client.acknowledged = client.next
        client.edge = client.next + window  # a SYN's is not scaled (RFC 7323 section 2.2)
        self.options = options

    # What the sender's packets show.

    def heard(self, now: float) -> None:
        """A packet has arrived that its sender may well have sent."""
        self.last_seen = now

    @property
    def heard_from(self) -> bool:
        """Whether a packet has arrived that its sender may well have sent."""
        return self.last_seen != NOT_YET

    def take(
        self, now: float, options: bytes | None, acknowledgment: int, window: int, edge: int
    ) -> bool:
        """A packet that the receiver believes: what it shows of its sender (``options`` are those
        of a segment not beyond a gap), and of the other stream, which it acknowledges and opens the
        window of, by ``window`` bytes up to ``edge``. Whether it acknowledges something for the
        first time."""
        self.last_seen = now
        if options is not None:
            self.options = options
        other = self.peer
        if window > other.largest_window:
            other.largest_window = window
        if edge > other.edge:
            other.edge = edge
        return acknowledgment > other.acknowledged and other.acknowledge(acknowledgment)

    def came_from(self, device: str, link_source: bytes) -> None:
        self.device, self.link_source = device, link_source

    def bar(self, device: str) -> None:
        """Refuse packets that come in on this device."""
        self.barred_device = device

    def lower_hop_limit(self, hop_limit: int) -> None:
        self.hop_limit = hop_limit

    def pass_timestamp(self, options: bytes) -> None:
        """A segment with these options passes while others of this stream are held."""
        stamps = timestamps_in(options)
        if stamps is None:
            return
        value, newest = stamps[0], self.newest_timestamp
        if newest is None or unwrap(value, newest) > newest:
            self.newest_timestamp = value

    def forget_timestamp(self) -> None:
        self.newest_timestamp = None

    # What has been decided.

    def advance(self, arrived: bytes, passed: bytes) -> None:
        """The next bytes have been decided: ``passed`` in place of ``arrived``."""
        size = len(passed)
        if self.memory is _NOTHING_REMEMBERED:
            self.memory = Memory()
        self.memory.append(self.next, arrived, passed)
        self.ledger.memory_bytes += size
        self.passed += size
        self.next += size

    def advance_unread(self, sequence: int, end: int) -> None:
        """Bytes have passed without inspection; those before ``next`` repeat others."""
        if end > self.next:
            self.passed += end - max(sequence, self.next)
            self.next = end

    def finish(self, end: int) -> None:
        """A FIN has passed, after the byte before ``end``."""
        self.fin = end
        self.next = end + 1

    def contradicts_fin(self, end: int, fin: int) -> bool:
        """Data beyond the FIN, or a FIN at another sequence number than before, or below passed
        data."""
        if self.fin is not None:
            return end > self.fin or bool(fin and end != self.fin)
        return bool(fin) and end < self.next

    # What the receiver says.

    def acknowledge(self, number: int) -> bool:
        """The receiver acknowledges up to ``number``. Whether that is new."""
        if number <= self.acknowledged:
            return False
        self.acknowledged = number
        if self.memory.chunks:
            self.ledger.memory_bytes -= self.memory.release(number)
            if not self.memory.chunks:
                self.memory = _NOTHING_REMEMBERED
        return True

    def acknowledge_waiting(self, number: int) -> bool:
        """In a capture: the receiver acknowledges bytes that wait here. Whether it is the first
        time."""
        first = not self.early
        self.early = number
        return first

    def settle_waiting(self) -> None:
        """Some of those bytes may have passed now."""
        if self.early > self.acknowledged:
            self.acknowledge(min(self.early, self.next))

    # Gaps, and what else is kept.

    def hold(self, placed: PlacedSegment) -> None:
        """A packet waits for its verdict."""
        if self.held:
            insort(self.held, placed, key=_sequence)
        else:
            self.held = [placed]

    def release(self, index: int) -> PlacedSegment:
        """A held packet gets its verdict."""
        placed = self.held.pop(index)
        if not self.held:
            self.held = _NOTHING_HELD
        return placed

    def open_gap(self) -> Gap:
        """The gap that segments are held beyond; a new one if there was none."""
        if self.gap is None:
            self.gap = Gap(self.ledger)
        return self.gap

    def close_gap(self) -> None:
        """Nothing is held beyond a gap, and nothing is to be reported, any more."""
        if self.gap is not None:
            self.gap.forget()
            self.gap = None

    def keep(self, size: int) -> None:
        """The inspection keeps so many bytes of what has passed."""
        self.ledger.kept_bytes += size - self.kept
        self.kept = size

    def watch_from_here(self) -> None:
        """Inspection has ended: what follows, the watcher has not seen."""
        self.observed = self.next

    def watched(self, end: int) -> None:
        self.observed = end

    def forget(self) -> None:
        """The connection is over: nothing will be asked for again."""
        self.ledger.memory_bytes -= self.memory.size
        self.memory = _NOTHING_REMEMBERED
        self.keep(0)


def _sequence(placed: PlacedSegment) -> int:
    return placed.sequence


def _largest_segment(offered: SynOptions) -> int:
    return max(offered.mss or DEFAULT_SEGMENT_SIZE, SMALLEST_SEGMENT_SIZE)
