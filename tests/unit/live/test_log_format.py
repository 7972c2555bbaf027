"""Syslog lines for whoever reads them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nfinspect.live.log_format import LogFormat, message, of_reader, syslog_line

LINE = "%ASA-4-507003: tcp flow from …"
SUMMARY = "%NFINSPECT-4-SUPPRESSED: 47000 lines of message 106015 were suppressed"


def test_plain_line_is_the_message() -> None:
    assert syslog_line(LogFormat.PLAIN)(LINE) == LINE


@pytest.mark.parametrize(
    ("line", "priority"),
    [(LINE, 4), (SUMMARY, 4), ("%ASA-2-108003: x", 2), ("%ASA-6-302013: x", 6)],
)
def test_line_for_the_journal_has_its_severity(line: str, priority: int) -> None:
    assert syslog_line(LogFormat.JOURNAL)(line) == f"<{priority}>{line}"


def test_line_with_the_time_has_the_local_time_in_the_appliance_s_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    clock = iter([0.0, 0.9, 1.0, 86400.0 * 3])
    line = syslog_line(LogFormat.TIME, lambda: next(clock))
    try:
        assert [line(LINE) for _ in range(4)] == [
            f"Jan 01 1970 00:00:00: {LINE}",
            f"Jan 01 1970 00:00:00: {LINE}",
            f"Jan 01 1970 00:00:01: {LINE}",
            f"Jan 04 1970 00:00:00: {LINE}",
        ]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_format_follows_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    reader, writer = os.pipe()
    terminal, end = os.openpty()
    with (tmp_path / "log").open("w") as file, Path(os.devnull).open("w") as null:
        status = os.fstat(writer)
        assert of_reader(writer) is LogFormat.PLAIN
        assert of_reader(null.fileno()) is LogFormat.PLAIN
        assert of_reader(file.fileno()) is LogFormat.TIME
        assert of_reader(end) is LogFormat.TIME
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert of_reader(writer) is LogFormat.JOURNAL
        assert of_reader(file.fileno()) is LogFormat.TIME  # redirected by somebody else
    for each in (reader, writer, terminal, end):
        os.close(each)


@pytest.mark.parametrize(
    ("text", "priorities"),
    [
        ("nfinspect: warning: there are no rules", "<4>"),
        ("nfinspect: notice: the rules stay", "<5>"),
        ("nfinspect: error: the policy stays as it is", "<3>"),
        ("nfinspect: internal error 1: …\nTraceback", "<3><3>"),
        ("nfinspect ready, queues 0-0\n  version 1", "<6><6>"),
    ],
)
def test_each_line_of_a_message_for_the_journal_has_its_priority(
    text: str, priorities: str
) -> None:
    lines = message(LogFormat.JOURNAL, text).split("\n")
    assert "".join(line[:3] for line in lines) == priorities
    assert "\n".join(line[3:] for line in lines) == text
    assert message(LogFormat.TIME, text) == message(LogFormat.PLAIN, text) == text
