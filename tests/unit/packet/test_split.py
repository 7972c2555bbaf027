"""Splitting: the pieces of a large segment equal the datagrams that scapy builds."""

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.packet import Packet, Raw

from nfinspect.packet.segment import Segment, parse
from nfinspect.packet.split import split

TIMESTAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (1000, 2000))]
BELOW = {
    "IPv4": IP(src="192.0.2.1", dst="198.51.100.25", id=0xFFFF, flags="DF"),
    "IPv6": IPv6(src="2001:db8::1", dst="2001:db8:25::25", fl=5),
    "IPv6, destination options": IPv6(src="2001:db8::1", dst="2001:db8:25::25")
    / IPv6ExtHdrDestOpt(),
}
below = pytest.mark.parametrize("below", BELOW.values(), ids=BELOW.keys())


def build(below: Packet, payload: bytes, *, number: int = 0, seq: int, flags: str) -> bytes:
    below = below.copy()
    if below.version == 4:
        below.id = (below.id + number) & 0xFFFF
    tcp = TCP(sport=40000, dport=25, seq=seq, ack=7, flags=flags, window=9, options=TIMESTAMPS)
    return bytes(below / tcp / Raw(payload))


def segment_of(datagram: bytes) -> Segment:
    segment = parse(datagram)
    assert isinstance(segment, Segment)
    return segment


@below
def test_pieces_continue_across_the_wrap_of_sequence_number_and_identification(
    below: Packet,
) -> None:
    large = build(below, b"abcdefgh", seq=0xFFFFFFFE, flags="FPAC")
    assert split(segment_of(large + bytes(3)), 3) == [
        build(below, b"abc", number=0, seq=0xFFFFFFFE, flags="AC"),
        build(below, b"def", number=1, seq=1, flags="A"),
        build(below, b"gh", number=2, seq=4, flags="FPA"),
    ]


@below
def test_payload_of_exactly_two_pieces_yields_no_empty_third(below: Packet) -> None:
    large = build(below, b"abcdef", seq=5, flags="PA")
    assert split(segment_of(large), 3) == [
        build(below, b"abc", seq=5, flags="A"),
        build(below, b"def", number=1, seq=8, flags="PA"),
    ]


@below
@pytest.mark.parametrize("payload", [b"", b"a", b"abc"])
def test_segment_that_fits_is_not_split(below: Packet, payload: bytes) -> None:
    small = build(below, payload, seq=5, flags="FPAC")
    assert split(segment_of(small), 3) == [small]
