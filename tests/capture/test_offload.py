"""Captures made on a host whose network card completes its packets: lengths and checksums that are
not those on the wire."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from nfinspect.cli.replay import OPTIONS
from nfinspect.engine import Engine
from nfinspect.replay import checksums
from nfinspect.replay.capture import Capture
from nfinspect.replay.checksums import ChecksumUse
from nfinspect.replay.driver import Replay
from tests.capture.recorded import (
    CLEAN,
    ENVELOPE,
    GREETING,
    HEADER,
    HELO,
    LONG,
    QUIT,
    conversation,
    from_client,
    length_0,
    replayed,
    with_field,
)
from tests.capture.test_replay import only_connection, replay, replay_capture
from tests.unit.replay.stand_in import POLICY, frames, pcap


def closing(report: dict) -> dict:
    return only_connection(report)["actions"][-1]


def notes(report: dict) -> list[tuple[str, int, int]]:
    return [(note["note"], note["packets"], note["first"]) for note in report["summary"]["notes"]]


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_ip_length_0_means_the_length_of_the_frame(six: bool) -> None:
    packets = conversation(LONG, six=six)
    at = next(n for n, packet in enumerate(packets) if b"X-Long" in packet)
    packets[at] = length_0(packets[at])
    report = replay(packets)
    found = closing(report)
    assert (found["clause"], found["packet"]) == (HEADER, at + 1)
    assert notes(report) == [("IP length 0 (segmentation offload); the frame's is used", 1, at + 1)]
    assert set(report["summary"]["dropped"]) == {"inspection", "closed-connection"}


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_segment_longer_than_its_length_field_is_read_and_copied_whole(
    six: bool, tmp_path: Path
) -> None:
    parts = b"Subject: big\r\n\r\n", b"0123456789abcde\r\n" * 2400, b"end\r\n.\r\n"
    pieces = [parts[0], parts[1], parts[1], parts[2]]
    mail = (*((">", piece) for piece in pieces), ("<", b"250 ok\r\n"))
    packets = conversation((GREETING, *HELO, *ENVELOPE, *mail, *QUIT), six=six)
    at = next(n for n, packet in enumerate(packets) if b"Subject" in packet)
    whole = packets[at] + b"".join(pieces[1:])
    assert len(whole) > 65_535
    packets[at : at + 2 * len(pieces) - 1] = [length_0(whole)]
    report = replay(packets, tmp_path / "out")
    connection = only_connection(report)
    assert connection["notes"] == []
    assert connection["commands"][-1] == "QUIT"
    assert connection["close_reason"] == "TCP FINs"
    assert [frame.data for frame in frames(tmp_path / "out")][at] == length_0(whole)


def test_length_0_of_a_packet_cut_short_by_the_snap_length_is_truncated() -> None:
    packets = conversation(LONG)
    at = next(n for n, packet in enumerate(packets) if b"X-Long" in packet)
    capture = bytearray(pcap(packets[:at], 101))
    whole = length_0(packets[at])
    cut = pcap([whole[:400]], 101)[24:]
    capture += cut[:12] + len(whole).to_bytes(4, "little") + cut[16:]
    report = replay_capture(bytes(capture))
    assert report["summary"]["dropped"] == {"truncated": 1}


def constant(packet: bytes) -> bytes:
    transport = 20 if packet[0] >> 4 == 4 else 40
    return with_field(packet, transport + 16, 0x8F31)


def damaged_header(packet: bytes) -> bytes:
    return with_field(packet, 10, 0x1234)


def lso(packet: bytes) -> bytes:
    """The pseudo-header's sum without the length."""
    words = sum(int.from_bytes(packet[at : at + 2], "big") for at in range(12, 20, 2)) + 6
    return with_field(packet, 36, words % 0xFFFF)


@pytest.mark.parametrize("change", [constant, damaged_header], ids=["TCP", "IP header"])
@pytest.mark.parametrize("side", ["client", "server", "both"])
def test_host_whose_checksums_are_all_wrong_is_believed_and_noted_once(
    side: str, change, tmp_path: Path
) -> None:
    packets = conversation(LONG)
    mine = [side == "both" or from_client(packet) is (side == "client") for packet in packets]
    changed = [change(p) if wrong else p for p, wrong in zip(packets, mine, strict=True)]
    report = replay(changed)
    assert closing(report)["clause"] == HEADER
    assert "bad-checksum" not in report["summary"]["dropped"]
    addresses = {"client": ["192.0.2.1"], "server": ["198.51.100.25"]}
    expected = addresses.get(side) or ["192.0.2.1", "198.51.100.25"]
    texts = [f"the checksums of {each} are all wrong (offload): not looked at" for each in expected]
    assert [text for text, _, _ in notes(report)] == texts
    assert sum(count for _, count, _ in notes(report)) == sum(mine)
    (tmp_path / "mail.pcap").write_bytes(pcap(changed, 101))
    text_of_all = replayed(tmp_path / "mail.pcap")
    assert [text_of_all.count(text) for text in texts] == [1] * len(texts)


def test_checksum_that_is_right_by_chance_does_not_make_the_others_wrong() -> None:
    packets = conversation(LONG)
    right = int.from_bytes(packets[1][36:38], "big")  # the SYN-ACK's
    changed = [p if from_client(p) else with_field(p, 36, right) for p in packets]
    report = replay(changed)
    assert closing(report)["clause"] == HEADER
    assert "bad-checksum" not in report["summary"]["dropped"]


@pytest.mark.parametrize("repeated", [1, 3])
def test_checksums_without_the_length_are_left_to_segmentation_offload_and_noted_once(
    repeated: int,
) -> None:
    packets = []
    for number in range(repeated):
        packets += conversation(LONG, port=41_000 + number)
    changed = [p if from_client(p) else lso(p) for p in packets]
    report = replay(changed)
    clauses = [action["clause"] for each in report["connections"] for action in each["actions"]]
    assert clauses.count(HEADER) == repeated
    text = "the checksums of 198.51.100.25 were left to its network card (offload): taken for right"
    assert notes(report) == [(text, sum(not from_client(p) for p in packets), 2)]


def test_damaged_first_packet_of_a_host_with_right_checksums_is_dropped() -> None:
    packets = conversation((GREETING, *HELO, *QUIT))
    packets.insert(0, constant(packets[0]))
    report = replay(packets)
    assert report["summary"]["dropped"] == {"bad-checksum": 1}
    assert notes(report) == []


@pytest.mark.parametrize("use", ["auto", "ignore", "verify"])
def test_option_says_what_a_wrong_checksum_means(use: str, tmp_path: Path) -> None:
    packets = conversation(CLEAN)
    changed = [p if from_client(p) else constant(p) for p in packets]
    (tmp_path / "mail.pcap").write_bytes(pcap(changed, 101))
    report = json.loads(replayed(tmp_path / "mail.pcap", "--json", "--checksums", use))
    servers = sum(not from_client(p) for p in packets)
    expected = {"bad-checksum": servers} if use == "verify" else {}
    assert report["summary"]["dropped"] == expected
    assert bool(report["summary"]["notes"]) is (use == "auto")


def test_damaged_packet_passes_if_checksums_are_ignored() -> None:
    packets = conversation((GREETING, *HELO, *QUIT))
    packets[3] = constant(packets[3])
    run = Replay(POLICY, Engine(POLICY, OPTIONS, started=0.0), None, ChecksumUse.IGNORE)
    run.feed(Capture(io.BytesIO(pcap(packets, 101)), "mail.pcap"))
    assert run.finish().summary["dropped"] == {}


def test_senders_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "MAX_SENDERS", 3)
    known = checksums.Checksums(checksums.ChecksumUse.AUTO)
    first = known.sender(b"\0\0\0\1")
    assert known.sender(b"\0\0\0\1") is first
    for number in range(2, 6):
        known.sender(bytes((0, 0, 0, number)))
    assert known.sender(b"\0\0\0\1") is not first
