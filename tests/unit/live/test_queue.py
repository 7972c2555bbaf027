"""What the library finds in the receive buffer: one message, and never what lies behind it."""

import struct
from collections.abc import Iterator

import pytest

from nfinspect.live.queue import TERMINATOR, delimit

HEADER = 16
ROOM = 400
"""Bytes in which messages end; as many as one needs follow."""


def found(buffer: bytes) -> Iterator[tuple[int, int]]:
    """Offset and length of each message, as nfnl_handle_packet of libnfnetlink reads them."""
    at = 0
    while len(buffer) - at >= HEADER:
        (length,) = struct.unpack_from("=I", buffer, at)
        if not HEADER <= length <= len(buffer) - at:
            return
        yield at, length
        at += length + -length % 4


def forged(shift: int) -> bytearray:
    """A buffer full of message headers, the first at *shift*. The last byte of their length is 0,
    so that they survive if only that byte is overwritten."""
    header = struct.pack("=IHHII", 256, 3 << 8, 0, 0, 0) + bytes(4)
    return bytearray((bytes(shift) + header * ROOM)[: ROOM + 512] + bytes(TERMINATOR.size))


@pytest.mark.parametrize("shift", range(20))
def test_forged_messages_behind_a_message_of_any_length_are_not_found(shift: int) -> None:
    for length in range(HEADER, ROOM - HEADER):
        buffer = forged(shift)
        buffer[:length] = struct.pack("=I", length) + bytes(length - 4)
        assert delimit(buffer, length)
        assert list(found(buffer)) == [(0, length)]


@pytest.mark.parametrize("shift", range(20))
def test_padding_that_the_message_counts_or_not_makes_no_difference(shift: int) -> None:
    for padding in range(4):
        buffer = forged(shift)
        buffer[:64] = struct.pack("=I", 64 - padding) + bytes(60)
        assert delimit(buffer, 64)
        assert list(found(buffer)) == [(0, 64 - padding)]


@pytest.mark.parametrize(
    ("own", "received"),
    [(0, 64), (15, 64), (65, 64), (60, 64), (1 << 31, 64), (0xFFFF_FFFF, 64), (20, 0), (20, 3)],
)
def test_a_message_whose_length_is_wrong_is_not_found(own: int, received: int) -> None:
    buffer = forged(0)
    struct.pack_into("=I", buffer, 0, own)
    assert not delimit(buffer, received)
    assert list(found(buffer)) == []
