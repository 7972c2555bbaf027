"""What the link does to packets, without devices and namespaces. A packet's fate depends on its
content."""

from __future__ import annotations

import random
from dataclasses import asdict

import pytest

from nfinspect.lab.link import Impairments
from nfinspect.lab.link_device import CELL, Fate, OneWay
from tests.model.wire import ACK, CLIENT, SERVER, SYN, Packet

START = 2**32 - 5000


def syn(port: int = 40000) -> bytes:
    return Packet((CLIENT[0], port), SERVER, START, 0, SYN).build()


def data(at: int, size: int, port: int = 40000) -> bytes:
    ends = (CLIENT[0], port), SERVER
    return Packet(*ends, START + 1 + at, 1, ACK, payload=bytes(size)).build()


def lost(fate: Fate, sizes: list[int], port: int = 40000) -> list[tuple[int, int]]:
    """Send segments of these sizes in sequence; return the ranges that are lost."""
    assert not fate.strikes(syn(port))
    struck, at = [], 0
    for size in sizes:
        if fate.strikes(data(at, size, port)):
            struck.append((at, at + size))
        at += size
    return struck


def test_fraction_of_full_segments_lost_is_as_configured() -> None:
    struck = lost(Fate(1, 0.03, "x"), [CELL] * 10_000)
    assert 240 < len(struck) < 360


def test_nothing_is_lost_without_loss() -> None:
    assert not lost(Fate(1, 0.0, "x"), [CELL] * 1000)


def test_same_seed_loses_the_same_bytes_from_any_port_and_another_seed_other_bytes() -> None:
    sizes = [CELL] * 2000
    first = lost(Fate(1, 0.02, "x"), sizes)
    assert first == lost(Fate(1, 0.02, "x"), sizes, port=41000)
    assert first != lost(Fate(2, 0.02, "x"), sizes)
    assert first != lost(Fate(1, 0.02, "y"), sizes)


@pytest.mark.parametrize("seed", range(5))
def test_same_bytes_are_lost_however_they_are_segmented(seed: int) -> None:
    whole = lost(Fate(seed, 0.02, "x"), [CELL] * 1000)
    chance = random.Random(seed)
    pieces: list[int] = []
    while sum(pieces) < 1000 * CELL:
        pieces.append(min(chance.randrange(1, CELL + 1), 1000 * CELL - sum(pieces)))
    for piece in lost(Fate(seed, 0.02, "x"), pieces):
        assert any(start <= piece[0] < end or start < piece[1] <= end for start, end in whole)


@pytest.mark.parametrize("seed", range(3))
def test_segment_is_lost_because_of_a_single_byte(seed: int) -> None:
    whole = lost(Fate(seed, 0.1, "x"), [CELL] * 40)
    single = lost(Fate(seed, 0.1, "x"), [1] * CELL * 40)
    assert [at // CELL * CELL for at, _ in single] == [start for start, _ in whole]


def test_each_retransmission_has_its_own_chance() -> None:
    fate = Fate(1, 0.5, "x")
    fate.strikes(syn())
    fates = {tuple(fate.strikes(data(at * CELL, CELL)) for _ in range(6)) for at in range(500)}
    assert len(fates) == 64


def test_bare_acks_are_lost_too_each_transmission_independently() -> None:
    fate = Fate(1, 0.1, "x")
    fate.strikes(syn())
    acks = [
        fate.strikes(Packet(CLIENT, SERVER, START + 1, 500 + 100 * n, ACK).build())
        for n in range(1000)
    ]
    assert 60 < sum(acks) < 140
    again = Packet(CLIENT, SERVER, START + 1, 500, ACK).build()
    assert 60 < sum(fate.strikes(again) for _ in range(1000)) < 140


def direction(**settings: float) -> OneWay:
    return OneWay("there", asdict(Impairments(**settings)))  # type: ignore[arg-type]


def arrivals(link: OneWay, until: float) -> list[bytes]:
    found = []
    while (packet := link.arrived(until)) is not None:
        found.append(packet)
    return found


def test_packets_arrive_in_order_after_the_delay() -> None:
    link = direction(delay=0.01)
    packets = [data(n, 1) for n in range(5)]
    for number, packet in enumerate(packets):
        link.take(packet, 1 + number / 1000)
    assert link.due() == pytest.approx(1.01)
    assert arrivals(link, 1.0115) == packets[:2]
    assert arrivals(link, 2) == packets[2:]
    assert link.due() == float("inf")


def test_rate_spaces_packets_and_a_full_queue_loses_them() -> None:
    link = direction(delay=0.0, rate=8000, queue=3000)
    for _ in range(6):
        link.take(data(0, 960), 0.0)  # 1,000 bytes take a second
    assert link.counts["overflowed"] == 2
    assert len(arrivals(link, 2.5)) == 2
    assert len(arrivals(link, 4.0)) == 2


def test_late_packets_are_overtaken() -> None:
    link = direction(delay=0.01, late=0.2, lateness=0.003)
    link.take(syn(), 0.0)
    packets = [data(n * CELL, CELL) for n in range(100)]
    for number, packet in enumerate(packets):
        link.take(packet, number / 1000)
    arrived = arrivals(link, 10)[1:]
    assert sorted(arrived) == sorted(packets)
    overtaken = [n for n, packet in enumerate(packets) if arrived.index(packet) > n]
    assert len(overtaken) == link.counts["late"] > 5
    assert all(arrived.index(packets[n]) - n <= 3 for n in overtaken)
