"""TCP options: which pass, which become NOP, what a SYN offers."""

import pytest
from scapy.layers.inet import IP, TCP

from nfinspect.packet.options import (
    SynOptions,
    clean_options,
    first_sack_block,
    sack_option,
    syn_options,
    timestamps,
    timestamps_option,
    without_sack_block,
)
from nfinspect.packet.segment import Segment, parse

MSS, SCALE, PERMITTED, STAMPS = "020405b4", "030307", "0402", "080a0000000100000002"


def segment_with(options: str) -> Segment:
    """A segment with these options, hexadecimal digits for a multiple of 4 bytes."""
    octets = bytes.fromhex(options)
    packet = IP() / TCP(dport=25, dataofs=5 + len(octets) // 4) / octets
    segment = parse(bytes(packet))
    assert isinstance(segment, Segment)
    assert segment.options == octets
    return segment


PASS_AS_THEY_ARE = {
    "none": "",
    "timestamps as usual": f"0101 {STAMPS}",
    "timestamps before NOPs": f"{STAMPS} 0101",
    "a SYN of Linux": f"{MSS} {PERMITTED} {STAMPS} 01 {SCALE}",
    "a SYN of Windows": f"{MSS} 01 {SCALE} 0101 {PERMITTED}",
    "one SACK block": "0101 050a 00000001 00000002",
    "three SACK blocks with timestamps": f"0101 {STAMPS} 0101 051a" + 6 * "00000001",
    "four SACK blocks": "0101 0522" + 8 * "00000001",
    "nothing but NOP": "01010101",
    "end of options, zeros": f"{PERMITTED} 0000",
    "end of options at the last byte": f"{SCALE} 00",
}


@pytest.mark.parametrize("options", PASS_AS_THEY_ARE.values(), ids=PASS_AS_THEY_ARE.keys())
def test_known_options_pass_unchanged(options: str) -> None:
    assert clean_options(segment_with(options)) is None


CLEANED = {
    "MD5 signature": ("0101 1312" + 16 * "aa", 20 * "01"),
    "TCP-AO": ("1d10" + 14 * "aa", 16 * "01"),
    "multipath": (f"1e0c{10 * 'aa'} {PERMITTED} 0101", f"{12 * '01'} {PERMITTED} 0101"),
    "Fast Open": (f"{MSS} 2204 aaaa", f"{MSS} 01010101"),
    "kind 6": ("0606 00000000 0101", 8 * "01"),
    "kind 7": ("0706 00000000 0101", 8 * "01"),
    "kind 9": ("0902 0101", 4 * "01"),
    "kind 255": ("ff04 aaaa", 4 * "01"),
    "unknown between known": (f"{MSS} fd04f989 {STAMPS} 0101", f"{MSS} 01010101 {STAMPS} 0101"),
    "unknown after timestamps": (f"0101 {STAMPS} 1304 aaaa", f"0101 {STAMPS} 01010101"),
    "MSS of another length": ("0203ff 01", "01010101"),
    "window scale of another length": ("0304 0707", "01010101"),
    "SACK permitted of another length": ("0404 0000", "01010101"),
    "timestamps of another length": ("0808 00000001 0000", 8 * "01"),
    "SACK without a block": ("0502 0101", "01010101"),
    "SACK with half a block": ("0506 00000001 0101", 8 * "01"),
    "repeated MSS": (f"{MSS} 02040218", f"{MSS} 01010101"),
    "repeated timestamps": (f"{STAMPS} {STAMPS}", f"{STAMPS} {10 * '01'}"),
    "length 0": (f"{PERMITTED} 0800 {MSS}", f"{PERMITTED} {6 * '01'}"),
    "length 1": (f"{PERMITTED} fe01 {MSS}", f"{PERMITTED} {6 * '01'}"),
    "length beyond the end": (f"{MSS} 080b{8 * 'aa'} 0101", f"{MSS} {12 * '01'}"),
    "no length": ("0101 0102", "01010101"),
    "unknown, no length": ("0101 01ff", "01010101"),
    "hidden after the end of options": (f"00 1304 aaaa 01 {PERMITTED}", 8 * "00"),
    "known after the end of options": (f"{SCALE} 00 {MSS}", f"{SCALE} 00 00000000"),
    "40 bytes of anything": (10 * "fe04aaaa", 40 * "01"),
}


@pytest.mark.parametrize(("options", "cleaned"), CLEANED.values(), ids=CLEANED.keys())
def test_all_other_options_are_overwritten_in_place(options: str, cleaned: str) -> None:
    assert clean_options(segment_with(options)) == bytes.fromhex(cleaned)
    assert clean_options(segment_with(cleaned)) is None


@pytest.mark.parametrize("kind", [6, 7, *range(9, 256)])
def test_every_unknown_kind_becomes_nop(kind: int) -> None:
    assert clean_options(segment_with(f"{kind:02x}02 {PERMITTED}")) == bytes.fromhex("0101 0402")


@pytest.mark.parametrize(
    ("options", "offered"),
    [
        ("", SynOptions()),
        (MSS, SynOptions(mss=1460)),
        (f"{MSS} {PERMITTED} {STAMPS} 01 {SCALE}", SynOptions(1460, 7, True, True)),
        (f"{MSS} 01 {SCALE} 0101 {PERMITTED}", SynOptions(1460, 7, True, False)),
        (f"01 {SCALE}", SynOptions(window_scale=7)),
        ("01 030300", SynOptions(window_scale=0)),
        ("01 0303ff", SynOptions(window_scale=14)),
        ("02040000", SynOptions(mss=0)),
        (f"{MSS} 02040218", SynOptions(mss=1460)),
        (f"00 {SCALE}", SynOptions()),
        (f"fe00 {PERMITTED}", SynOptions()),
        ("0203ff 01", SynOptions()),
    ],
)
def test_syn_offers_only_the_options_that_pass(options: str, offered: SynOptions) -> None:
    assert syn_options(segment_with(options)) == offered


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", None),
        (f"0101 {STAMPS}", (1, 2)),
        (f"{STAMPS} 0101", (1, 2)),
        (f"0101 {STAMPS} 0101 050a 00000001 00000002", (1, 2)),
        (f"{MSS} {PERMITTED} 080affffffff80000000", (0xFFFFFFFF, 0x80000000)),
        ("0101 080a 00000001", None),
        ("0101 0809 00000001 00000002", None),
        (f"00000000 0101 {STAMPS}", None),
        (MSS, None),
    ],
)
def test_timestamps_are_read_wherever_they_are(
    options: str, expected: tuple[int, int] | None
) -> None:
    assert timestamps(segment_with(options)) == expected


def test_options_built_here_are_read_by_scapy() -> None:
    options = timestamps_option(0xFFFFFFFF, 7) + sack_option([(1, 2), (0xFFFFFFF0, 4), (9, 10)])
    segment = segment_with(options.hex())
    assert clean_options(segment) is None
    read = [option for option in IP(segment.datagram)[TCP].options if option[0] != "NOP"]
    assert read == [("Timestamp", (0xFFFFFFFF, 7)), ("SAck", (1, 2, 0xFFFFFFF0, 4, 9, 10))]


def test_sack_option_without_blocks_is_empty() -> None:
    assert sack_option([]) == b""


ONE, TWO, THREE = "0000000100000002", "fffffff000000003", "0000000500000006"


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (f"0101 {STAMPS} 0101 050a {ONE}", f"0101 {STAMPS} 0101 01010101010101010101"),
        (f"0101 {STAMPS} 0101 0512 {ONE} {TWO}", f"0101 {STAMPS} 0101 0101010101010101 050a {TWO}"),
        (f"0101 0512 {TWO} {ONE}", f"0101 0101010101010101 050a {TWO}"),
        (f"0101 051a {TWO} {ONE} {THREE}", f"0101 0101010101010101 0512 {TWO} {THREE}"),
        (f"050a {ONE} 0101 {STAMPS} 0101", f"01010101010101010101 0101 {STAMPS} 0101"),
    ],
)
def test_sack_block_is_removed_and_the_length_of_the_options_is_kept(
    options: str, left: str
) -> None:
    assert without_sack_block(segment_with(options), 1, 2) == bytes.fromhex(left)


@pytest.mark.parametrize(
    "options",
    ["", f"0101 {STAMPS}", f"0101 050a {TWO}", f"0101 080a {ONE}", f"0512 {THREE} 00 {ONE} 00"],
)
def test_options_without_that_sack_block_are_unchanged(options: str) -> None:
    assert without_sack_block(segment_with(options), 1, 2) is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", None),
        (f"0101 {STAMPS}", None),
        (f"0101 050a {TWO}", (0xFFFFFFF0, 3)),
        (f"0101 {STAMPS} 0101 0512 {ONE} {TWO}", (1, 2)),
        (f"0101 {STAMPS} 0101 0101010101010101 050a {TWO}", (0xFFFFFFF0, 3)),
        ("01010502", None),
    ],
)
def test_first_sack_block_is_read_where_tcp_stacks_put_it(
    options: str, expected: tuple[int, int] | None
) -> None:
    assert first_sack_block(segment_with(options)) == expected
