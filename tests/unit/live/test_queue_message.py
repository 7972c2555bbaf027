"""Messages of a queue: the packet in them, and never what lies behind them in the buffer."""

import random
import struct

import pytest

from nfinspect.live.netlink import attribute
from nfinspect.live.queue_message import MessageReader

ROOM = 4096
INDEV = attribute(5, struct.pack("!I", 2))
OUTDEV = attribute(6, struct.pack("!I", 3))
GSO = attribute(14, struct.pack("!I", 2))
STAMP = attribute(4, bytes(16))


def message(
    number: int = 7,
    metadata: bytes = INDEV + OUTDEV,
    datagram: bytes = b"datagram",
    *,
    kind: int = 3 << 8,
    tail: bytes = b"",
) -> bytes:
    """As the kernel writes it: the payload last, without padding."""
    body = (
        bytes(4)
        + attribute(1, struct.pack("!IHB", number, 0x0800, 2))
        + metadata
        + struct.pack("=HH", 4 + len(datagram), 10)
        + datagram
        + tail
    )
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


ERROR = struct.pack("=IHHIIi", 20, 2, 0, 0, 0, -2)


class Buffer:
    """A reused buffer: each message overwrites the beginning of what earlier ones left."""

    def __init__(self, left: bytes = b"") -> None:
        self.content = bytearray((left * (ROOM // max(1, len(left)) + 1))[:ROOM].ljust(ROOM, b"\0"))
        self.reader = MessageReader(memoryview(self.content), lambda index: f"eth{index}")

    def read(self, received: bytes) -> tuple[bytes, bytes, tuple[object, ...]] | None:
        self.content[: len(received)] = received
        return self.reader.read(len(received))


def test_packet_has_its_number_its_datagram_and_its_metadata() -> None:
    buffer = Buffer()
    for _ in range(2):  # parsed, then recalled
        packet = buffer.read(message(258, INDEV + OUTDEV + GSO, b"text"))
        assert packet is not None
        number, datagram, metadata = packet
        assert (number, datagram) == (b"\0\0\1\2", b"text")
        assert metadata == (None, True, True, "eth2", "eth3", b"")


def test_kernels_error_is_no_packet() -> None:
    assert Buffer().read(ERROR) is None


@pytest.mark.parametrize("shift", range(16))
def test_nothing_behind_a_message_of_any_length_is_read(shift: int) -> None:
    """The buffer is full of forged messages, which begin at every offset."""
    forged = message(0xBAD, datagram=b"forged" * 9)
    buffer = Buffer(bytes(shift) + forged)
    for length in range(1, 1500):
        datagram = random.Random(length).randbytes(length)
        assert buffer.read(message(length, datagram=datagram))[:2] == (  # type: ignore[index]
            length.to_bytes(4, "big"),
            datagram,
        )


def test_message_too_short_for_a_packet_is_refused_whatever_lies_behind_it() -> None:
    whole = message()
    for length in range(len(whole)):
        buffer = Buffer(whole)
        with pytest.raises(ValueError):
            buffer.read(whole[:length])


@pytest.mark.parametrize(
    "wrong",
    [
        message(kind=3 << 8 | 2),
        message(kind=1 << 8),
        message(tail=bytes(4)),
        message(tail=INDEV),
        struct.pack("=I", 20) + message()[4:],
        struct.pack("=I", 1 << 20) + message()[4:],
        message()[:20] + attribute(1, bytes(8)) + message()[32:],
        message()[:20] + attribute(2, bytes(7)) + message()[32:],
        message(metadata=struct.pack("=HH", 3, 5)),
        message(metadata=struct.pack("=HH", 200, 5)),
    ],
)
def test_message_whose_lengths_or_kinds_are_wrong_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError):
        Buffer().read(wrong)


def test_refused_message_still_tells_its_number() -> None:
    buffer = Buffer()
    wrong = message(258, tail=INDEV)
    with pytest.raises(ValueError):
        buffer.read(wrong)
    assert buffer.reader.packet_number(len(wrong)) == b"\0\0\1\2"
    assert buffer.reader.packet_number(20) is None


def test_metadata_of_another_size_that_ends_in_what_looks_like_a_payload_is_parsed() -> None:
    """A payload that begins with the header of a payload of the right length misleads nobody."""
    buffer = Buffer()
    buffer.read(message(metadata=INDEV))
    inner = b"x" * 20
    imitation = struct.pack("=HH", 4 + len(inner), 10) + inner
    for metadata in (b"", INDEV, INDEV + OUTDEV, INDEV + STAMP, INDEV + OUTDEV + GSO):
        packet = buffer.read(message(metadata=metadata, datagram=imitation))
        assert packet is not None
        assert packet[1] == imitation


def test_metadata_with_a_new_timestamp_each_time_is_read() -> None:
    buffer = Buffer()
    for second in range(5):
        stamp = attribute(4, struct.pack("!QQ", second, 0))
        packet = buffer.read(message(metadata=INDEV + stamp + OUTDEV + GSO))
        assert packet is not None
        assert packet[2] == (None, True, True, "eth2", "eth3", b"")
