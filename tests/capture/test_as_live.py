"""``replay --as-live``: a capture judged by the rules for live traffic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.capture.recorded import (
    CLEAN,
    ENVELOPE,
    GREETING,
    HELO,
    MAIL,
    QUIT,
    conversation,
    from_client,
    length_0,
    replayed,
    with_field,
)
from tests.capture.test_replay import causes, only_connection, unsummed
from tests.unit.replay.stand_in import frames, pcap

BODY = b"Subject: big\r\n\r\n" + b"0123456789abcde\r\n" * 400 + b"end\r\n.\r\n"
BIG = (GREETING, *HELO, *ENVELOPE, (">", BODY), ("<", b"250 2.0.0 Ok\r\n"), *QUIT)
SENT_EARLY = (GREETING, *HELO, *ENVELOPE[:4], (">", b"DATA\r\n"), *MAIL[:1], ("<", b"354 go\r\n"))


def judged(packets: list[bytes], directory: Path, *options: str) -> tuple[dict, list[bytes]]:
    """The report, and what would have left the filter."""
    (directory / "mail.pcap").write_bytes(pcap(packets, 101))
    out = directory / "out.pcap"
    report = json.loads(replayed("--json", "--out", out, directory / "mail.pcap", *options))
    return report, [frame.data for frame in frames(out)]


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("change", [bytes, length_0, unsummed])
def test_packet_larger_than_the_mtu_is_cut_before_it_is_judged(
    change, six: bool, tmp_path: Path
) -> None:
    packets = conversation(BIG, six=six)
    at = next(number for number, packet in enumerate(packets) if b"Subject" in packet)
    whole = packets[at]
    packets[at] = change(whole)
    report, out = judged(packets, tmp_path, "--as-live")
    headers = len(whole) - len(BODY)
    expected = -(-len(BODY) // (1500 - headers))
    assert report["summary"]["cut"] == {"datagrams": 1, "pieces": expected}
    pieces = out[at : at + expected]
    assert b"".join(piece[headers:] for piece in pieces) == BODY
    assert max(map(len, out)) == 1500
    connection = only_connection(report)
    assert connection["close_reason"] == "TCP FINs"
    assert connection["packets"]["seen"] == len(packets) + expected - 1
    _, as_captured = judged(packets, tmp_path)
    assert as_captured[at] == packets[at]


def test_damaged_packet_larger_than_the_mtu_stays_damaged(tmp_path: Path) -> None:
    packets = conversation(BIG)
    at = next(number for number, packet in enumerate(packets) if b"Subject" in packet)
    checksum = int.from_bytes(packets[at][36:38], "big")
    packets[at] = with_field(packets[at], 36, checksum ^ 0x5555)
    report, out = judged(packets, tmp_path, "--as-live")
    assert report["summary"]["cut"] == {"datagrams": 0, "pieces": 0}
    assert report["summary"]["dropped"]["bad-checksum"] == 1
    assert not any(b"Subject" in packet for packet in out)


def test_what_was_sent_early_waits_for_its_reply_and_is_never_released(tmp_path: Path) -> None:
    packets = conversation(SENT_EARLY)
    # The server's answer is not in the capture, although it acknowledged the mail.
    packets = [packet for packet in packets if b"354" not in packet]
    _, out = judged(packets, tmp_path, "--as-live")
    assert not any(b"Hello." in packet for packet in out)


@pytest.mark.parametrize("side", [True, False], ids=["client", "server"])
def test_nothing_goes_on_uninspected(side: bool, tmp_path: Path) -> None:
    packets = [packet for packet in conversation(CLEAN) if from_client(packet) is side]
    report, _ = judged(packets, tmp_path, "--as-live")
    assert not any("one-sided capture" in causes(each) for each in report["connections"])
    without, out = judged(packets, tmp_path)
    assert causes(only_connection(without)) == ["one-sided capture"]
    assert out == packets
