"""Messages of nfnetlink_queue: what is sent, and the metadata of queued packets.

The recorded attributes are a kernel's (6.18): a GSO packet that was forwarded between two veth
interfaces, 2 and 3.
"""

import struct

import pytest

from nfinspect.live import nfnetlink
from nfinspect.live.nfnetlink import Metadata, MetadataReader


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value))


INDEV, OUTDEV = number(5, 2), number(6, 3)
PHYSINDEV, PHYSOUTDEV = number(7, 12), number(8, 13)
MARK, IN_VLAN = number(3, 0x1234), number(3, 0x0800_1234)
HWADDR = attribute(9, bytes.fromhex("0006000062afc69478720000"))
TIMESTAMP = attribute(4, struct.pack("!QQ", 1_700_000_000, 123_456))
CSUMNOTREADY, GSO = 1, 2

RECORDED = bytes.fromhex(
    "0800050000000002 0800060000000003 100009000006000062afc69478720000 08000e0000000003"
)


class Names:
    """Interface names, counting how often they are asked for: how often attributes are walked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, index: int) -> str:
        self.asked += 1
        return f"eth{index}"


def read(attributes: bytes) -> Metadata:
    return MetadataReader(Names()).read(attributes)


def test_recorded_attributes_of_a_gso_packet() -> None:
    assert read(RECORDED) == Metadata(
        captured_length=None,
        checksum_ready=False,
        gso=True,
        ingress="eth2",
        egress="eth3",
        link_source=b"",
    )
    assert INDEV + OUTDEV + HWADDR + number(14, CSUMNOTREADY | GSO) == RECORDED


@pytest.mark.parametrize(
    ("attributes", "field", "value"),
    [
        (INDEV, "checksum_ready", True),
        (INDEV + number(14, CSUMNOTREADY), "checksum_ready", False),
        (INDEV + number(14, 4), "checksum_ready", True),  # not verified: by us, then
        (INDEV, "gso", False),
        (INDEV + number(14, GSO), "gso", True),
        (INDEV, "captured_length", None),
        (INDEV + number(13, 65_535), "captured_length", 65_535),
        (INDEV, "egress", ""),
        (INDEV + PHYSINDEV + OUTDEV + PHYSOUTDEV, "ingress", "eth12"),
        (INDEV + PHYSINDEV + OUTDEV + PHYSOUTDEV, "egress", "eth13"),
        (PHYSINDEV + INDEV, "ingress", "eth12"),
        (INDEV + OUTDEV + HWADDR, "link_source", b""),
        (PHYSINDEV + OUTDEV + HWADDR, "link_source", b""),  # routed from a bridge
        (INDEV + PHYSOUTDEV + HWADDR, "link_source", b""),
        (PHYSINDEV + PHYSOUTDEV + HWADDR, "link_source", bytes.fromhex("62afc6947872")),
        (
            PHYSINDEV + PHYSOUTDEV + attribute(9, bytes.fromhex("00080000 0102030405060708")),
            "link_source",
            bytes(range(1, 9)),
        ),
        (MARK + PHYSINDEV + PHYSOUTDEV + HWADDR, "link_source", bytes.fromhex("62afc6947872")),
        (IN_VLAN + PHYSINDEV + PHYSOUTDEV + HWADDR, "link_source", bytes(6)),
        (PHYSINDEV + PHYSOUTDEV + attribute(9, b""), "link_source", bytes(6)),
        (INDEV + MARK + attribute(99, b"of a kernel to come") + OUTDEV, "egress", "eth3"),
        (b"", "ingress", ""),
    ],
)
def test_attribute_is_read(attributes: bytes, field: str, value: object) -> None:
    assert getattr(read(attributes), field) == value


def test_attributes_seen_before_are_recalled_without_a_walk() -> None:
    reader = MetadataReader(names := Names())
    assert reader.recall(RECORDED) is None
    first = reader.read(RECORDED)
    assert reader.recall(RECORDED) is first
    assert names.asked == 2


def test_forgotten_attributes_are_walked_again() -> None:
    reader = MetadataReader(Names())
    reader.read(RECORDED)
    reader.forget()
    assert reader.recall(RECORDED) is None


def stamped(seconds: int) -> bytes:
    stamp = attribute(4, struct.pack("!QQ", seconds, 0))
    return INDEV + OUTDEV + HWADDR + stamp + number(14, GSO)


def test_another_timestamp_needs_no_second_walk() -> None:
    reader = MetadataReader(names := Names())
    first = reader.read(stamped(1))
    assert [reader.read(stamped(second)) for second in (2, 3, 4)] == [first] * 3
    assert names.asked == 2


def test_other_flags_behind_a_timestamp_are_told_apart() -> None:
    reader = MetadataReader(Names())
    with_gso = reader.read(INDEV + TIMESTAMP + number(14, GSO))
    without = reader.read(INDEV + TIMESTAMP + number(14, CSUMNOTREADY))
    assert (with_gso.gso, without.gso) == (True, False)


def test_address_that_imitates_a_timestamp_hides_nothing() -> None:
    # The neighbour's address is the header of a timestamp: cutting 20 bytes there would swallow
    # the flags behind it.
    imitation = attribute(9, b"\x00\x06\x00\x00" + nfnetlink.TIMESTAMP_HEADER + bytes(4))
    reader = MetadataReader(Names())
    assert reader.read(INDEV + imitation + MARK + number(14, GSO)).gso
    assert not reader.read(INDEV + imitation + MARK + number(14, CSUMNOTREADY)).gso
    assert reader.read(INDEV + imitation + TIMESTAMP + number(14, GSO)).gso
    assert not reader.read(INDEV + imitation + TIMESTAMP + number(14, CSUMNOTREADY)).gso


def test_memory_is_bounded_and_forgetting_does_no_harm() -> None:
    reader = MetadataReader(Names())
    for length in range(3 * MetadataReader.LIMIT):
        assert reader.read(INDEV + number(13, length)).captured_length == length
    assert len(reader._known) <= MetadataReader.LIMIT


@pytest.mark.parametrize(
    "attributes",
    [
        b"\x08",
        RECORDED[:-1],
        struct.pack("=HH", 0, 5),
        struct.pack("=HH", 3, 5),
        struct.pack("=HH", 9, 5) + bytes(4),
        attribute(13, bytes(3)),
        attribute(14, bytes(8)),
        attribute(5, b""),
    ],
)
def test_broken_attributes_are_an_error(attributes: bytes) -> None:
    with pytest.raises(ValueError):
        read(attributes)


def test_configuration_message_asks_for_gso_and_a_length() -> None:
    message = nfnetlink.set_flags_and_length(7, 8192, fail_open=False)
    assert struct.unpack("=IHHII", message[:16]) == (44, 3 << 8 | 2, 1 | 4, 0, 0)
    assert message[16:20] == b"\x00\x00\x00\x07"
    assert list(nfnetlink.walk(message[20:])) == [
        (0, 5, struct.pack("!I", 4)),
        (8, 4, struct.pack("!I", 1 | 4)),
        (16, 3, struct.pack("!I", 8192)),
    ]


def test_fail_open_sets_its_flag_too() -> None:
    message = nfnetlink.set_flags_and_length(7, 8192, fail_open=True)
    assert next(nfnetlink.walk(message[20:])) == (0, 5, struct.pack("!I", 1 | 4))


def test_copying_message_asks_for_whole_packets() -> None:
    message = nfnetlink.start_copying(7)
    assert struct.unpack("=IHHII", message[:16]) == (len(message), 3 << 8 | 2, 1, 0, 0)
    assert list(nfnetlink.walk(message[20:])) == [(0, 2, b"\x00\x00\xff\xff\x02")]


@pytest.mark.parametrize(("errno", "number"), [(0, 0), (-16, 16)])
def test_acknowledgement_tells_the_error(errno: int, number: int) -> None:
    message = struct.pack("=IHHII", 36, 2, 0, 0, 0) + struct.pack("=i", errno) + bytes(16)
    assert nfnetlink.refusal(message) == number


@pytest.mark.parametrize("message", [b"", struct.pack("=IHHIIi", 20, 0x300, 0, 0, 0, 0)])
def test_anything_else_is_no_acknowledgement(message: bytes) -> None:
    with pytest.raises(ValueError):
        nfnetlink.refusal(message)
