"""One endpoint of a connection: a small TCP that segments at random and trusts what it receives."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.model.wire import ACK, FIN, PSH, RST, SYN, Packet

RETRANSMISSION_TIMEOUT = 1.0
ATTEMPTS = 60


def modular(number: int, near: int) -> int:
    """The number closest to *near* with these low 32 bits."""
    step = (number - near) & 0xFFFFFFFF
    return near + (step if step < 1 << 31 else step - (1 << 32))


class Endpoint:
    """``policy`` says which byte is kept where two segments differ: the ``first`` or the ``last``."""

    def __init__(
        self,
        name: str,
        own: tuple[bytes, int],
        other: tuple[bytes, int],
        random: Random,
        *,
        initial: int,
        window: int = 60000,
        largest: int = 400,
        policy: str = "first",
    ) -> None:
        self.name, self.own, self.other, self.random = name, own, other, random
        self.policy, self.window, self.largest = policy, window, largest
        self.initial = initial
        self.stream = bytearray()
        self.no_more = False
        self.ends_after_peer = False
        """Close once the peer has closed and all its data has been read."""
        self.una = self.nxt = initial
        self.peer_window = 1000
        self.received = bytearray()
        self.peer_initial: int | None = None
        self.rcv = 0
        self.ahead: dict[int, int] = {}
        self.fin_at: int | None = None
        self.reset = False
        self.established = False
        self.attempts = 0
        self.timer: float | None = None
        self.on_data: Callable[[bytes], None] = lambda data: None

    # ---- sending

    def write(self, data: bytes) -> None:
        self.stream += data

    @property
    def fin_number(self) -> int:
        return self.initial + 1 + len(self.stream)

    @property
    def done(self) -> bool:
        """Everything is sent and acknowledged, and the peer's FIN has been received."""
        return (
            self.no_more
            and self.una == self.fin_number + 1
            and self.fin_at is not None
            and self.rcv == self.fin_at + 1
        )

    def packet(self, sequence: int, flags: int = ACK, payload: bytes = b"") -> Packet:
        acknowledgment = self.rcv if flags & ACK else 0
        return Packet(self.own, self.other, sequence, acknowledgment, flags, self.window, payload)

    def connect(self, now: float) -> list[Packet]:
        self.nxt = self.initial + 1
        self.timer = now + RETRANSMISSION_TIMEOUT
        return [self.packet(self.initial, SYN)]

    def segment_from(self, sequence: int) -> Packet:
        """A segment of random size from *sequence* on, within the window."""
        at = sequence - self.initial - 1
        size = self.random.choice((1, 2, self.random.randint(1, self.largest), self.largest))
        size = min(size, max(1, self.una + self.peer_window - sequence))
        payload = bytes(self.stream[at : at + size])
        flags = ACK | (PSH if self.random.random() < 0.3 else 0)
        if self.no_more and at + len(payload) == len(self.stream):
            flags |= FIN
        return self.packet(sequence, flags, payload)

    def pump(self, now: float) -> list[Packet]:
        """New segments, as the window allows."""
        packets: list[Packet] = []
        if not self.established or self.reset:
            return packets
        limit = self.fin_number + (1 if self.no_more else 0)
        while self.nxt < limit and self.nxt - self.una < self.peer_window:
            packet = self.segment_from(self.nxt)
            self.nxt += len(packet.payload) + (1 if packet.flags & FIN else 0)
            packets.append(packet)
        if packets and self.timer is None:
            self.timer = now + RETRANSMISSION_TIMEOUT
        return packets

    def timeout(self, now: float) -> list[Packet]:
        """Retransmit the oldest data in a new segmentation."""
        self.attempts += 1
        if self.una == self.nxt or self.reset or self.attempts > ATTEMPTS:
            self.timer = None
            return []
        self.timer = now + RETRANSMISSION_TIMEOUT * min(8, self.attempts)
        if self.una == self.initial:
            flags = SYN if self.peer_initial is None else SYN | ACK
            return [self.packet(self.initial, flags)]
        packets, at = [], self.una
        for _ in range(self.random.randint(1, 4)):
            if at >= self.nxt:
                break
            packet = self.segment_from(at)
            packets.append(packet)
            at += len(packet.payload) + (1 if packet.flags & FIN else 0)
            self.nxt = max(self.nxt, at)
        return packets

    # ---- receiving

    def receive(self, packet: Packet, now: float) -> list[Packet]:
        if self.reset:
            return []
        if packet.flags & RST:
            self.reset = packet.sequence == self.rcv & 0xFFFFFFFF
            return []
        if packet.flags & SYN:
            return self._syn(packet, now)
        if self.peer_initial is None or not packet.flags & ACK:
            return []
        acknowledgment = modular(packet.acknowledgment, self.una)
        if self.una < acknowledgment <= self.nxt:
            self.una = acknowledgment
            self.attempts = 0
            self.timer = now + RETRANSMISSION_TIMEOUT if self.una < self.nxt else None
            self.established = True
        self.peer_window = packet.window
        answer = bool(packet.payload or packet.flags & FIN)
        self._data(packet)
        return ([self.packet(self.nxt)] if answer else []) + self.pump(now)

    def _syn(self, packet: Packet, now: float) -> list[Packet]:
        if self.peer_initial is None:
            self.peer_initial = packet.sequence
            self.rcv = packet.sequence + 1
        elif modular(packet.sequence, self.peer_initial) != self.peer_initial:
            return [self.packet(self.nxt)]
        self.peer_window = packet.window
        if packet.flags & ACK:
            if modular(packet.acknowledgment, self.una) == self.initial + 1:
                self.una = max(self.una, self.initial + 1)
                self.attempts = 0
                self.established = True
                self.timer = now + RETRANSMISSION_TIMEOUT if self.una < self.nxt else None
                return [self.packet(self.nxt), *self.pump(now)]
            return []
        self.nxt = max(self.nxt, self.initial + 1)
        self.timer = now + RETRANSMISSION_TIMEOUT
        return [self.packet(self.initial, SYN | ACK)]

    def _data(self, packet: Packet) -> None:
        start = modular(packet.sequence, self.rcv)
        for number, byte in enumerate(packet.payload, start):
            if self.rcv <= number < self.rcv + self.window:
                if self.policy == "last":
                    self.ahead[number] = byte
                else:
                    self.ahead.setdefault(number, byte)
        if packet.flags & FIN:
            self.fin_at = start + len(packet.payload)
        fresh = bytearray()
        while self.rcv in self.ahead:
            fresh.append(self.ahead.pop(self.rcv))
            self.rcv += 1
        if fresh:
            self.received += fresh
            self.on_data(bytes(fresh))
        if self.fin_at == self.rcv:
            self.rcv += 1
            self.no_more = self.no_more or self.ends_after_peer
