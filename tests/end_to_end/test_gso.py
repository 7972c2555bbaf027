"""GSO packets, which the kernel would segment later, and which the filter must cut elsewhere.

A client sends commands, DATA and the beginning of the mail in one write. The filter may pass nothing
after DATA until the server has replied, and no verdict can shorten such a packet.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from nfinspect.lab.dialogue import ClientConnection, RecordingServer
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CLIENT, FILTER
from tests.end_to_end.ends import (
    ENVELOPE,
    IPV4,
    IPV6,
    Counters,
    Family,
    drop_one,
    exchange_with_gaps,
    queue,
    rules,
)

WRITE = 14_000
"""Bytes: fewer than the ten segments of the initial window, so they leave as one packet."""

SIZES = (536 - 12, 1220 - 12, 1448)
"""Bytes per packet: what the filter sends over IPv4 and over IPv6, and what the kernel would send."""

PLACES = sorted(
    {
        *(n * step + d for step in SIZES for n in (1, 2, 7) for d in (-1, 0, 1)),
        *random.Random(1).sample(range(100, WRITE - 100), 24),
        WRITE - 1,
    }
)
"""How many bytes of the write precede the cut, including DATA and its CR LF."""


@pytest.fixture(scope="module", params=[False, True], ids=["routed", "bridged"])
def gso_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(bridge=request.param) as lab:
        yield lab


@pytest.fixture(scope="module")
def running(gso_lab: Lab) -> Iterator[RunningFilter]:
    filter_ = gso_lab.filter()
    yield filter_
    filter_.stop()


def write(place: int) -> bytes:
    """Commands up to and including DATA, *place* bytes in all, then as much of a mail as fits."""
    end = b"DATA\r\n"
    commands = b""
    while (left := place - len(end) - len(commands)) > 0:
        size = left if left < 300 else 200
        line = b"atrn" if size % 3 else b"NOOP"  # the filter overwrites ATRN with X
        commands += (line + b" " + b"n" * size)[: size - 2] + b"\r\n"
    mail = b"".join(b"%08d %s\r\n" % (number, b"m" * 100) for number in range(200))
    return commands + end + mail[: WRITE - place]


def expected(sent: bytes) -> bytes:
    """What the server receives: lines with an unknown or truncated verb are overwritten with X."""
    commands, data, mail = sent.partition(b"DATA\r\n")
    lines = commands.split(b"\r\n")
    passed = [line if line.startswith(b"NOOP") else b"X" * len(line) for line in lines]
    return b"\r\n".join(passed) + data + mail


def cut_at(lab: Lab, family: Family, places: list[int]) -> None:
    """For each of *places*, send a write that must be cut there; fail unless all of it arrives."""
    rest = b"\r\n.\r\nQUIT\r\n"
    with RecordingServer(lab, family.server) as server:
        for number, place in enumerate(places, 1):
            sent = write(place)
            with ClientConnection.open(lab, family.server) as client:
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
def test_gso_packet_that_must_be_cut_arrives_complete_wherever_the_cut_is(
    gso_lab: Lab, running: RunningFilter, family: Family
) -> None:
    before = queue(gso_lab)
    cut_at(gso_lab, family, PLACES)
    after = queue(gso_lab)
    cuts = after["dropped"]["gso-cut"] - before["dropped"].get("gso-cut", 0)
    assert cuts >= len(PLACES)
    assert "not injected" not in after["verdicts"]


@FAMILIES
def test_pieces_fit_a_path_whose_mtu_is_below_the_servers_mss(
    gso_lab: Lab, running: RunningFilter, family: Family
) -> None:
    """The client has discovered the path MTU of 1,280 bytes; the SYN-ACK announced an MSS for 1,500."""
    if gso_lab.bridge:  # a bridge has one MTU
        return
    gso_lab.run(FILTER, ["ip", "link", "set", "inside", "mtu", "1280"])
    try:
        cut_at(gso_lab, family, [13_000])  # the client discovers the path MTU here
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
def test_gap_before_gso_packets_is_reported_to_the_sender(
    gso_lab: Lab, running: RunningFilter, family: Family, sack: str
) -> None:
    port = "-m physdev --physdev-in" if gso_lab.bridge else "-i"
    gso_lab.run(CLIENT, ["sysctl", "-qw", f"net.ipv4.tcp_sack={sack}"])
    try:
        with rules(gso_lab, family, drop_one(f"{port} outside", 4), drop_one(f"{port} inside", 4)):
            exchange_with_gaps(gso_lab, family, family.server)
    finally:
        gso_lab.run(CLIENT, ["sysctl", "-qw", "net.ipv4.tcp_sack=1"])
