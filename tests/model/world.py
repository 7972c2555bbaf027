"""Client, server, the filter between them, and links that lose, duplicate, delay and reorder."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from nfinspect.actions import Accept, Drop, DropReason, Emit, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.events import Event
from tests.model.endpoint import Endpoint
from tests.model.wire import Packet, read


@dataclass(slots=True)
class Link:
    """Probabilities per packet; delays in seconds."""

    loss: float = 0.0
    double: float = 0.0
    delay: tuple[float, float] = (0.01, 0.02)


@dataclass(slots=True)
class World:
    engine: Engine
    client: Endpoint
    server: Endpoint
    random: Random
    outside: Link = field(default_factory=Link)
    inside: Link = field(default_factory=Link)
    until: float = 2000.0
    hostile: Callable[[Packet], list[Packet]] | None = None
    """The additional packets of an attacker on the outside, given a packet from the client."""
    now: float = 0.0
    events: list[Event] = field(default_factory=list)
    drops: list[DropReason] = field(default_factory=list)
    packets: int = 0
    waiting: dict[int, tuple[bytes, str]] = field(default_factory=dict)
    longest_wait: int = 0
    _order: int = 0
    _queue: list[tuple[float, int, str, bytes]] = field(default_factory=list)

    def run(self) -> None:
        """Run until nothing happens any more, or the time is over."""
        self._send("client", self.client.connect(0.0))
        while self.now < self.until:
            timers = [
                (end.timer, end) for end in (self.client, self.server) if end.timer is not None
            ]
            nearest = min(timers, key=lambda pair: pair[0], default=None)
            if self._queue and (nearest is None or self._queue[0][0] <= nearest[0]):
                self.now, _, place, datagram = heapq.heappop(self._queue)
                self._deliver(place, datagram)
            elif nearest is not None:
                self.now = nearest[0]
                end = nearest[1]
                self._send(end.name, end.timeout(self.now))
            else:
                break
        self._act(self.engine.flush(self.now))

    def _deliver(self, place: str, datagram: bytes) -> None:
        if place == "filter-from-client" or place == "filter-from-server":
            self.packets += 1
            token = self.packets
            self.waiting[token] = (datagram, "server" if place.endswith("client") else "client")
            self._act(self.engine.arrive(Arrival(token, datagram, self.now)))
            self.longest_wait = max(self.longest_wait, len(self.waiting))
            return
        end = self.client if place == "client" else self.server
        packet = read(datagram)
        assert packet is not None, "what leaves the filter must have correct checksums and lengths"
        self._send(end.name, end.receive(packet, self.now))
        self._send(end.name, end.pump(self.now))

    def _act(self, actions: list[object]) -> None:
        for action in actions:
            match action:
                case Accept(token):
                    datagram, target = self.waiting.pop(token)
                    self._travel(
                        self.inside if target == "server" else self.outside, target, datagram
                    )
                case Replace(token, datagram):
                    _, target = self.waiting.pop(token)
                    self._travel(
                        self.inside if target == "server" else self.outside, target, datagram
                    )
                case Drop(token, reason):
                    self.waiting.pop(token)
                    self.drops.append(reason)
                case Emit(event):
                    self.events.append(event)
                case Inject(datagram, direction):
                    target = "server" if direction.name == "REQUEST" else "client"
                    self._travel(
                        self.inside if target == "server" else self.outside, target, datagram
                    )

    def _send(self, name: str, packets: list[Packet]) -> None:
        link = self.outside if name == "client" else self.inside
        for packet in packets:
            self._travel(link, f"filter-from-{name}", packet.build())
            if self.hostile is not None and name == "client":
                for forged in self.hostile(packet):
                    self._travel(link, "filter-from-client", forged.build())

    def _travel(self, link: Link, place: str, datagram: bytes) -> None:
        copies = 1 + (self.random.random() < link.double)
        for _ in range(copies):
            if self.random.random() >= link.loss:
                self._order += 1
                when = self.now + self.random.uniform(*link.delay)
                heapq.heappush(self._queue, (when, self._order, place, datagram))
