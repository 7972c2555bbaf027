"""``run --json-file``: events as JSON lines beside stdout."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import jsonschema
import pytest

from nfinspect.actions import DropReason
from nfinspect.audit import json_lines
from nfinspect.audit.counters import Counters
from nfinspect.audit.suppression import Suppression
from nfinspect.events import Connection, ConnectionBuilt, DuplicateSyn, Endpoint
from nfinspect.live.event_file import EventFile
from nfinspect.live.service import json_line

END = Endpoint("outside", bytes(4), 1)
CONNECTION = Connection(1, END, END)

SCHEMA = Path(__file__).parents[3] / "docs/events.schema.json"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.json"


def opened(path: Path, counters: Counters, number: int = 0) -> EventFile:
    return EventFile(path, counters, Suppression(number, 10, json_lines.kind_of), json_line, print)


def test_events_are_lines_of_the_schema_and_are_counted(path: Path) -> None:
    path.write_text("before\n")
    counters = Counters()
    file = opened(path, counters)
    file.observe(ConnectionBuilt(CONNECTION))
    file.observe(DuplicateSyn(CONNECTION))
    file.dropped(DropReason.MALFORMED)
    file.maintain()
    file.close()
    before, *lines = path.read_text().splitlines()
    assert before == "before"
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == ["connection-built", "duplicate-syn"]
    for event in events:
        jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(event)
    assert counters.built == 1
    assert counters.dropped_packets == {DropReason.MALFORMED: 1}


def test_suppressed_lines_are_summed_up_at_the_end(path: Path) -> None:
    file = opened(path, Counters(), number=1)
    for _ in range(5):
        file.observe(DuplicateSyn(CONNECTION))
    file.close()
    _, last = map(json.loads, path.read_text().splitlines())
    assert (last["event"], last["count"]) == ("lines-suppressed", 4)


def test_file_is_not_for_everybody(path: Path) -> None:
    opened(path, Counters()).close()
    assert not stat.S_IMODE(path.stat().st_mode) & 0o007


def test_file_that_cannot_be_opened_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=str(tmp_path)):
        opened(tmp_path, Counters())
