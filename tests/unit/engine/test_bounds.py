"""Many connections in virtual time: at every step their totals are within the bounds, every packet
gets its verdict, and in the end nothing is kept."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from nfinspect.actions import Accept, Action, Drop, DropReason, Replace
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine, EngineOptions
from nfinspect.flow import opening
from nfinspect.policy import default_policy
from nfinspect.tcp.limits import Limits
from tests.model.inspector import SwapCase
from tests.model.wire import ACK, FIN, SERVER, SYN, Packet

pytestmark = pytest.mark.pure

START = 2**32 - 3000
LIMITS = Limits(
    connections=20,
    held_packets=8,
    held_bytes=6_000,
    held_packets_total=20,
    held_bytes_total=15_000,
    memory_bytes=9_000,
    memory_bytes_total=25_000,
)


@pytest.fixture(autouse=True)
def swap_case(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(opening, "Inspector", SwapCase)
    yield
    SwapCase.instances.clear()


class Crowd:
    """Clients that differ in their port; numbers are offsets in the client's stream."""

    def __init__(self) -> None:
        self.engine = Engine(default_policy(), EngineOptions(limits=LIMITS), started=-1000.0)
        self.now = 0.0
        self.waiting: set[int] = set()
        self.tokens = 0
        self.drops: set[DropReason] = set()
        self.sent: dict[int, int] = {}
        """How far each client has sent without a gap."""

    def client(
        self, port: int, at: int, payload: bytes = b"", flags: int = ACK, ack: int = 0
    ) -> None:
        ends = (b"\xc0\0\2\1", port), SERVER
        number = START + 1 + ack if flags & ACK else 0
        self.arrive(Packet(*ends, START + 1 + at, number, flags, payload=payload))

    def server(self, port: int, ack: int, flags: int = ACK, payload: bytes = b"") -> None:
        ends = SERVER, (b"\xc0\0\2\1", port)
        self.arrive(
            Packet(*ends, START + (not flags & SYN), START + 1 + ack, flags, payload=payload)
        )

    def open(self, port: int) -> None:
        self.client(port, -1, flags=SYN)
        self.server(port, 0, SYN | ACK)
        self.client(port, 0)
        self.sent[port] = 0

    def arrive(self, packet: Packet) -> None:
        self.tokens += 1
        self.waiting.add(self.tokens)
        self.take(self.engine.arrive(Arrival(self.tokens, packet.build(), self.now)))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        while (deadline := self.engine.deadline()) is not None and deadline <= self.now:
            self.take(self.engine.tick(self.now))

    def take(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Accept | Replace | Drop):
                self.waiting.remove(action.token)
            if isinstance(action, Drop):
                self.drops.add(action.reason)
        self.check()

    def check(self) -> None:
        ledger, table = self.engine.ledger, self.engine._core.table
        assert ledger.held_packets == len(self.waiting) <= LIMITS.held_packets_total
        assert ledger.held_bytes <= LIMITS.held_bytes_total
        assert ledger.memory_bytes <= LIMITS.memory_bytes_total
        halves = list(table.halves.values())
        assert ledger.held_bytes == sum(held.size for half in halves for held in half.held)
        assert ledger.memory_bytes == sum(half.memory.size for half in halves)
        assert all(half.memory.size <= LIMITS.memory_bytes for half in halves)
        for half in halves:
            both = half.held + half.peer.held
            assert len(both) <= LIMITS.held_packets
            assert sum(held.size for held in both) <= LIMITS.held_bytes
            if half.gap is not None:
                assert len(half.gap.unreported) <= 2 * LIMITS.held_packets
        assert self.engine.connections + table.closed <= LIMITS.connections


@pytest.mark.parametrize("seed", range(12))
def test_many_connections_stay_within_all_bounds_and_leave_nothing(seed: int) -> None:
    chance = random.Random(seed)
    crowd = Crowd()
    for _ in range(1500):
        port = chance.randrange(1000, 1030)
        sent = crowd.sent.get(port, 0)
        payload = chance.choice((b"x", b"y" * 100, b"z" * 1400))
        what = chance.random()
        if what < 0.15:
            crowd.open(port)
        elif what < 0.40:
            crowd.client(port, sent, payload)
            crowd.sent[port] = sent + len(payload)
        elif what < 0.65:
            crowd.client(port, sent + chance.randrange(1, 20_000), payload)
        elif what < 0.85:
            crowd.server(port, chance.randint(sent * 2 // 3, sent))
        elif what < 0.92:
            crowd.server(port, sent, payload=payload)
        elif what < 0.94:
            crowd.client(port, sent, b"#")
        elif what < 0.96:
            crowd.client(port, sent, flags=ACK | FIN)
        else:
            crowd.wait(chance.choice((0.1, 5, 40, 700)))
    assert crowd.drops >= {
        DropReason.HOLD_BOUND, DropReason.MEMORY_BOUND, DropReason.TABLE_FULL,
        DropReason.CLOSED_CONNECTION, DropReason.INSPECTION,
    }  # fmt: skip

    crowd.wait(20_000)
    assert not crowd.waiting
    assert crowd.engine.connections == 0
    assert crowd.engine.deadline() is None
    table = crowd.engine._core.table
    assert not table.halves
    assert not table.closed


def test_connections_that_fill_the_memory_leave_room_for_one_that_needs_little() -> None:
    crowd = Crowd()
    ledger = crowd.engine.ledger
    for port in range(1000, 1019):
        crowd.open(port)
        crowd.drops.clear()
        sent = 0
        while not crowd.drops:
            crowd.client(port, sent, bytes(50))
            sent += 50
        assert crowd.drops == {DropReason.MEMORY_BOUND}
    assert LIMITS.memory_bytes_total // 2 < ledger.memory_bytes < LIMITS.memory_bytes_total

    crowd.open(2000)
    before = ledger.memory_bytes
    crowd.client(2000, 0, bytes(50))
    assert ledger.memory_bytes == before + 50

    full = ledger.memory_bytes
    crowd.server(1000, 1000)  # the server acknowledges, so another client may continue
    crowd.client(2000, 50, bytes(50))
    assert ledger.memory_bytes < full


@pytest.mark.parametrize("used", [0, 100, 192, 255])
def test_small_amounts_are_admitted_to_the_last_quarter_of_the_memory(used: int) -> None:
    limits, mebibyte = Limits(), 1 << 20
    assert limits.admits(2048, 0, used * mebibyte)
    assert limits.admits(64 * 1024, 0, used * mebibyte) is (used < 192)
    assert not limits.admits(2049, 0, limits.memory_bytes_total - 2048)
    assert not limits.admits(1, 0, limits.memory_bytes_total)


def test_flush_gives_every_held_packet_a_verdict() -> None:
    crowd = Crowd()
    for port in range(6):
        crowd.open(port)
        for number in range(1, 4):
            crowd.client(port, number * 1000, b"x")
    assert len(crowd.waiting) == 18
    crowd.take(crowd.engine.flush(crowd.now))
    assert not crowd.waiting
    assert crowd.engine.ledger.held_bytes == 0
