"""The rule for bytes, held against every packet that leaves the filter.

A packet's payload is what inspection has approved for its sequence numbers, byte for byte. So it
does not matter how the receiver resolves overlaps, nor in what order it gets things: no two packets
differ about a byte. There is one exception: what the receiver has had already may be X (or
anything, where inspection has ended).

More laws, each checked where it can be broken first. While a connection is inspected, a FIN stands
behind all that was approved, always at the same number. Nothing of the client's but
acknowledgements leaves a closed connection, and no SYN an open one. What was approved leaves at
once. Each packet gets one verdict; checksums and lengths are right. Acknowledgements of the filter's own say nothing that the receiver has not said, and their
SACK blocks stand behind the number that they acknowledge.
"""

from __future__ import annotations

from tests.fuzz.packets import ACK, FIN, MASK, RST, SYN, URG, Packet, Path
from tests.model.stack import OPEN, Stack, near, read_options
from tests.model.wire import read as read_word_by_word

SAMPLE = 50
"""Every so manieth packet is also read by the other implementation."""


class DifferenceError(AssertionError):
    """The filter has done what it must not."""


class Stream:
    """One direction: what its inspection has approved, and who sends and receives it."""

    __slots__ = ("approved", "conceded", "fin", "free", "left", "path", "receiver", "sender")

    def __init__(self, sender: Stack, receiver: Stack, path: Path) -> None:
        self.sender, self.receiver, self.path = sender, receiver, path
        self.approved = bytearray()
        """The inspector's record."""
        self.free: int | None = None
        """Where inspection has ended and bytes pass as they are."""
        self.fin: int | None = None
        self.left = 0
        """How many bytes have left for the receiver."""
        self.conceded = 0
        """Up to where somebody has acknowledged in the receiver's place."""

    @property
    def had(self) -> int:
        """How many bytes the receiver has had, as far as the filter can know."""
        return max(self.conceded, self.receiver.rcv - self.sender.base if self.receiver.rcv else 0)

    def offset(self, sequence: int) -> int:
        base = self.sender.base
        return near(sequence, base + len(self.approved)) - base


class Guard:
    """Stands behind the filter. ``streams``: that of the requests, that of the replies."""

    __slots__ = ("closed", "off", "seen", "streams")

    def __init__(self, requests: Stream, replies: Stream) -> None:
        self.streams = (requests, replies)
        self.closed = False
        self.off = False
        """The first connection is over: only the form of packets is checked."""
        self.seen = 0

    def passes(self, direction: int, datagram: bytes, *, ready: bool = True) -> Packet:
        """Judge a packet that leaves for the receiver of ``direction``."""
        stream = self.streams[direction]
        try:
            packet = stream.path.read(datagram, ready=ready)
        except AssertionError as error:
            raise DifferenceError(f"a packet with a wrong {error} leaves") from None
        self.seen += 1
        if ready and self.seen % SAMPLE == 0 and stream.path.version == 4:
            again = read_word_by_word(datagram)
            if again is None or again.payload != packet.payload:
                raise DifferenceError("a packet leaves that a receiver would throw away")
        flags, payload = packet.flags, packet.payload
        if self.off:
            return packet
        if flags & SYN and stream.sender.state == stream.receiver.state == OPEN:
            if not flags & ACK or packet.sequence != stream.sender.habits.initial:
                raise DifferenceError("a SYN leaves inside of a connection")
        if flags & URG:
            raise DifferenceError("an urgent pointer leaves")
        if payload:
            if flags & (SYN | RST):
                raise DifferenceError("data leaves on a SYN or an RST")
            if self.closed and direction == 0:
                raise DifferenceError(f"a closed connection passes {payload!r}")
            self._bytes(stream, packet)
        if flags & FIN and stream.free is None:
            self._fin(stream, packet)
        if self.closed and direction == 0 and flags & (FIN | SYN | RST):
            raise DifferenceError("a closed connection passes more than acknowledgements")
        return packet

    def _bytes(self, stream: Stream, packet: Packet) -> None:
        payload = packet.payload
        start = stream.offset(packet.sequence)
        end = start + len(payload)
        approved = stream.approved
        stream.left = max(stream.left, end)
        if stream.free is not None and end > stream.free:
            payload = payload[: max(0, stream.free - start)]
            end = start + len(payload)
            if not payload:
                return
        if end > len(approved):
            raise DifferenceError(
                f"{end - len(approved)} bytes leave that were not approved: "
                f"{payload[len(approved) - start :]!r} at {len(approved)}"
            )
        if start >= 0 and approved[start:end] == payload:
            return
        had = stream.had
        for at, byte in enumerate(payload, start):
            if at >= 0 and approved[at] == byte:
                continue
            if at >= had or (byte != 0x58 and stream.free is None):
                raise DifferenceError(
                    f"{payload!r} leaves at {start}, approved was "
                    f"{bytes(approved[max(start, 0) : end])!r}; the receiver has had {had} bytes"
                )

    def settle(self) -> None:
        """After all that one packet has brought about: what was approved has left."""
        for stream in self.streams:
            if stream.left < len(stream.approved):
                missing = len(stream.approved) - stream.left
                raise DifferenceError(f"{missing} bytes were approved and have not left")

    def _fin(self, stream: Stream, packet: Packet) -> None:
        at = stream.offset(packet.sequence) + len(packet.payload)
        if stream.fin is None:
            if at != len(stream.approved):
                raise DifferenceError(f"a FIN leaves at {at}, approved are {len(stream.approved)}")
            stream.fin = at
        elif at != stream.fin:
            raise DifferenceError(f"a FIN leaves at {at}, another one has left at {stream.fin}")

    def made(self, direction: int, datagram: bytes, *, piece: bool) -> Packet:
        """Judge a packet of the filter's own making for the receiver of ``direction``: the piece of
        a large one, or the word that something is missing."""
        packet = self.passes(direction, datagram)
        if piece or self.off:
            return packet
        if packet.flags != ACK:
            raise DifferenceError("the filter says more than an acknowledgement")
        own = self.streams[direction]
        base = own.sender.base
        if not 0 <= near(packet.sequence, base) - base <= len(own.approved) + 1:
            raise DifferenceError("the filter speaks beyond what has passed")
        other = self.streams[1 - direction]
        receiver, sender = other.receiver, other.sender
        number = near(packet.acknowledgment, sender.una)
        if number > max(receiver.acknowledged, sender.base + other.conceded):
            raise DifferenceError("the filter acknowledges what the receiver has not")
        _, blocks = read_options(packet.options)
        if blocks and not (sender.habits.sack and receiver.habits.sack):
            raise DifferenceError("SACK blocks that were not negotiated")
        for low, high in blocks:
            if not 0 < (low - packet.acknowledgment & MASK) < (high - packet.acknowledgment & MASK):
                raise DifferenceError(f"a SACK block {low}..{high} beside {packet.acknowledgment}")
        return packet
