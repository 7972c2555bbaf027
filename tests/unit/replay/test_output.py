"""Writing captures: in the format of the input, or pcapng if it is mixed; read back by replay and by
scapy."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from scapy.utils import RawPcapNgReader, RawPcapReader

from nfinspect.replay.capture import SECOND, CaptureInterface
from nfinspect.replay.output import CaptureWriter
from tests.unit.replay.stand_in import frames

ETHERNET, FINE, RAW = (
    CaptureInterface(1, False),
    CaptureInterface(1, True),
    CaptureInterface(101, False),
)
TIME = 1_700_000_000 * SECOND + 123_456_789


def write(path: Path, *packets: tuple[CaptureInterface, bytes]) -> None:
    with CaptureWriter(path) as writer:
        for number, (interface, data) in enumerate(packets):
            writer.write(interface, TIME + number, data, len(data) + 7)


@pytest.mark.parametrize(
    ("interface", "magic", "time"),
    [(ETHERNET, "d4c3b2a1", TIME - 789), (FINE, "4d3cb2a1", TIME), (RAW, "d4c3b2a1", TIME - 789)],
)
def test_pcap_keeps_link_type_and_precision(
    interface: CaptureInterface, magic: str, time: int, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    write(path, (interface, b"one"), (interface, b"seven77"))
    assert path.read_bytes()[:4].hex() == magic
    found = [(f.interface, f.time, f.data, f.length) for f in frames(path)]
    second = time + 1 if interface.nanoseconds else time
    assert found == [(interface, time, b"one", 10), (interface, second, b"seven77", 14)]
    with RawPcapReader(str(path)) as reader:
        assert [data for data, _ in reader] == [b"one", b"seven77"]
        assert reader.linktype == interface.link_type


def test_mixed_link_types_and_precisions_turn_the_file_into_pcapng(tmp_path: Path) -> None:
    path = tmp_path / "out"
    packets = [(ETHERNET, b"a" * n) for n in range(100)]
    packets += [(RAW, b"raw"), (FINE, b"fine"), (ETHERNET, b"again"), (RAW, b"")]
    write(path, *packets)
    assert path.read_bytes()[:4].hex() == "0a0d0d0a"
    assert [(f.interface, f.data) for f in frames(path)] == packets
    assert [f.time for f in frames(path)][-3:] == [TIME + 101, TIME - 789, TIME - 789]
    assert {f.length - len(f.data) for f in frames(path)} == {7}
    with RawPcapNgReader(str(path)) as reader:
        assert [(m.linktype, d) for d, m in reader] == [(i.link_type, d) for i, d in packets]


def test_equal_interfaces_of_several_captures_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "out"
    write(path, (ETHERNET, b"one"), (CaptureInterface(1, False), b"two"))
    assert path.read_bytes()[:4].hex() == "d4c3b2a1"
    assert len(frames(path)) == 2


def test_capture_without_packets_still_has_a_header(tmp_path: Path) -> None:
    write(tmp_path / "out")
    assert frames(tmp_path / "out") == []


def test_pipe_always_gets_pcapng(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    got = []
    thread = threading.Thread(target=lambda: got.append(path.read_bytes()))
    thread.start()
    write(path, (ETHERNET, b"one"), (RAW, b"two"))
    thread.join(timeout=10)
    assert [(f.interface, f.data) for f in frames(got[0])] == [(ETHERNET, b"one"), (RAW, b"two")]


def test_full_disk_is_an_error_that_names_the_file() -> None:
    full = Path("/dev/full")
    with pytest.raises(OSError) as caught:
        write(full, (ETHERNET, bytes(2_000_000)))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")
