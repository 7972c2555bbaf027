"""Reassembly as Linux does it: any order, duplicates, overlaps, timeouts, the bound."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    fragment6,
)
from scapy.packet import Raw

from nfinspect.packet.checksum import tcp_checksum_valid
from nfinspect.packet.segment import Segment, parse
from nfinspect.replay import fragments as module
from nfinspect.replay.capture import CaptureInterface, Frame
from nfinspect.replay.fragments import Decided, Reassembler, is_fragment
from tests.unit.replay.mail import ethernet, session
from tests.unit.replay.stand_in import frames, pcap, replayed

RAW = CaptureInterface(101, False)
PAYLOAD = bytes(range(256)) * 3  # with the TCP header 788 bytes


def frame(packet: bytes, number: int = 1) -> Frame:
    made = Frame(number, 0, RAW, packet, len(packet))
    made.end = len(packet)
    return made


def pieces_4(size: int = 256, payload: bytes = PAYLOAD, **ip: object) -> list[bytes]:
    packet = IP(src="192.0.2.1", dst="198.51.100.25", id=77, **ip)
    packet /= TCP(sport=40_000, dport=25, flags="PA", seq=1) / Raw(payload)
    return [bytes(piece) for piece in fragment(packet, size)]


def pieces_6(size: int = 344, payload: bytes = PAYLOAD, identification: int = 7) -> list[bytes]:
    packet = IPv6(src="2001:db8::1", dst="2001:db8::25", tc=0)
    packet /= IPv6ExtHdrFragment(id=identification)
    packet /= TCP(sport=40_000, dport=25, flags="PA", seq=1) / Raw(payload)
    return [bytes(piece) for piece in fragment6(packet, size)]


def piece(start: int, data: bytes, *, more: bool = True, tos: int = 0, flags: int = 0) -> bytes:
    """A hand-made IPv4 fragment."""
    header = IP(
        src="192.0.2.1", dst="198.51.100.25", id=9, proto=6, tos=tos,
        flags=flags | (1 if more else 0), frag=start // 8,
    )  # fmt: skip
    return bytes(header / Raw(data))


def piece_6(start: int, data: bytes, *, more: bool = True) -> bytes:
    header = IPv6(src="2001:db8::1", dst="2001:db8::25")
    header /= IPv6ExtHdrFragment(id=9, nh=6, offset=start // 8, m=int(more))
    return bytes(header / Raw(data))


def joined(packets: list[bytes]) -> list[Decided]:
    """What each packet in turn decides."""
    reassembler = Reassembler()
    decided = [reassembler.add(frame(p, n + 1), 0.0) for n, p in enumerate(packets)]
    return [d for d in decided if d is not None]


@pytest.mark.parametrize("pieces", [pieces_4(), pieces_6()], ids=["IPv4", "IPv6"])
def test_fragments_in_any_order_are_reassembled(pieces: list[bytes]) -> None:
    assert len(pieces) in (3, 4)
    assert all(is_fragment(p) for p in pieces)
    for order in itertools.permutations(pieces):
        (decided,) = joined(list(order))
        assert decided.datagram is not None
        assert len(decided.frames) == len(pieces)
        segment = parse(decided.datagram)
        assert isinstance(segment, Segment)
        assert segment.payload_bytes == PAYLOAD
        assert tcp_checksum_valid(segment)
        assert bytes((IP if segment.version == 4 else IPv6)(decided.datagram)) == decided.datagram


def test_reassembled_ipv4_header_is_correct() -> None:
    (decided,) = joined(pieces_4(tos=0x10, ttl=33))
    assert decided.datagram is not None
    packet = IP(decided.datagram)
    assert (packet.len, packet.frag, int(packet.flags), packet.ttl) == (808, 0, 0, 33)
    checksum = packet.chksum
    del packet.chksum
    assert IP(bytes(packet)).chksum == checksum


def test_extension_headers_before_the_fragment_header_are_kept() -> None:
    packet = IPv6(src="2001:db8::1", dst="2001:db8::25") / IPv6ExtHdrHopByHop()
    packet /= IPv6ExtHdrFragment(id=3) / TCP(sport=40_000, dport=25) / Raw(PAYLOAD)
    (decided,) = joined([bytes(p) for p in fragment6(packet, 344)])
    assert decided.datagram is not None
    again = IPv6(decided.datagram)
    assert again.haslayer(IPv6ExtHdrHopByHop)
    assert not again.haslayer(IPv6ExtHdrFragment)
    assert bytes(again[Raw]) == PAYLOAD


def test_atomic_ipv6_fragment_is_a_complete_datagram() -> None:
    (decided,) = joined([piece_6(0, bytes(TCP(dport=25)) + b"x", more=False)])
    assert decided.datagram is not None
    assert IPv6(decided.datagram)[TCP].dport == 25


A, B, C, D, E, F, G, H = (bytes([65 + n]) * 8 for n in range(8))

OVERLAPS = {
    # fragments as (start, bytes); the one that starts last ends the datagram: the result
    "in order": ([(0, A), (8, B), (16, C)], A + B + C),
    "the last first": ([(16, C), (8, B), (0, A)], A + B + C),
    "exact duplicate": ([(0, A), (0, A), (8, B), (16, C)], A + B + C),
    "duplicate with other bytes": ([(0, A), (0, D), (8, B), (16, C)], A + B + C),
    "within a run": ([(0, A), (8, B), (0, A + B), (16, C)], A + B + C),
    "part of one fragment": ([(0, A + B), (8, D), (16, C)], A + B + C),
    "overlaps the beginning": ([(8, B + C), (0, A + D), (24, E)], None),
    "overlaps the end": ([(0, A + B), (8, D + C), (24, E)], None),
    "covers one": ([(8, B), (0, A + D + C), (24, E)], None),
    "covers adjacent ones that arrived out of order": ([(16, C), (8, B), (8, B + C), (0, A)], None),
    "beyond the end": ([(16, C), (24, D), (0, A + B)], None),
}


@pytest.mark.parametrize("case", OVERLAPS)
def test_ipv4_overlap_discards_the_datagram_and_a_duplicate_does_not(case: str) -> None:
    arriving, whole = OVERLAPS[case]
    end = 16 if case == "beyond the end" else max(start for start, _ in arriving)
    packets = [piece(start, data, more=start != end) for start, data in arriving]
    decided = joined(packets)
    datagrams = [d.datagram[20:] for d in decided if d.datagram is not None]
    assert datagrams == ([whole] if whole else [])
    assert bool([d for d in decided if d.datagram is None]) is (whole is None)


@pytest.mark.parametrize("case", [name for name in OVERLAPS if name != "beyond the end"])
def test_ipv6_overlap_discards_the_datagram_and_a_duplicate_does_not(case: str) -> None:
    arriving, whole = OVERLAPS[case]
    end = max(start for start, _ in arriving)
    head = bytes(TCP(dport=25)) + bytes(
        12
    )  # the first fragment must contain all headers, so the others move by 32
    packets = [piece_6(0, head)]
    packets += [piece_6(32 + start, data, more=start != end) for start, data in arriving]
    datagrams = [d.datagram[72:] for d in joined(packets) if d.datagram is not None]
    assert datagrams == ([whole] if whole else [])


def test_fragment_beyond_the_end_discards_an_ipv4_datagram_and_is_ignored_in_ipv6() -> None:
    head = bytes(TCP(dport=25)) + bytes(4)
    for make, whole in ((piece, None), (piece_6, head + A)):
        packets = [make(24, A, more=False), make(32, B), make(0, head)]
        decided = joined(packets)
        found = [d.datagram for d in decided if d.datagram]
        assert [d.endswith(whole or b"") for d in found] == ([True] if whole else [])


def test_second_last_fragment_with_another_end_discards_an_ipv4_datagram() -> None:
    decided = joined([piece(16, C, more=False), piece(8, B, more=False), piece(0, A)])
    assert [d.datagram for d in decided] == [None]


def test_empty_fragment_discards_an_ipv4_datagram() -> None:
    assert [d.datagram for d in joined([piece(0, A), piece(8, b"")])] == [None]


def test_middle_fragment_of_odd_length_is_trimmed_in_ipv4_and_discards_an_ipv6_datagram() -> None:
    decided = joined([piece(0, A + b"xyz"), piece(8, B, more=False)])
    assert [d.datagram[20:] for d in decided if d.datagram] == [A + B]
    head = bytes(TCP(dport=25)) + bytes(4)
    decided = joined([piece_6(0, head + b"xyz"), piece_6(24, B, more=False)])
    assert [d.datagram for d in decided] == [None]


def test_first_ipv6_fragment_without_the_complete_tcp_header_is_dropped() -> None:
    decided = joined([piece_6(0, bytes(16)), piece_6(16, C, more=False)])
    assert [(d.datagram, len(d.frames)) for d in decided] == [(None, 1)]


def test_datagram_of_more_than_65535_bytes_is_discarded() -> None:
    packets = [piece(start, bytes(8192)) for start in range(0, 65_528, 8192)]
    decided = joined([*packets, piece(65_528, bytes(8), more=False)])
    assert decided[-1].datagram is None


@pytest.mark.parametrize(
    ("codepoints", "result"),
    [((0, 0), 0), ((1, 1), 1), ((2, 3), 3), ((1, 3), 3), ((0, 3), None), ((0, 1), None)],
)
def test_ecn_codepoints_are_combined_as_in_rfc_3168(
    codepoints: tuple[int, int], result: int | None
) -> None:
    packets = [piece(0, A, tos=codepoints[0]), piece(8, B, more=False, tos=codepoints[1])]
    (decided,) = joined(packets)
    assert (decided.datagram[1] & 3 if decided.datagram else None) == result


@pytest.mark.parametrize(("flags", "sizes", "keeps"), [(2, (16, 8), True), (0, (16, 8), False)])
def test_dont_fragment_is_kept_if_the_largest_fragment_has_it(
    flags: int, sizes: tuple[int, int], keeps: bool
) -> None:
    packets = [piece(0, bytes(sizes[0]), flags=flags), piece(16, bytes(sizes[1]), more=False)]
    (decided,) = joined(packets)
    assert decided.datagram is not None
    assert bool(decided.datagram[6] & 0x40) is keeps


def test_incomplete_datagram_is_discarded_after_30_seconds_ipv6_after_60() -> None:
    reassembler = Reassembler()
    reassembler.add(frame(pieces_4()[0]), 0.0)
    reassembler.add(frame(pieces_6()[0]), 0.0)
    assert reassembler.expire(29.9) == []
    assert [len(d.frames) for d in reassembler.expire(30.0)] == [1]
    assert reassembler.expire(59.9) == []
    assert [len(d.frames) for d in reassembler.expire(60.0)] == [1]
    assert len(reassembler) == 0


def test_fragments_beyond_the_bound_are_discarded_until_others_expire(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MEMORY_BOUND", 10_000)
    reassembler = Reassembler()
    decided = []
    for number in range(30):
        packet = bytearray(piece(0, A))
        packet[4:6] = number.to_bytes(2, "big")
        packet[10:12] = bytes(2)
        decided.append(reassembler.add(frame(bytes(packet)), 0.0))
    assert 10 < len(reassembler) < 15
    assert sum(d is not None for d in decided) == 30 - len(reassembler)
    reassembler.expire(31.0)
    assert reassembler.add(frame(piece(0, A)), 31.0) is None


def test_fragment_with_a_malformed_header_is_discarded_alone() -> None:
    for wrong in (
        piece(0, A)[:-1],  # shorter than its header says
        piece(0, A)[:2] + b"\0\x05" + piece(0, A)[4:],
        b"\x41" + piece(0, A)[1:],
        piece(0, A)[:10] + b"\x12\x34" + piece(0, A)[12:],  # a wrong header checksum
        piece_6(0, A)[:-1],
    ):
        decided = joined([wrong])
        assert [(d.datagram, len(d.frames)) for d in decided] == [(None, 1)]


# ---- through the driver ------------------------------------------------------------------------


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_reassembled_packet_has_the_number_and_time_of_its_last_fragment(
    six: bool, tmp_path: Path
) -> None:
    numbers = []
    opening = session(six=six)[:3]
    pieces = pieces_6() if six else pieces_4()
    packets = [ethernet(p) for p in [*opening, *reversed(pieces)]]
    engine = None

    def script(arrival, segment):
        numbers.append(arrival.token.number)

    from tests.unit.replay.stand_in import StandIn

    engine = StandIn(script)
    capture = pcap(packets)
    result, _ = replayed(capture, tmp_path / "out.pcap", engine)
    assert numbers == [1, 2, 3, len(packets)]
    written = frames(tmp_path / "out.pcap")
    assert len(written) == 4
    segment = parse(written[3].data[14:])
    assert isinstance(segment, Segment)
    assert segment.payload_bytes == PAYLOAD
    assert written[3].time == frames(capture)[-1].time
    assert result.summary["fragments"] == {
        "joined": len(pieces), "datagrams": 1, "discarded": 0,
    }  # fmt: skip


def test_fragments_of_other_traffic_are_copied_byte_for_byte(tmp_path: Path) -> None:
    tcp = IP(src="192.0.2.1", dst="198.51.100.25", id=5) / TCP(dport=443) / Raw(PAYLOAD)
    udp = IP(src="192.0.2.1", dst="198.51.100.25", id=6) / UDP(dport=25) / Raw(PAYLOAD)
    complete = [bytes(p) for p in fragment(tcp, 256)]
    unfinished = [bytes(p) for p in fragment(tcp, 128)][:1]
    packets = [*complete[1:], *(bytes(p) for p in fragment(udp, 256)), complete[0], *unfinished]
    result, engine = replayed(pcap(packets, 101), tmp_path / "out.pcap")
    assert engine.arrivals == 0
    assert sorted(f.data for f in frames(tmp_path / "out.pcap")) == sorted(packets)
    assert result.summary["packets"]["copied"] == len(packets)


def test_fragments_of_an_incomplete_datagram_are_dropped(tmp_path: Path) -> None:
    result, _ = replayed(pcap(pieces_4()[1:], 101), tmp_path / "out.pcap")
    assert frames(tmp_path / "out.pcap") == []
    assert result.summary["fragments"]["discarded"] == len(pieces_4()) - 1
