"""What the long way does to packets, decided by what they carry; without devices and namespaces."""

from __future__ import annotations

import random
from dataclasses import asdict

import pytest

from nfinspect.lab.link import Impairments
from nfinspect.lab.link_device import CELL, Direction, Fate
from tests.model.wire import ACK, CLIENT, SERVER, SYN, Packet

START = 2**32 - 5000


def syn(port: int = 40000) -> bytes:
    return Packet((CLIENT[0], port), SERVER, START, 0, SYN).build()


def data(at: int, size: int, port: int = 40000) -> bytes:
    ends = (CLIENT[0], port), SERVER
    return Packet(*ends, START + 1 + at, 1, ACK, payload=bytes(size)).build()


def lost(fate: Fate, sizes: list[int], port: int = 40000) -> list[tuple[int, int]]:
    """Send so many bytes after each other; the ranges that are struck."""
    assert not fate.strikes(syn(port))
    struck, at = [], 0
    for size in sizes:
        if fate.strikes(data(at, size, port)):
            struck.append((at, at + size))
        at += size
    return struck


def test_share_of_full_segments_is_lost() -> None:
    struck = lost(Fate(1, 0.03, "x"), [CELL] * 10_000)
    assert 240 < len(struck) < 360


def test_nothing_is_lost_of_a_way_that_loses_nothing() -> None:
    assert not lost(Fate(1, 0.0, "x"), [CELL] * 1000)


def test_same_seed_loses_the_same_from_any_port_and_another_seed_others() -> None:
    sizes = [CELL] * 2000
    first = lost(Fate(1, 0.02, "x"), sizes)
    assert first == lost(Fate(1, 0.02, "x"), sizes, port=41000)
    assert first != lost(Fate(2, 0.02, "x"), sizes)
    assert first != lost(Fate(1, 0.02, "y"), sizes)


@pytest.mark.parametrize("seed", range(5))
def test_same_bytes_are_lost_however_they_are_cut(seed: int) -> None:
    whole = lost(Fate(seed, 0.02, "x"), [CELL] * 1000)
    chance = random.Random(seed)
    pieces: list[int] = []
    while sum(pieces) < 1000 * CELL:
        pieces.append(min(chance.randrange(1, CELL + 1), 1000 * CELL - sum(pieces)))
    for piece in lost(Fate(seed, 0.02, "x"), pieces):
        assert any(start <= piece[0] < end or start < piece[1] <= end for start, end in whole)


@pytest.mark.parametrize("seed", range(3))
def test_of_each_lost_segment_one_byte_is_to_blame(seed: int) -> None:
    whole = lost(Fate(seed, 0.1, "x"), [CELL] * 40)
    single = lost(Fate(seed, 0.1, "x"), [1] * CELL * 40)
    assert [at // CELL * CELL for at, _ in single] == [start for start, _ in whole]


def test_repetition_has_a_chance_of_its_own() -> None:
    fate = Fate(1, 0.5, "x")
    fate.strikes(syn())
    fates = {tuple(fate.strikes(data(at * CELL, CELL)) for _ in range(6)) for at in range(500)}
    assert len(fates) == 64


def test_acknowledgements_are_lost_too_each_by_its_number_and_time() -> None:
    fate = Fate(1, 0.1, "x")
    fate.strikes(syn())
    acks = [
        fate.strikes(Packet(CLIENT, SERVER, START + 1, 500 + 100 * n, ACK).build())
        for n in range(1000)
    ]
    assert 60 < sum(acks) < 140
    again = Packet(CLIENT, SERVER, START + 1, 500, ACK).build()
    assert 60 < sum(fate.strikes(again) for _ in range(1000)) < 140


def direction(**settings: float) -> Direction:
    return Direction("there", asdict(Impairments(**settings)))  # type: ignore[arg-type]


def arrivals(way: Direction, until: float) -> list[bytes]:
    found = []
    while (packet := way.arrived(until)) is not None:
        found.append(packet)
    return found


def test_packets_arrive_in_order_after_the_delay() -> None:
    way = direction(delay=0.01)
    packets = [data(n, 1) for n in range(5)]
    for number, packet in enumerate(packets):
        way.take(packet, 1 + number / 1000)
    assert way.due() == pytest.approx(1.01)
    assert arrivals(way, 1.0115) == packets[:2]
    assert arrivals(way, 2) == packets[2:]
    assert way.due() == float("inf")


def test_rate_spaces_packets_and_what_does_not_fit_is_lost() -> None:
    way = direction(delay=0.0, rate=8000, queue=3000)
    for _ in range(6):
        way.take(data(0, 960), 0.0)  # 1,000 bytes take a second
    assert way.counts["overflowed"] == 2
    assert len(arrivals(way, 2.5)) == 2
    assert len(arrivals(way, 4.0)) == 2


def test_late_packets_are_overtaken() -> None:
    way = direction(delay=0.01, late=0.2, lateness=0.003)
    way.take(syn(), 0.0)
    packets = [data(n * CELL, CELL) for n in range(100)]
    for number, packet in enumerate(packets):
        way.take(packet, number / 1000)
    came = arrivals(way, 10)[1:]
    assert sorted(came) == sorted(packets)
    overtaken = [n for n, packet in enumerate(packets) if came.index(packet) > n]
    assert len(overtaken) == way.counts["late"] > 5
    assert all(came.index(packets[n]) - n <= 3 for n in overtaken)
