"""What an operator reads first: the lead, a selection of connections, the dialogue, and a capture that
is still being made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from nfinspect import cli
from nfinspect.audit.catalogue import explained
from nfinspect.cli import replay_text
from nfinspect.events import CloseCause, CommandMaskReason
from nfinspect.policy.criteria import Criterion
from tests.capture.recorded import (
    CLEAN,
    EHLO,
    ENVELOPE,
    GREETING,
    HEADER,
    HELO,
    LONG,
    MAIL,
    QUIT,
    conversation,
    from_client,
    replayed,
)
from tests.property.test_captures import with_checksums
from tests.unit.replay.stand_in import pcap

ROOT = Path(__file__).parents[2]
LEFT = LONG[: -len(QUIT)]
"""Without QUIT: the connection is closed before."""
ODD = ((">", b"XFOO bar\r\n"), ("<", b"500 5.5.1 what\r\n"))


def capture(path: Path, packets: list[bytes]) -> Path:
    path.write_bytes(pcap(packets, 101))
    return path


def mixed(path: Path, clean: int = 20) -> Path:
    """Many clean connections, and in the middle one that is closed and one with a masked verb."""
    packets = [p for n in range(clean) for p in conversation(CLEAN, port=41_000 + n)]
    packets += conversation(LEFT, port=50_001)
    packets += conversation((GREETING, *HELO, *ODD, *QUIT), port=50_002)
    packets += [p for n in range(clean) for p in conversation(CLEAN, port=42_000 + n)]
    return capture(path, packets)


# --- The lead


def test_report_leads_with_what_was_closed_and_where(tmp_path: Path) -> None:
    text = replayed(mixed(tmp_path / "mixed.pcap"))
    lead = text[: text.index("what happened")]
    assert lead.index("closed by inspection") < lead.index("commands masked")
    assert f"  {HEADER}: 1 of 42 connections\n    connection 21, packet 662\n" in lead
    assert "  unknown command: 1 of 42 connections\n    connection 22, packet 678\n" in lead
    assert "docs/troubleshooting.md#header-lines" in lead
    assert len(lead.splitlines()) < 20


def test_clean_capture_says_that_nothing_was_found(tmp_path: Path) -> None:
    text = replayed(capture(tmp_path / "clean.pcap", conversation(CLEAN)))
    assert "nothing was closed or held, nothing masked but greetings and EHLO replies" in text
    assert "cure" not in text


def test_report_of_many_connections_lists_those_with_findings_and_ends_with_a_verdict(
    tmp_path: Path,
) -> None:
    text = replayed(mixed(tmp_path / "mixed.pcap"))
    table = text[text.index("\nconnections\n") : text.index("\nsyslog\n")]
    assert "192.0.2.1:50001" in table
    assert "192.0.2.1:50002" in table
    assert "192.0.2.1:41000" not in table
    assert "  40 connections, nothing to say; --json has them all\n" in table
    said = f"closed by inspection: {HEADER}: 1 of 42 connections; 1 other finding above"
    assert text.endswith(f"\nverdict\n  {said}\n")


def test_verdict_of_clean_connections_is_the_clean_sentence(tmp_path: Path) -> None:
    packets = [p for n in range(50) for p in conversation(CLEAN, port=41_000 + n)]
    text = replayed(capture(tmp_path / "clean.pcap", packets))
    assert "connections\n  50 connections, nothing to say; --json has them all\n\nsyslog" in text
    assert text.endswith("and everything was inspected to its end\n")


@pytest.mark.parametrize("sides", ["one", "both", "mixed", "monitor"])
def test_heading_says_closed_only_of_what_was_seen_to_be(sides: str, tmp_path: Path) -> None:
    packets, options = conversation(LEFT), ["--monitor"] * (sides == "monitor")
    if sides in ("one", "mixed"):
        packets = [packet for packet in packets if packet[22:24] == b"\0\x19"]
    if sides == "mixed":
        packets += conversation(LEFT, port=40_002)
    text = replayed(*options, capture(tmp_path / "long.pcap", packets))
    heading = {
        "both": "\nclosed by inspection\n",
        "mixed": "\nclosed by inspection, or would have been\n",
    }.get(sides, "\nwould have been closed by inspection\n")
    assert heading in lead_of(text)


def test_close_names_its_clause(tmp_path: Path) -> None:
    text = replayed(capture(tmp_path / "long.pcap", conversation(LEFT)))
    assert f"at a packet from the client (cause: {HEADER})\n" in text


def test_rewritten_packets_are_told_apart(tmp_path: Path) -> None:
    packets = conversation(CLEAN)
    packets[5] = with_checksums(packets[5][:8] + b"\x20" + packets[5][9:])
    later = sum(from_client(packet) for packet in packets[6:])
    text = replayed(capture(tmp_path / "ttl.pcap", packets))
    said = f"{1 + later} rewritten: 1 in their data, and {later} in nothing but their headers"
    assert said in text


def test_closed_connection_beyond_the_listed_ones_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_text, "MOST_CONNECTIONS", 2)
    text = replayed(mixed(tmp_path / "mixed.pcap"))
    assert "connection 21, 192.0.2.1:50001" in text[text.index("what happened") :]


def test_65_closed_among_many_fit_on_one_screen(tmp_path: Path) -> None:
    packets = []
    for number in range(650):
        dialogue = LEFT if number % 10 == 3 else (GREETING, *QUIT)
        packets += conversation(dialogue, port=10_000 + number)
    text = replayed(capture(tmp_path / "many.pcap", packets))
    lead = text[: text.index("what happened")]
    assert f"{HEADER}: 65 of 650 connections" in lead
    assert all(f" {number + 1}/" in lead for number in range(650) if number % 10 == 3)
    assert sum(1 + len(line) // 80 for line in lead.splitlines()) < 40


CAUSES = (
    *(f"match {criterion.value}" for criterion in Criterion),
    *(cause.value for cause in CloseCause if cause is not CloseCause.CLAUSE),
    *(reason.value for reason in CommandMaskReason),
)


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_has_a_cure(cause: str) -> None:
    known = explained(cause)
    assert known is not None
    assert known.cure


# --- A selection


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--only", "closed"], [21]),
        (["--only", "masked"], [22]),
        (["--only", "masked", "--only", "closed"], [21, 22]),
        (["--only", "held"], []),
        (["--client", "192.0.2.0/24", "--only", "closed"], [21]),
        (["--client", ":50002"], [22]),
        (["--client", "192.0.2.1:50001"], [21]),
        (["--client", "198.51.100.25"], []),
        (["--server", "198.51.100.25:25", "--client", "[192.0.2.1]:50001"], [21]),
        (["--server", "2001:db8::/32"], []),
    ],
)
def test_selection_reports_on_these_connections_only(
    options: list[str], numbers: list[int], tmp_path: Path
) -> None:
    path = mixed(tmp_path / "mixed.pcap")
    report = json.loads(replayed(path, "--json", *options))
    assert [connection["number"] for connection in report["connections"]] == numbers
    built = [line for line in report["syslog"] if "302013" in line]
    assert len(built) == len(numbers)
    named = {n for finding in report["summary"]["findings"] for n, _ in finding["places"]}
    assert named == set(numbers)
    assert report["summary"]["connections"] == 42
    assert f"reported on: {len(numbers)} of 42 connections" in replayed(path, *options)


@pytest.mark.parametrize("end", ["", "nowhere", "192.0.2.1:99999", "[192.0.2.1"])
def test_end_that_is_none_is_a_usage_error(end: str, tmp_path: Path) -> None:
    path = capture(tmp_path / "mail.pcap", conversation(CLEAN))
    done = CliRunner().invoke(cli.main, ["replay", str(path), "--client", end])
    assert done.exit_code == 2
    assert "is no address, network or [ADDRESS]:PORT" in done.output


# --- Another port


def test_another_port_is_inspected_as_the_policys(tmp_path: Path) -> None:
    packets = [with_port(packet, 2525) for packet in conversation(LEFT)]
    path = capture(tmp_path / "port.pcap", packets)
    assert json.loads(replayed(path, "--json"))["connections"] == []
    report = json.loads(replayed(path, "--json", "--inspect-port", 2525, "--checksums", "ignore"))
    assert report["connections"][0]["close_reason"] == "Flow closed by inspection"
    assert report["summary"]["ports"] == [25, 2525]


def with_port(packet: bytes, port: int) -> bytes:
    """The packet with another server port."""
    at = 20 if packet[20:22] == b"\x00\x19" else 22
    return packet[:at] + port.to_bytes(2, "big") + packet[at + 2 :]


# --- The dialogue


def dialogue_of(path: Path, number: int) -> str:
    text = replayed(path, "--dialogue", number)
    begin = text.index(f"dialogue of connection {number}")
    return text[begin : text.index("\nconnections\n", begin)]


def test_dialogue_shows_both_sides_of_one_connection(tmp_path: Path) -> None:
    text = dialogue_of(mixed(tmp_path / "mixed.pcap"), 22)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "678 XFOO bar → XXXXXXXX masked" in lines
    assert "674 HELO client.example.net → HELO client.example.net passed" in lines
    assert all(len(line) <= 80 for line in text.splitlines())


def test_dialogue_without_a_number_shows_every_selected_connection(tmp_path: Path) -> None:
    path = mixed(tmp_path / "mixed.pcap")
    text = replayed("--only", "closed", "--only", "masked", "--dialogue", path)
    assert "dialogue of connection 21\n" in text
    assert "dialogue of connection 22\n" in text
    assert text.count("dialogue of") == 2


def test_line_at_which_it_was_closed_is_shown_as_dropped(tmp_path: Path) -> None:
    text = dialogue_of(mixed(tmp_path / "mixed.pcap"), 21)
    assert "dropped" in text[text.index("X-Long:") :].splitlines()[0]


def test_long_message_is_shown_by_its_ends(tmp_path: Path) -> None:
    body = b"".join(b"line %d\r\n" % number for number in range(500))
    mail = (">", b"Subject: a\r\n\r\n" + body + b".\r\n")
    talk = (GREETING, *HELO, *ENVELOPE, mail, MAIL[1], *QUIT)
    text = dialogue_of(capture(tmp_path / "mail.pcap", conversation(talk)), 1)
    assert "… 497 more lines of the" in text
    assert "line 499" in text
    assert "line 250" not in text


@pytest.mark.parametrize("early", [False, True])
def test_dialogue_shows_no_credential(early: bool, tmp_path: Path) -> None:
    auth: tuple[tuple[str, bytes], ...] = (
        (">", b"AUTH LOGIN\r\n"), ("<", b"334 VXNlcm5hbWU6\r\n"),
        (">", b"dXNlcg==\r\n"), ("<", b"334 UGFzc3dvcmQ6\r\n"),
        (">", b"c2VjcmV0\r\n"), ("<", b"535 no\r\n"),
        (">", b"AUTH PLAIN AGEAc2VjcmV0\r\n"), ("<", b"235 ok\r\n"),
    )  # fmt: skip
    if early:
        auth = ((">", b"AUTH LOGIN\r\ndXNlcg==\r\nc2VjcmV0\r\n"), *auth[1:2], *auth[3:4], auth[5])
    talk = (GREETING, *EHLO, *auth, *ENVELOPE, *MAIL, *QUIT)
    path = capture(tmp_path / "auth.pcap", conversation(talk))
    text = replayed(path, "--dialogue")
    assert "RCPT TO:<b@example.net>" in text
    for secret in ("dXNlcg", "c2VjcmV0", "AGEAc2"):
        assert secret not in text


def test_dialogue_ends_where_tls_begins(tmp_path: Path) -> None:
    tls = ((">", b"STARTTLS\r\n"), ("<", b"220 go\r\n"), (">", b"\x16\x03\x01secret\r\n"))
    talk = (GREETING, *EHLO, *tls)
    text = dialogue_of(capture(tmp_path / "tls.pcap", conversation(talk)), 1)
    assert "… TLS: nothing of what" in text
    assert "secret" not in text


def test_dialogue_with_json_is_a_usage_error(tmp_path: Path) -> None:
    path = capture(tmp_path / "mail.pcap", conversation(CLEAN))
    done = CliRunner().invoke(cli.main, ["replay", str(path), "--dialogue", "--json"])
    assert done.exit_code == 2


# --- A capture that is still being made


def begin(*options: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "nfinspect", "replay", "-", *options]
    return subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_connections_of_a_pipe_are_reported_as_they_end_and_the_rest_at_sigint() -> None:
    packets = [*conversation(LEFT, port=40_001), *conversation(CLEAN, port=40_002)]
    run = begin()
    assert run.stdin
    assert run.stdout
    try:
        run.stdin.write(pcap(packets, 101))
        run.stdin.flush()
        closed, finished = run.stdout.readline(), run.stdout.readline()
        assert closed.startswith(b"connection 1, 192.0.2.1:40001 to 198.51.100.25:25:")
        assert b"closed at packet 22: " + HEADER.encode() in closed
        assert finished.rstrip().endswith(b"TCP FINs")
        run.send_signal(signal.SIGINT)
        rest = run.stdout.read().decode()  # stdin is still open
        assert run.wait(20) == 0
    finally:
        run.kill()
        run.communicate()
    assert rest.startswith(f"stdin: {len(packets)} packets\n")
    assert f"{HEADER}: 1 of 2 connections" in rest


def test_what_the_writer_sends_at_its_end_is_in_the_report() -> None:
    data = pcap(conversation(LEFT), 101)
    run = begin("--json")
    assert run.stdin
    assert run.stdout
    try:
        run.stdin.write(data[:200])
        run.stdin.flush()
        time.sleep(1.5)  # it is reading
        run.send_signal(signal.SIGINT)
        run.stdin.write(data[200:])
        run.stdin.close()
        report = json.loads(run.stdout.read())
        assert run.wait(20) == 0
    finally:
        run.kill()
        run.wait()
    assert report["connections"][0]["close_reason"] == "Flow closed by inspection"


@pytest.mark.parametrize("columns", [80, 140])
def test_report_on_a_terminal_is_as_wide_as_the_terminal(columns: int, tmp_path: Path) -> None:
    path = mixed(tmp_path / "mixed.pcap")
    shown = on_terminal([str(path), "--dialogue", "21"], columns)
    report = shown[: shown.index("\nsyslog\n")]
    assert max(map(len, report.splitlines()[1:])) <= columns  # the first has the path
    assert HEADER in report


def on_terminal(arguments: list[str], columns: int) -> str:
    """What a terminal gets, without colours."""
    master, slave = os.openpty()
    words = [sys.executable, "-m", "nfinspect", "replay", *arguments]
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    run = subprocess.Popen(words, cwd=ROOT, stdout=slave, env=environment)
    os.close(slave)
    data = b""
    try:
        while piece := os.read(master, 65536):
            data += piece
    except OSError:
        pass  # the other end is closed
    finally:
        run.wait(20)
        os.close(master)
    for code in (b"\x1b[1m", b"\x1b[0m", b"\x1b[2m", b"\x1b[3m"):
        data = data.replace(code, b"")
    return data.decode().replace("\r\n", "\n")


# --- TLS


@pytest.mark.parametrize("mail", [False, True])
def test_client_that_leaves_after_starttls_was_hidden_is_noticed(
    mail: bool, tmp_path: Path
) -> None:
    talk = (GREETING, *EHLO, *(ENVELOPE if mail else ()), *(MAIL if mail else ()), *QUIT)
    text = replayed(capture(tmp_path / "tls.pcap", conversation(talk)))
    assert ("STARTTLS hidden, and no mail followed: 1 of 1" in text) is not mail
    assert "hidden from the client in the reply to EHLO: STARTTLS" in text


def test_dialogue_of_a_long_connection_is_bounded_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nfinspect.replay.dialogue.MOST_SEGMENTS", 8)
    text = dialogue_of(capture(tmp_path / "mail.pcap", conversation(CLEAN)), 1)
    assert "the connection is longer" in text
    assert "MAIL FROM" in text
    assert "QUIT" not in text


def test_closed_stdin_is_an_error_of_one_line() -> None:
    words = f"{sys.executable} -m nfinspect replay - <&-"
    done = subprocess.run(["sh", "-c", words], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "nfinspect: error: stdin: Bad file descriptor\n"


@pytest.mark.parametrize(
    ("sent", "cause"),
    [
        ((b"MAIL FROM:<a@example.net>\n",), "wrong command termination"),
        ((b"MA", b"IL FROM:<a@example.net>\r\n"), "incomplete command"),
    ],
)
def test_command_masked_before_its_line_ended_is_named(
    tmp_path: Path, sent: tuple[bytes, ...], cause: str
) -> None:
    dialogue = (GREETING, *HELO, *((">", part) for part in sent), ("<", b"250 Ok\r\n"), *QUIT)
    text = replayed(capture(tmp_path / "masked.pcap", conversation(dialogue)))
    lead = text[: text.index("what happened")]
    assert (
        f"{cause}: 1 of 1 connection\n    connection 1, packet 10\n    command MAIL FROM:" in lead
    )


def test_client_that_was_refused_auth_did_not_leave_for_want_of_tls(tmp_path: Path) -> None:
    refused = ((">", b"AUTH PLAIN AGEAYg==\r\n"), ("<", b"535 5.7.8 no\r\n"))
    dialogue = (GREETING, *EHLO, *refused, *QUIT)
    text = replayed(capture(tmp_path / "auth.pcap", conversation(dialogue)))
    assert "STARTTLS" in text
    assert "no mail followed" not in text


def test_what_it_means_that_inspection_ends_is_said(tmp_path: Path) -> None:
    packets = conversation(CLEAN)
    hole = replayed(capture(tmp_path / "hole.pcap", packets[:11] + packets[13:]))
    assert (
        "unseen data; the receiver acknowledged bytes that never came through the filter, or are not"
        in hole
    )
    late = replayed(capture(tmp_path / "late.pcap", packets[16:]))
    assert "older than the filter; its SYN was not seen" in late
    odd = (GREETING, *EHLO, (">", b"XFOO bar\r\n"), ("<", b"250 Ok\r\n"), *QUIT)
    without = replayed(capture(tmp_path / "without.pcap", conversation(odd)))
    assert "filter; the server accepted a command that would have been masked here\n" in without


def test_report_says_that_a_capture_was_cut(tmp_path: Path) -> None:
    file = capture(tmp_path / "cut.pcap", conversation(CLEAN))
    file.write_bytes(file.read_bytes()[:-5])
    done = CliRunner().invoke(cli.main, ["replay", str(file)], prog_name="nfinspect")
    assert done.exit_code == 1
    assert f"{file}: {len(conversation(CLEAN)) - 1} packets, not read to its end\n" in done.stdout


def test_mail_after_recorded_tls_is_not_said_to_be_missing(tmp_path: Path) -> None:
    tls = ((">", b"STARTTLS\r\n"), ("<", b"220 go\r\n"), (">", b"\x16\x03\x01\0\x02ab"))
    text = replayed(capture(tmp_path / "tls.pcap", conversation((GREETING, *EHLO, *tls))))
    assert "unknown command: 1 of 1 connection" in text
    assert "no mail followed" not in text


def test_long_addresses_are_not_broken_in_a_pipe(tmp_path: Path) -> None:
    packets = conversation((GREETING, *HELO, *QUIT), six=True)
    client, server = (
        bytes.fromhex("20010db8" + "11112222" * 3),
        bytes.fromhex("20010db8" + "33334444" * 3),
    )
    short = packets[0][8:24], packets[0][24:40]
    long = dict(zip(short, (client, server), strict=True))
    moved = [p[:8] + long[p[8:24]] + long[p[24:40]] + p[40:] for p in packets]
    text = replayed("--checksums", "ignore", capture(tmp_path / "six.pcap", moved))
    assert ":40001 to [2001:db8:3333:4444:3333:4444:3333:4444]:25\n" in text


@pytest.mark.parametrize(
    ("follows", "before"),
    [
        ((">", b"HELP me\r\nNOOP\r\n"), "a reply without a numeric code"),
        ((">", b"EXPN\r\n"), "unknown command"),
    ],
)
def test_that_a_client_left_for_want_of_tls_stands_behind_what_else_was_found(
    follows: tuple[str, bytes], before: str, tmp_path: Path
) -> None:
    talk = [GREETING, *EHLO, follows]
    if "reply" in before:
        talk.append(("<", b"what?\r\n"))
    path = capture(tmp_path / "tls.pcap", conversation(tuple(talk)))
    lead = lead_of(replayed(path))
    assert lead.index(before) < lead.index("STARTTLS hidden, and no mail followed")
    causes = [
        found["cause"]
        for found in json.loads(replayed(path, "--json"))["connections"][0]["findings"]
    ]
    assert (causes[0], causes[-1]) == (before, "STARTTLS hidden, and no mail followed")


def test_close_is_reason_enough_for_no_mail(tmp_path: Path) -> None:
    talk = (GREETING, *EHLO, (">", b"NOOP " + b"a" * 600 + b"\r\n"))
    text = replayed(capture(tmp_path / "tls.pcap", conversation(talk)))
    assert "match cmd line length gt 512: 1 of 1" in text
    assert "no mail followed" not in text


def test_354_that_closes_is_one_finding(tmp_path: Path) -> None:
    talk = (GREETING, *HELO, (">", b"NOOP\r\n"), ("<", b"354 go\r\n"))
    lead = lead_of(replayed(capture(tmp_path / "354.pcap", conversation(talk))))
    assert "  unasked-354: 1 of 1 connection\n" in lead
    assert "    reply 354 go\n" in lead
    assert "354 without DATA:" not in lead


def test_clean_sentence_points_to_what_is_noticed(tmp_path: Path) -> None:
    text = replayed(capture(tmp_path / "tls.pcap", conversation((GREETING, *EHLO, *QUIT))))
    assert "nothing masked but greetings and EHLO replies; but see below\n" in text
    assert "inspected to its end" not in lead_of(text)


def test_what_is_normal_has_a_note_and_no_cure(tmp_path: Path) -> None:
    tls = ((">", b"STARTTLS\r\n"), ("<", b"220 go\r\n"), (">", b"\x16\x03\x01\0\x02ab"))
    path = capture(tmp_path / "tls.pcap", conversation((*OFFERED, *tls)))
    lead = lead_of(replayed(path))
    assert "    note: what would have followed cannot be known (docs/" in lead
    (tmp_path / "tls.cfg").write_text(ALLOW_TLS)
    lead = lead_of(replayed(path, "--config", tmp_path / "tls.cfg"))
    assert "    note: 'no allow-tls' keeps TLS out" in lead
    assert "cure" not in lead


# --- Commands that are masked


def test_masked_command_that_another_finding_explains_points_to_it(tmp_path: Path) -> None:
    refused = ((">", b"STARTTLS\r\n"), ("<", b"454 not now\r\n"))
    path = capture(tmp_path / "tls.pcap", conversation((*OFFERED, *refused, *QUIT)))
    lead = lead_of(replayed(path))
    masked, _, noticed = lead.partition("\nnoticed\n")
    assert "    command STARTTLS\n    see 'used, although hidden: STARTTLS' below" in masked
    assert "cure" not in masked
    assert "    cure: 'allow-tls' (docs/troubleshooting.md#no-tls)\n" in noticed
    said = "noticed: used, although hidden: STARTTLS: 1 of 1 connection; 3 other findings above"
    assert replayed(path).endswith(f"\nverdict\n  {said}\n")


def test_verb_masked_before_the_greeting_points_to_what_explains_it(tmp_path: Path) -> None:
    proxy = (">", b"PROXY TCP4 192.0.2.9 198.51.100.25 4000 25\r\n")
    path = capture(tmp_path / "proxy.pcap", conversation((proxy, GREETING, *HELO, *QUIT)))
    masked = lead_of(replayed(path)).partition("\nnoticed\n")[0]
    assert "    see 'sent before the greeting' below" in masked
    later = (GREETING, *HELO, (">", b"XFOO\r\n"), ("<", b"500 what\r\n"), *QUIT)
    path = capture(tmp_path / "later.pcap", conversation(((">", b"NOOP\r\n"), *later)))
    lead = lead_of(replayed(path))
    assert "sent before the greeting: 1 of 1" in lead
    assert "see '" not in lead


@pytest.mark.parametrize(("verb", "tls"), [(b"STARTTLS", True), (b"XFOO", False)])
def test_cure_of_a_masked_command_names_tls_for_starttls_only(
    verb: bytes, tls: bool, tmp_path: Path
) -> None:
    refused = ((">", verb + b"\r\n"), ("<", b"500 what\r\n"))
    path = capture(tmp_path / "masked.pcap", conversation((GREETING, *HELO, *refused, *QUIT)))
    lead = lead_of(replayed(path))
    assert ("cure: 'allow-tls'" in lead) is tls
    assert ("cure: no line of the map lets this verb pass" in lead) is not tls


@pytest.mark.parametrize("verb", ["XEXCH50", "XFOO"])
def test_cure_for_a_verb_of_its_own_is_no_line_of_the_map(verb: str, tmp_path: Path) -> None:
    ehlo = ((">", b"EHLO c.example\r\n"), ("<", f"250-m.example\r\n250 {verb}\r\n".encode()))
    used = ((">", f"{verb} 12 2\r\n".encode()), ("<", b"500 no\r\n"))
    path = capture(tmp_path / "verb.pcap", conversation((GREETING, *ehlo, *used, *QUIT)))
    lead = lead_of(replayed(path))
    assert f"    behind the filter: the client would not learn of it; {verb} in spite of it" in lead
    assert (
        f"    cure: none is needed if the client goes on without it; no line of the map lets {verb} pass"
        in lead
    )
    assert "name the keyword" not in lead


def test_chunk_behind_a_masked_bdat_is_told_with_its_length_and_a_cure(tmp_path: Path) -> None:
    chunk = ((">", b"BDAT 454 LAST\r\n" + b"a" * 454), ("<", b"500 what\r\n"))
    path = capture(tmp_path / "chunk.pcap", conversation((*OFFERED, *chunk, *QUIT)))
    lead = lead_of(replayed(path))
    _, _, told = lead.partition("  chunk: 1 of 1 connection\n")
    assert "    454 bytes of mail after BDAT were masked too\n    cure: as for BDAT" in told


def lead_of(text: str) -> str:
    """The report up to its lists."""
    return text[: text.index("\nwhat happened\n" if "\nwhat happened\n" in text else "\nsyslog\n")]


# --- What is missing from the capture


def test_damage_is_in_the_lead_and_the_answer_is_said_to_be_incomplete(tmp_path: Path) -> None:
    file = capture(tmp_path / "cut.pcap", conversation(CLEAN))
    file.write_bytes(file.read_bytes()[:-5])
    words = ["replay", str(file)]
    lead = lead_of(CliRunner().invoke(cli.main, words, prog_name="nfinspect").stdout)
    assert "this answer is incomplete: not everything in the capture could be used\n" in lead
    assert f"{file}: after packet {len(conversation(CLEAN)) - 1}, byte " in lead
    assert "what is missing may hold the cause" in lead
    assert "everything was inspected to its end" not in lead
    report = json.loads(CliRunner().invoke(cli.main, [*words, "--json"]).stdout)
    assert report["summary"]["incomplete"] == [report["summary"]["captures"][0]["damage"]]


def test_damage_stands_before_what_was_found(tmp_path: Path) -> None:
    file = capture(tmp_path / "cut.pcap", conversation(LEFT))
    file.write_bytes(file.read_bytes()[:-5])
    done = CliRunner().invoke(cli.main, ["replay", str(file)], prog_name="nfinspect")
    lead = lead_of(done.stdout)
    assert lead.index("this answer is incomplete") < lead.index("closed by inspection")
    assert "may hold the cause" not in lead


def test_packets_cut_by_the_snap_length_make_the_answer_incomplete(tmp_path: Path) -> None:
    packets = conversation(CLEAN)
    data = pcap(packets[:5], 101)
    record = pcap([packets[5][:60]], 101)[24:]
    whole = record[:12] + len(packets[5]).to_bytes(4, sys.byteorder) + record[16:]
    (tmp_path / "snap.pcap").write_bytes(data + whole)
    lead = lead_of(replayed(tmp_path / "snap.pcap"))
    assert "1 packet (first 6): cut short by the capture's snap length; record with" in lead


def test_bytes_that_the_capture_does_not_have_make_the_answer_incomplete(tmp_path: Path) -> None:
    packets = conversation((GREETING, (">", b"HELO cli"), (">", b"ent.example.net\r\n")))
    held = [
        *packets[:5],
        packets[7],
    ]  # without the first half of the HELO, for which the rest waits
    lead = lead_of(replayed(capture(tmp_path / "hole.pcap", held)))
    assert "1 packet still held at the end: what should come before is not in the capture" in lead


def test_whole_capture_is_not_called_incomplete(tmp_path: Path) -> None:
    path = capture(tmp_path / "clean.pcap", conversation(CLEAN))
    assert "incomplete" not in replayed(path)
    assert json.loads(replayed(path, "--json"))["summary"]["incomplete"] == []


# --- Keywords that the client used, although the filter hides them


ALLOW_TLS = """\
policy-map type inspect esmtp mail
 parameters
  allow-tls
 match ehlo-reply-parameter others
  mask
policy-map global_policy
 class inspection_default
  inspect esmtp mail
service-policy global_policy global
"""
OFFERED = (
    ("<", b"220 mail.example.net ESMTP\r\n"),
    (">", b"EHLO client.example.net\r\n"),
    (
        "<",
        b"250-mail.example.net\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250-XCLIENT NAME\r\n"
        b"250-X-EXPS GSSAPI\r\n250-DELIVERBY\r\n250-STARTTLS\r\n250 8BITMIME\r\n",
    ),
)


@pytest.mark.parametrize(
    ("command", "keyword", "follows"),
    [
        (b"MAIL FROM:<a@example.net> BODY=8BITMIME SMTPUTF8", "SMTPUTF8", "returns this mail"),
        ("MAIL FROM:<ä@example.net>".encode(), "SMTPUTF8", "returns this mail"),
        (b"mail from:<a@example.net> by=120;R", "DELIVERBY", "would not learn of it"),
        (b"BDAT 0 LAST", "CHUNKING", "sends by DATA"),
        (b"XCLIENT ADDR=192.0.2.9", "XCLIENT", "sees the proxy's address"),
        (b"X-EXPS GSSAPI", "X-EXPS", "refuses the mail"),
        (b"STARTTLS", "STARTTLS", "unencrypted"),
    ],
)
def test_keyword_that_was_used_although_hidden_is_named_with_what_follows(
    command: bytes, keyword: str, follows: str, tmp_path: Path
) -> None:
    talk = (*OFFERED, (">", command + b"\r\n"), ("<", b"250 Ok\r\n"), *QUIT)
    path = capture(tmp_path / "used.pcap", conversation(talk))
    report = json.loads(replayed(path, "--json"))
    used = [f for f in report["connections"][0]["findings"] if "although" in f["cause"]]
    assert [(f["kind"], f["cause"], f["packet"]) for f in used] == [
        ("noted", f"used, although hidden: {keyword}", 10)
    ]
    lead = lead_of(replayed(path))
    assert (
        f"used, although hidden: {keyword}: 1 of 1 connection\n    connection 1, packet 10" in lead
    )
    assert follows in lead[lead.index("    behind the filter: ") :]


@pytest.mark.parametrize(
    "command",
    [b"MAIL FROM:<a@example.net> BODY=8BITMIME", b"NOOP SMTPUTF8", b"HELP STARTTLS", b"RSET"],
)
def test_use_of_what_is_shown_is_not_noticed(command: bytes, tmp_path: Path) -> None:
    talk = (*OFFERED, (">", command + b"\r\n"), ("<", b"250 Ok\r\n"), *QUIT)
    path = capture(tmp_path / "used.pcap", conversation(talk))
    assert "although hidden" not in replayed(path)


def test_keyword_that_the_map_shows_is_not_said_to_be_hidden(tmp_path: Path) -> None:
    tls = ((">", b"STARTTLS\r\n"), ("<", b"220 go\r\n"))
    path = capture(tmp_path / "tls.pcap", conversation((*OFFERED, *tls)))
    configuration = tmp_path / "tls.cfg"
    configuration.write_text(ALLOW_TLS)
    text = replayed(path, "--config", configuration)
    assert "the server accepted STARTTLS: TLS begins" in text
    assert "although hidden" not in text


# --- Injection behind STARTTLS


@pytest.mark.parametrize("answer", [b"220 go\r\n", b"454 not now\r\n", b"500 what\r\n250 Ok\r\n"])
@pytest.mark.parametrize("offered", [OFFERED, (GREETING, *HELO)], ids=["pipelining", "HELO"])
def test_what_follows_a_masked_starttls_in_its_packet_is_named_an_injection(
    offered: tuple[tuple[str, bytes], ...], answer: bytes, tmp_path: Path
) -> None:
    attack = (">", b"starttls\r\nRSET\r\nMAIL FROM:<evil@example.net>\r\n")
    path = capture(tmp_path / "tls.pcap", conversation((*offered, attack, ("<", answer), *QUIT)))
    report = json.loads(replayed(path, "--json"))
    (found,) = [
        each
        for each in report["connections"][0]["findings"]
        if each["cause"] == "injection behind STARTTLS"
    ]
    assert (found["kind"], found["packet"], found["count"]) == ("noted", 10, 1)
    if offered is OFFERED:
        assert found["evidence"]["text"] == "RSET"
    assert report["counters"]["starttls_injections"] == 1
    text = replayed(path)
    assert "injection behind STARTTLS: 1 of 1 connection\n    connection 1, packet 10" in text
    assert "noticed\n  injection behind STARTTLS" in text
    assert "    cure: someone sent RSET in the same packet as STARTTLS: a possible attack" in text
    assert "CVE-2011-0411" not in text or "closed by inspection" not in text


def test_client_that_waits_after_a_masked_starttls_injects_nothing(tmp_path: Path) -> None:
    refused = ((">", b"STARTTLS\r\n"), ("<", b"500 what\r\n"))
    path = capture(tmp_path / "tls.pcap", conversation((*OFFERED, *refused, *QUIT)))
    assert "injection" not in replayed(path)


def test_injection_that_closes_is_one_finding(tmp_path: Path) -> None:
    attack = (">", b"STARTTLS\r\nRSET\r\n")
    path = capture(tmp_path / "tls.pcap", conversation((*OFFERED, attack)))
    (tmp_path / "tls.cfg").write_text(ALLOW_TLS)
    report = json.loads(replayed(path, "--json", "--config", tmp_path / "tls.cfg"))
    causes = [found["cause"] for found in report["connections"][0]["findings"]]
    assert causes == ["starttls-injection"]


# --- Another inspecting firewall

BEHIND_ANOTHER = (
    ("<", b"220 ****2*****0**\r\n"),
    (">", b"EHLO client.example.net\r\n"),
    ("<", b"250-mail.example.net\r\n250-PIPELINING\r\n250-XXXXXXXA\r\n250 XXXXXB\r\n"),
)


def test_what_another_firewall_masked_is_said_with_the_packets(tmp_path: Path) -> None:
    masked = ((">", b"XXXXXXXX\r\n"), ("<", b"500 what\r\n"))
    talk = (*BEHIND_ANOTHER, *masked, *masked, *ENVELOPE, *MAIL, *QUIT)
    path = capture(tmp_path / "another.pcap", conversation(talk))
    report = json.loads(replayed(path, "--json"))
    did = {
        found["cause"]: [(each["what"], each["count"], each["packets"]) for each in found["did"]]
        for found in report["summary"]["findings"]
    }
    assert did == {
        "already masked on the server's side": [
            ("greeting masked", 1, [4]),
            ("EHLO keyword hidden", 2, [8]),
        ],
        "already masked on the client's side": [("command overwritten with X", 2, [10, 14])],
    }
    lead = lead_of(replayed(path))
    assert "    greeting masked (packet 4)\n" in lead
    assert "    EHLO keyword hidden, 2 times (packet 8)\n" in lead
    assert "    command overwritten with X, 2 times (packets 10, 14)\n" in lead
    redacted = json.loads(replayed(path, "--json", "--redact"))["summary"]["findings"]
    assert [found["did"] for found in redacted] == [
        found["did"] for found in report["summary"]["findings"]
    ]


def test_what_only_looks_masked_is_not_counted(tmp_path: Path) -> None:
    talk = (
        *BEHIND_ANOTHER,
        (">", b"NOOP XXXX\r\n"), ("<", b"250 XY Ok\r\n"),
        (">", b"HELP\r\n"), ("<", b"220 *\r\n"),
    )  # fmt: skip
    path = capture(tmp_path / "another.pcap", conversation(talk))
    (found,) = (
        each
        for each in json.loads(replayed(path, "--json"))["connections"][0]["findings"]
        if "did" in each
    )
    assert sum(each["count"] for each in found["did"]) == 3


# --- Bytes that are in the capture, and were not used


def wrong(packet: bytes) -> bytes:
    """The packet with a wrong TCP checksum."""
    return packet[:36] + bytes([packet[36] ^ 0x55]) + packet[37:]


@pytest.mark.parametrize("monitor", [(), ("--monitor",)])
def test_unseen_data_points_to_packets_with_wrong_checksums(
    monitor: tuple[str, ...], tmp_path: Path
) -> None:
    packets = conversation(CLEAN)
    path = capture(tmp_path / "wrong.pcap", [*packets[:11], wrong(packets[11]), *packets[12:]])
    lead = lead_of(replayed(path, *monitor))
    unseen = lead.index("unseen data")
    advice = "perhaps not missing: '--checksums ignore' uses the 1 packet whose checksum is wrong"
    assert lead.index(advice) > unseen
    assert "unseen data" not in replayed(path, "--checksums", "ignore")


def test_unseen_data_without_wrong_checksums_does_not_point_to_them(tmp_path: Path) -> None:
    packets = conversation(CLEAN)
    text = replayed(capture(tmp_path / "hole.pcap", packets[:11] + packets[13:]))
    assert "unseen data" in text
    assert "--checksums" not in lead_of(text)


def test_capture_all_of_which_was_dropped_points_to_the_checksums(tmp_path: Path) -> None:
    path = capture(tmp_path / "wrong.pcap", [wrong(p) for p in conversation(CLEAN)])
    lead = lead_of(replayed(path, "--checksums", "verify"))
    assert f"'--checksums ignore' uses the {len(conversation(CLEAN))} packets whose" in lead


# --- Mail on other ports


@pytest.mark.parametrize("port", [587, 2525, 10_025])
@pytest.mark.parametrize("one_sided", [False, True])
def test_capture_with_mail_on_another_port_says_which(
    port: int, one_sided: bool, tmp_path: Path
) -> None:
    packets = [with_port(packet, port) for packet in conversation(CLEAN)]
    if one_sided:
        packets = [packet for packet in packets if packet[22:24] == port.to_bytes(2, "big")]
    path = capture(tmp_path / "elsewhere.pcap", packets)
    text = replayed(path)
    assert "  no TCP on port 25, which the policy inspects\n" in text
    first = json.loads(replayed(path, "--json"))["summary"]["elsewhere"][str(port)]
    told = f"  mail on port {port} (first packet {first}): '--inspect-port {port}' inspects it\n"
    assert told in text
    inspected = replayed(path, "--inspect-port", port, "--checksums", "ignore")
    assert "mail on port" not in inspected
    assert "1 of 1 connection" in inspected or "everything was inspected to its end" in inspected


def test_mail_in_tls_from_the_first_byte_is_said_to_be_out_of_reach(tmp_path: Path) -> None:
    packets = [with_port(packet, 465) for packet in conversation(CLEAN)]
    text = replayed(capture(tmp_path / "smtps.pcap", packets))
    assert "mail on port 465 (first packet 1): TLS from the first byte" in text


def test_other_protocols_are_not_taken_for_mail(tmp_path: Path) -> None:
    talk = (
        ("<", b"220 ftp.example.net FTP ready\r\n"),
        (">", b"GET / HTTP/1.1\r\n"),
        ("<", b"250 Ok\r\n"),
    )
    packets = [with_port(packet, 21) for packet in conversation(talk)]
    path = capture(tmp_path / "ftp.pcap", [*packets, packets[3][:30], packets[5][:45]])
    assert "mail on port" not in replayed(path)
    assert json.loads(replayed(path, "--json"))["summary"]["elsewhere"] == {}


# --- A greeting that is never finished


@pytest.mark.parametrize("redact", [(), ("--redact",)])
@pytest.mark.parametrize("hello", [EHLO, HELO], ids=["EHLO", "HELO"])
@pytest.mark.parametrize(
    "greeting",
    [
        b"220 mail.example.net ESMTP",
        b"220 mail.example.net ESMTP\r",
        b"220-mail.example.net\r\n",
        b"220",
    ],
)
def test_unfinished_greeting_is_named_as_the_cause(
    greeting: bytes, hello: tuple[tuple[str, bytes], ...], redact: tuple[str, ...], tmp_path: Path
) -> None:
    talk = (("<", greeting), *hello, *ENVELOPE, *MAIL, *QUIT)
    path = capture(tmp_path / "greeting.pcap", conversation(talk))
    report = json.loads(replayed(path, "--json", *redact))
    findings = {found["cause"]: found for found in report["connections"][0]["findings"]}
    assert findings.pop("unfinished greeting")["packet"] in (4, 8)
    for found in findings.values():
        if found["kind"] != "masked" and "STARTTLS" not in found["cause"]:
            assert found["because"].startswith("unfinished greeting (packet ")
    lead = lead_of(replayed(path, *redact))
    assert "    because: unfinished greeting (packet " in lead
    assert "the server ends its greeting with CR LF" in lead
    assert "repair the server: it said 354" not in lead


@pytest.mark.parametrize(
    "greeting",
    [
        ((">", b"EHLO c.example\r\n"), ("<", b"220-wait\r\n"), ("<", b"220 mx001 ready\r\n")),
        (("<", b"220-wait\r\n"), (">", b"EHLO c.example\r\n"), ("<", b"521 5.5.1 no\r\n")),
        (("<", b"220 ma"), (">", b"EHLO c.example\r\n"), ("<", b"il.example.net ESMTP\r\n")),
        ((">", b"EHLO c.example\r\n"), ("<", b"220 host123 ready\r\n")),
    ],
)
def test_greeting_in_pieces_to_a_client_that_does_not_wait_is_finished(
    greeting: tuple[tuple[str, bytes], ...], tmp_path: Path
) -> None:
    talk = (*greeting, ("<", b"250 mail.example.net\r\n"), *QUIT)
    text = replayed(capture(tmp_path / "early.pcap", conversation(talk)))
    assert "sent early" in text
    assert "unfinished greeting" not in text


def test_client_that_waits_for_the_rest_of_a_greeting_is_told_so(tmp_path: Path) -> None:
    talk = (("<", b"220 mail.example.net ESMTP"), (">", b"EHLO client.example.net\r\n"))
    packets = conversation(talk)[:6]  # nobody acknowledges the EHLO
    lead = lead_of(replayed(capture(tmp_path / "waits.pcap", packets)))
    assert "greeting: 1 of 1 connection" in lead
    assert "    because: unfinished greeting (packet 4)\n" in lead


def test_monitor_names_in_json_what_would_have_been_dropped(tmp_path: Path) -> None:
    path = capture(tmp_path / "long.pcap", conversation(LEFT))
    report = json.loads(replayed(path, "--json", "--monitor"))
    assert report["summary"]["would_drop"] == {"inspection": 1}
    assert "dropped" not in report["summary"]
    assert report["counters"]["service_policy"][0]["would_drop"] == 1
    assert "would drop inspection: 1" in replayed(path, "--monitor")
