"""What a replay says of dialogues that somebody leaves or refuses, which is not the filter's doing; and
what it does not say of those that end well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.capture.recorded import (
    CLEAN,
    EHLO,
    ENVELOPE,
    GREETING,
    HELO,
    MAIL,
    QUIT,
    conversation,
    from_client,
    replayed,
)
from tests.unit.replay.mail import datagram
from tests.unit.replay.stand_in import pcap

MOMENT, SIX_SECONDS = 1_000, 6_000_000
"""Between two packets, in microseconds."""

HALF = (">", b"Subject: half\r\n\r\nThe first half\r\n")
HIDDEN = "STARTTLS hidden, and no mail followed"

FINS = 3
"""Packets with which `conversation` ends."""


def found(
    packets: list[bytes], tmp_path: Path, step: int = MOMENT, after: int = 0
) -> list[dict[str, Any]]:
    """The findings of a capture of one connection. *after*: microseconds of silence before its last
    packet."""
    path = tmp_path / "mail.pcap"
    data = pcap(packets, 101, step=step)
    if after:
        time = 1_700_000_000_000_000 + after + len(packets) * step
        at = len(data) - len(packets[-1]) - 16
        stamp = b"".join(part.to_bytes(4, "little") for part in divmod(time, 10**6))
        data = data[:at] + stamp + data[at + 8 :]
    path.write_bytes(data)
    report = json.loads(replayed(path, "--json"))
    (connection,) = report["connections"]
    findings: list[dict[str, Any]] = connection["findings"]
    return findings


def told(*arguments: Any, **options: Any) -> list[tuple[str, str, str]]:
    return [
        (each["kind"], each["cause"], each.get("ending", ""))
        for each in found(*arguments, **options)
    ]


def without_end(dialogue: tuple[tuple[str, bytes], ...]) -> list[bytes]:
    return conversation(dialogue)[:-FINS]


CHALLENGE = ((">", b"AUTH LOGIN\r\n"), ("<", b"334 VXNlcm5hbWU6\r\n"))

ASKED = [
    ((), "no greeting"),
    ((GREETING, HELO[0]), "no reply to HELO"),
    ((GREETING, *HELO, ENVELOPE[0]), "no reply to MAIL"),
    ((GREETING, *HELO, *ENVELOPE[:3]), "no reply to RCPT"),
    ((GREETING, *HELO, *ENVELOPE[:5]), "no reply to DATA"),
    ((GREETING, *HELO, *ENVELOPE, MAIL[0]), "no reply to the message"),
    ((GREETING, *HELO, *ENVELOPE, HALF), "the client is silent in the middle of a message"),
    ((GREETING, *HELO, *ENVELOPE[:2]), "the client is silent after the reply to MAIL"),
    ((GREETING, *HELO, *ENVELOPE[:4]), "the client is silent after the reply to RCPT"),
    ((GREETING, *EHLO, *CHALLENGE), "the client is silent after the reply to AUTH"),
]
"""Dialogues that end with their last line, and what is missing."""


@pytest.mark.parametrize(("dialogue", "cause"), ASKED)
def test_silence_that_the_client_ends_is_named(
    dialogue: tuple[tuple[str, bytes], ...], cause: str, tmp_path: Path
) -> None:
    packets = conversation(dialogue)[: 1 - FINS]
    kind, told_cause, ending = told(packets, tmp_path, after=SIX_SECONDS)[0]
    assert (kind, told_cause) == ("held", cause)
    assert ending == f"after 6.0 s the client ended the connection (packet {len(packets)})"


@pytest.mark.parametrize(("dialogue", "cause"), ASKED)
def test_silence_that_lasts_when_the_capture_ends_is_named(
    dialogue: tuple[tuple[str, bytes], ...], cause: str, tmp_path: Path
) -> None:
    """An acknowledgement, as of a keep-alive, is not a word."""
    packets = without_end(dialogue)
    kind, told_cause, ending = told([*packets, packets[-1]], tmp_path, after=SIX_SECONDS)[0]
    assert (kind, told_cause) == ("held", cause)
    assert ending == "for 6.0 s, until the capture ends"


@pytest.mark.parametrize(("dialogue", "cause"), ASKED)
def test_capture_that_ends_in_a_busy_dialogue_says_nothing(
    dialogue: tuple[tuple[str, bytes], ...], cause: str, tmp_path: Path
) -> None:
    assert told(without_end(dialogue), tmp_path) in ([], [("noted", HIDDEN, "")])


@pytest.mark.parametrize(("dialogue", "cause"), ASKED)
def test_server_that_resets_has_not_answered(
    dialogue: tuple[tuple[str, bytes], ...], cause: str, tmp_path: Path
) -> None:
    packets = without_end(dialogue)
    sent = 1001 + sum(len(line) for direction, line in dialogue if direction == ">")
    heard = 5001 + sum(len(line) for direction, line in dialogue if direction == "<")
    packets.append(datagram("<", "RA", heard, sent, port=40_001))
    kind = "noted" if "silent" in cause else "held"
    cause = cause.replace("the client is silent", "the server leaves")
    assert told(packets, tmp_path)[:1] == [
        (kind, cause, f"at once the server reset the connection (packet {len(packets)})")
    ]


@pytest.mark.parametrize(
    ("dialogue", "cause"),
    [
        (ASKED[0][0], None),  # a probe
        (ASKED[2][0], "the client leaves before the reply to MAIL"),
        (ASKED[6][0], "the client leaves in the middle of a message"),
        (ASKED[8][0], "the client leaves after the reply to RCPT"),
        ((GREETING, *HELO, QUIT[0]), None),
        ((*CLEAN[:-2], QUIT[0]), None),
    ],
)
def test_client_that_leaves_at_once_is_named_unless_it_had_nothing_to_wait_for(
    dialogue: tuple[tuple[str, bytes], ...], cause: str | None, tmp_path: Path
) -> None:
    packets = conversation(dialogue)[: 1 - FINS]
    ending = f"at once the client ended the connection (packet {len(packets)})"
    assert told(packets, tmp_path) == ([("noted", cause, ending)] if cause else [])


@pytest.mark.parametrize("step", [MOMENT, SIX_SECONDS])
def test_clean_mail_has_no_finding_however_slow(step: int, tmp_path: Path) -> None:
    assert told(conversation(CLEAN), tmp_path, step) == []


def test_client_that_says_quit_for_want_of_a_reply(tmp_path: Path) -> None:
    packets = conversation((GREETING, *EHLO, ENVELOPE[0], *QUIT))
    findings = told(packets, tmp_path, SIX_SECONDS)
    assert ("held", "no reply to MAIL", "after 12.0 s the client said QUIT (packet 12)") in findings


def test_data_that_is_repeated_in_vain_is_lost(tmp_path: Path) -> None:
    packets = without_end((GREETING, *HELO, *ENVELOPE, HALF))[:-1]
    ((kind, cause, ending),) = told([*packets, *packets[-1:] * 3], tmp_path)
    assert (kind, cause) == ("held", "the client's data is not acknowledged")
    assert ending == "sent 4 times; for 0.0 s, until the capture ends"


def test_syn_without_an_answer_and_syn_that_is_refused(tmp_path: Path) -> None:
    syn = conversation(())[0]
    (finding,) = told([syn, syn], tmp_path, SIX_SECONDS)
    assert finding == ("held", "no answer to the SYN", "for 6.0 s, until the capture ends")
    refused = datagram("<", "RA", 0, 1001, port=40_001)
    (finding,) = told([syn, refused], tmp_path)
    assert finding[:2] == ("noted", "the server refuses the connection")


REFUSALS = [
    (("<", b"554 5.7.1 not from you\r\n"), (), "refused by the server: greeting"),
    (("<", b"421 4.3.2 too busy\r\n"), (), "the server ends the session: 421"),
    (
        GREETING,
        (*HELO, ENVELOPE[0], ("<", b"530 5.7.0 Must issue a STARTTLS command first\r\n")),
        "the server requires TLS",
    ),
    (
        GREETING,
        (*HELO, ENVELOPE[0], ("<", b"451 4.7.1 later\r\n")),
        "refused by the server: MAIL",
    ),
    (
        GREETING,
        (*HELO, *ENVELOPE[:3], ("<", b"550-no\r\n550 5.1.1 nobody here\r\n")),
        "refused by the server: RCPT",
    ),
    (
        GREETING,
        (*HELO, *ENVELOPE, MAIL[0], ("<", b"554 5.6.0 spam\r\n")),
        "refused by the server: the message",
    ),
    (
        GREETING,
        (
            *EHLO,
            (">", b"AUTH LOGIN\r\n"),
            ("<", b"334 VXNlcm5hbWU6\r\n"),
            (">", b"dXNlcg==\r\n"),
            ("<", b"535 5.7.8 no\r\n"),
        ),
        "refused by the server: AUTH",
    ),
]


@pytest.mark.parametrize(
    ("greeting", "rest", "cause"), REFUSALS, ids=[each[2] for each in REFUSALS]
)
def test_refusal_is_named_with_the_servers_words(
    greeting: tuple[str, bytes], rest: tuple[tuple[str, bytes], ...], cause: str, tmp_path: Path
) -> None:
    dialogue = (greeting, *rest, *QUIT)
    finding = next(
        each for each in found(conversation(dialogue), tmp_path) if each["cause"] == cause
    )
    assert finding["kind"] == "noted"
    number = 4 + 2 * (len(dialogue) - len(QUIT) - 1)
    assert finding["packet"] == number
    assert finding["answer"] == dialogue[-len(QUIT) - 1][1].decode().splitlines()[-1]


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    ("size", "first"), [(1_000, "look at the path MTU"), (300, "look for a firewall")]
)
def test_lost_data_is_told_with_its_sizes(size: int, first: str, six: bool, tmp_path: Path) -> None:
    line = b"X" * (size - 2) + b"\r\n"
    packets = conversation((GREETING, *HELO, *ENVELOPE, (">", line), (">", line + line)), six=six)
    lost, after = packets[-7], packets[-5]
    path = tmp_path / "mail.pcap"
    path.write_bytes(pcap([*packets[:-7], lost, after, *[lost] * 5], 101))
    text = replayed(path)
    least, largest = len(lost), max(len(p) for p in packets[:-7] if from_client(p))
    assert (
        f"    bytes of the packets that are not acknowledged: {least:,} to {len(after):,};"
        f" the largest that was has {largest:,}\n"
    ) in text
    assert f"    cure: {first}" in text


@pytest.mark.parametrize(
    "lines",
    [
        ((">", b"EHLO client.example.net\r\n"), ("<", b"502 5.5.1 what\r\n"), *HELO),
        (*HELO, (">", b"VRFY a\r\n"), ("<", b"550 5.1.1 nobody\r\n")),
        (*HELO, (">", b"HELP\r\n"), ("<", b"502 5.5.1 no\r\n")),
    ],
)
def test_refusal_of_what_mail_does_not_need_is_none(
    lines: tuple[tuple[str, bytes], ...], tmp_path: Path
) -> None:
    dialogue = (GREETING, *lines, *ENVELOPE, *MAIL, *QUIT)
    assert told(conversation(dialogue), tmp_path) == []


def test_text_says_that_the_filter_did_nothing_and_who_did(tmp_path: Path) -> None:
    path = tmp_path / "mail.pcap"
    path.write_bytes(pcap(conversation((GREETING, *REFUSALS[4][1], *QUIT)), 101))
    text = replayed(path)
    lead = text[: text.index("what happened")]
    assert "nothing was closed or held" in lead
    assert "command RCPT TO:<b@example.net>" in lead
    assert "the server's answer: 550 5.1.1 nobody here" in lead
    assert "docs/troubleshooting.md#refused" in lead
    assert "packet 16  refused by the server: RCPT: 550 5.1.1 nobody here" in text


def test_no_secret_is_in_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "mail.pcap"
    path.write_bytes(pcap(conversation((GREETING, *REFUSALS[6][1], *QUIT)), 101))
    assert "dXNlcg" not in replayed(path) + replayed(path, "--json")


def test_packets_that_are_all_there_twice_are_said_to_be(tmp_path: Path) -> None:
    twice = [packet for packet in conversation(CLEAN) for _ in range(2)]
    causes = [cause for _, cause, _ in told(twice, tmp_path)]
    assert causes == ["captured twice: the same packets, on one side"]


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_forged_reset_is_not_a_farewell(six: bool, tmp_path: Path) -> None:
    packets = conversation(CLEAN, six=six)
    packets.insert(8, datagram("<", "R", 99_999, 0, port=40_001, six=six))
    assert told(packets, tmp_path) == []


@pytest.mark.parametrize("size", [41, 45, 59])
def test_broken_packet_that_monitor_mode_lets_pass_is_no_fault(size: int, tmp_path: Path) -> None:
    packets = conversation(CLEAN)
    packets.insert(8, packets[8][:size])
    path = tmp_path / "mail.pcap"
    path.write_bytes(pcap(packets, 101))
    assert "1 of 1 connection" not in replayed(path, "--monitor").partition("what happened")[0]


@pytest.mark.parametrize("verb", [b"BDAT 5 LAST", b"STARTTLS"])
def test_server_that_does_not_know_what_the_filter_masks_refuses_nothing(
    verb: bytes, tmp_path: Path
) -> None:
    dialogue = (
        GREETING, *EHLO, (">", verb + b"\r\n"), ("<", b"500 5.5.1 what\r\n"), *ENVELOPE, *MAIL, *QUIT
    )  # fmt: skip
    causes = [cause for _, cause, _ in told(conversation(dialogue), tmp_path)]
    assert not [cause for cause in causes if "refused" in cause]


def test_mail_that_is_over_is_in_no_finding(tmp_path: Path) -> None:
    dialogue = (GREETING, *HELO, *ENVELOPE, *MAIL, (">", b"NOOP\r\n"))
    packets = conversation(dialogue)[: 1 - FINS]
    (finding,) = found(packets, tmp_path, after=SIX_SECONDS)
    assert finding["cause"] == "no reply to NOOP"
    assert "mail" not in finding
