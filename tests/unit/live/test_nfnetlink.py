"""Messages of nfnetlink_queue: configuration, and the metadata of queued packets.

The recorded attributes are from Linux 6.18: a GSO packet forwarded between two veth interfaces, 2
and 3.
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
    """Interface names. Counts how often they are looked up, and so how often attributes are parsed."""

    def __init__(self) -> None:
        self.lookups = 0

    def __call__(self, index: int) -> str:
        self.lookups += 1
        return f"eth{index}"


def read(attributes: bytes) -> Metadata:
    return MetadataReader(Names()).read(attributes)


def test_recorded_attributes_of_a_gso_packet_are_read() -> None:
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
        (
            INDEV + number(14, 4),
            "checksum_ready",
            True,
        ),  # the kernel has not verified it, so the filter does
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
        (INDEV + MARK + attribute(99, b"of a future kernel") + OUTDEV, "egress", "eth3"),
        (b"", "ingress", ""),
    ],
)
def test_attribute_is_read(attributes: bytes, field: str, value: object) -> None:
    assert getattr(read(attributes), field) == value


def test_attributes_seen_before_are_recalled_without_parsing() -> None:
    reader = MetadataReader(names := Names())
    assert reader.recall(RECORDED) is None
    first = reader.read(RECORDED)
    assert reader.recall(RECORDED) is first
    assert names.lookups == 2


def test_forgotten_attributes_are_parsed_again() -> None:
    reader = MetadataReader(Names())
    reader.read(RECORDED)
    reader.forget()
    assert reader.recall(RECORDED) is None


def stamped(seconds: int) -> bytes:
    stamp = attribute(4, struct.pack("!QQ", seconds, 0))
    return INDEV + OUTDEV + HWADDR + stamp + number(14, GSO)


def test_attributes_that_differ_only_in_the_timestamp_are_not_parsed_again() -> None:
    reader = MetadataReader(names := Names())
    first = reader.read(stamped(1))
    assert [reader.read(stamped(second)) for second in (2, 3, 4)] == [first] * 3
    assert names.lookups == 2


def test_attributes_with_other_flags_after_the_timestamp_are_distinguished() -> None:
    reader = MetadataReader(Names())
    with_gso = reader.read(INDEV + TIMESTAMP + number(14, GSO))
    without = reader.read(INDEV + TIMESTAMP + number(14, CSUMNOTREADY))
    assert (with_gso.gso, without.gso) == (True, False)


def test_link_address_that_looks_like_a_timestamp_hides_nothing() -> None:
    # The link-layer address equals the header of a timestamp: cutting out 20 bytes there would
    # remove the flags that follow.
    imitation = attribute(9, b"\x00\x06\x00\x00" + nfnetlink.TIMESTAMP_HEADER + bytes(4))
    reader = MetadataReader(Names())
    assert reader.read(INDEV + imitation + MARK + number(14, GSO)).gso
    assert not reader.read(INDEV + imitation + MARK + number(14, CSUMNOTREADY)).gso
    assert reader.read(INDEV + imitation + TIMESTAMP + number(14, GSO)).gso
    assert not reader.read(INDEV + imitation + TIMESTAMP + number(14, CSUMNOTREADY)).gso


def test_known_attributes_are_bounded_and_all_are_still_read() -> None:
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
def test_malformed_attributes_are_an_error(attributes: bytes) -> None:
    with pytest.raises(ValueError):
        read(attributes)


def test_configuration_message_sets_gso_and_the_queue_length() -> None:
    message = nfnetlink.set_flags_and_length(7, 8192, fail_open=False)
    assert struct.unpack("=IHHII", message[:16]) == (44, 3 << 8 | 2, 1 | 4, 0, 0)
    assert message[16:20] == b"\x00\x00\x00\x07"
    assert list(nfnetlink.walk(message[20:])) == [
        (0, 5, struct.pack("!I", 4)),
        (8, 4, struct.pack("!I", 1 | 4)),
        (16, 3, struct.pack("!I", 8192)),
    ]


def test_fail_open_also_sets_its_flag() -> None:
    message = nfnetlink.set_flags_and_length(7, 8192, fail_open=True)
    assert next(nfnetlink.walk(message[20:])) == (0, 5, struct.pack("!I", 1 | 4))


def test_copy_mode_message_requests_whole_packets() -> None:
    message = nfnetlink.set_copying(7, nfnetlink.NFQNL_COPY_PACKET)
    assert struct.unpack("=IHHII", message[:16]) == (len(message), 3 << 8 | 2, 1, 0, 0)
    assert list(nfnetlink.walk(message[20:])) == [(0, 2, b"\x00\x00\xff\xff\x02")]


@pytest.mark.parametrize(("errno", "number"), [(0, 0), (-16, 16)])
def test_acknowledgement_has_the_error_number(errno: int, number: int) -> None:
    message = struct.pack("=IHHII", 36, 2, 0, 0, 0) + struct.pack("=i", errno) + bytes(16)
    assert nfnetlink.refusal(message) == number


@pytest.mark.parametrize("message", [b"", struct.pack("=IHHIIi", 20, 0x300, 0, 0, 0, 0)])
def test_any_other_message_is_an_error(message: bytes) -> None:
    with pytest.raises(ValueError):
        nfnetlink.refusal(message)
