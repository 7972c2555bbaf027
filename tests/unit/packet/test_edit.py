"""Rewritten datagrams equal those that scapy builds."""

from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, IPOption_Router_Alert
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.packet import Packet, Raw

from nfinspect.packet.checksum import ip_header_valid, tcp_checksum_valid
from nfinspect.packet.edit import readdress, rewrite, with_options
from nfinspect.packet.segment import FIN, PSH, URG, Segment, parse

TIMESTAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (1000, 2000))]
BELOW = {
    "IPv4": IP(src="192.0.2.1", dst="198.51.100.25", ttl=57, tos=0x10, id=4711, flags="DF"),
    "IPv4, options": IP(src="192.0.2.1", dst="198.51.100.25", options=[IPOption_Router_Alert()]),
    "IPv6": IPv6(src="2001:db8::1", dst="2001:db8:25::25", tc=7, fl=0x12345, hlim=57),
    "IPv6, destination options": IPv6(src="2001:db8::1", dst="2001:db8:25::25")
    / IPv6ExtHdrDestOpt(),
}
COMMAND = b"STARTTLS\r\n"

MEMBERS = """
    datagram version transport payload end key sequence acknowledgment flags window urgent
    """.split()
"""Of a segment."""


def build(below: Packet, payload: bytes = COMMAND, ttl: int | None = None, **fields: Any) -> bytes:
    """The datagram as scapy builds it; *below* is everything below TCP."""
    defaults = {"flags": "PA", "seq": 0xFFFFFFFE, "ack": 99, "window": 501, "options": TIMESTAMPS}
    below = below.copy()
    if ttl is not None:
        setattr(below, "ttl" if below.version == 4 else "hlim", ttl)
    return bytes(below / TCP(sport=40000, dport=25, **defaults | fields) / Raw(payload))


def segment_of(datagram: bytes) -> Segment:
    segment = parse(datagram)
    assert isinstance(segment, Segment)
    return segment


below = pytest.mark.parametrize("below", BELOW.values(), ids=BELOW.keys())


@below
def test_payload_is_replaced(below: Packet) -> None:
    assert rewrite(segment_of(build(below)), payload=b"XXXXXXXX\r\n") == build(
        below, b"XXXXXXXX\r\n"
    )


@below
@pytest.mark.parametrize("length", [0, 1, 2, 9])
def test_payload_is_truncated(below: Packet, length: int) -> None:
    cut = rewrite(segment_of(build(below)), payload=COMMAND[:length], clear_flags=PSH | FIN)
    assert cut == build(below, COMMAND[:length], flags="A")


@below
def test_clearing_the_urgent_flag_clears_its_pointer(below: Packet) -> None:
    urgent = segment_of(build(below, flags="PAU", urgptr=5))
    assert rewrite(urgent, clear_flags=URG) == build(below, flags="PA", urgptr=0)


@below
def test_clearing_other_flags_keeps_the_urgent_pointer(below: Packet) -> None:
    urgent = segment_of(build(below, flags="FPAU", urgptr=5))
    assert rewrite(urgent, clear_flags=FIN) == build(below, flags="PAU", urgptr=5)


@below
def test_options_are_overwritten(below: Packet) -> None:
    rewritten = rewrite(segment_of(build(below)), options=b"\x01" * 12)
    assert rewritten == build(below, options=[("NOP", None)] * 12)


@below
@pytest.mark.parametrize("hop_limit", [1, 56, 255])
def test_hop_limit_is_lowered(below: Packet, hop_limit: int) -> None:
    rewritten = rewrite(segment_of(build(below)), hop_limit=hop_limit)
    assert rewritten == build(below, ttl=hop_limit)


@below
def test_data_on_a_syn_is_cut_off(below: Packet) -> None:
    syn = segment_of(build(below, b"EHLO early\r\n", flags="S"))
    assert rewrite(syn, payload=b"") == build(below, b"", flags="S")


@below
def test_everything_is_changed_at_once(below: Packet) -> None:
    segment = segment_of(build(below, flags="FPAU", urgptr=3))
    rewritten = rewrite(
        segment,
        payload=b"XXX",
        clear_flags=FIN | PSH | URG,
        options=b"\x01" * 12,
        hop_limit=9,
    )
    expected = build(below, b"XXX", ttl=9, flags="A", urgptr=0, options=[("NOP", None)] * 12)
    assert rewritten == expected


@below
def test_link_padding_is_removed_and_wrong_checksums_are_corrected(below: Packet) -> None:
    datagram = bytearray(build(below))
    transport = segment_of(bytes(datagram)).transport
    datagram[transport + 16] ^= 0xFF
    if datagram[0] >> 4 == 4:
        datagram[10] ^= 0xFF
    assert rewrite(segment_of(bytes(datagram) + bytes(6))) == build(below)


@below
@pytest.mark.parametrize("payload", [b"", b"\x00", b"\xff", b"\xff" * 1460, b"x" * 65000])
def test_checksums_are_valid_for_any_length(below: Packet, payload: bytes) -> None:
    segment = segment_of(rewrite(segment_of(build(below, bytes(len(payload)))), payload=payload))
    assert segment.payload_bytes == payload
    assert tcp_checksum_valid(segment)
    assert ip_header_valid(segment.datagram)


@pytest.mark.parametrize("below", BELOW.values(), ids=BELOW)
def test_readdressed_datagram_differs_only_in_addresses_ports_and_checksums(below: Packet) -> None:
    six = below.version == 6
    moved = below.copy()
    moved.src, moved.dst = ("2001:db8::7", "2001:db8::8") if six else ("203.0.113.7", "203.0.113.8")
    wanted = bytearray(build(moved))
    transport = segment_of(bytes(wanted)).transport
    wanted[transport : transport + 4] = bytes.fromhex("1234 09dd")
    key = bytes(wanted[8:40] if six else wanted[12:20]) + bytes(wanted[transport : transport + 4])
    found = readdress(segment_of(build(below)), key)
    assert tcp_checksum_valid(segment_of(found))
    assert ip_header_valid(found)
    wanted[transport + 16 : transport + 18] = found[transport + 16 : transport + 18]
    assert found == bytes(wanted)


@below
@pytest.mark.parametrize("payload", [b"", b"x", COMMAND * 200])
@pytest.mark.parametrize("stamp", [0, 1, 0xFFFF, 0xFFFFFFFF])
def test_options_are_changed_and_the_checksum_is_updated(
    below: Packet, payload: bytes, stamp: int
) -> None:
    newer = [("NOP", None), ("NOP", None), ("Timestamp", (stamp, 2000))]
    expected = segment_of(build(below, payload, options=newer))
    changed = with_options(segment_of(build(below, payload) + b"padding"), expected.options)
    assert changed.datagram == expected.datagram
    for member in MEMBERS:
        assert getattr(changed, member) == getattr(expected, member), member
