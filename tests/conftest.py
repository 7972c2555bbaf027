"""Settings shared by all tests."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import jsonschema
import pytest

# Pure Python is the reference, and never older than its source. Child processes of a test take the
# same form. script/test runs the tests in the compiled form, too.
os.environ.setdefault("NFINSPECT_FORM", "pure")

from nfinspect import FORM
from nfinspect.actions import Emit
from nfinspect.audit.counters import Counters
from nfinspect.audit.json_lines import to_json
from nfinspect.audit.schema import ADDED_BY_REPLAY, IDENTITY, schema
from nfinspect.engine import Engine
from nfinspect.events import Event

# Failures must be reproducible: the same examples on every machine, and no deadline, which a busy
# machine would exceed.
hypothesis.settings.register_profile("nfinspect", derandomize=True, deadline=None)
hypothesis.settings.load_profile("nfinspect")


SCHEMA = Path(__file__).parents[1] / "docs" / "events.schema.json"
"""The same as `schema` makes; machine code does not tell it all that it asks."""


@functools.cache
def _validator(note: bool) -> Any:
    whole = json.loads(SCHEMA.read_text()) if FORM.compiled else schema()
    kinds = whole["$defs"]["note"]["oneOf"] if note else whole["oneOf"]
    return {
        kind["properties"]["event"]["const"]: jsonschema.Draft202012Validator(kind)
        for kind in kinds
    }


@functools.cache
def _valid(shape: tuple[Any, ...]) -> None:
    """Check an event of this shape: the same one is not checked twice."""
    line = _thawed(shape)
    _validator(False)[line["event"]].validate(line)
    if "connection" in line:
        left_out = {*IDENTITY, "schema", "time"}
        facts = {name: value for name, value in line.items() if name not in left_out}
        note = facts | dict.fromkeys(["packet"])
        assert set(note) <= set(facts) | set(ADDED_BY_REPLAY)
        _validator(True)[line["event"]].validate(note)


def _frozen(value: Any) -> Any:
    """The value with its texts and numbers made alike, and hashable."""
    match value:
        case dict():
            return ("object", *((name, _frozen(each)) for name, each in value.items()))
        case list():
            return ("array", *map(_frozen, value))
        case bool() | None:
            return value
        case int() | float():
            return type(value)(1)
        case _:
            return value if len(value) < 80 else ""


def _thawed(shape: Any) -> Any:
    if isinstance(shape, tuple) and shape[0] == "object":
        return {name: _thawed(each) for name, each in shape[1:]}
    if isinstance(shape, tuple):
        return [_thawed(each) for each in shape[1:]]
    return shape


def check_event(event: Event) -> None:
    """Check an event against the schema, as a line of ``run --json`` and as a note of a replay."""
    kind = type(event)
    line = to_json(event, 0.0)
    texts = {"line", "address", "client", "server", "source", "destination", "evidence", "mail"}
    shape = tuple(
        (name, _frozen(value) if name not in texts or not isinstance(value, str) else "")
        for name, value in line.items()
    )
    assert kind is not None
    _valid(("object", *shape))


@pytest.fixture(autouse=True, scope="session")
def events_are_valid() -> Iterator[None]:
    """Every event that an engine emits in any test is valid by the schema. The engine of the compiled
    form cannot be patched, but what counts its events in replays and in the service can."""
    with pytest.MonkeyPatch.context() as patch:
        if FORM.compiled:
            patch.setattr(Counters, "observe", _checking_observed(Counters.observe))
            yield
            return
        for name in ("arrive", "tick", "flush"):
            patch.setattr(Engine, name, _checking(getattr(Engine, name)))
        yield


def _checking_observed(method: Any) -> Any:
    @functools.wraps(method)
    def checked(counters: Counters, event: Event) -> None:
        check_event(event)
        method(counters, event)

    return checked


def _checking(method: Any) -> Any:
    @functools.wraps(method)
    def checked(*arguments: Any, **named: Any) -> Any:
        actions = method(*arguments, **named)
        for action in actions:
            if type(action) is Emit:
                check_event(action.event)
        return actions

    return checked


LEFT_OUT = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that only the other form allows."""
    other = "pure" if FORM.compiled else "compiled"
    left_out = [item for item in items if item.get_closest_marker(other)]
    if left_out:
        config.stash[LEFT_OUT] = len(left_out)
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """That all tests asked for are left out is no failure."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.stash.get(LEFT_OUT, 0):
        session.exitstatus = pytest.ExitCode.OK
