"""Connection tracking beside an engine: clients whose connections the kernel passes by itself, and what
it tells of them."""

from __future__ import annotations

from dataclasses import dataclass

from nfinspect.actions import Accept, Drop, DropReason, Emit
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.events import Event
from nfinspect.tcp.kernel_connection import Sighting, TrackedState
from tests.model.wire import ACK, SYN, Packet

OVER = (TrackedState.FINISHED, TrackedState.RESET, TrackedState.GONE)
IDLE = 432_000.0
"""Seconds for which an entry of an established connection stays without a packet."""

End = tuple[bytes, int]


@dataclass
class Tracked:
    """An entry of its table."""

    number: int
    state: TrackedState = TrackedState.OPENING
    packets: int = 1
    last: float = 0.0
    """When its latest packet came."""
    client_closed: bool = False


class Tracking:
    """The kernel, which asks the engine about opening packets."""

    def __init__(self, engine: Engine, now: float) -> None:
        self.engine = engine
        self.now = now
        self.entries: dict[tuple[End, End], Tracked] = {}
        self.told: list[Sighting] = []
        """What it has said, and the engine not yet heard."""
        self.events: list[Event] = []
        self.numbers = 0

    # ---- packets

    def packet(
        self, source: End, destination: End, flags: int, number: int = 1000
    ) -> DropReason | None:
        """Queue a packet; returns why it was dropped."""
        packet = Packet(source, destination, number, 1 if flags & ACK else 0, flags)
        actions = self.engine.arrive(Arrival(0, packet.build(), self.now))
        self._take(actions)
        (verdict,) = [each for each in actions if isinstance(each, Accept | Drop)]
        return verdict.reason if isinstance(verdict, Drop) else None

    def syn(self, client: End, server: End, number: int = 1000) -> DropReason | None:
        """A SYN that is a new connection for connection tracking."""
        reason = self.packet(client, server, SYN, number)
        ends = client, server
        if reason is None and ends not in self.entries:
            self.numbers += 1
            self.entries[ends] = Tracked(self.numbers, last=self.now)
            self.tell(ends)
        return reason

    def open(self, client: End, server: End) -> None:
        """The whole handshake."""
        assert self.syn(client, server) is None
        self.move((client, server), TrackedState.ANSWERED)
        self.move((client, server), TrackedState.ESTABLISHED)

    # ---- what it tells

    def move(self, ends: tuple[End, End], state: TrackedState) -> None:
        """A packet has changed the state of an entry."""
        entry = self.entries[ends]
        entry.state = state
        entry.packets += 1
        entry.last = self.now
        self.tell(ends)
        if state in OVER:
            del self.entries[ends]

    def carry(self, ends: tuple[End, End]) -> None:
        """A packet that the queue never sees."""
        entry = self.entries[ends]
        entry.packets += 1
        entry.last = self.now

    def sighting(self, ends: tuple[End, End]) -> Sighting:
        (client, client_port), (server, server_port) = ends
        entry = self.entries[ends]
        key = client + server + client_port.to_bytes(2, "big") + server_port.to_bytes(2, "big")
        sighting = Sighting(key, entry.number, entry.state, repr(ends).encode())
        sighting.packets, sighting.size = entry.packets, entry.packets * 100
        sighting.due = entry.last + IDLE
        sighting.client_closed = entry.client_closed
        return sighting

    def tell(self, ends: tuple[End, End]) -> None:
        self.told.append(self.sighting(ends))

    def deliver(self) -> None:
        """The engine hears what was told."""
        told, self.told = self.told, []
        self._take(self.engine.tell(told, self.now))

    def look(self) -> None:
        """The engine hears all of the table."""
        self.deliver()
        self._take(
            self.engine.look([self.sighting(each) for each in self.entries], self.now, self.now)
        )

    def tick(self) -> None:
        self._take(self.engine.tick(self.now))

    def clear(self, address: bytes | None = None) -> None:
        """The operator ends connections."""
        self._take(self.engine.clear(self.now, address))
        for ends in list(self.entries):
            if address is None or address in (ends[0][0], ends[1][0]):
                self.move(ends, TrackedState.GONE)

    def _take(self, actions: list[object]) -> None:
        self.events += [each.event for each in actions if isinstance(each, Emit)]
        forgotten = self.engine.forgotten()
        for ends in list(self.entries):
            if repr(ends).encode() in forgotten:
                self.move(ends, TrackedState.GONE)

    def emitted(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]
