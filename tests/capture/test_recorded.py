"""Recorded conversations that tell who did what: another firewall, a server that reads bare LF, one
direction alone, a beginning within a message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.capture.recorded import (
    EHLO,
    ENVELOPE,
    GREETING,
    HEADER,
    HELO,
    LONG_MAIL,
    MAIL,
    QUIT,
    conversation,
    from_client,
    replayed,
)
from tests.capture.test_replay import causes, only_connection, replay
from tests.unit.replay.stand_in import frames, pcap


def text_of(packets: list[bytes], tmp_path: Path) -> str:
    (tmp_path / "mail.pcap").write_bytes(pcap(packets, 101))
    return replayed(tmp_path / "mail.pcap")


def without_cr(dialogue: tuple[tuple[str, bytes], ...]) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        (side, line.replace(b"\r\n", b"\n") if side == ">" else line) for side, line in dialogue
    )


# --- Another inspecting firewall


def test_masks_of_a_firewall_on_the_servers_side_are_said_and_not_counted(tmp_path: Path) -> None:
    greeting = ("<", b"220 ****************************\r\n")
    reply = ("<", b"250-mail.example.net\r\n250-PIPELINING\r\n250 XXXXXXXA\r\n")
    packets = conversation((greeting, EHLO[0], reply, *ENVELOPE, *MAIL, *QUIT))
    report = replay(packets, tmp_path / "out")
    connection = only_connection(report)
    assert connection["notes"] == [
        {"event": "already-masked", "direction": "Response", "packet": 4}
    ]
    assert connection["actions"] == []
    assert report["counters"]["service_policy"][0]["mask_banner"] == 0
    assert report["counters"]["already_masked"] == {"Response": 1}
    assert [frame.data for frame in frames(tmp_path / "out")] == packets
    said = "already masked: another inspecting firewall on the server's side"
    assert text_of(packets, tmp_path).count(said) == 1


def test_masks_of_a_firewall_on_the_clients_side_are_said_and_not_counted(tmp_path: Path) -> None:
    refused = ((">", b"XXXXXXXX\r\n"), ("<", b"500 5.5.1 what?\r\n"))
    packets = conversation((GREETING, *HELO, *refused, *refused, *ENVELOPE, *MAIL, *QUIT))
    report = replay(packets)
    connection = only_connection(report)
    assert [note["event"] for note in connection["notes"]] == ["already-masked"]
    assert report["counters"]["masked_commands"] == {}
    said = "already masked: another inspecting firewall on the client's side"
    assert text_of(packets, tmp_path).count(said) == 1


# --- Bare LF


def test_answer_to_a_bare_lf_shows_a_recording_without_the_filter(tmp_path: Path) -> None:
    packets = conversation((GREETING, *without_cr((*HELO, *ENVELOPE, *MAIL, *QUIT))))
    report = replay(packets)
    connection = only_connection(report)
    assert causes(connection) == ["recorded without the filter: bare LF answered"]
    assert connection["close_reason"] == "TCP FINs"
    assert report["counters"]["server_anomalies"] == {}
    assert connection["commands"] == [
        "HELO client.example.net", "MAIL FROM:<a@example.net>", "RCPT TO:<b@example.net>", "DATA",
        "QUIT",
    ]  # fmt: skip
    text = text_of(packets, tmp_path)
    assert text.partition("what happened")[2].count("bare LF answered") == 1
    assert "behind the filter the client would wait for ever, as bare LF ends no line" in text
    assert "unasked-354" not in text


def test_bare_lf_in_the_middle_of_a_session() -> None:
    tail = without_cr((*MAIL, *QUIT))
    half = without_cr(ENVELOPE[:2])
    packets = conversation((GREETING, *HELO, *half, *ENVELOPE[2:], *tail))
    assert causes(only_connection(replay(packets))) == [
        "recorded without the filter: bare LF answered"
    ]


@pytest.mark.parametrize("crlf", [0, 1, 2, 3])
@pytest.mark.parametrize("early", [False, True])
def test_no_credential_is_listed_where_an_auth_exchange_turns_to_bare_lf(
    crlf: int, early: bool
) -> None:
    """The server answers the response's bare LF: it has not left the exchange by itself."""
    user, asks = ((">", b"dXNlcg==\r\n"),), ("<", b"334 UGFzc3dvcmQ6\r\n")
    begin = ((">", b"AUTH LOGIN\r\n"), ("<", b"334 VXNlcm5hbWU6\r\n"))
    if early:
        user, begin = (), ((">", b"AUTH LOGIN\r\ndXNlcg==\r\n"), begin[1])
    exchange = (*begin, *user, asks, (">", b"c2VjcmV0\r\n"), ("<", b"235 ok\r\n"), *QUIT)
    own = [at for at, (side, _) in enumerate(exchange) if side == ">"]
    turn = own[min(crlf, len(own) - 1)]
    talk = (GREETING, *HELO, *exchange[:turn], *without_cr(exchange[turn:]))
    report = replay(conversation(talk))
    connection = only_connection(report)
    assert causes(connection) == ["recorded without the filter: bare LF answered"]
    assert report["counters"]["server_anomalies"] == {}
    assert connection["commands"] == [
        "HELO client.example.net", "AUTH LOGIN", "***", "***", "QUIT"
    ]  # fmt: skip


def test_unsolicited_reply_without_a_bare_lf_stays_the_servers_anomaly() -> None:
    packets = conversation((GREETING, *HELO, (">", b"NOOP unfinished"), ("<", b"250 ok\r\n")))
    connection = only_connection(replay(packets))
    assert causes(connection) == []
    assert [note["kind"] for note in connection["notes"]] == ["an unsolicited reply"]


# --- One direction


def one_side(dialogue: tuple[tuple[str, bytes], ...], side: str) -> list[bytes]:
    return [p for p in conversation(dialogue) if from_client(p) is (side == ">")]


def test_client_alone_is_measured_and_marked_as_one_sided(tmp_path: Path) -> None:
    odd = ((">", b"XFOO\r\n"), ("<", b"500 no\r\n"))
    packets = one_side((GREETING, *EHLO, *odd, *ENVELOPE, *LONG_MAIL, *QUIT), ">")
    report = replay(packets, tmp_path / "out")
    connection = only_connection(report)
    assert [(action["clause"], action["packet"]) for action in connection["actions"]] == [
        ("unknown command", 6), (HEADER, 14),
    ]  # fmt: skip
    assert [note["event"] for note in connection["notes"]] == [
        "uninspected", "command-masked", "would-close",
    ]  # fmt: skip
    assert causes(connection) == ["one-sided capture"]
    assert connection["commands"][-2:] == ["DATA", "QUIT"]
    assert report["counters"]["unseen_data"] == 0
    assert [frame.data for frame in frames(tmp_path / "out")] == packets
    text = text_of(packets, tmp_path)
    assert text.partition("what happened")[2].count("one-sided capture") == 1
    assert "the filter would have closed the connection" in text


def test_server_alone_is_measured() -> None:
    connection = only_connection(replay(one_side((GREETING, *EHLO, *ENVELOPE, *QUIT), "<")))
    assert [(a["clause"], a["packet"]) for a in connection["actions"]] == [
        ("mask-banner", 2), ("match ehlo-reply-parameter others", 4),
    ]  # fmt: skip
    assert connection["commands"] == []
    assert causes(connection) == ["one-sided capture"]


@pytest.mark.parametrize("mechanism", ["LOGIN", "PLAIN", "CRAM-MD5", "NTLM"])
def test_credentials_of_a_one_sided_capture_are_in_no_output(
    mechanism: str, tmp_path: Path
) -> None:
    auth = (
        (">", f"AUTH {mechanism}\r\n".encode()), ("<", b"334 \r\n"),
        (">", b"dXNlcg==\r\n"), ("<", b"334 \r\n"), (">", b"c2VjcmV0\r\n"), ("<", b"235 ok\r\n"),
    )  # fmt: skip
    packets = one_side((GREETING, *EHLO, *auth, *ENVELOPE, *MAIL, *QUIT), ">")
    report = json.dumps(replay(packets)) + text_of(packets, tmp_path)
    assert "dXNlcg" not in report
    assert "c2VjcmV0" not in report
    assert "MAIL FROM:<a@example.net>" in report


# --- A beginning within


TEXT = b"Subject: confidential\r\n\r\nQUIT\r\nMAIL FROM:<x@y>\r\nsecret\r\n.\r\n"
QUEUED = ("<", b"250 2.0.0 Ok: queued\r\n")


@pytest.mark.parametrize("cut", [len(TEXT), 30, 40])
def test_capture_that_begins_inside_a_message_lists_no_mail_text(cut: int, tmp_path: Path) -> None:
    pieces = [(">", piece) for piece in (TEXT[:cut], TEXT[cut:]) if piece]
    packets = conversation((GREETING, *HELO, *ENVELOPE, *pieces, QUEUED, *QUIT))
    first = next(n for n, packet in enumerate(packets) if b"confidential" in packet)
    report = replay(packets[first:])
    connection = only_connection(report)
    assert connection["commands"] == ["QUIT"]
    assert causes(connection) == ["older than the filter"]
    assert "secret" not in text_of(packets[first:], tmp_path)


def test_hole_inside_a_message_lists_no_mail_text() -> None:
    parts = [b"Subject: a\r\n\r\n", b"QUIT one\r\n", b"QUIT two\r\n", b".\r\n"]
    mail = (*((">", part) for part in parts), ("<", b"250 ok\r\n"))
    packets = conversation((GREETING, *HELO, *ENVELOPE, *mail, *QUIT))
    lost = [packet for packet in packets if b"QUIT one" not in packet]
    connection = only_connection(replay(lost))
    assert causes(connection) == ["unseen data"]
    assert connection["commands"][-2:] == ["DATA", "QUIT"]


# --- XEXCH50


def test_bytes_that_xexch50_announces_are_no_commands() -> None:
    blob = bytes(range(256)) * 4 + b"QUIT\r\nSTARTTLS\r\nMAIL FROM:<a>\r\n"
    exchange = (
        (">", b"XEXCH50 %d 2\r\n" % len(blob)), ("<", b"354 Send binary data\r\n"),
        (">", blob[:500]), (">", blob[500:]), ("<", b"250 ok\r\n"),
    )  # fmt: skip
    packets = conversation((GREETING, *EHLO, *ENVELOPE[:4], *exchange, *ENVELOPE[4:], *MAIL, *QUIT))
    connection = only_connection(replay(packets))
    assert connection["commands"][3:] == [f"XEXCH50 {len(blob)} 2", "DATA", "QUIT"]
