"""What holds for any bytes: parsing never raises, checksums are right, rewriting stays in bounds."""

import random

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Raw

from nfinspect.actions import DropReason
from nfinspect.packet.checksum import (
    ip_header_valid,
    ipv4_header_checksum,
    offloaded,
    ones_complement_sum,
    tcp_checksum_valid,
    update,
)
from nfinspect.packet.craft import craft_acknowledgment
from nfinspect.packet.edit import rewrite
from nfinspect.packet.options import clean_options, syn_options, timestamps
from nfinspect.packet.segment import URG, Segment, parse, ports

OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]
# Pieces of options, so that random options are often well formed.
OPTION_WORDS = [
    bytes.fromhex(word)
    for word in "020405b4 01030307 04020101 0101080a 0101050a fe04f989 0103ff00 00000001".split()
]
SEGMENT = TCP(dport=25, flags="PA", options=OPTIONS) / Raw(b"RCPT TO:<b@example.com>\r\n")
VALID = [
    bytes(below / SEGMENT)
    for below in (
        IP(),
        IP(options=[IPOption_Router_Alert()]),
        IP(flags="MF"),
        IPv6(),
        IPv6() / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting(segleft=0) / IPv6ExtHdrDestOpt(),
        IPv6() / IPv6ExtHdrFragment(nh=6, m=1),
    )
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid datagram with some bytes changed, its end cut off, or bytes appended."""
    datagram = bytearray(draw(st.sampled_from(VALID)))
    changes = st.tuples(st.integers(0, len(datagram) - 1), st.integers(0, 255))
    for at, value in draw(st.lists(changes, max_size=4)):
        datagram[at] = value
    return bytes(datagram[: draw(st.integers(0, len(datagram)))]) + draw(st.binary(max_size=8))


def judge(datagram: bytes) -> DropReason | None:
    """Apply the functions of `nfinspect.packet` as the engine may; None if it is a segment."""
    found = ports(datagram)
    segment = parse(datagram)
    if isinstance(segment, DropReason):
        return segment

    assert found == (segment.source_port, segment.destination_port)
    assert 20 <= segment.transport <= segment.payload - 20
    assert segment.payload <= segment.end <= len(datagram)
    assert len(segment.key) == (12 if segment.version == 4 else 36)
    syn_options(segment)
    timestamps(segment)
    offloaded(segment)
    ip_header_valid(segment.datagram)

    options = clean_options(segment)
    assert options is None or len(options) == len(segment.options)
    normalized = parse(rewrite(segment, payload=b"", clear_flags=URG, options=options))
    assert isinstance(normalized, Segment)
    assert tcp_checksum_valid(normalized)
    assert ip_header_valid(normalized.datagram)
    assert clean_options(normalized) is None
    assert normalized.key == segment.key
    assert (normalized.length, normalized.urgent, normalized.flags & URG) == (0, 0, 0)
    return None


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_dropped_for_a_reason(datagram: bytes) -> None:
    judge(datagram)


@given(mutated())
def test_mutated_datagram_is_parsed_or_dropped_for_a_reason(datagram: bytes) -> None:
    judge(datagram)


def test_ten_thousand_corrupt_packets_are_parsed_or_dropped_for_each_of_the_reasons() -> None:
    chance = random.Random(791)
    verdicts = set()
    for _ in range(10_000):
        datagram = bytearray(chance.choice(VALID))
        for _ in range(chance.randrange(1, 6)):
            datagram[chance.randrange(len(datagram))] = chance.randrange(256)
        if chance.random() < 0.2:
            del datagram[chance.randrange(len(datagram)) :]
        verdicts.add(judge(bytes(datagram)))
    assert verdicts == {
        None,
        DropReason.TRUNCATED,
        DropReason.MALFORMED,
        DropReason.FRAGMENT,
        DropReason.NOT_TCP,
    }


@given(
    st.lists(st.binary(min_size=4, max_size=4) | st.sampled_from(OPTION_WORDS), max_size=10).map(
        b"".join
    )
)
def test_cleaned_options_contain_nothing_unknown_and_nothing_twice(options: bytes) -> None:
    packet = IP() / TCP(dport=25, dataofs=5 + len(options) // 4) / Raw(options)
    segment = parse(bytes(packet))
    assert isinstance(segment, Segment)
    cleaned = clean_options(segment)
    read = IP(rewrite(segment, options=cleaned))[TCP].options
    kinds = [kind for kind, _ in read if kind not in ("NOP", "EOL")]
    assert set(kinds) <= {"MSS", "WScale", "SAckOK", "SAck", "Timestamp"}
    assert len(kinds) == len(set(kinds))
    if cleaned is None:
        assert read == IP(segment.datagram)[TCP].options


def sum_word_by_word(data: bytes) -> int:
    """The algorithm of RFC 1071 section 4.1, word for word."""
    total = 0
    for at in range(0, len(data) - 1, 2):
        total += data[at] << 8 | data[at + 1]
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.binary(max_size=300) | st.integers(0, 300).map(lambda n: b"\xff" * n))
def test_ones_complement_sum_equals_that_of_rfc_1071(data: bytes) -> None:
    assert ones_complement_sum(data) == sum_word_by_word(data)


words = st.integers(0, 0xFFFF)


@given(st.binary(min_size=20, max_size=60).filter(lambda b: len(b) % 4 == 0 and b[0]), words)
def test_incremental_update_equals_a_new_checksum(header: bytes, new: int) -> None:
    before = ipv4_header_checksum(header)
    old = int.from_bytes(header[8:10], "big")
    changed = header[:8] + new.to_bytes(2, "big") + header[10:]
    assert update(before, old, new) == ipv4_header_checksum(changed)


@given(
    st.sampled_from([bytes(8), b"\x01" * 8, bytes(32), b"\x20\x01" * 16]),
    st.binary(min_size=4, max_size=4),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    words,
    st.integers(0, 10),
)
def test_crafted_acknowledgment_is_parsed_with_the_same_values(
    addresses: bytes, port_bytes: bytes, sequence: int, acknowledgment: int, window: int, nops: int
) -> None:
    segment = parse(
        craft_acknowledgment(
            addresses + port_bytes,
            sequence=sequence,
            acknowledgment=acknowledgment,
            window=window,
            options=b"\x01" * 4 * nops,
        )
    )
    assert isinstance(segment, Segment)
    assert segment.key == addresses + port_bytes
    assert (segment.sequence, segment.acknowledgment) == (sequence, acknowledgment)
    assert (segment.window, segment.length) == (window, 0)
    assert tcp_checksum_valid(segment)
    assert ip_header_valid(segment.datagram)


@given(st.binary(max_size=1460), st.data())
def test_rewritten_segment_has_the_new_payload_and_nothing_else_changes(
    payload: bytes, data: st.DataObject
) -> None:
    below = data.draw(st.sampled_from([IP(id=7, flags="DF"), IPv6(fl=7)]))
    segment = parse(bytes(below / TCP(dport=25, options=OPTIONS) / Raw(bytes(len(payload)))))
    assert isinstance(segment, Segment)
    kept = data.draw(st.integers(0, len(payload)))
    expected = below / TCP(dport=25, options=OPTIONS) / Raw(payload[:kept])
    assert rewrite(segment, payload=payload[:kept]) == bytes(expected)
