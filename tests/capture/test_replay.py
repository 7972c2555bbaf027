"""Recorded mail replayed with the real engine and the default map: what is done, and what is
tolerated because the capture was recorded without the filter."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nfinspect import cli
from nfinspect.cli.replay import OPTIONS
from nfinspect.engine import Engine
from nfinspect.packet.segment import Segment, parse
from nfinspect.replay.capture import Capture
from nfinspect.replay.driver import Replay
from nfinspect.replay.output import CaptureWriter
from tests.property.test_captures import fragmented
from tests.unit.replay.mail import DIALOGUE, ENVELOPE, MESSAGE, datagram, session
from tests.unit.replay.stand_in import POLICY, frames, pcap

EHLO = (
    ("<", b"220 mx.example ESMTP Postfix\r\n"),
    (">", b"EHLO client.example\r\n"),
    ("<", b"250-mx.example\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 HELP\r\n"),
)
QUIT = ((">", b"QUIT\r\n"), ("<", b"221 2.0.0 Bye\r\n"))


def replay(packets: list[bytes], out: Path | None = None) -> dict:
    """The JSON report on a capture of these datagrams."""
    return replay_capture(pcap(packets, 101), out)


def replay_capture(capture: bytes, out: Path | None = None) -> dict:
    writer = CaptureWriter(out) if out else None
    run = Replay(POLICY, Engine(POLICY, OPTIONS, started=0.0), writer)
    run.feed(Capture(io.BytesIO(capture), "mail.pcap"))
    text = io.StringIO()
    result = run.finish()
    result.write_json(text)
    result.close()
    if writer:
        writer.close()
    return json.loads(text.getvalue())


def only_connection(report: dict) -> dict:
    (connection,) = report["connections"]
    packets = connection["packets"]
    assert packets["seen"] == packets["accepted"] + packets["rewritten"] + packets["dropped"]
    return connection


def causes(connection: dict) -> list[str]:
    return [note["cause"] for note in connection["notes"] if note["event"] == "uninspected"]


def stream(datagrams: list[bytes], *, to_port: int) -> bytes:
    """The payload in one direction, in the order of the packets."""
    segments = [parse(packet) for packet in datagrams]
    return b"".join(
        segment.payload_bytes
        for segment in segments
        if isinstance(segment, Segment) and (segment.destination_port == 25) is (to_port == 25)
    )


def payload(packets: list[bytes], text: bytes) -> int:
    """The number of the packet that contains *text*."""
    return next(n for n, packet in enumerate(packets, 1) if text in packet)


def unsummed(packet: bytes) -> bytes:
    """The packet with only the pseudo-header in its TCP checksum, as before checksum offload."""
    transport = 20 if packet[0] >> 4 == 4 else 40
    addresses = packet[12:20] if transport == 20 else packet[8:40]
    words = [*addresses[::2]], [*addresses[1::2]]
    total = (sum(words[0]) << 8) + sum(words[1]) + 6 + len(packet) - transport
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return packet[: transport + 16] + total.to_bytes(2, "big") + packet[transport + 18 :]


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("change", [list, fragmented, lambda p: [unsummed(q) for q in p]],
                         ids=["as recorded", "in fragments", "checksums offloaded"])  # fmt: skip
def test_ehlo_session_is_masked_and_reported(change, six: bool, tmp_path: Path) -> None:
    packets = change(session(EHLO + ENVELOPE + MESSAGE + QUIT, six=six))
    report = replay(packets, tmp_path / "out")
    connection = only_connection(report)
    assert connection["commands"] == [
        "EHLO client.example", "MAIL FROM:<a@example>", "RCPT TO:<b@example>", "DATA", "QUIT",
    ]  # fmt: skip
    assert connection["replies"] == [
        "220 mx.example ESMTP Postfix", "250-mx.example", "250-PIPELINING", "250-STARTTLS",
        "250 HELP", "250 2.1.0 Ok", "250 2.1.5 Ok", "354 go on", "250 2.0.0 Ok: queued",
        "221 2.0.0 Bye",
    ]  # fmt: skip
    ehlo = "match ehlo-reply-parameter others"
    assert [(a["clause"], a["action"]) for a in connection["actions"]] == [
        ("mask-banner", "mask"), (ehlo, "mask"),
    ]  # fmt: skip
    assert connection["packets"]["rewritten"] == 2
    assert connection["close_reason"] == "TCP FINs"
    written = [frame.data for frame in frames(tmp_path / "out")]
    replies = stream(written, to_port=40_000)
    assert replies.startswith(b"220 " + b"*" * 24 + b"\r\n250-mx.example\r\n250-PIPELINING\r\n")
    assert b"250-XXXXXXXA\r\n250 XXXB\r\n250 2.1.0 Ok\r\n" in replies
    assert report["counters"]["service_policy"][0]["mask_banner"] == 1
    assert [line[:14] for line in report["syslog"]] == ["%ASA-6-302013:", "%ASA-6-302014:"]


def test_output_of_a_replay_is_unchanged_by_a_second_replay(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    replay(session(EHLO + ENVELOPE + MESSAGE + QUIT), first)
    replay([frame.data for frame in frames(first)], second)
    assert [f.data for f in frames(second)] == [f.data for f in frames(first)]


def test_header_line_of_1200_closes_the_connection_and_nothing_passes_afterwards(
    tmp_path: Path,
) -> None:
    header = b"X-Long: " + b"x" * 1192 + b"\r\n"
    mail = ((">", header + b"\r\nHello.\r\n.\r\n"), ("<", b"250 2.0.0 Ok: queued\r\n"))
    packets = session(EHLO + ENVELOPE + mail + QUIT)
    violating = payload(packets, b"X-Long")
    report = replay(packets, tmp_path / "out")
    connection = only_connection(report)
    evidence = {"what": "header field", "text": "X-Long", "measured": 1200, "allowed": 998}
    action = connection["actions"][-1]
    assert action.pop("evidence") == evidence
    assert action.pop("mail")["sender"] == "MAIL FROM:<a@example>"
    assert action == {
        "clause": "match header line length gt 998",
        "action": "drop-connection",
        "packet": violating,
    }
    assert connection["close_reason"] == "Flow closed by inspection"
    assert [line.split(":")[0] for line in report["syslog"]] == [
        "%ASA-6-302013", "%ASA-4-108004", "%ASA-4-507003", "%ASA-6-302014",
    ]  # fmt: skip
    assert report["syslog"][1].endswith("matched Class 4: header line length gt 998")
    requests = stream([f.data for f in frames(tmp_path / "out")], to_port=25)
    assert requests.endswith(b"DATA\r\n")
    assert connection["packets"]["dropped"] == len(packets) - violating + 1
    assert report["counters"]["service_policy"][0]["drop"] == 1


def test_accepted_starttls_is_recognized_as_recorded_without_the_filter(tmp_path: Path) -> None:
    hello = b"\x16\x03\x01\x00\x05hello"
    tls = ((">", b"STARTTLS\r\n"), ("<", b"220 2.0.0 Ready\r\n"), (">", hello), ("<", hello))
    packets = session(EHLO + tls)
    connection = only_connection(replay(packets, tmp_path / "out"))
    assert "STARTTLS" in connection["commands"]
    masked = payload(packets, b"\0\0STARTTLS")  # the zeros are the urgent pointer
    assert {"clause": "unknown command", "action": "mask", "packet": masked} in connection[
        "actions"
    ]
    assert causes(connection) == ["recorded without the filter"]
    requests = stream([f.data for f in frames(tmp_path / "out")], to_port=25)
    assert requests.endswith(b"XXXXXXXX\r\n" + hello)


def test_masked_command_is_quoted_and_escaped_for_the_terminal(tmp_path: Path) -> None:
    odd = ((">", b"XF\x1b[31m\xff \xc3\xa9\r\n"), ("<", b"500 5.5.1 no\r\n"))
    packets = session(EHLO + odd + QUIT)
    masked = payload(packets, b"XF\x1b")
    hidden, note = only_connection(replay(packets))["notes"]
    assert hidden["keywords"] == ["STARTTLS", "HELP"]
    assert note == {
        "event": "command-masked", "reason": "unknown command",
        "command": "XF\x1b[31m\\xff é", "packet": masked,
    }  # fmt: skip
    (tmp_path / "mail.pcap").write_bytes(pcap(packets, 101))
    done = CliRunner().invoke(cli.main, ["replay", str(tmp_path / "mail.pcap")])
    assert rf"packet {masked}  mask  unknown command: XF\x1b[31m" in done.stdout
    assert "\x1b" not in done.stdout


def test_session_after_refused_starttls_stays_inspected() -> None:
    tls = ((">", b"STARTTLS\r\n"), ("<", b"502 5.5.1 no\r\n"))
    connection = only_connection(replay(session(EHLO + tls + ENVELOPE + MESSAGE + QUIT)))
    assert causes(connection) == []
    assert connection["commands"][-1] == "QUIT"


@pytest.mark.parametrize("lost", [b"RCPT TO", b"250 2.1.5", b"Subject"])
def test_packet_missing_from_the_capture_is_noted_and_the_connection_continues(
    lost: bytes, tmp_path: Path
) -> None:
    packets = [p for p in session(EHLO + ENVELOPE + MESSAGE + QUIT) if lost not in p]
    report = replay(packets, tmp_path / "out")
    connection = only_connection(report)
    assert causes(connection) == ["unseen data"]
    assert [n["event"] for n in connection["notes"]].count("unseen-data") == 1
    assert connection["close_reason"] == "TCP FINs"
    assert connection["packets"]["dropped"] == 0
    assert len(frames(tmp_path / "out")) == len(packets)
    assert report["counters"]["unseen_data"] == 1


def test_ack_of_a_packet_that_replay_dropped_is_noted_and_tolerated() -> None:
    packets = session(EHLO + ENVELOPE + MESSAGE + QUIT)
    at = payload(packets, b"RCPT TO") - 1
    packets[at] = packets[at][:-3] + b"?\r\n"  # its checksum is wrong, yet it was acknowledged
    report = replay(packets)
    connection = only_connection(report)
    assert report["summary"]["dropped"] == {"bad-checksum": 1}
    assert causes(connection) == ["unseen data"]
    assert connection["close_reason"] == "TCP FINs"


@pytest.mark.parametrize("direction", [">", "<"])
def test_one_sided_capture_is_copied_and_what_it_shows_is_listed(
    direction: str, tmp_path: Path
) -> None:
    packets = session(EHLO + ENVELOPE + MESSAGE + QUIT)
    side = [p for p in packets if (p[22:24] == b"\x00\x19") is (direction == ">")]
    connection = only_connection(replay(side, tmp_path / "out"))
    assert causes(connection) == ["one-sided capture"]
    assert [frame.data for frame in frames(tmp_path / "out")] == side
    if direction == ">":
        assert connection["commands"][:2] == ["EHLO client.example", "MAIL FROM:<a@example>"]
        assert connection["replies"] == []
    else:
        assert connection["replies"][:2] == ["220 mx.example ESMTP Postfix", "250-mx.example"]
        assert connection["commands"] == []


def test_capture_that_starts_in_mid_connection_is_copied_uninspected(tmp_path: Path) -> None:
    packets = session()[5:]
    connection = only_connection(replay(packets, tmp_path / "out"))
    assert causes(connection) == ["older than the filter"]
    assert [frame.data for frame in frames(tmp_path / "out")] == packets


def test_segments_out_of_order_are_held_and_leave_in_order(tmp_path: Path) -> None:
    message = (
        (">", b"Subject: test\r\n"), (">", b"\r\nHello.\r\n"), (">", b".\r\n"),
        ("<", b"250 2.0.0 Ok: queued\r\n"),
    )  # fmt: skip
    packets = session(EHLO + ENVELOPE + message + QUIT)
    at = payload(packets, b"Subject") - 1
    shuffled = [*packets[:at], packets[at + 2], packets[at + 1], packets[at], *packets[at + 3 :]]
    connection = only_connection(replay(shuffled, tmp_path / "out"))
    assert connection["packets"]["held"] == 2
    written = [frame.data for frame in frames(tmp_path / "out")]
    expected = stream(packets, to_port=25)
    assert [stream([p], to_port=25) for p in written if b"Subject" in p] == [b"Subject: test\r\n"]
    assert stream(written, to_port=25) == expected


def test_connection_still_open_has_no_close_reason_and_its_bytes_so_far() -> None:
    packets = session()[:6]
    connection = only_connection(replay(packets))
    assert connection["close_reason"] is None
    assert connection["bytes"] == sum(len(line) for _, line in DIALOGUE[:3])


def test_segment_of_no_connection_is_denied_after_the_pickup_time() -> None:
    stray = datagram(">", "A", 5, 5, b"QUIT\r\n", port=41_000)
    later = pcap([stray], 101, start=1_700_000_000 + 301)[24:]
    report = replay_capture(pcap(session(), 101) + later)
    assert report["syslog"][-1] == (
        "%ASA-6-106015: Deny TCP (no connection) from 192.0.2.1/41000 to 198.51.100.25/25"
        " flags ACK  on interface outside"
    )
    assert report["summary"]["dropped"] == {"no-connection": 1}


def test_packet_with_a_wrong_tcp_checksum_is_dropped_and_counted() -> None:
    packets = session()
    at = payload(packets, b"MAIL") - 1
    packets.insert(at, packets[at][:-3] + b"\0\r\n")  # damaged, then retransmitted
    report = replay(packets)
    assert report["summary"]["dropped"] == {"bad-checksum": 1}
    assert "MAIL FROM:<a@example>" in only_connection(report)["commands"]
