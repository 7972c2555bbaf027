"""A server that does not answer, and a client that ends its lines in a bare LF: the running filter
says what waits."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from nfinspect.lab.dialogue import ClientConnection, RecordingServer, Script
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from tests.end_to_end.ends import IPV4, queue

PATIENCE = 15.0
"""Seconds within which a wait of five seconds must have been reported."""


class SlowScript(Script):
    """Answers NOOP only once the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = threading.Event()

    def reply(self, line: bytes) -> bytes:
        if line == b"NOOP":
            self.answer.wait(2 * PATIENCE)
        return super().reply(line)


@pytest.fixture
def running(plain_lab: Lab) -> Iterator[RunningFilter]:
    """The filter, with its events as JSON lines."""
    filter_ = plain_lab.filter(arguments=["--json"])
    yield filter_
    filter_.end()


def events(running: RunningFilter) -> list[dict[str, object]]:
    found = [json.loads(line) for line in running.counters]
    return [each for each in found if each.get("event") in ("reply-awaited", "line-unended")]


def counts(lab: Lab) -> tuple[int, int, int, int]:
    state = queue(lab)
    names = ("replies_awaited_now", "replies_awaited", "unended_lines_now", "unended_lines")
    return tuple(state[name] for name in names)


def test_what_waits_is_an_event_and_a_count_until_it_ends(
    plain_lab: Lab, running: RunningFilter
) -> None:
    script = SlowScript()
    with (
        RecordingServer(plain_lab, IPV4.server, script) as server,
        ClientConnection.open(plain_lab, IPV4.server) as waiting,
        ClientConnection.open(plain_lab, IPV4.server) as typing,
        ClientConnection.open(plain_lab, IPV4.server) as idle,
    ):
        for client in (waiting, typing, idle):
            assert client.reply().startswith("220")
        assert waiting.command("HELO a").startswith("250")
        assert idle.command("HELO a").startswith("250")
        idle.send(b"NOOP\r\n")
        waiting.send(b"NOOP\r\n")
        waiting.send(b"QUIT\r\n")
        typing.send(b"HELO me\n")
        assert running.wait(lambda: len(events(running)) == 2, PATIENCE)
        reply, line = sorted(events(running), key=lambda event: event["event"], reverse=True)
        assert (reply["event"], reply["line"], reply["awaits"], reply["count"]) == (
            "reply-awaited", "QUIT", "reply to NOOP", 6,
        )  # fmt: skip
        assert (line["event"], line["line"]) == ("line-unended", "HELO me")
        assert counts(plain_lab) == (1, 1, 1, 1)
        assert [bytes(each.received) for each in server.recordings].count(
            b"HELO a\r\nNOOP\r\n"
        ) == 2

        script.answer.set()
        typing.send(b"\r\n")
        assert waiting.reply().startswith("250")
        assert waiting.reply().startswith("221")
        assert typing.reply().startswith("250")
        assert counts(plain_lab) == (0, 1, 0, 1)
    assert len(events(running)) == 2
