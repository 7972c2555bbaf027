"""Parsing: scapy builds the datagrams, and says what they contain."""

from typing import Any

import pytest
from scapy.layers.inet import (
    IP,
    TCP,
    UDP,
    IPOption_LSRR,
    IPOption_NOP,
    IPOption_Router_Alert,
    IPOption_RR,
    IPOption_SSRR,
)
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import AH
from scapy.packet import Raw

from nfinspect.actions import DropReason
from nfinspect.packet.segment import (
    ACK,
    CWR,
    ECE,
    FIN,
    MAXIMUM_EXTENSION_HEADERS,
    PSH,
    RST,
    SYN,
    URG,
    Segment,
    parse,
    ports,
    reverse_key,
)

IPV4 = IP(src="192.0.2.1", dst="198.51.100.25", ttl=57)
IPV6 = IPv6(src="2001:db8::1", dst="2001:db8:25::25", hlim=57)
TCP_HEADER = TCP(sport=40000, dport=25, seq=0xFFFFFFF0, ack=0x80000001, flags="PA", window=501)
DATA = Raw(b"MAIL FROM:<a@example.com>\r\n")

TIMESTAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (1000, 2000))]
SYN_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]
ALL_OPTIONS = [
    ("MSS", 1460),
    ("WScale", 7),
    ("SAckOK", b""),
    ("Timestamp", (1, 2)),
    (254, b"x" * 17),
]


def tcp(**fields: Any) -> TCP:
    header = TCP_HEADER.copy()
    for name, value in fields.items():
        setattr(header, name, value)
    return header


def ipv4(**fields: Any) -> IP:
    header = IPV4.copy()
    for name, value in fields.items():
        setattr(header, name, value)
    return header


def with_bytes(datagram: bytes, at: int, *values: int) -> bytes:
    return datagram[:at] + bytes(values) + datagram[at + len(values) :]


PLAIN4 = bytes(IPV4 / TCP_HEADER / DATA)
PLAIN6 = bytes(IPV6 / TCP_HEADER / DATA)

WELL_FORMED = {
    "IPv4": IPV4 / TCP_HEADER / DATA,
    "IPv4, no payload": IPV4 / TCP_HEADER,
    "IPv4, router alert": ipv4(options=[IPOption_Router_Alert()]) / TCP_HEADER / DATA,
    "IPv4, NOP before router alert": ipv4(
        options=[IPOption_NOP(), IPOption_NOP(), IPOption_Router_Alert()]
    )
    / TCP_HEADER
    / DATA,
    "IPv4, longest header": ipv4(options=[IPOption_RR(routers=["192.0.2.9"] * 9)])
    / TCP_HEADER
    / DATA,
    "IPv4, do not fragment, reserved bit": ipv4(flags="DF+evil") / TCP_HEADER / DATA,
    "IPv4, timestamps": IPV4 / tcp(options=TIMESTAMPS) / DATA,
    "IPv4, SYN": IPV4 / tcp(flags="S", options=SYN_OPTIONS),
    "IPv4, longest TCP header": IPV4 / tcp(options=ALL_OPTIONS) / DATA,
    "IPv4, every flag": IPV4 / tcp(flags="FSRPAUEC", urgptr=7) / DATA,
    "IPv4, reserved bits": IPV4 / tcp(reserved=7) / DATA,
    "IPv4, 65,535 bytes": IPV4 / TCP_HEADER / Raw(b"x" * (65535 - 40)),
    "IPv6": IPV6 / TCP_HEADER / DATA,
    "IPv6, no payload": IPV6 / TCP_HEADER,
    "IPv6, timestamps": IPV6 / tcp(options=TIMESTAMPS) / DATA,
    "IPv6, hop-by-hop": IPV6 / IPv6ExtHdrHopByHop() / TCP_HEADER / DATA,
    "IPv6, destination options": IPV6 / IPv6ExtHdrDestOpt() / TCP_HEADER / DATA,
    "IPv6, routing header used up": IPV6
    / IPv6ExtHdrRouting(addresses=["2001:db8::9"], segleft=0)
    / TCP_HEADER
    / DATA,
    "IPv6, several": IPV6
    / IPv6ExtHdrHopByHop()
    / IPv6ExtHdrDestOpt()
    / IPv6ExtHdrRouting(segleft=0)
    / IPv6ExtHdrDestOpt()
    / TCP_HEADER
    / DATA,
}


@pytest.mark.parametrize("packet", WELL_FORMED.values(), ids=WELL_FORMED.keys())
def test_well_formed_segment_is_parsed_as_by_scapy(packet: Any) -> None:
    datagram = bytes(packet)
    segment = parse(datagram)
    assert isinstance(segment, Segment), segment

    ip = (IP if datagram[0] >> 4 == 4 else IPv6)(datagram)
    header = ip[TCP]
    payload = bytes(header.payload)
    assert segment.datagram is datagram
    assert segment.version == ip.version
    assert segment.transport == len(datagram) - len(payload) - 4 * header.dataofs
    assert segment.payload == len(datagram) - len(payload)
    assert segment.end == len(datagram)
    assert segment.length == len(payload)
    assert segment.payload_bytes == payload
    assert segment.sequence == header.seq
    assert segment.acknowledgment == header.ack
    assert segment.flags == int(header.flags) & 0xFF
    assert segment.window == header.window
    assert segment.urgent == header.urgptr
    assert segment.checksum == header.chksum
    assert segment.options == datagram[segment.transport + 20 : segment.payload]
    assert segment.hop_limit == 57
    assert (segment.source_port, segment.destination_port) == (header.sport, header.dport)
    assert ports(datagram) == (header.sport, header.dport)


@pytest.mark.parametrize(
    ("datagram", "source", "destination"),
    [
        (PLAIN4, "c0000201", "c6336419"),
        (PLAIN6, "20010db8000000000000000000000001", "20010db8002500000000000000000025"),
    ],
    ids=["IPv4", "IPv6"],
)
def test_key_contains_both_endpoints(datagram: bytes, source: str, destination: str) -> None:
    segment = parse(datagram)
    assert isinstance(segment, Segment), segment
    assert segment.source == bytes.fromhex(source)
    assert segment.destination == bytes.fromhex(destination)
    assert segment.addresses == segment.source + segment.destination
    assert segment.key == segment.addresses + bytes.fromhex("9c40 0019")
    assert segment.reverse_key == (
        segment.destination + segment.source + bytes.fromhex("0019 9c40")
    )
    assert reverse_key(segment.reverse_key) == segment.key


def test_key_is_the_same_with_and_without_extension_headers() -> None:
    segments = [parse(bytes(p)) for name, p in WELL_FORMED.items() if name.startswith("IPv6")]
    assert len(segments) > 1
    assert {getattr(segment, "key", segment) for segment in segments} == {
        parse(PLAIN6).key  # type: ignore[union-attr]
    }


def test_authentication_header_is_skipped() -> None:
    datagram = bytes(IPV6 / AH(nh=6, payloadlen=4, icv=b"0" * 12) / TCP_HEADER / DATA)
    segment = parse(datagram)
    assert isinstance(segment, Segment), segment
    assert segment.transport == 40 + 24
    assert segment.payload_bytes == DATA.load
    assert ports(datagram) == (40000, 25)


def test_flags_are_those_of_the_header() -> None:
    for name, flag in zip("FSRPAUEC", (FIN, SYN, RST, PSH, ACK, URG, ECE, CWR), strict=True):
        segment = parse(bytes(IPV4 / tcp(flags=name)))
        assert isinstance(segment, Segment), segment
        assert segment.flags == flag


@pytest.mark.parametrize("datagram", [PLAIN4, PLAIN6], ids=["IPv4", "IPv6"])
def test_link_padding_is_not_payload(datagram: bytes) -> None:
    segment = parse(datagram + bytes(6))
    assert isinstance(segment, Segment), segment
    assert segment.end == len(datagram)
    assert segment.payload_bytes == DATA.load


def with_route(*, left: int) -> IPv6:
    return IPV6 / IPv6ExtHdrRouting(addresses=["2001:db8::9"], segleft=left)


def with_headers(count: int) -> IPv6:
    packet = IPV6.copy()
    for _ in range(count):
        packet /= IPv6ExtHdrDestOpt()
    return packet


def test_extension_headers_up_to_the_bound_are_parsed() -> None:
    datagram = bytes(with_headers(MAXIMUM_EXTENSION_HEADERS) / TCP_HEADER)
    assert isinstance(parse(datagram), Segment)


# docs/packets.md lists the same reasons.
DROPPED = {
    "nothing": (b"", DropReason.TRUNCATED),
    "one byte": (b"\x45", DropReason.TRUNCATED),
    "19 zeros": (bytes(19), DropReason.TRUNCATED),
    "IPv4 header cut": (PLAIN4[:19], DropReason.TRUNCATED),
    "IPv4, last byte missing": (PLAIN4[:-1], DropReason.TRUNCATED),
    "IPv4, cut in the TCP header": (PLAIN4[:30], DropReason.TRUNCATED),
    "IPv4, total length 0 (BIG TCP)": (with_bytes(PLAIN4, 2, 0, 0), DropReason.TRUNCATED),
    "IPv6 header cut": (PLAIN6[:39], DropReason.TRUNCATED),
    "IPv6 header cut at the length of an IPv4 header": (PLAIN6[:20], DropReason.TRUNCATED),
    "IPv6, last byte missing": (PLAIN6[:-1], DropReason.TRUNCATED),
    "IPv6, payload length 0 (jumbogram)": (with_bytes(PLAIN6, 4, 0, 0), DropReason.TRUNCATED),
    "version 0": (with_bytes(PLAIN4, 0, 0x05), DropReason.MALFORMED),
    "version 5": (with_bytes(PLAIN4, 0, 0x55), DropReason.MALFORMED),
    "version 15": (with_bytes(PLAIN4, 0, 0xF5), DropReason.MALFORMED),
    "IPv4, header length 4 words": (with_bytes(PLAIN4, 0, 0x44), DropReason.MALFORMED),
    "IPv4, header longer than the datagram": (
        with_bytes(bytes(ipv4(ihl=15, len=40) / TCP_HEADER), 20, 1),
        DropReason.MALFORMED,
    ),
    "IPv4, total length within the header": (with_bytes(PLAIN4, 2, 0, 19), DropReason.MALFORMED),
    "IPv4, total length within the TCP header": (
        with_bytes(PLAIN4, 2, 0, 39),
        DropReason.MALFORMED,
    ),
    "IPv4, loose source route": (
        bytes(ipv4(options=[IPOption_LSRR(routers=["192.0.2.9"])]) / TCP_HEADER),
        DropReason.MALFORMED,
    ),
    "IPv4, strict source route": (
        bytes(ipv4(options=[IPOption_SSRR(routers=["192.0.2.9"])]) / TCP_HEADER),
        DropReason.MALFORMED,
    ),
    "IPv4, option of length 0": (
        with_bytes(bytes(ipv4(options=[IPOption_Router_Alert()]) / TCP_HEADER), 21, 0),
        DropReason.MALFORMED,
    ),
    "IPv4, option beyond the header": (
        with_bytes(bytes(ipv4(options=[IPOption_Router_Alert()]) / TCP_HEADER), 21, 5),
        DropReason.MALFORMED,
    ),
    "IPv4, option without a length": (
        with_bytes(bytes(ipv4(options=[IPOption_Router_Alert()]) / TCP_HEADER), 20, 1, 1, 1, 148),
        DropReason.MALFORMED,
    ),
    "IPv4, first fragment": (bytes(ipv4(flags="MF") / TCP_HEADER / DATA), DropReason.FRAGMENT),
    "IPv4, last fragment": (bytes(ipv4(frag=1) / TCP_HEADER / DATA), DropReason.FRAGMENT),
    "IPv4, farthest fragment": (bytes(ipv4(frag=0x1FFF) / TCP_HEADER), DropReason.FRAGMENT),
    "IPv6, first fragment": (
        bytes(IPV6 / IPv6ExtHdrFragment(m=1, nh=6) / TCP_HEADER / DATA),
        DropReason.FRAGMENT,
    ),
    "IPv6, last fragment": (
        bytes(IPV6 / IPv6ExtHdrFragment(offset=5, nh=6) / TCP_HEADER / DATA),
        DropReason.FRAGMENT,
    ),
    "IPv6, atomic fragment": (
        bytes(IPV6 / IPv6ExtHdrFragment(nh=6) / TCP_HEADER / DATA),
        DropReason.FRAGMENT,
    ),
    "IPv6, fragment after hop-by-hop": (
        bytes(IPV6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(nh=6) / TCP_HEADER),
        DropReason.FRAGMENT,
    ),
    "IPv4, UDP": (bytes(IPV4 / UDP(dport=25) / DATA), DropReason.NOT_TCP),
    "IPv4, fragment of UDP": (bytes(ipv4(flags="MF") / UDP(dport=25)), DropReason.NOT_TCP),
    "IPv6, UDP": (bytes(IPV6 / UDP(dport=25) / DATA), DropReason.NOT_TCP),
    "IPv6, ESP": (bytes(IPv6(nh=50) / DATA), DropReason.NOT_TCP),
    "IPv6, no next header": (bytes(IPv6(nh=59) / DATA), DropReason.NOT_TCP),
    "IPv6, UDP after hop-by-hop": (
        bytes(IPV6 / IPv6ExtHdrHopByHop() / UDP(dport=25)),
        DropReason.NOT_TCP,
    ),
    "IPv6, hop-by-hop not first": (
        bytes(IPV6 / IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop() / TCP_HEADER),
        DropReason.MALFORMED,
    ),
    "IPv6, routing header not used up": (
        bytes(with_route(left=1) / TCP_HEADER),
        DropReason.MALFORMED,
    ),
    "IPv6, extension header beyond the end": (
        with_bytes(bytes(IPV6 / IPv6ExtHdrDestOpt() / TCP_HEADER), 41, 255),
        DropReason.MALFORMED,
    ),
    "IPv6, extension header cut by the length": (
        bytes(IPv6(nh=60, plen=7) / Raw(b"\x06" + bytes(6))),
        DropReason.MALFORMED,
    ),
    "IPv6, extension header up to the end": (
        bytes(IPv6(nh=60) / Raw(b"\x06" + bytes(7))),
        DropReason.MALFORMED,
    ),
    "IPv6, too many extension headers": (
        bytes(with_headers(MAXIMUM_EXTENSION_HEADERS + 1) / TCP_HEADER),
        DropReason.MALFORMED,
    ),
    "TCP header of 19 bytes": (
        with_bytes(PLAIN4, 2, 0, 39)[:39],
        DropReason.MALFORMED,
    ),
    "TCP header of 19 bytes, over IPv6": (
        with_bytes(PLAIN6, 4, 0, 19)[:59],
        DropReason.MALFORMED,
    ),
    "no TCP header": (with_bytes(PLAIN4, 2, 0, 20)[:20], DropReason.MALFORMED),
    "TCP header of 4 words": (bytes(IPV4 / tcp(dataofs=4) / DATA), DropReason.MALFORMED),
    "TCP header of no words": (bytes(IPV6 / tcp(dataofs=0) / DATA), DropReason.MALFORMED),
    "TCP header beyond the end": (bytes(IPV4 / tcp(dataofs=15)), DropReason.MALFORMED),
    "TCP header beyond the end, over IPv6": (
        bytes(IPV6 / tcp(dataofs=6) / Raw(b"abc")),
        DropReason.MALFORMED,
    ),
    "TCP header into the link padding": (
        bytes(IPV4 / tcp(dataofs=6)) + bytes(6),
        DropReason.MALFORMED,
    ),
}


@pytest.mark.parametrize(("datagram", "reason"), DROPPED.values(), ids=DROPPED.keys())
def test_datagram_that_cannot_be_inspected_is_dropped_for_a_reason(
    datagram: bytes, reason: DropReason
) -> None:
    assert parse(datagram) is reason


def test_packet_that_the_kernel_truncated_is_dropped_although_its_length_field_fits() -> None:
    assert isinstance(parse(PLAIN4, len(PLAIN4)), Segment)
    assert parse(PLAIN4, len(PLAIN4) + 4) is DropReason.TRUNCATED


WITH_PORTS = {
    "whole": PLAIN4,
    "cut after the ports": PLAIN4[:24],
    "total length 0": with_bytes(PLAIN4, 2, 0, 0),
    "total length beyond the end": with_bytes(PLAIN4, 2, 255, 255),
    "first fragment": bytes(ipv4(flags="MF") / TCP_HEADER),
    "source route": bytes(ipv4(options=[IPOption_LSRR(routers=["192.0.2.9"])]) / TCP_HEADER),
    "data offset 0": bytes(IPV4 / tcp(dataofs=0)),
    "IPv6": PLAIN6,
    "IPv6, cut after the ports": PLAIN6[:44],
    "IPv6, payload length 0": with_bytes(PLAIN6, 4, 0, 0),
    "IPv6, first fragment": bytes(IPV6 / IPv6ExtHdrFragment(m=1, nh=6) / TCP_HEADER),
    "IPv6, atomic fragment": bytes(IPV6 / IPv6ExtHdrFragment(nh=6) / TCP_HEADER),
    "IPv6, routing header not used up": bytes(with_route(left=1) / TCP_HEADER),
}

WITHOUT_PORTS = {
    "nothing": b"",
    "IPv4 header cut": PLAIN4[:19],
    "cut before the ports": PLAIN4[:23],
    "later fragment": bytes(ipv4(frag=1) / TCP_HEADER),
    "header length 4 words": with_bytes(PLAIN4, 0, 0x44),
    "UDP": bytes(IPV4 / UDP(sport=40000, dport=25)),
    "version 5": with_bytes(PLAIN4, 0, 0x55),
    "IPv6 header cut": PLAIN6[:39],
    "IPv6, cut before the ports": PLAIN6[:43],
    "IPv6, later fragment": bytes(IPV6 / IPv6ExtHdrFragment(offset=1, nh=6) / TCP_HEADER),
    "IPv6, far fragment": bytes(IPV6 / IPv6ExtHdrFragment(offset=32, nh=6) / TCP_HEADER),
    "IPv6, UDP": bytes(IPV6 / UDP(sport=40000, dport=25)),
    "IPv6, extension header cut": bytes(IPV6 / IPv6ExtHdrDestOpt() / TCP_HEADER)[:47],
}


@pytest.mark.parametrize("datagram", WITH_PORTS.values(), ids=WITH_PORTS.keys())
def test_ports_are_found_if_they_are_present(datagram: bytes) -> None:
    assert ports(datagram) == (40000, 25)


@pytest.mark.parametrize("datagram", WITHOUT_PORTS.values(), ids=WITHOUT_PORTS.keys())
def test_ports_are_none_if_they_are_absent(datagram: bytes) -> None:
    assert ports(datagram) is None
