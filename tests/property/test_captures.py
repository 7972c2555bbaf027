"""Captures corrupted by an attacker or a faulty disk: no exception, and each packet is counted once."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from scapy.layers.inet import IP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6

from nfinspect.cli.replay import OPTIONS
from nfinspect.engine import Engine
from nfinspect.packet.checksum import ipv4_header_checksum, tcp_checksum
from nfinspect.replay.capture import Capture, NotACaptureError
from nfinspect.replay.driver import Replay
from nfinspect.replay.output import CaptureWriter
from tests.unit.replay.mail import LINKS, ethernet, session
from tests.unit.replay.stand_in import POLICY, frames, pcap
from tests.unit.replay.test_capture import enhanced, interface, section

CAPTURES = 1_000
PACKETS = 10_000


def fragmented(packets: list[bytes]) -> list[bytes]:
    """The packets with every long one in fragments, the last fragment first."""
    result = []
    for packet in packets:
        if len(packet) < 90:
            result.append(packet)
        elif packet[0] >> 4 == 4:
            result += [bytes(p) for p in fragment(IP(packet), 24)][::-1]
        else:
            whole = IPv6(packet)
            inner = whole.payload
            whole.remove_payload()
            del whole.nh, whole.plen
            split = fragment6(whole / IPv6ExtHdrFragment(id=5) / inner, 72 + 16)
            result += [bytes(p) for p in split][::-1]
    return result


def pcapng(packets: list[bytes]) -> bytes:
    data = section() + interface(1) + interface(276)
    for number, packet in enumerate(packets):
        wrap = ethernet if number % 2 == 0 else LINKS["Linux cooked v2"][1]
        data += enhanced(wrap(packet), 1_700_000_000_000_000 + number, number % 2)
    return data


@pytest.fixture(scope="module")
def valid() -> list[bytes]:
    """Valid captures of all kinds."""
    four, six = session(), session(six=True, port=50_000)
    mixed = [packet for pair in zip(four, six, strict=True) for packet in pair]
    found = [pcap(fragmented(mixed), 101), pcapng(fragmented(mixed)), gzip.compress(pcapng(mixed))]
    found += [pcap([wrap(p) for p in mixed], link) for link, wrap in LINKS.values()]
    return found


def mutated(data: bytes, chance: random.Random) -> bytes:
    """*data* with bytes changed, lost or duplicated."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5, 50))):
        at = chance.randrange(len(changed) or 1)
        size = min(chance.choice((1, 1, 2, 4, 16, 200)), len(changed) - at)
        match chance.randrange(6):
            case 0 | 1 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 2:
                changed[at : at + size] = chance.randbytes(size)
            case 3:
                changed[at : at + size] = chance.choice((b"\0", b"\xff")) * size
            case 4:
                changed[at:at] = changed[at : at + size]
            case 5 if len(changed) > 100:
                del changed[at : at + size]
    if chance.random() < 0.1:
        del changed[chance.randrange(len(changed) + 1) :]
    return bytes(changed)


def replay(data: bytes, out: Path) -> bool:
    """Replay *data* and check the sums; False if it is not a capture at all."""
    try:
        capture = Capture(io.BytesIO(data), "mutated")
    except NotACaptureError:
        return False
    with CaptureWriter(out) as writer:
        run = Replay(POLICY, Engine(POLICY, OPTIONS, started=0.0), writer)
        run.feed(capture)
        result = run.finish()
    packets, fragments = result.summary["packets"], result.summary["fragments"]
    assert packets["seen"] == packets["accepted"] + packets["rewritten"] + packets["dropped"]
    assert packets["read"] == (
        packets["copied"]
        + packets["copies"]
        + packets["seen"]
        - fragments["datagrams"]
        + fragments["joined"]
        + fragments["discarded"]
    )
    written = packets["copied"] + packets["accepted"] + packets["rewritten"] + packets["injected"]
    assert len(frames(out)) == written
    text = io.StringIO()
    result.write_json(text)
    report = json.loads(text.getvalue())
    assert len(report["connections"]) == report["counters"]["connections"]["built"]
    for connection in report["connections"]:
        counts = connection["packets"]
        assert counts["seen"] == counts["accepted"] + counts["rewritten"] + counts["dropped"]
    result.close()
    return True


def test_mutated_captures_are_replayed_and_each_packet_is_counted_once(
    valid: list[bytes], tmp_path: Path
) -> None:
    captures = sum(
        replay(mutated(valid[seed % len(valid)], random.Random(seed)), tmp_path / "out")
        for seed in range(CAPTURES)
    )
    assert captures > CAPTURES * 0.7  # most are still captures


def with_checksums(packet: bytes | bytearray) -> bytes:
    """The packet with correct checksums."""
    changed = bytearray(packet)
    four = changed[0] >> 4 == 4
    transport = 20 if four else 40
    changed[transport + 16 : transport + 18] = b"\0\0"
    addresses = changed[12:20] if four else changed[8:40]
    checksum = tcp_checksum(bytes(addresses), changed[transport:])
    changed[transport + 16 : transport + 18] = checksum.to_bytes(2, "big")
    if four:
        changed[10:12] = ipv4_header_checksum(changed[:20]).to_bytes(2, "big")
    return bytes(changed)


def of_port(packet: bytes, port: int) -> bytes:
    """The packet as part of a connection from another client port."""
    changed = bytearray(packet)
    at = 20 if changed[0] >> 4 == 4 else 40
    at += 2 if changed[at : at + 2] == b"\x00\x19" else 0
    changed[at : at + 2] = port.to_bytes(2, "big")
    return with_checksums(changed)


def fields(packet: bytes, chance: random.Random) -> bytes:
    """The packet with faults in its TCP header or payload but correct checksums, so that it is not
    dropped for these."""
    changed = bytearray(packet)
    transport = 20 if changed[0] >> 4 == 4 else 40
    for _ in range(chance.randint(1, 3)):
        header = range(transport + 4, transport + 16)
        changed[chance.choice((*header, chance.randrange(1, len(changed))))] = chance.randrange(256)
    return with_checksums(changed)


@pytest.mark.parametrize("fault", [mutated, fields])
def test_corrupt_packets_are_replayed_and_each_is_counted_once(
    fault: Callable[[bytes, random.Random], bytes], tmp_path: Path
) -> None:
    chance = random.Random(3)
    sessions = session(), session(six=True)
    packets: list[bytes] = []
    port = 30_000
    corrupt = 0
    while corrupt < PACKETS:
        port += 1
        for packet in sessions[port % 2]:
            one = of_port(packet, port % 65_536)
            if chance.random() < 0.5:
                one = fault(one, chance)
                corrupt += 1
            packets.append(one)
    assert replay(pcap(packets, 101), tmp_path / "out")
