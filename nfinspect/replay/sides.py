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
from nfinspect.replay.capture import Frame, Interface

TOGETHER = 3 * 10**9
"""Nanoseconds within which both copies of a SYN are seen."""
MAX_PAIRS = 4096
"""Pairs of initial sequence numbers remembered, to know connections on two sides of an address
translation."""

_HEADER = Struct("!LLBB")  # sequence, acknowledgment, offset, flags
_HALF = 0x8000_0000
_PLAIN_IPV4 = 0x45
"""The first byte of an IPv4 header without options."""


class Seen:
    """What has been seen of one direction."""

    __slots__ = ("acknowledged", "end", "head", "initial", "interface", "reset", "time")

    def __init__(
        self, frame: Frame, sequence: int, acknowledgment: int, length: int, flags: int
    ) -> None:
        self.interface = frame.interface
        self.head = frame.data[: frame.offset]
        """With the interface, the vantage of the latest packet that brought something new."""
        self.initial = sequence
        self.time = frame.time
        """Of the first packet."""
        self.end = sequence + length + (flags & FIN) + bool(flags & SYN) & 0xFFFF_FFFF
        """The sequence number after the latest, FIN and SYN counted."""
        self.acknowledged = acknowledgment
        self.reset = bool(flags & RST)

    def at(self, frame: Frame) -> bool:
        """Whether the frame has the vantage."""
        return (
            frame.interface is self.interface
            and frame.offset == len(self.head)
            and frame.data.startswith(self.head)
        )


class Sides:
    """Which packets of a connection are copies."""

    __slots__ = ("_other", "_other_initial", "_seen", "answer", "copies")

    def __init__(self) -> None:
        self.copies = 0
        self.answer: tuple[int, int] | None = None
        """The numbers of the SYN-ACK: what it acknowledges, and its own."""
        self._seen: dict[bytes, Seen] = {}
        """By packet key."""
        self._other_initial: int | None = None
        """The initial sequence number of the client where it was changed."""
        self._other: list[tuple[bytes, Interface, bytes]] = []
        """Packet keys and vantages with changed sequence numbers."""

    @property
    def renumbered(self) -> bool:
        """The device in between changes sequence numbers."""
        return self._other_initial is not None

    def is_copy(self, frame: Frame, datagram: bytes) -> bool:
        """Whether the packet is a copy of one before; it is counted then."""
        first = datagram[0]
        if first == _PLAIN_IPV4:
            transport = 20
        elif first >> 4 == 4:
            transport = (first & 15) << 2
        else:
            transport = 40 if datagram[6] == TCP_PROTOCOL else _transport(datagram)
        size = len(datagram)
        if not transport or transport + 20 > size:
            return False
        sequence, acknowledgment, offset, flags = _HEADER.unpack_from(datagram, transport + 4)
        seen = self._seen.get(frame.key)
        if seen is None or flags & SYN or self._other:
            return self._unusual(frame, seen, datagram, transport)
        end = sequence + size - transport - (offset >> 4 << 2) + (flags & FIN)
        new = False
        if 0 < (end - seen.end & 0xFFFF_FFFF) < _HALF:
            seen.end = end
            new = True
        if 0 < (acknowledgment - seen.acknowledged & 0xFFFF_FFFF) < _HALF and flags & ACK:
            seen.acknowledged = acknowledgment
            new = True
        if frame.interface is seen.interface and frame.data.startswith(seen.head):
            return False
        return self._elsewhere(frame, seen, flags, new)

    def _elsewhere(self, frame: Frame, seen: Seen, flags: int, new: bool) -> bool:
        """A packet from another vantage than the latest that brought something new."""
        if flags & RST and not seen.reset:
            seen.reset = new = True
        if new:
            seen.interface, seen.head = frame.interface, frame.data[: frame.offset]
            return False
        self.copies += 1
        return True

    def _unusual(self, frame: Frame, seen: Seen | None, datagram: bytes, transport: int) -> bool:
        """The first packet of a direction, a SYN, or any packet if sequence numbers are changed."""
        sequence, acknowledgment, offset, flags = _HEADER.unpack_from(datagram, transport + 4)
        place = frame.key, frame.interface, frame.data[: frame.offset]
        changed = place in self._other
        if seen is not None and flags & SYN:
            together = frame.time - seen.time < TOGETHER and not seen.at(frame)
            if together and sequence == seen.initial:
                self.copies += 1
                return True
            if together and not flags & ACK and seen.end == (seen.initial + 1) & 0xFFFF_FFFF:
                self._other_initial = sequence
                changed = True
        elif flags & SYN and self._other_initial is not None:
            changed = acknowledgment == (self._other_initial + 1) & 0xFFFF_FFFF
        if changed:
            if place not in self._other:
                self._other.append(place)
            self.copies += 1
            return True
        length = len(datagram) - transport - (offset >> 4 << 2)
        if seen is None or flags & SYN:
            self._seen[frame.key] = Seen(frame, sequence, acknowledgment, length, flags)
            if flags & SYN and flags & ACK:
                self.answer = acknowledgment, sequence
        return False


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


def _transport(datagram: bytes) -> int:
    segment = parse(datagram, len(datagram))
    return segment.transport if isinstance(segment, Segment) else 0
