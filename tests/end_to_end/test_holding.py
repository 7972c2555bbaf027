"""Packets held for hosts that leave gaps: what they cost others, and that none is held for ever."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from nfinspect.lab.dialogue import RecordingServer
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import SERVER
from nfinspect.live.queue import MAX_LENGTH
from nfinspect.packet.segment import Segment, parse
from nfinspect.tcp.limits import Limits
from tests.end_to_end.encapsulation import Cable
from tests.end_to_end.ends import IPV4, drop_one, exchange_with_gaps, queue, rules
from tests.end_to_end.neighbour import Neighbour
from tests.model.wire import ACK

EACH = 64
"""Packets that a host sends beyond the gap in each connection."""
TOTAL = Limits().held_packets_total
PATIENCE = 10.0
"""Seconds."""


@pytest.fixture
def running(plain_lab: Lab) -> Iterator[RunningFilter]:
    filter_ = plain_lab.filter()
    yield filter_
    filter_.end()


@pytest.fixture
def neighbour(plain_lab: Lab, running: RunningFilter) -> Iterator[Neighbour]:
    neighbour = Neighbour(plain_lab)
    with RecordingServer(plain_lab, neighbour.server):
        yield neighbour
    neighbour.close()


def leave_gaps(neighbour: Neighbour, count: int) -> None:
    """Open *count* connections, and send packets beyond a gap in each."""
    ports = neighbour.open(count)
    for number in range(EACH):
        for port in ports:
            neighbour.send(port, 11 + 2 * number, ACK, b"x")
        time.sleep(0.004)


def held(plain_lab: Lab, running: RunningFilter, expected: int) -> bool:
    """Wait until *expected* packets are held; whether that happens in time."""
    deadline = time.monotonic() + PATIENCE
    while queue(plain_lab)["held"] != expected or running.waiting() != expected:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_total_of_held_packets_leaves_the_queue_room_for_others() -> None:
    assert TOTAL <= MAX_LENGTH // 4
    assert Limits().held_packets > EACH


def test_gaps_of_one_host_cost_an_honest_connection_nothing(
    plain_lab: Lab, running: RunningFilter, neighbour: Neighbour
) -> None:
    gaps = TOTAL // EACH - 2
    leave_gaps(neighbour, gaps)
    assert held(plain_lab, running, gaps * EACH)
    with rules(plain_lab, IPV4, drop_one("-i outside"), drop_one("-i inside")):
        exchange_with_gaps(plain_lab, IPV4, IPV4.server)
    assert "hold-bound" not in queue(plain_lab)["dropped"]
    assert held(plain_lab, running, gaps * EACH)

    leave_gaps(neighbour, 10)  # beyond the total bound
    assert held(plain_lab, running, TOTAL)
    with rules(plain_lab, IPV4, drop_one("-i outside"), drop_one("-i inside")):
        exchange_with_gaps(plain_lab, IPV4, IPV4.server)  # whoever holds most gives up packets
    assert running.waiting() <= TOTAL


def test_stop_drops_all_held_packets(
    plain_lab: Lab, running: RunningFilter, neighbour: Neighbour
) -> None:
    leave_gaps(neighbour, 20)
    assert held(plain_lab, running, 20 * EACH)
    running.end()
    text = "\n".join(running.counters)
    assert "waiting 0, held 0," in text
    assert f"dropped flushed, packet {20 * EACH}" in text


def test_connection_closed_by_inspection_drops_its_held_packets(
    plain_lab: Lab, running: RunningFilter, neighbour: Neighbour
) -> None:
    (port,) = neighbour.open(1)
    for number in range(EACH):
        neighbour.send(port, 1000 + 2 * number, ACK, b"x")
    assert held(plain_lab, running, EACH)
    neighbour.send(port, 1, ACK, b"NOOP " + b"n" * 600 + b"\r\n")  # a line of more than 512 bytes
    assert held(plain_lab, running, 0)
    assert queue(plain_lab)["dropped"]["closed-connection"] == EACH


def test_held_packets_leave_in_order_when_the_gap_fills(
    plain_lab: Lab, running: RunningFilter, neighbour: Neighbour
) -> None:
    (port,) = neighbour.open(1)
    neighbour.send(port, 1, ACK, b"EHLO x\r\n")  # the server permits pipelining
    neighbour.receive(port, at=9)
    lines = [b"NOOP %03d\r\n" % number for number in range(EACH)]
    offsets = [9 + sum(map(len, lines[:number])) for number in range(EACH)]
    later = list(zip(offsets[1:], lines[1:], strict=True))
    random.Random(1).shuffle(later)
    server = Cable(plain_lab, SERVER)
    for offset, line in later:
        neighbour.send(port, offset, ACK, line)
    assert held(plain_lab, running, EACH - 1)
    list(server.received())
    neighbour.send(port, offsets[0], ACK, lines[0])
    assert held(plain_lab, running, 0)
    passed = []
    for frame in server.received():
        segment = parse(frame[14:])
        if isinstance(segment, Segment) and segment.destination_port == 25 and segment.length > 1:
            passed.append(segment.payload_bytes)  # a single byte is one of the filter's probes
    server.close()
    assert passed == lines


# ---- corrupt packets ---------------------------------------------------------------------------

CORRUPT = 10_000


def corrupt(chance: random.Random, port: int) -> bytes:
    """A TCP segment to port 25, with random faults in its header, options and data."""
    size = chance.choice((0, 1, 7, 20, 100, 1000))
    header = bytearray(chance.randbytes(20))
    header[:4] = port.to_bytes(2, "big") + b"\x00\x19"
    header[4:8] = (1000 + chance.choice((0, 1, 2, 30, 50_000, 2**31))).to_bytes(4, "big")
    header[12] = chance.choice((0x50, 0x80, 0xF0, header[12]))
    header[13] = chance.choice((2, 16, 24, 17, 4, header[13]))
    return bytes(header) + chance.randbytes(size)


def test_ten_thousand_corrupt_packets_leave_nothing_behind(
    plain_lab: Lab, running: RunningFilter, neighbour: Neighbour
) -> None:
    """Some belong to open connections, some to none; some have a correct checksum."""
    chance = random.Random(25)
    ports = neighbour.open(20)
    for number in range(CORRUPT):
        port = chance.choice((*ports, chance.randrange(1024, 65536)))
        neighbour.send_tcp(corrupt(chance, port), checksum=chance.random() < 0.7)
        if number % 250 == 249:
            time.sleep(0.03)
    deadline = time.monotonic() + PATIENCE
    # Besides the corrupt packets there are those that opened the connections.
    while (state := queue(plain_lab))["received"] < CORRUPT:
        assert time.monotonic() < deadline, state
        time.sleep(0.05)
    verdicts = state["verdicts"]
    assert set(verdicts) <= {"accepted", "rewritten", "dropped", "injected", "not injected"}
    decided = verdicts["accepted"] + verdicts["rewritten"] + verdicts["dropped"]
    assert state["received"] == decided + state["held"]
    assert sum(state["dropped"].values()) == verdicts["dropped"]
    assert len(state["dropped"]) >= 8  # many reasons, not one
    assert running.waiting() == state["held"]
    assert (state["kernel_dropped"], state["user_dropped"]) == (0, 0)

    (port,) = neighbour.open(1)  # the filter still works
    neighbour.send(port, 1, ACK, b"atrn x\r\n")
    neighbour.receive(port, at=9)
    running.end()
    text = "\n".join(running.counters)
    assert "waiting 0, held 0," in text
    assert running.complaints == []
