"""How the lab reads captures, and compares both sides of the filter."""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.utils import wrpcap

from nfinspect.lab.comparison import BLANKED, CUT, DROPPED, MASKED, PASSED, LinePair, rows
from nfinspect.lab.conversation import REPLY, REQUEST, Conversation, lines
from nfinspect.lab.streams import conversations
from tests.frames import faulty_frames

CLIENT_ISN, SERVER_ISN = 2**32 - 3, 2**32 - 8  # both streams cross the wrap

# With addresses, or scapy would resolve them on the network.
ETHERNET = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


class Wire:
    """Packets of one connection, a second apart."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.client(-1, b"", "S")
        self.server(-1, b"", "SA")

    def client(self, offset: int, payload: bytes, flags: str = "PA") -> Wire:
        return self._add(ETHERNET / IP(src="192.0.2.10", dst="198.51.100.25"), 40001, 25,
                         CLIENT_ISN + 1 + offset, flags, payload)  # fmt: skip

    def server(self, offset: int, payload: bytes, flags: str = "PA") -> Wire:
        return self._add(ETHERNET / IP(src="198.51.100.25", dst="192.0.2.10"), 25, 40001,
                         SERVER_ISN + 1 + offset, flags, payload)  # fmt: skip

    def _add(
        self, headers: Packet, source: int, to: int, sequence: int, flags: str, payload: bytes
    ) -> Wire:
        packet = headers / TCP(sport=source, dport=to, seq=sequence % 2**32, flags=flags) / payload
        packet.time = float(len(self.packets))
        self.packets.append(packet)
        return self

    def conversation(self, directory: Path) -> Conversation:
        file = directory / "capture.pcap"
        wrpcap(str(file), self.packets)
        (found,) = conversations(file)
        return found


def test_segments_in_order_form_streams_from_the_syn_on(tmp_path: Path) -> None:
    wire = Wire().server(0, b"220 hi\r\n").client(0, b"EHLO x\r\n").client(8, b"QUIT\r\n")
    found = wire.conversation(tmp_path)
    assert (found.client, found.server) == ("192.0.2.10:40001", "198.51.100.25:25")
    assert (found.request.data, found.reply.data) == (b"EHLO x\r\nQUIT\r\n", b"220 hi\r\n")
    assert [(line.direction, line.text, line.offset) for line in lines(found)] == [
        (REPLY, b"220 hi", 0),
        (REQUEST, b"EHLO x", 0),
        (REQUEST, b"QUIT", 8),
    ]


def test_segments_retransmitted_overlapping_and_out_of_order_are_read_as_by_a_receiver(
    tmp_path: Path,
) -> None:
    wire = Wire().client(6, b"ghi").client(0, b"abc").client(0, b"abc").client(2, b"CDEFG")
    assert wire.conversation(tmp_path).request.data == b"abcDEFGhi"


def test_stream_ends_where_a_segment_is_missing(tmp_path: Path) -> None:
    assert Wire().client(0, b"abc").client(4, b"e").conversation(tmp_path).request.data == b"abc"


def test_padding_of_a_short_frame_is_not_payload(tmp_path: Path) -> None:
    wire = Wire()
    wire.client(0, b"abc")
    wire.packets[-1] = Ether(bytes(wire.packets[-1]) + b"\0" * 6)
    assert wire.conversation(tmp_path).request.data == b"abc"


def test_line_in_several_segments_has_their_boundaries(tmp_path: Path) -> None:
    wire = Wire()
    for offset, letter in enumerate((b"H", b"I", b"\r", b"\n")):
        wire.client(offset, letter)
    (line,) = lines(wire.conversation(tmp_path))
    assert (line.text, line.cuts, line.complete) == (b"HI", (1, 2), True)


def test_both_sides_are_compared_line_by_line(tmp_path: Path) -> None:
    outside = Wire().server(0, b"220 ****\r\n").client(0, b"ATRN x\r\n").client(8, b"QUIT\r\n")
    outside.client(14, b"NOOP\r\n").client(14, b"NOOP\r\n")
    inside = Wire().server(0, b"220 mail\r\n").client(0, b"XXXXXX\r\n").client(8, b"QUI")
    (tmp_path / "in").mkdir()
    sides = outside.conversation(tmp_path), inside.conversation(tmp_path / "in")
    assert rows(*sides) == [
        LinePair(REPLY, b"220 mail", b"220 ****", MASKED),
        LinePair(REQUEST, b"ATRN x", b"XXXXXX", MASKED),
        LinePair(REQUEST, b"QUIT", b"QUI", CUT),
        LinePair(REQUEST, b"NOOP", None, DROPPED, tries=2, arrivals=0),
    ]
    assert [row.verdict for row in rows(sides[0], sides[0])] == [PASSED] * 4


def test_frame_with_a_wrong_checksum_is_faulty_and_one_with_the_other_zero_is_not(
    tmp_path: Path,
) -> None:
    segment = ETHERNET / IP(src="192.0.2.10", dst="198.51.100.25") / TCP(dport=25, flags="PA")
    # With its own checksum at the end of its payload, a segment sums to zero.
    own = Ether(bytes(segment / b"ab\0\0"))[TCP].chksum
    frames = []
    for checksum in (0x0000, 0xFFFF, 0x0005):
        frame = Ether(bytes(segment / (b"ab" + own.to_bytes(2, "big"))))
        assert frame[TCP].chksum == 0
        frame[TCP].chksum = checksum
        frames.append(frame)
    frames.append(segment / bytes(1500))
    wrpcap(str(tmp_path / "frames.pcap"), frames)
    faulty = faulty_frames(tmp_path / "frames.pcap")
    assert [line.split("\t")[0] for line in faulty] == ["3", "4"]


def test_blank_in_place_of_a_bracket_is_shown_as_blanked(tmp_path: Path) -> None:
    outside, inside = Wire().client(0, b"RCPT <a>>\r\n"), Wire().client(0, b"RCPT <a> \r\n")
    (tmp_path / "in").mkdir()
    (row,) = rows(outside.conversation(tmp_path), inside.conversation(tmp_path / "in"))
    assert row.verdict == BLANKED


@pytest.mark.parametrize(
    ("verdict", "tries", "arrivals", "expected"),
    [
        (PASSED, 1, 1, ""),
        (PASSED, 6, 1, "5 repeats dropped"),
        (PASSED, 6, 6, "5 repeats too"),
        (PASSED, 2, 3, "1 repeat too"),
        (PASSED, 6, 4, "of 5 repeats 2 dropped"),
        (DROPPED, 6, 0, "5 repeats too"),
        (DROPPED, 1, 0, ""),
    ],
)
def test_repeats_are_described_with_their_outcome(
    verdict: str, tries: int, arrivals: int, expected: str
) -> None:
    row = LinePair(REPLY, b"250 ok", None, verdict, tries=tries, arrivals=arrivals)
    assert row.repeats == expected
