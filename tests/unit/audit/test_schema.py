"""The JSON Schema of events: documented, current, and strict."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from nfinspect.audit.json_lines import VERSION, to_json
from nfinspect.audit.schema import schema
from nfinspect.audit.suppression import LinesSuppressed
from nfinspect.events import (
    ClauseAction,
    ClauseMatched,
    Connection,
    Direction,
    Endpoint,
    Evidence,
    KeywordsHidden,
    Mail,
)

FILE = Path(__file__).parents[3] / "docs/events.schema.json"
END = Endpoint("outside", bytes(4), 1)
CONNECTION = Connection(1, END, END)
EVENT = ClauseMatched(
    CONNECTION, Direction.REQUEST, "map", 4, "header line length gt 998",
    ClauseAction.DROP_CONNECTION, True,
    Evidence("header field", b"X-Long\xff", 1200, 998),
    Mail(b"MAIL FROM:<a@example>", b"RCPT TO:<b@example>", 1, b"<1@example>"),
)  # fmt: skip


def validate(line: dict) -> None:
    jsonschema.Draft202012Validator(json.loads(FILE.read_text())).validate(line)


@pytest.mark.pure  # compiled classes do not say of what a tuple is
def test_document_is_the_schema() -> None:
    assert json.loads(FILE.read_text()) == schema()


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(FILE.read_text()))


@pytest.mark.parametrize(
    "event", [EVENT, KeywordsHidden(CONNECTION, (b"STARTTLS",)), LinesSuppressed("106015", 2, 1.0)]
)
def test_line_is_valid(event: object) -> None:
    line = to_json(event, 0.0)
    assert line["schema"] == VERSION
    validate(line)


@pytest.mark.parametrize(
    "change", [{"schema": 0}, {"action": "jump"}, {"position": "4"}, {"more": 1}, {"mail": {}}]
)
def test_changed_line_is_invalid(change: dict) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate(to_json(EVENT, 0.0) | change)


def test_line_with_a_missing_fact_is_invalid() -> None:
    line = to_json(EVENT, 0.0)
    del line["evidence"]
    with pytest.raises(jsonschema.ValidationError):
        validate(line)


def test_evidence_and_mail_are_objects_of_text() -> None:
    line = to_json(EVENT)
    assert line["evidence"] == {
        "what": "header field", "text": r"X-Long\xff", "measured": 1200, "allowed": 998,
    }  # fmt: skip
    assert line["mail"]["message_id"] == "<1@example>"
