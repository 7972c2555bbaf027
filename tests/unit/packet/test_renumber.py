"""Other numbers in a segment: fields, SACK blocks, checksum."""

from __future__ import annotations

import pytest

from nfinspect.packet.checksum import tcp_checksum_valid
from nfinspect.packet.options import sack_option, timestamps_option
from nfinspect.packet.renumber import renumbered, with_sack_shifted
from nfinspect.packet.segment import Segment, parse
from tests.fuzz.packets import ACK, MASK, Packet, Path

CLIENT, SERVER = (bytes([192, 0, 2, 1]), 40000), (bytes([198, 51, 100, 25]), 25)
CLIENT6, SERVER6 = (bytes(15) + b"\1", 40000), (bytes(15) + b"\2", 25)


@pytest.mark.parametrize("path", [Path(CLIENT, SERVER), Path(CLIENT6, SERVER6)], ids="46")
@pytest.mark.parametrize("ready", [True, False], ids=["ready", "not ready"])
@pytest.mark.parametrize("numbers", [(0, 0, 0), (MASK, MASK, 0xFFFF), (1 << 16, 0xFFFF, 7)])
def test_numbers_change_and_nothing_else(
    path: Path, ready: bool, numbers: tuple[int, int, int]
) -> None:
    packet = Packet(5, 0xFFFF_0000, ACK, 99, timestamps_option(3, 4), b"odd")
    segment = parse(path.build(packet, ready=ready))
    assert isinstance(segment, Segment)
    sequence, acknowledgment, window = numbers
    changed = renumbered(
        segment,
        sequence=sequence,
        acknowledgment=acknowledgment,
        window=window,
        verified=ready,
    )
    expected = packet._replace(sequence=sequence, acknowledgment=acknowledgment, window=window)
    assert path.read(changed.datagram) == expected
    assert (changed.sequence, changed.acknowledgment, changed.window) == numbers
    again = parse(changed.datagram)
    assert isinstance(again, Segment)
    assert (again.payload, again.end) == (changed.payload, changed.end)


def test_a_wrong_checksum_stays_wrong_where_it_is_not_made_anew() -> None:
    path = Path(CLIENT, SERVER)
    segment = parse(path.build(Packet(5, 6, ACK, 99), damage=0x1234))
    assert isinstance(segment, Segment)
    changed = renumbered(segment, sequence=1, acknowledgment=2, window=3, verified=True)
    assert not tcp_checksum_valid(changed)


def test_all_edges_of_sack_blocks_are_shifted() -> None:
    blocks = [(5, 9), (MASK - 1, 3)]
    options = timestamps_option(1, 2) + sack_option(blocks)
    shifted = timestamps_option(1, 2) + sack_option(
        [((low + 4) & MASK, (high + 4) & MASK) for low, high in blocks]
    )
    assert with_sack_shifted(options, 4) == shifted
    assert with_sack_shifted(shifted, -4) == options


@pytest.mark.parametrize(
    "options",
    [
        b"",
        timestamps_option(1, 2),
        b"\0\5\x0a" + bytes(9),  # behind the end of the list
        b"\5\x30" + bytes(10),  # longer than the options
        b"\5\1" + bytes(10),
        b"\1\1\1\5",
    ],
)
def test_options_without_whole_blocks_stay(options: bytes) -> None:
    assert with_sack_shifted(options, 4) is None


def test_a_block_cut_short_is_shifted_as_far_as_it_goes() -> None:
    assert with_sack_shifted(b"\5\7\0\0\0\1\7\1", 1) == b"\5\7\0\0\0\2\7\1"
