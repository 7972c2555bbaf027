"""Reading pcap and pcapng in all their forms, and reporting damaged ones."""

from __future__ import annotations

import gzip
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import wrpcap, wrpcapng

from nfinspect.replay.capture import LARGEST_RECORD, LATEST, Capture, NotACaptureError
from tests.unit.replay.stand_in import pcap

PACKETS = [b"\x45" + bytes(n) for n in (19, 59, 0, 1, 1499)]
START = 1_700_000_000 * 10**9


def read(data: bytes) -> tuple[list[tuple[int, int, bytes, int]], str | None]:
    """(number, time, data, wire length) of each packet, and the damage."""
    capture = Capture(io.BytesIO(data), "x.pcap")
    found = [(f.number, f.time, f.data, f.length) for f in capture]
    return found, str(capture.damage) if capture.damage else None


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) & 3)
    size = len(body) + 12
    return pack(order + "II", kind, size) + body + pack(order + "I", size)


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(
    link_type: int = 1, order: str = "<", snap_length: int = 0, options: bytes = b""
) -> bytes:
    return block(1, pack(order + "HHI", link_type, 0, snap_length) + options, order)


def enhanced(
    data: bytes, time: int, number: int = 0, order: str = "<", length: int | None = None
) -> bytes:
    head = pack(
        order + "IIIII", number, time >> 32, time & 0xFFFFFFFF, len(data),
        len(data) if length is None else length,
    )  # fmt: skip
    return block(6, head + data + bytes(-len(data) & 3), order)


def resolution(value: int, order: str = "<") -> bytes:
    return pack(order + "HHB3x", 9, 1, value)


@pytest.mark.parametrize("nanoseconds", [False, True], ids=["µs", "ns"])
@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_pcap_is_read_to_its_last_packet(order: str, nanoseconds: bool, packed: bool) -> None:
    data = pcap(PACKETS, order=order, nanoseconds=nanoseconds, step=7)
    found, damage = read(gzip.compress(data) if packed else data)
    step = 7 if nanoseconds else 7_000
    assert found == [(n + 1, START + n * step, p, len(p)) for n, p in enumerate(PACKETS)]
    assert damage is None


@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_pcapng_with_different_interfaces_is_read(order: str, packed: bool) -> None:
    data = (
        section(order)
        + block(0x0BAD, b"a custom block", order)
        + interface(1, order)  # microseconds
        + interface(113, order, options=resolution(9, order))
        + interface(101, order, options=resolution(0x80 | 10, order))  # 1/1024 s
        + interface(101, order, options=resolution(10, order))
        + enhanced(b"one", START // 1000 + 1, 0, order)
        + enhanced(b"seven", START + 1, 1, order)
        + block(5, bytes(16), order)  # statistics
        + enhanced(b"", (START // 10**9) << 10 | 512, 2, order)
        + enhanced(b"four", (START + 2) * 10 + 9, 3, order)
    )
    capture = Capture(io.BytesIO(gzip.compress(data) if packed else data), "x.pcapng")
    found = [(f.time - START, f.data, f.interface.link_type) for f in capture]
    assert found == [
        (1000, b"one", 1),
        (1, b"seven", 113),
        (5 * 10**8, b"", 101),
        (2, b"four", 101),
    ]
    assert capture.damage is None


def test_time_offset_of_an_interface_is_added() -> None:
    offset = pack("<HHq", 14, 8, 1_700_000_000)
    found, _ = read(section() + interface(options=offset + bytes(4)) + enhanced(b"x", 5))
    assert found == [(1, START + 5000, b"x", 1)]


def test_obsolete_and_simple_packet_blocks_are_read() -> None:
    old = pack("<HHIIII", 0, 3, START // 1000 >> 32, START // 1000 & 0xFFFFFFFF, 3, 9) + b"old"
    data = section() + interface(snap_length=4) + block(2, old + bytes(1))
    data += block(3, pack("<I", 6) + b"simple"[:4])
    found, damage = read(data)
    assert found == [(1, START, b"old", 9), (2, START, b"simp", 6)]
    assert damage is None


def test_second_section_has_its_own_byte_order_and_interfaces() -> None:
    data = section() + interface(1) + enhanced(b"a", 1)
    data += section(">") + interface(101, ">") + enhanced(b"b", 2, order=">")
    capture = Capture(io.BytesIO(data), "x")
    assert [(f.data, f.interface.link_type) for f in capture] == [(b"a", 1), (b"b", 101)]


ODD_BLOCKS = {
    "name resolution": (4, b"\1\0\7\0\xc0\0\2\1a\0\0\0\0\0\0\0"),
    "interface statistics": (5, bytes(12)),
    "systemd journal": (9, b"__CURSOR=s=1;i=2\nMESSAGE=x\n"),
    "decryption secrets": (10, b"KSLT\4\0\0\0abcd"),
    "custom": (0x0BAD, b"\x12\x34\0\0data"),
    "custom, not to be copied": (0x40000BAD, b"\x12\x34\0\0data"),
    "process event": (0x80000001, bytes(4)),
    "nobody's": (0x7FFFFFFF, b""),
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ODD_BLOCKS)
def test_blocks_that_hold_no_packet_are_passed_over(kind: str, order: str) -> None:
    number, body = ODD_BLOCKS[kind]
    odd = block(number, body, order)
    data = odd.join(
        [
            section(order), interface(1, order), enhanced(b"a", 1, order=order),
            section(order), interface(101, order, options=resolution(9, order)),
            enhanced(b"b", 2, order=order), b"",
        ]
    )  # fmt: skip
    found, damage = read(data)
    assert [(number, packet) for number, _, packet, _ in found] == [(1, b"a"), (2, b"b")]
    assert damage is None


@pytest.mark.parametrize("offset", [-1_700_000_000, -(2**63), 2**63 - 1])
def test_absurd_time_offset_is_no_error(offset: int) -> None:
    options = pack("<HHq", 14, 8, offset) + resolution(9) + bytes(4)
    found, damage = read(section() + interface(options=options) + enhanced(b"x", START))
    assert 0 <= found[0][1] <= LATEST
    assert damage is None


@pytest.mark.parametrize("write", [wrpcap, wrpcapng])
def test_capture_written_by_scapy_is_read(write: Callable[..., None], tmp_path: Path) -> None:
    packets = [Ether() / IP() / Raw(b"x" * n) for n in range(5)]
    for packet in packets:
        packet.time = 1_700_000_000.25
    write(str(tmp_path / "x"), packets)
    with (tmp_path / "x").open("rb", buffering=0) as file:
        found = [(f.data, f.interface.link_type, f.time) for f in Capture(file, "x")]
    assert found == [(bytes(packet), 1, START + 10**9 // 4) for packet in packets]


def test_records_that_span_two_reads_are_complete(tmp_path: Path) -> None:
    packets = [bytes([n & 255]) * (n * 37 % 3000) for n in range(3000)]  # 4.5 MB
    (tmp_path / "x.pcap").write_bytes(pcap(packets))
    (tmp_path / "x.pcap.gz").write_bytes(gzip.compress(pcap(packets), 1))
    for name in ("x.pcap", "x.pcap.gz"):
        with (tmp_path / name).open("rb", buffering=0) as file:
            assert [frame.data for frame in Capture(file, name)] == packets


def test_pipe_that_delivers_a_few_bytes_at_a_time_is_read() -> None:
    data = section() + interface() + b"".join(enhanced(packet, 1) for packet in PACKETS)
    for whole in (data, pcap(PACKETS), gzip.compress(data)):
        reader, writer = os.pipe()

        def drip(whole: bytes = whole, writer: int = writer) -> None:
            with open(writer, "wb", buffering=0) as out:
                for at in range(0, len(whole), 11):
                    out.write(whole[at : at + 11])

        thread = threading.Thread(target=drip)
        thread.start()
        with open(reader, "rb", buffering=0) as file:  # noqa: PTH123
            capture = Capture(file, "pipe")
            assert [frame.data for frame in capture] == PACKETS
            assert capture.position is None
        thread.join()


def test_truncated_packet_has_its_length_on_the_wire() -> None:
    data = pcap([]) + pack("<IIII", 1, 2, 3, 1500) + b"abc"
    assert read(data)[0] == [(1, 10**9 + 2000, b"abc", 1500)]


def test_time_beyond_2106_becomes_the_latest_that_pcap_can_express() -> None:
    found, _ = read(section() + interface(options=resolution(0)) + enhanced(b"x", 2**64 - 1))
    assert found[0][1] == LATEST
    found, _ = read(pcap([]) + pack("<IIII", 2**32 - 1, 2**32 - 1, 1, 1) + b"x")
    assert found[0][1] == LATEST
    back = pack("<HHq", 14, 8, -(2**63)) + bytes(4)
    found, _ = read(section() + interface(options=back) + enhanced(b"x", 1))
    assert found[0][1] == 0


@pytest.mark.parametrize("value", [0xFF, 0x7F, 0x80, 0x00])
def test_absurd_time_resolution_is_no_error(value: int) -> None:
    found, damage = read(section() + interface(options=resolution(value)) + enhanced(b"x", 3))
    assert len(found) == 1
    assert damage is None


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "empty file; a capture has at least a header"),
        (b"\xd4\xc3\xb2\xa1\x02\x00", "ends within its file header"),
        (b"\xd4\xc3", "neither pcap nor pcapng"),
        (b"From: a@example\r\n", "neither pcap nor pcapng"),
        (gzip.compress(b"From: a@example\r\n"), "neither pcap nor pcapng"),
        (gzip.compress(b""), "empty file; a capture has at least a header"),
        (b"\x1f\x8b\x08\x00", "neither pcap nor pcapng: the gzip data ends early"),
        (b"\x1f\x8bgarbage, not gzip", "neither pcap nor pcapng: the gzip data is corrupt"),
        (b"\x28\xb5\x2f\xfdxxxx", "compressed with zstd; replay reads plain and gzip captures"),
    ],
)
def test_file_that_is_not_a_capture_is_refused_with_a_reason(data: bytes, text: str) -> None:
    with pytest.raises(NotACaptureError) as caught:
        Capture(io.BytesIO(data), "x")
    assert str(caught.value) == text


TWO = pcap([b"one", b"two"])
NG = section() + interface() + enhanced(b"one", 1)


@pytest.mark.parametrize(
    ("data", "packets", "damage"),
    [
        (TWO[:-1], 1, "after packet 1, byte 43: the file ends in the middle of a record"),
        (TWO[:-10], 1, "after packet 1, byte 43: the file ends in the middle of a record"),
        (TWO[:30], 0, "before the first packet, byte 24: the file ends in the middle of a record"),
        (TWO + b"\0", 2, "after packet 2, byte 62: the file ends in the middle of a record"),
        (
            TWO + pack("<IIII", 0, 0, 2**32 - 1, 1),
            2,
            "after packet 2, byte 62: impossible record length 4294967295",
        ),
        (NG[:-1], 0, "before the first packet, byte 48: the file ends in the middle of a record"),
        (NG + pack("<II", 6, 2**31) + bytes(99), 1, "impossible block length 2147483648"),
        (NG + pack("<II", 6, 8) + bytes(99), 1, "impossible block length 8"),
        (NG + enhanced(b"x", 1, number=5), 1, "packet from undefined interface 5"),
        (NG + block(6, bytes(8)), 1, "packet block too short"),
        (NG + block(3, b""), 1, "packet block too short"),
        (NG + block(6, pack("<IIIII", 0, 0, 0, 99, 99)), 1, "packet of 99 bytes in a block of 32"),
        (NG + block(1, b"\0\0\0\0"), 1, "invalid interface description"),
        (NG + pack("<III", 0x0A0D0D0A, 28, 7) + bytes(16), 1, "section without a byte-order magic"),
        (section() + enhanced(b"x", 1), 0, "packet from undefined interface 0"),
        (gzip.compress(TWO)[:-12], 1, "the gzip data ends early"),
    ],
)  # fmt: skip
def test_damaged_capture_is_used_up_to_the_damage_which_is_reported_with_its_position(
    data: bytes, packets: int, damage: str
) -> None:
    found, reported = read(data)
    assert len(found) >= packets
    assert reported is not None
    assert reported.startswith("x.pcap: ")
    assert reported.endswith(damage)


def test_record_with_a_false_length_allocates_no_memory(tmp_path: Path) -> None:
    import tracemalloc

    data = pcap([b"x"]) + pack("<IIII", 0, 0, LARGEST_RECORD, 1) + b"short"
    tracemalloc.start()
    try:
        found, damage = read(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 1
    assert damage is not None
    assert peak < 4 * 1024 * 1024


def test_gzip_with_a_wrong_checksum_is_used_and_reported() -> None:
    packed = bytearray(gzip.compress(TWO))
    packed[-8] ^= 1
    found, damage = read(bytes(packed))
    assert len(found) == 2
    assert damage == "x.pcap: after packet 2, byte 62: the gzip data is corrupt"


@pytest.mark.parametrize("link_type", [1, 1 | 0x40000000 | 0x04000000])
def test_frame_check_sequence_bits_are_not_part_of_the_link_type(link_type: int) -> None:
    capture = Capture(io.BytesIO(pcap([b"x"], link_type)), "x")
    assert [frame.interface.link_type for frame in capture] == [1]


def test_read_error_is_reported_as_damage() -> None:
    class Bad(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 0:
                raise OSError(5, "Input/output error")
            return super().read(100)

    capture = Capture(Bad(pcap([b"x" * 30] * 9)), "x")
    assert len(list(capture)) == 1
    assert "read error: Input/output error" in str(capture.damage)
