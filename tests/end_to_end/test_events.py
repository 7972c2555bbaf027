"""The live filter's events in a file beside syslog, and a replay of what tcpdump captures meanwhile."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from nfinspect.lab.dialogue import ClientConnection, RecordingServer
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import FILTER, SERVER_ADDRESS

LONG = b"X-Long: " + b"a" * 1192 + b"\r\n\r\n"

SCHEMA = Path(__file__).parents[2] / "docs/events.schema.json"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(offloads=False) as made:
        yield made


def closed_session(lab: Lab) -> None:
    """A mail whose header line is too long."""
    with (
        RecordingServer(lab, SERVER_ADDRESS),
        ClientConnection.open(lab, SERVER_ADDRESS) as client,
    ):
        client.reply()
        for command in ("EHLO client.example", "MAIL FROM:<a@example>", "RCPT TO:<b@example>"):
            client.command(command)
        client.command("DATA")
        client.send(b"Message-ID: <1@example>\r\n" + LONG)
        time.sleep(0.5)


def test_events_are_in_the_file_while_stdout_gets_syslog(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    running = lab.filter(arguments=["--json-file", str(path)])
    closed_session(lab)
    assert running.wait(lambda: any("507003" in line for line in running.syslog), 5)
    running.stop()
    events = [json.loads(line) for line in path.read_text().splitlines()]
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for event in events:
        validator.validate(event)
    kinds = [event["event"] for event in events]
    assert {"connection-built", "keywords-hidden", "clause-matched", "inspection-closed"} <= set(
        kinds
    )
    found = next(
        event
        for event in events
        if event["event"] == "clause-matched" and event["action"] == "drop-connection"
    )
    assert found["evidence"] == {
        "what": "header field", "text": "X-Long", "measured": 1200, "allowed": 998,
    }  # fmt: skip
    assert found["mail"] == {
        "sender": "MAIL FROM:<a@example>", "recipient": "RCPT TO:<b@example>", "recipients": 1,
        "message_id": "<1@example>",
    }  # fmt: skip


def test_what_tcpdump_captures_is_reported_at_the_signal_that_ends_both(lab: Lab) -> None:
    running = lab.filter()
    replay = shlex.join([sys.executable, "-m", "nfinspect", "replay", "-"])
    capture = "tcpdump -n -i outside -U -w - -Z root --immediate-mode tcp port 25"
    process = lab.popen(FILTER, ["sh", "-c", f"{capture} | {replay}"])
    try:
        assert process.stderr is not None
        while "listening" not in process.stderr.readline():
            pass
        closed_session(lab)
        assert process.stdout is not None
        first = process.stdout.readline()
        assert "closed at packet" in first
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        report = process.stdout.read()
    finally:
        process.kill()
        process.wait(10)
    running.stop()
    assert "match header line length gt 998: 1 of 1 connection" in report
    assert "header field X-Long (1,200 bytes, 998 allowed)" in report
