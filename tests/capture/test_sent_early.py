"""Captures of clients that do not wait: what replay holds until the reply is not unseen."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from nfinspect import cli
from nfinspect.cli.replay import OPTIONS
from nfinspect.engine import Engine
from nfinspect.replay.capture import Capture
from nfinspect.replay.driver import Replay
from tests.capture.recorded import (
    ENVELOPE,
    GREETING,
    HELO,
    LONG_HEADER,
    LONG_MAIL,
    MAIL,
    QUIT,
    conversation,
)
from tests.capture.test_replay import causes, only_connection, replay, stream
from tests.unit.replay.stand_in import POLICY, frames, pcap

CLAUSE = {"clause": "match header line length gt 998", "action": "drop-connection"}
AUTH = (
    (">", b"AUTH LOGIN\r\n"),
    ("<", b"334 VXNlcm5hbWU6\r\n"),
    (">", b"dXNlcg==\r\n"),
    ("<", b"334 UGFzc3dvcmQ6\r\n"),
    (">", b"c2VjcmV0\r\n"),
    ("<", b"235 2.7.0 ok\r\n"),
)
EHLO = ((">", b"EHLO client.example.net\r\n"), ("<", b"250-mail.example.net\r\n250 AUTH LOGIN\r\n"))

Dialogue = tuple[tuple[str, bytes], ...]


def lines_of(dialogue: Dialogue, direction: str) -> list[bytes]:
    return [payload for side, payload in dialogue if side == direction]


def notes(connection: dict) -> list[tuple[str, int]]:
    return [
        (note["event"], note["packet"])
        for note in connection["notes"]
        if note["event"] in ("sent-early", "unseen-data", "uninspected", "server-anomaly")
    ]


def grouped(dialogue: Dialogue) -> Dialogue:
    """Neighbouring lines of one direction in one packet."""
    packets: list[tuple[str, bytes]] = []
    for direction, payload in dialogue:
        if packets and packets[-1][0] == direction:
            packets[-1] = direction, packets[-1][1] + payload
        else:
            packets.append((direction, payload))
    return tuple(packets)


def hasty(dialogue: Dialogue, chance: random.Random) -> Dialogue:
    """The same lines, with the client ahead of the server's replies."""
    moved = list(dialogue)
    for _ in range(2 * len(moved)):
        at = chance.randrange(len(moved) - 1)
        if (moved[at][0], moved[at + 1][0]) == ("<", ">"):
            moved[at], moved[at + 1] = moved[at + 1], moved[at]
    return grouped(tuple(moved)) if chance.random() < 0.7 else tuple(moved)


def test_commands_pipelined_after_helo_are_inspected_and_the_long_header_is_found(
    tmp_path: Path,
) -> None:
    early = b"HELO client\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
    replies = b"250 hi\r\n250 ok\r\n250 ok\r\n354 go\r\n"
    packets = conversation((GREETING, (">", early), ("<", replies), *LONG_MAIL, *QUIT))
    connection = only_connection(replay(packets, tmp_path / "out"))
    at = next(n for n, packet in enumerate(packets, 1) if b"X-Long" in packet)
    assert (CLAUSE | {"packet": at}).items() <= connection["actions"][-1].items()
    assert notes(connection) == [("sent-early", 7)]
    assert connection["commands"][:4] == early.decode().splitlines()
    assert connection["replies"][1:] == replies.decode().splitlines()
    written = [frame.data for frame in frames(tmp_path / "out")]
    assert stream(written, to_port=25) == early
    assert stream(written, to_port=40_001).endswith(replies)
    (tmp_path / "mail.pcap").write_bytes(pcap(packets, 101))
    text = CliRunner().invoke(cli.main, ["replay", str(tmp_path / "mail.pcap")]).stdout
    assert text.partition("what happened")[2].count("sent early") == 1


def test_dot_and_quit_in_one_packet_are_both_inspected() -> None:
    end = ((">", b"Subject: x\r\n\r\nhi\r\n.\r\nQUIT\r\n"), ("<", b"250 queued\r\n221 bye\r\n"))
    connection = only_connection(replay(conversation((GREETING, *HELO, *ENVELOPE, *end))))
    assert connection["commands"][-1] == "QUIT"
    assert notes(connection) == [("sent-early", 23)]
    assert connection["close_reason"] == "TCP FINs"


@pytest.mark.parametrize("verb", [b"EHLO", b"HELO"])
def test_greeting_that_the_client_did_not_wait_for(verb: bytes, tmp_path: Path) -> None:
    hello = verb + b" client.example.net\r\n"
    start = ((">", hello), GREETING, ("<", b"250 mail.example.net\r\n"))
    packets = conversation((*start, *ENVELOPE, *LONG_MAIL, *QUIT))
    connection = only_connection(replay(packets, tmp_path / "out"))
    assert connection["actions"][-1]["clause"] == CLAUSE["clause"]
    assert connection["commands"][0] == hello.decode().strip()
    assert notes(connection) == [("sent-early", 5)]
    written = [frame.data for frame in frames(tmp_path / "out")]
    assert stream(written, to_port=25).startswith(hello + b"MAIL")


def test_whole_session_in_one_packet_with_its_fin() -> None:
    """As with ``nc`` and a file: everything at once, then the FIN."""
    lines = [line for side, line in (*HELO, *ENVELOPE, *MAIL, *QUIT) if side == ">"]
    replies = lines_of((*HELO, *ENVELOPE, *MAIL, *QUIT), "<")
    for answers in ([GREETING[1], *replies], [GREETING[1] + b"".join(replies)]):
        packets = conversation((
            (">", b"".join(lines)), *(("<", answer) for answer in answers),
        ))  # fmt: skip
        connection = only_connection(replay(packets))
        assert [c + "\r\n" for c in connection["commands"]] == [
            line.decode() for line in lines if not line.startswith(b"Subject")
        ]
        assert [event for event, _ in notes(connection)] == ["sent-early"]
        assert connection["close_reason"] == "TCP FINs"


def test_auth_responses_sent_early_are_no_commands(tmp_path: Path) -> None:
    early = b"".join(lines_of(AUTH, ">"))
    replies = b"".join(lines_of(AUTH, "<"))
    packets = conversation((GREETING, *EHLO, (">", early), ("<", replies), *ENVELOPE, *MAIL, *QUIT))
    connection = only_connection(replay(packets, tmp_path / "out"))
    assert connection["commands"][1:5] == ["AUTH LOGIN", "***", "***", "MAIL FROM:<a@example.net>"]
    assert notes(connection) == [("sent-early", 11)]


@pytest.mark.parametrize("seed", range(40))
def test_hasty_client_gets_the_same_answer_as_a_patient_one(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    mail = LONG_MAIL if seed % 4 == 3 else MAIL
    dialogue = (GREETING, *EHLO, *AUTH, *ENVELOPE, *mail, *QUIT)
    patient = only_connection(replay(conversation(dialogue), tmp_path / "patient"))
    quick = only_connection(replay(conversation(hasty(dialogue, chance)), tmp_path / "hasty"))
    # In the packet that closes, the commands behind the violation are listed too.
    assert quick["commands"][: len(patient["commands"])] == patient["commands"]
    assert quick["replies"][: len(patient["replies"])] == patient["replies"]
    assert [a["clause"] for a in quick["actions"]] == [a["clause"] for a in patient["actions"]]
    assert causes(quick) == []
    sent = [
        [stream([f.data for f in frames(tmp_path / name)], to_port=port) for port in (25, 40_001)]
        for name in ("patient", "hasty")
    ]
    assert sent[0] == sent[1]


def test_bytes_missing_from_the_capture_still_end_inspection() -> None:
    early = b"HELO client\r\nMAIL FROM:<a@example.net>\r\n", b"RCPT TO:<b@example.net>\r\n"
    replies = b"250 hi\r\n250 ok\r\n250 ok\r\n"
    dialogue = (GREETING, *((">", each) for each in early), ("<", replies), *QUIT)
    packets = [p for p in conversation(dialogue) if b"RCPT" not in p]
    connection = only_connection(replay(packets))
    assert causes(connection) == ["unseen data"]


def test_early_bytes_that_close_the_connection_are_dropped(tmp_path: Path) -> None:
    envelope = b"".join(lines_of((*HELO, *ENVELOPE), ">"))
    early = envelope + LONG_HEADER + b"\r\nHello.\r\n.\r\nQUIT\r\n"
    replies = [*lines_of((*HELO, *ENVELOPE), "<"), b"250 queued\r\n", b"221 bye\r\n"]
    packets = conversation((
        GREETING, (">", early), *(("<", reply) for reply in replies),
    ))  # fmt: skip
    report = replay(packets, tmp_path / "out")
    connection = only_connection(report)
    assert connection["actions"][-1]["clause"] == CLAUSE["clause"]
    assert connection["close_reason"] == "Flow closed by inspection"
    written = [frame.data for frame in frames(tmp_path / "out")]
    assert stream(written, to_port=25) == envelope


def test_nothing_stays_held_or_remembered_after_early_bytes() -> None:
    packets = conversation((
        GREETING, (">", b"HELO a\r\nNOOP\r\nNOOP\r\n"), ("<", b"250 a\r\n"), ("<", b"250 b\r\n"),
        ("<", b"250 c\r\n"), *QUIT,
    ))  # fmt: skip
    engine = Engine(POLICY, OPTIONS, started=0.0)
    run = Replay(POLICY, engine)
    run.feed(Capture(io.BytesIO(pcap(packets, 101)), "mail.pcap"))
    run.finish()
    assert (engine.held, engine.ledger.memory_bytes, engine.ledger.held_bytes) == (0, 0, 0)
