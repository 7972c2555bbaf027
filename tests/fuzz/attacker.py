"""What an attacker sends in the name of an endpoint.

``HARMLESS`` must change nothing, however well it is aimed: wrong numbers, and different bytes for
decided data. A session with these alone has to end as if there were no attacker. Among them is
what a blind attacker sends, who knows only the addresses and ports (``blind``). ``HOSTILE`` is what
an endpoint could send, so it may break the connection; it must not break the rule for bytes.
``SEQUEL`` follows when the filter has forgotten a connection that the server may still have.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from struct import pack
from typing import NamedTuple

from tests.fuzz.guard import Guard, Stream
from tests.fuzz.network import HOPS
from tests.fuzz.packets import ACK, FIN, MASK, PSH, RST, SYN, URG, Packet
from tests.model.stack import read_options

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


OLDER_THAN_ANY_WINDOW = 1 << 20
"""Bytes: more than any endpoint here announces."""
FURTHEST, ORDERLY = (1 << 31) - 1, 1 << 29
"""How far forged timestamps are from the real ones. Timestamps spread over more than half of the
space have no order, so where they matter, they stay closer."""
SHORT_LIVES = (1, 2, HOPS, HOPS + 1)
"""TTLs. With all but the last, a packet that passes the filter expires behind it."""


def _stamps(value: int, echo: int) -> bytes:
    return b"\1\1\x08\x0a" + pack("!LL", value & MASK, echo & MASK)


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

    @property
    def timestamp(self) -> int:
        """That of the real packet, or the middle of the space if it has none."""
        stamps = read_options(self.packet.options)[0]
        return 1 << 31 if stamps is None else stamps[0]

    def strange_options(self, furthest: int) -> bytes:
        """Timestamps of the past or the future, and SACK blocks of anything."""
        random = self.random
        options = b""
        if random.random() < 0.7:
            away = random.choice((1, 1000, 1 << 20, furthest))
            value = self.timestamp + random.choice((away, -away))
            options = _stamps(value, random.getrandbits(32))
        if not options or random.random() < 0.5:
            left = random.choice((random.getrandbits(32), self.packet.acknowledgment))
            right = left + random.choice((1, 100, 1 << 16))
            options += b"\1\1\5\x0a" + pack("!LL", left, right & MASK)
        return options

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
    value = scene.timestamp + scene.random.randint(-ORDERLY, ORDERLY)
    return scene.saying(scene.decided, scene.junk(3))._replace(options=_stamps(value, 0))


def _opening(scene: Scene) -> Packet:
    random = scene.random
    flags = random.choice((SYN, SYN | ACK, RST, RST | ACK, ACK, FIN | ACK))
    payload = scene.junk(random.choice((0, 0, 8)))
    return scene.saying(random.choice((-1, -1, 0, 1, 500)), payload, flags)


def _old_acknowledgement(scene: Scene) -> Packet | None:
    """In the window, but it acknowledges less than any receiver could (RFC 5961 section 5)."""
    random = scene.random
    if scene.stream.free is not None:
        return None  # without inspection, dropping it is left to the receiver
    away = random.randrange(OLDER_THAN_ANY_WINDOW, 1 << 31)
    offset = scene.decided + random.choice((0, 0, 0, 1, random.randint(-40, 400)))
    flags = ACK | random.choice((0, PSH, FIN))
    real = scene.packet.acknowledgment
    return scene.saying(offset, scene.junk(random.choice((0, 1, 40))), flags)._replace(
        acknowledgment=real - away & MASK, window=random.choice((0, 1, scene.packet.window, 65535))
    )


def _blind(scene: Scene) -> Packet | None:
    """Numbers from the whole space, often near the right ones, but never with both right: that is
    an attacker who sees the packets."""
    random = scene.random
    size = random.choice((0, 0, 1, 9))
    window = random.choice((0, 1, 65535))
    sender = scene.stream.sender
    if scene.stream.free is None and random.random() < 0.5:
        forged = _old_acknowledgement(scene) if random.random() < 0.5 else None
        forged = forged or _far_acknowledgement(scene)
        return forged._replace(payload=scene.junk(size), window=window)
    # Old: the receiver has acknowledged all of it, and the byte behind it.
    old = sender.una - sender.base - 2 - size
    start = old - random.choice((0, 1, random.randrange(300), random.randrange(1 << 16)))
    if random.random() < 0.5:
        start = old - random.randrange(1 << 30)
    real = scene.packet.acknowledgment
    acknowledgment = random.choice(
        (real, real + 1, real + random.randint(-70000, 70000), random.getrandbits(32))
    )
    return scene.saying(start, scene.junk(size), ACK | random.choice((0, PSH)))._replace(
        acknowledgment=acknowledgment & MASK, window=window
    )


def blind(forger: Forger) -> bool:
    """Whether the receiver ignores what it forges, whatever its TTL and options."""
    return forger in BLIND


# ---- once the filter has forgotten a connection that the server may still have


def _opening_again(scene: Scene) -> Packet:
    """A SYN: the same again, or at a number that suits the old connection."""
    random = scene.random
    receiver = scene.stream.receiver
    initial = scene.stream.sender.habits.initial
    sequence = random.choice(
        (initial, initial + 1, receiver.rcv, receiver.rcv - 1, random.getrandbits(32))
    )
    return Packet(sequence & MASK, 0, SYN, 65535, b"")


def _as_before(scene: Scene) -> Packet:
    """What the server would accept on the old connection."""
    random = scene.random
    receiver = scene.stream.receiver
    flags = ACK | random.choice((0, PSH, FIN))
    return Packet(
        receiver.rcv & MASK,
        receiver.nxt & MASK,
        flags,
        65535,
        random.choice((b"", scene.packet.options)),
        scene.junk(random.choice((0, 1, 30))),
    )


def _answering_a_syn(scene: Scene) -> Packet:
    """SYN-ACK, as if the server had sent a SYN."""
    receiver = scene.stream.receiver
    sequence = scene.random.choice((receiver.rcv - 1, scene.random.getrandbits(32)))
    return Packet(sequence & MASK, receiver.nxt & MASK, SYN | ACK, 65535, b"")


def _ending_the_servers(scene: Scene) -> Packet:
    """The RST that ends the old connection for the server, too."""
    return Packet(scene.stream.receiver.rcv & MASK, 0, RST, 0, b"")


def exact_reset(scene: Scene) -> Packet:
    """The RST that ends the connection for the filter; for the server only if it arrives there."""
    return scene.saying(scene.decided, flags=RST)


def syn_again(scene: Scene) -> Packet:
    """The client's own SYN once more: before the reset it asks for another SYN-ACK, and after it
    for another connection at the same numbers."""
    return _syn_again(scene)


def syn_in_the_servers_name(scene: Scene) -> Packet:
    """It would make the server the client of a connection."""
    random = scene.random
    server = scene.guard.streams[1].sender
    sequence = random.choice((server.nxt, server.habits.initial, random.getrandbits(32)))
    return Packet(sequence & MASK, 0, SYN, 65535, b"")


def _in_the_servers_name(scene: Scene) -> Packet:
    """An answer to the attacker's own SYN, from the clients' side."""
    random = scene.random
    server, client = scene.guard.streams[1].sender, scene.guard.streams[0].sender
    flags = random.choice((SYN | ACK, SYN | ACK, ACK, RST))
    sequence = random.choice((server.nxt, server.habits.initial, random.getrandbits(32)))
    acknowledgment = random.choice((client.base, client.nxt, server.rcv)) if flags & ACK else 0
    return Packet(sequence & MASK, acknowledgment & MASK, flags, 65535, b"")


def from_port_25(scene: Scene) -> Packet:
    """From port 25 to port 25 of the client's host and the server."""
    random = scene.random
    flags = random.choice((SYN, SYN, SYN | ACK, ACK, RST, FIN | ACK))
    numbers = (random.getrandbits(32), random.getrandbits(32) if flags & ACK else 0)
    return Packet(*numbers, flags, 65535, b"", scene.junk(random.choice((0, 9))))


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
    _old_acknowledgement,
    _blind,
    _blind,
)
BLIND = frozenset(HARMLESS) - {_conflict_with_decided, _syn_again}
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
SEQUEL: tuple[Forger, ...] = (
    *[_opening_again] * 3,
    *[_as_before] * 4,
    _answering_a_syn,
    _ending_the_servers,
    _opening,
    _relation,
)
ASIDE = (syn_in_the_servers_name, _in_the_servers_name, from_port_25)
"""The same, but not from the client's socket."""
