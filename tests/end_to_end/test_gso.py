"""Large packets that the kernel would cut up later (GSO), and that the filter must cut elsewhere.

A client sends commands, DATA and the beginning of the mail in one write. The filter may pass no byte
behind DATA before the server has answered, and no verdict can shorten such a packet.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from nfinspect.lab.dialogue import Dialogue, RecordingServer
from nfinspect.lab.filter import Filter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CLIENT, FILTER
from tests.end_to_end.ends import (
    ENVELOPE,
    IPV4,
    IPV6,
    Counters,
    Family,
    exchange_with_gaps,
    lost,
    queue,
    rules,
)

WRITE = 14_000
"""Bytes: less than the ten segments that may leave at once, so that they leave as one packet."""

SIZES = (536 - 12, 1220 - 12, 1448)
"""What the filter sends at once over IPv4, over IPv6, and what the kernel would have."""

PLACES = sorted(
    {
        *(n * step + d for step in SIZES for n in (1, 2, 7) for d in (-1, 0, 1)),
        *random.Random(1).sample(range(100, WRITE - 100), 24),
        WRITE - 1,
    }
)
"""How many bytes of the write lie before the cut, DATA and its CR LF included."""


@pytest.fixture(scope="module", params=[False, True], ids=["routed", "bridged"])
def gso_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(bridge=request.param) as lab:
        yield lab


@pytest.fixture(scope="module")
def running(gso_lab: Lab) -> Iterator[Filter]:
    filter_ = gso_lab.filter()
    yield filter_
    filter_.stop()


def write(place: int) -> bytes:
    """Commands up to and with DATA, so many bytes in all, and as much of a mail as fits."""
    end = b"DATA\r\n"
    commands = b""
    while (left := place - len(end) - len(commands)) > 0:
        size = left if left < 300 else 200
        line = b"atrn" if size % 3 else b"NOOP"  # of the former the filter leaves X
        commands += (line + b" " + b"n" * size)[: size - 2] + b"\r\n"
    mail = b"".join(b"%08d %s\r\n" % (number, b"m" * 100) for number in range(200))
    return commands + end + mail[: WRITE - place]


def expected(sent: bytes) -> bytes:
    """What the server receives of it: verbs that are unknown, or cut short, are no verbs."""
    commands, data, mail = sent.partition(b"DATA\r\n")
    lines = commands.split(b"\r\n")
    passed = [line if line.startswith(b"NOOP") else b"X" * len(line) for line in lines]
    return b"\r\n".join(passed) + data + mail


def cut_at(lab: Lab, family: Family, places: list[int]) -> None:
    """Send a write that must be cut at each of *places*; fail unless the server gets it all."""
    rest = b"\r\n.\r\nQUIT\r\n"
    with RecordingServer(lab, family.server) as server:
        for number, place in enumerate(places, 1):
            sent = write(place)
            with Dialogue.open(lab, family.server) as client:
                assert client.reply().startswith("220")
                for line in ENVELOPE:
                    assert client.command(line).startswith("250")
                client.send(sent)
                while not (reply := client.reply()).startswith("354"):
                    assert reply.startswith(("250", "500"))
                client.send(rest)
                assert client.rest().endswith(b"221 2.0.0 bye\r\n")
            recording = server.wait(number)[-1]
            envelope = b"".join(line.encode() + b"\r\n" for line in ENVELOPE)
            assert recording.received == envelope + expected(sent) + rest, f"cut at {place}"


FAMILIES = pytest.mark.parametrize("family", [IPV4, IPV6], ids=["IPv4", "IPv6"])


@FAMILIES
def test_packet_that_must_be_cut_arrives_whole_wherever_the_cut_is(
    gso_lab: Lab, running: Filter, family: Family
) -> None:
    before = queue(gso_lab)
    cut_at(gso_lab, family, PLACES)
    after = queue(gso_lab)
    cuts = after["dropped"]["gso-cut"] - before["dropped"].get("gso-cut", 0)
    assert cuts >= len(PLACES)
    assert "not injected" not in after["verdicts"]


@FAMILIES
def test_pieces_fit_a_path_that_is_narrower_than_the_servers_segment_size(
    gso_lab: Lab, running: Filter, family: Family
) -> None:
    """The client has learnt of it, its packets are for 1,280 bytes; the SYN-ACK told of 1,500."""
    if gso_lab.bridge:  # a bridge has one MTU
        return
    gso_lab.run(FILTER, ["ip", "link", "set", "inside", "mtu", "1280"])
    try:
        cut_at(gso_lab, family, [13_000])  # here it learns
        counters = Counters(gso_lab, CLIENT)
        before = queue(gso_lab)["dropped"]["gso-cut"]
        cut_at(gso_lab, family, [700, 3000, 9000, 13_000])
        after = queue(gso_lab)
    finally:
        gso_lab.run(FILTER, ["ip", "link", "set", "inside", "mtu", "1500"])
    assert after["dropped"]["gso-cut"] - before >= 4
    assert "not injected" not in after["verdicts"]
    assert counters.since()["TCPTimeouts"] == 0


@FAMILIES
@pytest.mark.parametrize("sack", ["1", "0"], ids=["SACK", "no SACK"])
def test_sender_is_told_of_a_gap_before_large_packets(
    gso_lab: Lab, running: Filter, family: Family, sack: str
) -> None:
    came = "-m physdev --physdev-in" if gso_lab.bridge else "-i"
    gso_lab.run(CLIENT, ["sysctl", "-qw", f"net.ipv4.tcp_sack={sack}"])
    try:
        with rules(gso_lab, family, lost(f"{came} outside", 4), lost(f"{came} inside", 4)):
            exchange_with_gaps(gso_lab, family, family.server)
    finally:
        gso_lab.run(CLIENT, ["sysctl", "-qw", "net.ipv4.tcp_sack=1"])
