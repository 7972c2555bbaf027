"""What somebody on the way sends in the name of an end.

``HARMLESS`` is what must change nothing, however well it is aimed: wrong numbers, and other bytes
for what has been decided. A session with these alone has to end as if nobody were there. ``HOSTILE``
is what a real end might say, so it may well break the connection; it must not break the rule for
bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from struct import pack
from typing import NamedTuple

from tests.fuzz.guard import Guard, Stream
from tests.fuzz.packets import ACK, FIN, MASK, PSH, RST, SYN, URG, Packet

ALPHABET = b"EVIL!?xyzXX\r\n.+2"
COMMANDS = b"RCPT TO:<evil@example.org>\r\nDATA\r\nQUIT\r\n.\r\nSTARTTLS\r\n250 ok\r\n354 go\r\n"

RELATIONS = (
    "before", "meets", "overlaps", "starts", "during", "finishes", "equals",
    "finished by", "contains", "started by", "overlapped by", "met by", "after",
)  # fmt: skip
"""Two intervals can stand in (Allen 1983)."""


def interval(random: Random, relation: str, start: int, end: int) -> tuple[int, int]:
    """One that stands in this relation to ``start, end``; equal where that has no room for it."""

    def inside() -> int:
        return random.randrange(start + 1, end) if end > start + 1 else start

    left = start - random.randint(1, 20)
    right = end + random.randint(1, 20)
    low, high = {
        "before": (left - 5, left),
        "meets": (left, start),
        "overlaps": (left, inside()),
        "starts": (start, inside()),
        "during": (inside(), end - 1),
        "finishes": (inside(), end),
        "equals": (start, end),
        "finished by": (left, end),
        "contains": (left, right),
        "started by": (start, right),
        "overlapped by": (inside(), right),
        "met by": (end, right),
        "after": (right, right + 9),
    }[relation]
    return (low, high) if low < high else (start, end)


class Scene(NamedTuple):
    """What an attacker knows: everything."""

    random: Random
    guard: Guard
    direction: int
    packet: Packet
    """What the end in whose name he speaks has just sent."""
    mail: bool

    @property
    def stream(self) -> Stream:
        return self.guard.streams[self.direction]

    @property
    def decided(self) -> int:
        return len(self.stream.approved)

    def at(self, offset: int) -> int:
        return self.stream.sender.base + offset & MASK

    def junk(self, size: int) -> bytes:
        if self.mail:
            start = self.random.randrange(len(COMMANDS))
            return (COMMANDS[start:] + COMMANDS * (1 + size // len(COMMANDS)))[:size]
        return bytes(self.random.choices(ALPHABET, k=size))

    def saying(self, offset: int, payload: bytes = b"", flags: int = ACK) -> Packet:
        """With the acknowledgement and window of the real packet, without its options."""
        last = self.packet
        return Packet(self.at(offset), last.acknowledgment, flags, last.window, b"", payload)


def _conflict_with_decided(scene: Scene) -> Packet | None:
    decided = scene.decided
    if not decided:
        return None
    start = scene.random.randrange(max(0, decided - 80), decided)
    end = scene.random.randint(start + 1, decided)
    contradicts = end < decided and scene.stream.free is None
    flags = ACK | scene.random.choice((0, PSH, FIN if contradicts else PSH))
    return scene.saying(start, scene.junk(end - start), flags)


def _data_far_away(scene: Scene) -> Packet:
    away = scene.random.randrange(1 << 24, 1 << 30)
    return scene.saying(
        scene.random.choice((away, -away)), scene.junk(9), ACK | scene.random.choice((0, FIN))
    )


def _reset_elsewhere(scene: Scene) -> Packet:
    random = scene.random
    away = random.choice((random.randrange(2, 300), random.randrange(1 << 20, 1 << 31)))
    return scene.saying(scene.decided + away, flags=RST | random.choice((0, ACK)))


def _syn_inside(scene: Scene) -> Packet:
    random = scene.random
    flags = random.choice((SYN, SYN | ACK, SYN | FIN, SYN | RST, SYN | PSH))
    offset = random.choice((scene.decided, random.randrange(2, 1 << 31)))
    return scene.saying(offset, scene.junk(random.choice((0, 5))), flags)


def _syn_again(scene: Scene) -> Packet:
    return scene.saying(-1, flags=SYN)._replace(acknowledgment=0)


def _far_acknowledgement(scene: Scene) -> Packet:
    away = scene.random.randrange(1 << 24, 1 << 30)
    acknowledgment = scene.packet.acknowledgment + away & MASK
    return scene.saying(scene.decided)._replace(acknowledgment=acknowledgment)


def _strange_flags(scene: Scene) -> Packet:
    flags = scene.random.choice((0, FIN, PSH, URG, FIN | PSH | URG))
    return scene.saying(scene.decided, scene.junk(4), flags)


def _relation(scene: Scene) -> Packet | None:
    payload = scene.packet.payload
    if not payload:
        return None
    base = scene.stream.sender.base
    start = (scene.packet.sequence - base + 0x8000_0000 & MASK) - 0x8000_0000
    low, high = interval(scene.random, scene.random.choice(RELATIONS), start, start + len(payload))
    low = max(low, 0)
    if low >= high:
        return None
    flags = ACK | scene.random.choice((0, 0, 0, PSH, FIN, URG))
    return scene.saying(low, scene.junk(high - low), flags)


def _data_ahead(scene: Scene) -> Packet:
    offset = scene.decided + scene.random.randint(0, 200)
    return scene.saying(offset, scene.junk(scene.random.randint(1, 40)))


def _fin(scene: Scene) -> Packet:
    return scene.saying(scene.decided + scene.random.choice((0, 0, 1, 5)), flags=FIN | ACK)


def _reset(scene: Scene) -> Packet:
    offset = scene.decided + scene.random.choice((0, 0, 1, -1))
    return scene.saying(offset, scene.junk(scene.random.choice((0, 3))), RST)


def _acknowledgement_of_more(scene: Scene) -> Packet:
    other = scene.guard.streams[1 - scene.direction]
    acknowledged = len(other.approved) + scene.random.randint(-40, 20)
    return scene.saying(scene.decided)._replace(
        acknowledgment=other.sender.base + acknowledged & MASK
    )


def _window(scene: Scene) -> Packet:
    return scene.packet._replace(window=scene.random.choice((0, 1, 7, 65535)), payload=b"")


def _timestamps(scene: Scene) -> Packet:
    value = scene.random.getrandbits(32)
    return scene.saying(scene.decided, scene.junk(3))._replace(
        options=b"\1\1\x08\x0a" + pack("!LL", value, 0)
    )


def _opening(scene: Scene) -> Packet:
    random = scene.random
    flags = random.choice((SYN, SYN | ACK, RST, RST | ACK, ACK, FIN | ACK))
    payload = scene.junk(random.choice((0, 0, 8)))
    return scene.saying(random.choice((-1, -1, 0, 1, 500)), payload, flags)


Forger = Callable[[Scene], Packet | None]
HARMLESS: tuple[Forger, ...] = (
    _conflict_with_decided,
    _conflict_with_decided,
    _conflict_with_decided,
    _data_far_away,
    _reset_elsewhere,
    _syn_inside,
    _syn_again,
    _far_acknowledgement,
    _strange_flags,
)
HOSTILE: tuple[Forger, ...] = (
    *[_relation] * 12,
    _data_ahead,
    _data_ahead,
    _window,
    _timestamps,
    *HARMLESS,
)
FINAL: tuple[Forger, ...] = (*HOSTILE, _fin, _reset, _acknowledgement_of_more, _opening)
"""Hostile, and likely to be the end."""
