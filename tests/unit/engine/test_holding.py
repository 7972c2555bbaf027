"""Holding: the bounds, and whose packets are given up at the total bounds."""

from __future__ import annotations

import random

import pytest

from nfinspect.arrival import Arrival
from nfinspect.esmtp.prepared import prepare_esmtp
from nfinspect.events import Connection, Endpoint
from nfinspect.flow.core import Core
from nfinspect.flow.holding import Holding
from nfinspect.flow.passage import Passage
from nfinspect.flow.permissions import EngineOptions
from nfinspect.packet.segment import Segment, parse
from nfinspect.policy.model import Plan, Policy
from nfinspect.tcp.connection import TcpConnection
from nfinspect.tcp.limits import Ledger, Limits
from nfinspect.tcp.stream import Stream
from tests.model.wire import ACK, CLIENT, SERVER, Packet

CORE = Core(Policy({}, ()), EngineOptions(), prepare_esmtp, 0.0)


def stream() -> Stream:
    nobody = Endpoint("", b"", 0)
    return TcpConnection(Connection(1, nobody, nobody), b"", Plan(None), 0.0, Ledger()).client


def packet(holder: Stream, at: int, payload: int = 1, now: float = 0.0) -> Passage:
    datagram = Packet(CLIENT, SERVER, at, 1, ACK, 1000, bytes(payload)).build()
    segment = parse(datagram)
    assert isinstance(segment, Segment)
    return Passage(CORE, Arrival(at, datagram, now), segment, holder)


def fill(holding: Holding, holder: Stream, count: int, payload: int = 1) -> list[Passage]:
    """Hold *count* packets for *holder*; return those that were given up for them."""
    lost = []
    for at in range(10, 10 + count):
        held, evicted = holding.add(packet(holder, at, payload))
        assert held
        lost += evicted
    return lost


def test_many_tiny_segments_are_given_up_for_few_large_ones() -> None:
    """Packets are short, so their bytes do not count."""
    ledger = Ledger()
    holding = Holding(Limits(held_packets_total=256), ledger)
    neighbours = [stream() for _ in range(4)]
    for neighbour in neighbours:
        fill(holding, neighbour, 64)
    honest = stream()
    assert len(fill(holding, honest, 40, payload=1400)) == 40
    assert [len(neighbour.held) for neighbour in neighbours] == [54] * 4
    assert ledger.held_packets == 256


def test_few_large_segments_are_given_up_when_bytes_are_short() -> None:
    ledger = Ledger()
    holding = Holding(Limits(held_bytes_total=200_000), ledger)
    neighbour, honest = stream(), stream()
    fill(holding, neighbour, 3, payload=60_000)
    assert len(fill(holding, honest, 40, payload=1400)) == 1
    assert (len(neighbour.held), len(honest.held)) == (2, 40)
    assert ledger.held_bytes <= 200_000


def test_direction_that_holds_hardly_more_than_the_newcomer_gives_up_nothing() -> None:
    holding = Holding(Limits(held_packets_total=64), Ledger())
    for _ in range(64):
        fill(holding, stream(), 1)
    assert holding.add(packet(stream(), 1)) == (False, [])


def test_farthest_packet_is_given_up_first() -> None:
    holding = Holding(Limits(held_packets_total=3), Ledger())
    fill(holding, neighbour := stream(), 3)
    (evicted,) = fill(holding, stream(), 1)
    assert evicted.sequence == 12
    assert [held.sequence for held in neighbour.held] == [10, 11]


STALE = Limits().stale


@pytest.mark.parametrize(
    ("limits", "payload"),
    [(Limits(held_packets_total=64), 1), (Limits(held_bytes_total=64 * 1_040), 1_000)],
    ids=["packets", "bytes"],
)
def test_stale_gap_gives_up_a_packet_for_a_direction_that_holds_nothing_and_a_fresh_one_does_not(
    limits: Limits, payload: int
) -> None:
    """Otherwise many directions that hold one packet each would lock out all others."""
    ledger = Ledger()
    holding = Holding(limits, ledger)
    holders = []
    while holding.add(packet(holder := stream(), 10, payload))[0]:
        holders.append(holder)
    full = (ledger.held_packets, ledger.held_bytes)
    assert full[0] == 64

    assert holding.add(packet(stream(), 10, payload, now=STALE - 0.1)) == (False, [])
    assert all(holder.held for holder in holders)

    newcomer = stream()
    held, evicted = holding.add(packet(newcomer, 10, payload, now=STALE))
    assert (held, len(evicted), len(newcomer.held)) == (True, 1, 1)
    assert sum(not holder.held for holder in holders) == 1
    assert (ledger.held_packets, ledger.held_bytes) == full
    # For its second packet the newcomer no longer counts as holding nothing.
    assert holding.add(packet(newcomer, 11, payload, now=STALE)) == (False, [])


def test_stale_gap_is_found_after_fresh_ones_that_started_to_hold_earlier() -> None:
    """Those have been holding something all the time, but what they held first has passed."""
    holding = Holding(Limits(held_packets_total=50), Ledger())
    busy = [stream() for _ in range(49)]
    for each in busy:
        holding.add(packet(each, 10, now=STALE))
    holding.add(packet(stale := stream(), 10, now=0.0))
    refused = 0
    while not holding.add(packet(stream(), 10, now=STALE))[0]:
        refused += 1
    assert refused == 49 // 8
    assert not stale.held
    assert all(each.held for each in busy)


def test_both_directions_share_the_bounds_of_a_connection() -> None:
    holding = Holding(Limits(held_packets=10, held_bytes=5000), Ledger())
    client = stream()
    fill(holding, client, 5)
    fill(holding, client.peer, 5)
    assert holding.add(packet(client, 99)) == (False, [])

    holding = Holding(Limits(held_packets=10, held_bytes=5000), Ledger())
    client = stream()
    fill(holding, client, 2, payload=1000)
    fill(holding, client.peer, 2, payload=1000)
    assert holding.add(packet(client, 99, payload=1000)) == (False, [])


@pytest.mark.parametrize("seed", range(20))
def test_ledger_agrees_with_the_held_packets(seed: int) -> None:
    chance = random.Random(seed)
    ledger = Ledger()
    limits = Limits(
        held_packets=8, held_bytes=20_000, held_packets_total=30, held_bytes_total=90_000
    )
    holding = Holding(limits, ledger)
    halves = [stream() for _ in range(6)]
    halves += [each.peer for each in halves]
    for number in range(400):
        holder = chance.choice(halves)
        if chance.random() < 0.7:
            holding.add(packet(holder, number, chance.choice((1, 1000, 9000))))
        elif chance.random() < 0.5:
            holder.next = chance.randrange(number + 1)
            while holding.next_in_order(holder):
                pass
        else:
            holding.take_all(holder)
        held = [each for holder in halves for each in holder.held]
        assert ledger.held_packets == len(held) <= limits.held_packets_total
        assert (
            ledger.held_bytes
            == sum(len(each.segment.datagram) for each in held)
            <= limits.held_bytes_total
        )
        assert set(holding.streams()) == {holder for holder in halves if holder.held}
        for holder in halves:
            assert [h.sequence for h in holder.held] == sorted(h.sequence for h in holder.held)
            assert len(holder.held) + len(holder.peer.held) <= limits.held_packets
    for holder in halves:
        holding.take_all(holder)
    assert (ledger.held_packets, ledger.held_bytes, holding.streams()) == (0, 0, [])
