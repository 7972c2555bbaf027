"""Where the datagram starts after any link header, and how another datagram replaces it."""

from __future__ import annotations

import pytest
from scapy.layers.l2 import Ether
from scapy.layers.ppp import PPP, PPPoE
from scapy.packet import Raw

from nfinspect.replay.capture import CaptureInterface, Frame
from nfinspect.replay.link import NOT_IP, enclose, framed, locate, turned
from tests.unit.replay.mail import LINKS, datagram

V4, V6 = datagram(">", "S", 0, 0), datagram(">", "S", 0, 0, six=True)


@pytest.mark.parametrize("packet", [V4, V6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("link", LINKS)
def test_datagram_is_found_after_the_link_header(link: str, packet: bytes) -> None:
    link_type, wrap = LINKS[link]
    find = locate(link_type)
    assert find is not None
    frame = wrap(packet)
    assert frame[find(frame) :].rstrip(b"\0") == packet.rstrip(b"\0")


@pytest.mark.parametrize("link", LINKS)
def test_frame_truncated_at_any_byte_is_no_error(link: str) -> None:
    link_type, wrap = LINKS[link]
    find = locate(link_type)
    assert find is not None
    whole = wrap(V4)
    for size in range(len(whole)):
        assert NOT_IP <= find(whole[:size]) <= find(whole)


@pytest.mark.parametrize(
    ("link_type", "frame"),
    [
        (1, bytes(12) + b"\x08\x06" + V4),  # ARP
        (1, bytes(12) + b"\x00\x40" + V4),  # an 802.3 length
        (1, bytes(12) + b"\x81\x00" * 40),  # tags without an end
        (1, bytes(12) + b"\x88\x64" + bytes(6) + b"\xc0\x21" + V4),  # PPPoE with LCP
        (113, bytes(14) + b"\x00\x04" + V4),
        (276, b"\x08\x06" + bytes(18) + V4),
        (101, b"\x99" + V4[1:]),
        (101, b""),
        (0, b"\x07\0\0\0" + V4),
        (108, b"\0\0\0\x07" + V4),
    ],
)
def test_frame_without_ip_is_recognized(link_type: int, frame: bytes) -> None:
    find = locate(link_type)
    assert find is not None
    assert find(frame) == NOT_IP


def test_unknown_link_type_has_no_reader() -> None:
    assert locate(105) is None  # IEEE 802.11


def frame(data: bytes, offset: int, end: int) -> Frame:
    made = Frame(1, 0, CaptureInterface(1, False), data, len(data))
    made.offset, made.end = offset, end
    return made


def test_datagram_of_the_same_length_keeps_header_and_padding() -> None:
    assert enclose(b"NEW!", frame(b"headOLD!pad", 4, 8)) == b"headNEW!pad"


def test_shorter_datagram_loses_the_old_padding_and_is_padded_if_the_frame_was_long() -> None:
    assert enclose(b"N", frame(b"headOLD!pad", 4, 8)) == b"headN"
    long = frame(b"head" + b"x" * 96, 4, 100)
    assert enclose(b"N", long) == b"headN" + bytes(55)


def test_pppoe_header_has_the_new_length() -> None:
    head = Ether(type=0x8864) / PPPoE(sessionid=5, len=len(V4) + 2) / PPP(proto=0x21)
    old = bytes(head / Raw(V4))
    cut = enclose(V4[:-4], frame(old, len(old) - len(V4), len(old)))
    again = Ether(cut)
    assert again[PPPoE].len == len(V4) - 4 + 2
    assert bytes(again).startswith(old[:18])


def test_pppoe_length_of_a_datagram_that_is_too_long_for_it_is_the_largest() -> None:
    head = bytes(Ether() / PPPoE(sessionid=1) / PPP(proto=0x0021))
    assert framed(head, bytes(65_535))[18:20] == b"\xff\xff"


def test_header_is_reversed_for_the_other_direction() -> None:
    head = bytes.fromhex("0a0000000002 0a0000000001 0800")
    assert turned(head, 1) == bytes.fromhex("0a0000000001 0a0000000002 0800")
    assert turned(b"\x02\0\0\0", 0) == b"\x02\0\0\0"
    assert framed(head, V4) == head + V4
