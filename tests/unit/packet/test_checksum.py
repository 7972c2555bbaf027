"""Checksums: examples from the RFCs, and comparisons with scapy."""

import pytest
from scapy.layers.inet import IP, TCP, IPOption_Router_Alert
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from nfinspect.packet.checksum import (
    ip_header_valid,
    ipv4_header_checksum,
    offloaded,
    ones_complement_sum,
    tcp_checksum,
    tcp_checksum_valid,
    update,
)
from nfinspect.packet.segment import Segment, parse

# Sent over a Linux loopback interface ("220 ready"), where nothing fills in the checksum.
FROM_LOOPBACK = {
    "IPv4": bytes.fromhex(
        "4500003f2bf64000400610c17f0000017f00000109dd80384c722a609f0bd53d80180040fe3300000101080a"
        "b1438652801b7dd73232302072656164790d0a"
    ),
    "IPv6": bytes.fromhex(
        "600a8daf002b0640000000000000000000000000000000010000000000000000000000000000000109ddac56"
        "e8878d5e0637ed5480180040003300000101080af58ae948235f79983232302072656164790d0a"
    ),
}

IPV4 = IP(src="192.0.2.1", dst="198.51.100.25")
IPV6 = IPv6(src="2001:db8::1", dst="2001:db8:25::25")
PACKETS = {
    "IPv4": IPV4 / TCP(dport=25) / Raw(b"NOOP\r\n"),
    "IPv4, odd length": IPV4 / TCP(dport=25) / Raw(b"QUIT \r\n"),
    "IPv4, no payload": IPV4 / TCP(dport=25),
    "IPv4, options": IP(src="192.0.2.1", options=[IPOption_Router_Alert()]) / TCP(dport=25),
    "IPv6": IPV6 / TCP(dport=25) / Raw(b"NOOP\r\n"),
    "IPv6, odd length": IPV6 / TCP(dport=25) / Raw(b"x" * 1439),
}


def segment_of(packet: Packet | bytes) -> Segment:
    segment = parse(bytes(packet))
    assert isinstance(segment, Segment)
    return segment


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("", 0x0000),
        ("0000 0000", 0x0000),
        ("ffff", 0xFFFF),
        ("ffff ffff", 0xFFFF),
        ("8000 7fff", 0xFFFF),
        ("0001 f203 f4f5 f6f7", 0xDDF2),  # RFC 1071 section 3
        ("12", 0x1200),
        ("0001 ff", 0xFF01),
    ],
)
def test_ones_complement_sum_of_words(data: str, expected: int) -> None:
    assert ones_complement_sum(bytes.fromhex(data)) == expected
    assert ones_complement_sum(memoryview(bytes.fromhex(data))) == expected


@pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS.keys())
def test_checksums_made_by_scapy_are_valid(packet: Packet) -> None:
    segment = segment_of(packet)
    assert tcp_checksum_valid(segment)
    assert ip_header_valid(segment.datagram)
    assert not offloaded(segment)


@pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS.keys())
def test_any_changed_bit_makes_the_tcp_checksum_invalid(packet: Packet) -> None:
    datagram = bytearray(bytes(packet))
    transport = segment_of(packet).transport
    for at in range(transport, len(datagram)):
        if at == transport + 12:
            continue  # a changed data offset moves the payload, or makes the segment malformed
        for bit in range(8):
            datagram[at] ^= 1 << bit
            assert not tcp_checksum_valid(segment_of(bytes(datagram))), (at, bit)
            datagram[at] ^= 1 << bit


@pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS.keys())
def test_changed_address_makes_the_tcp_checksum_invalid(packet: Packet) -> None:
    datagram = bytearray(bytes(packet))
    for at in range(12, 20) if datagram[0] >> 4 == 4 else range(8, 40):
        datagram[at] ^= 0x10
        assert not tcp_checksum_valid(segment_of(bytes(datagram))), at
        datagram[at] ^= 0x10


@pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS.keys())
def test_tcp_checksum_equals_scapys(packet: Packet) -> None:
    segment = segment_of(packet)
    header = bytearray(segment.datagram[segment.transport : segment.payload])
    header[16:18] = bytes(2)
    made = tcp_checksum(segment.addresses, header, segment.payload_bytes)
    assert made == segment.checksum


def test_ipv4_header_checksum_equals_scapys_whatever_the_field_contains() -> None:
    for name in ("IPv4", "IPv4, options"):
        segment = segment_of(PACKETS[name])
        header = bytearray(segment.datagram[: segment.transport])
        expected = int.from_bytes(header[10:12], "big")
        for field in (b"\x00\x00", b"\xff\xff", b"\x12\x34"):
            header[10:12] = field
            assert ipv4_header_checksum(header) == expected


def test_wrong_ipv4_header_checksum_is_invalid_but_zero_counts_as_offloaded() -> None:
    datagram = bytes(PACKETS["IPv4"])
    assert not ip_header_valid(datagram[:8] + b"\x01" + datagram[9:])
    assert ip_header_valid(datagram[:10] + bytes(2) + datagram[12:])


@pytest.mark.parametrize("datagram", FROM_LOOPBACK.values(), ids=FROM_LOOPBACK.keys())
def test_checksum_left_to_hardware_is_recognized_as_offloaded(datagram: bytes) -> None:
    segment = segment_of(datagram)
    assert offloaded(segment)
    assert not tcp_checksum_valid(segment)


@pytest.mark.parametrize("datagram", FROM_LOOPBACK.values(), ids=FROM_LOOPBACK.keys())
def test_any_other_wrong_checksum_is_not_taken_for_offloaded(datagram: bytes) -> None:
    at = segment_of(datagram).transport + 16
    for field in (b"\x00\x00", b"\xff\xff", bytes((datagram[at], datagram[at + 1] ^ 1))):
        assert not offloaded(segment_of(datagram[:at] + field + datagram[at + 2 :]))


@pytest.mark.parametrize("datagram", FROM_LOOPBACK.values(), ids=FROM_LOOPBACK.keys())
def test_checksum_left_to_segmentation_offload_lacks_the_length(datagram: bytes) -> None:
    segment = segment_of(datagram)
    at, length = segment.transport + 16, segment.end - segment.transport
    for change, expected in ((length, True), (length + 1, False), (length - 1, False)):
        field = ((segment.checksum - change) % 0xFFFF).to_bytes(2, "big")
        assert offloaded(segment_of(datagram[:at] + field + datagram[at + 2 :])) is expected


@pytest.mark.parametrize(
    ("checksum", "old", "new", "expected"),
    [
        (0xDD2F, 0x5555, 0x3285, 0x0000),  # RFC 1624 section 4
        (0x0000, 0x3285, 0x5555, 0xDD2F),
        (0x0000, 0x0000, 0x0001, 0xFFFE),
        (0x1234, 0x4006, 0x4006, 0x1234),
        (0x1234, 0x4006, 0x3F06, 0x1334),
    ],
)
def test_incremental_update_of_a_checksum(checksum: int, old: int, new: int, expected: int) -> None:
    assert update(checksum, old, new) == expected
