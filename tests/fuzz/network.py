"""Links that lose, double, delay, reorder, split, join and damage packets, in virtual time."""

from __future__ import annotations

import enum
import heapq
from dataclasses import dataclass
from random import Random

from tests.fuzz.packets import FIN, MASK, PSH, RST, SYN, Packet

TO_FILTER, TO_END = 0, 2
"""A place is one of these plus the direction of travel: 0 for requests, 1 for replies."""
NOWHERE = 4
"""The place of what is no packet, but is to happen then."""
HOPS = 4
"""Routers between the filter and an end: with a TTL no larger than this, a packet expires there."""


class Trouble(enum.IntEnum):
    LOST = 0
    DOUBLED = 1
    LATE = 2
    """By a time that is long beside the round trip."""
    SPLIT = 3
    JOINED = 4
    """With the segment behind it."""
    DAMAGED = 5
    """Its checksum is wrong: the next that looks throws it away."""


TROUBLES = tuple(Trouble)


@dataclass(slots=True)
class Link:
    """Times in seconds, the probability of trouble for each packet."""

    delay: float = 0.01
    jitter: float = 0.0
    """More than packets are apart reorders them."""
    trouble: float = 0.0
    weights: tuple[int, ...] = (4, 2, 2, 2, 2, 1)
    """Of the kinds of trouble."""
    spike: float = 0.5
    rate: float = 0.0
    """Bytes a second; 0: any."""
    busy_until: float = 0.0


@dataclass(slots=True)
class Marks:
    """What is special about a packet on its way."""

    damage: int = 0
    forger: object = None
    """Who makes another packet of it when it arrives, if anybody does."""
    wrong_side: bool = False
    """It comes in where the other end's packets do."""


PLAIN = Marks()


class Network:
    """The packets under way, each at a place from a time on."""

    __slots__ = ("_order", "links", "queue", "random")

    def __init__(self, random: Random, links: dict[int, Link]) -> None:
        self.random, self.links = random, links
        self.queue: list[tuple[float, int, int, Packet, Marks]] = []
        self._order = 0

    def push(self, when: float, place: int, packet: Packet, marks: Marks = PLAIN) -> None:
        self._order += 1
        heapq.heappush(self.queue, (when, self._order, place, packet, marks))

    def pop(self) -> tuple[float, int, int, Packet, Marks]:
        return heapq.heappop(self.queue)

    def send(self, now: float, place: int, packets: list[Packet]) -> None:
        """Packets that leave at once, over the link to ``place``."""
        link, random = self.links[place], self.random.random
        marks = PLAIN
        index = 0
        while index < len(packets):
            packet = packets[index]
            index += 1
            when = now + link.delay
            if link.jitter:
                when += link.jitter * random()
            if link.rate:
                size = 40 + len(packet.options) + len(packet.payload)
                link.busy_until = max(link.busy_until, now) + size / link.rate
                when += link.busy_until - now
            if link.trouble and random() < link.trouble:
                (kind,) = self.random.choices(TROUBLES, link.weights)
                if kind == Trouble.LOST:
                    continue
                if kind == Trouble.DOUBLED:
                    self.push(when + link.jitter * random(), place, packet)
                elif kind == Trouble.LATE:
                    when += link.spike * random()
                elif kind == Trouble.SPLIT and len(packet.payload) > 1:
                    at = self.random.randrange(1, len(packet.payload))
                    packet, rest = split(packet, at)
                    self.push(when + link.jitter * random(), place, rest)
                elif kind == Trouble.JOINED and index < len(packets):
                    joined = join(packet, packets[index])
                    if joined is not None:
                        packet = joined
                        index += 1
                elif kind == Trouble.DAMAGED:
                    marks = Marks(self.random.randrange(1, 0xFFFF))
            self.push(when, place, packet, marks)
            marks = PLAIN


def split(packet: Packet, at: int) -> tuple[Packet, Packet]:
    """FIN and PSH go with the second part."""
    sequence, acknowledgment, flags, window, options, payload = packet
    head = Packet(sequence, acknowledgment, flags & ~(FIN | PSH), window, options, payload[:at])
    return head, Packet(sequence + at & MASK, acknowledgment, flags, window, options, payload[at:])


def join(packet: Packet, later: Packet) -> Packet | None:
    """Both in one, if the later follows at once; None if it does not."""
    follows = packet.sequence + len(packet.payload) & MASK == later.sequence
    if not follows or not packet.payload or not later.payload:
        return None
    if (packet.flags & (FIN | SYN | RST)) or packet.options != later.options:
        return None
    return Packet(
        packet.sequence,
        later.acknowledgment,
        packet.flags | later.flags,
        later.window,
        packet.options,
        packet.payload + later.payload,
    )
