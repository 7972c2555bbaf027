"""Connections that a capture shows twice: on both sides of a router or firewall.

``tcpdump -i any`` on that machine, merged captures, or several captures given at once hold two copies
of each packet. The first is what its sender sent, the second what the device in between made of it.
Where a packet was seen is its vantage: the capture's interface and the link header. A packet from
another vantage than the one before it is a copy if it brings nothing new: no byte, no
acknowledgement, no first RST. Where the device changes sequence numbers, the other vantage is known
by its SYN, and everything from there is a copy.
"""

from __future__ import annotations

from struct import Struct

from nfinspect.packet.segment import ACK, FIN, RST, SYN, TCP_PROTOCOL, Segment, parse
from nfinspect.replay.capture import CaptureInterface, Frame

TOGETHER = 3 * 10**9
"""Nanoseconds within which both copies of a SYN are seen."""
HEADERS = 120
"""Bytes of a datagram that hold its IP and TCP headers up to the TCP options."""
MAX_PAIRS = 4096
"""Pairs of initial sequence numbers remembered, to know connections on two sides of an address
translation."""

_HEADER = Struct("!LLBB")  # sequence, acknowledgment, offset, flags


class Seen:
    """What has been seen of one direction, and from where."""

    __slots__ = (
        "acknowledged",
        "end",
        "head",
        "headers",
        "initial",
        "interface",
        "reset",
        "size",
        "time",
    )

    def __init__(self, frame: Frame, datagram: bytes) -> None:
        self.interface = frame.interface
        self.head = frame.data[: frame.offset]
        """With the interface, the vantage of the latest packet that brought something new."""
        self.headers, self.size = datagram[:HEADERS], len(datagram)
        """Of the latest packet from there, which is not yet counted."""
        self.time = frame.time
        """Of the first packet."""
        self.initial, self.acknowledged, length, self.reset = _fields(self.headers, self.size)
        """Sequence number of the first packet; the highest acknowledgement; an RST was seen."""
        self.end = self.initial + length & 0xFFFF_FFFF
        """The highest sequence number after a packet, SYN and FIN counted."""

    def add(self, headers: bytes, size: int) -> bool:
        """Count a packet; returns whether it brings something new."""
        sequence, acknowledged, length, reset = _fields(headers, size)
        end = sequence + length & 0xFFFF_FFFF
        new = reset and not self.reset
        self.reset = self.reset or reset
        if _after(end, self.end):
            self.end = end
            new = True
        if _after(acknowledged, self.acknowledged):
            self.acknowledged = acknowledged
            new = True
        return new


class Sides:
    """Which packets of a connection are copies."""

    __slots__ = ("_other", "_other_initial", "_seen", "answer", "copies", "repeated")

    def __init__(self) -> None:
        self.copies = 0
        self.repeated = 0
        """Packets that repeat the one before them in every bit of their headers, from the same
        vantage."""
        self.answer: tuple[int, int] | None = None
        """The numbers of the SYN-ACK: what it acknowledges, and its own."""
        self._seen: dict[bytes, Seen] = {}
        """By packet key."""
        self._other_initial: int | None = None
        """The initial sequence number of the client where it was changed."""
        self._other: list[tuple[bytes, CaptureInterface, bytes]] = []
        """Packet keys and vantages with changed sequence numbers."""

    @property
    def renumbered(self) -> bool:
        """The device in between changes sequence numbers."""
        return self._other_initial is not None

    def is_copy(self, frame: Frame, datagram: bytes) -> bool:
        """Whether the packet is a copy of one before; it is counted then."""
        seen = self._seen.get(frame.key)
        if (
            seen is not None
            and frame.interface is seen.interface
            and frame.data.startswith(seen.head)
        ):
            # Nearly all packets: what they bring matters only once there is another vantage.
            headers, size = datagram[:HEADERS], len(datagram)
            if size == seen.size and headers == seen.headers:
                self.repeated += 1
            seen.headers, seen.size = headers, size
            return False
        if not self._from_elsewhere(frame, seen, datagram):
            return False
        self.copies += 1
        return True

    def _from_elsewhere(self, frame: Frame, seen: Seen | None, datagram: bytes) -> bool:
        """Whether a packet that is the first of its direction, or from another vantage than the
        latest that brought something new, is a copy."""
        place = frame.key, frame.interface, frame.data[: frame.offset]
        if place in self._other:
            return True
        headers = datagram[:HEADERS]
        flags = _flags(headers)
        if seen is None:
            first = Seen(frame, datagram)
            if flags & (SYN | ACK) == SYN | ACK:
                changed = self._other_initial
                if changed is not None and first.acknowledged == changed + 1 & 0xFFFF_FFFF:
                    self._other.append(place)
                    return True
                self.answer = first.acknowledged, first.initial
            self._seen[frame.key] = first
            return False
        if flags & SYN and frame.time - seen.time >= TOGETHER:  # another connection begins
            self._seen[frame.key] = Seen(frame, datagram)
            return False
        seen.add(seen.headers, seen.size)
        if flags & (SYN | ACK) == SYN:
            sequence = _fields(headers, len(datagram))[0]
            if sequence != seen.initial and seen.end == seen.initial + 1 & 0xFFFF_FFFF:
                self._other_initial = sequence
                self._other.append(place)
                return True
        if not seen.add(headers, len(datagram)):
            return True
        seen.interface, seen.head = frame.interface, frame.data[: frame.offset]
        seen.headers, seen.size = headers, len(datagram)
        return False


def _transport(headers: bytes) -> int:
    """Where the TCP header begins; 0 if it is not among the *headers*."""
    if headers[0] >> 4 == 4:
        at = (headers[0] & 15) << 2
    else:
        segment = parse(headers, len(headers)) if headers[6] != TCP_PROTOCOL else None
        at = segment.transport if isinstance(segment, Segment) else 40
    return at if at + _HEADER.size + 4 <= len(headers) else 0


def _flags(headers: bytes) -> int:
    at = _transport(headers)
    return headers[at + 13] if at else 0


def _fields(headers: bytes, size: int) -> tuple[int, int, int, bool]:
    """Sequence number, acknowledgement (or 0), length with SYN and FIN, and whether it is an RST,
    of a packet of *size* bytes. All 0 if that cannot be told."""
    at = _transport(headers)
    if not at:
        return 0, 0, 0, False
    sequence, acknowledgment, offset, flags = _HEADER.unpack_from(headers, at + 4)
    length = size - at - (offset >> 4 << 2) + bool(flags & SYN) + (flags & FIN)
    return sequence, acknowledgment if flags & ACK else 0, length, bool(flags & RST)


def _after(number: int, other: int) -> bool:
    return 0 < (number - other & 0xFFFF_FFFF) < 0x8000_0000


class Translations:
    """Finds a connection again on the other side of an address translation, by the initial
    sequence numbers of both ends."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[int, Frame]] = {}

    def same_as(self, answer: tuple[int, int], frame: Frame, number: int) -> int | None:
        """The number of the connection that the one of this SYN-ACK, connection *number*, is too;
        None if there is none. *answer*: see ``Sides``."""
        known = self._known.get(answer)
        if known is not None:
            same, before = known
            elsewhere = before.interface is not frame.interface or (
                before.data[: before.offset] != frame.data[: frame.offset]
            )
            if elsewhere and before.key != frame.key and frame.time - before.time < TOGETHER:
                return same
        self._known[answer] = number, frame
        if len(self._known) > MAX_PAIRS:
            del self._known[next(iter(self._known))]
        return None
