"""status: its output and exit status, from a system and a filter of the test."""

from __future__ import annotations

import dataclasses
import json

import pytest
from click.testing import CliRunner, Result

from nfinspect import cli
from nfinspect.cli import status as command
from nfinspect.live.control import Answer, ControlError, UnanswerableError
from nfinspect.live.misfits import FilterState
from nfinspect.live.survey import Survey
from tests.unit.live.test_misfits import STATE, survey


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["status", *arguments], prog_name="nfinspect")


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    see(monkeypatch, survey(), STATE)
    return monkeypatch


def see(monkeypatch: pytest.MonkeyPatch, seen: Survey, state: FilterState) -> None:
    monkeypatch.setattr(command.survey, "take", lambda: seen)
    answer = Answer("", json.loads(json.dumps(dataclasses.asdict(state))))
    monkeypatch.setattr(command, "ask", lambda path, words: answer)


def test_status_without_a_warning_is_0(system: pytest.MonkeyPatch) -> None:
    result = call()
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "nfinspect is running\n"
        "  version     1\n"
        "  policy      my.cfg\n"
        "              p, class c: inspect esmtp m\n"
        "  ports       25 inspected\n"
        "  queue       0; while it is full, further packets are dropped (fail-closed)\n"
        "  socket      /run/socket\n"
        "  rules       IPv4 and IPv6: port 25 to queue 0, fail-closed, table security\n"
        "  forwarding  IPv4 on, IPv6 on\n"
        "  running     0:01:40, process 4711\n"
        "  packets     10, the latest 0:00:01 ago; waiting 0, held 0\n"
        "  connections 1 in use; passed uninspected: none\n"
    )


def test_flowtable_is_named_with_its_cure_and_status_1(system: pytest.MonkeyPatch) -> None:
    see(system, survey(flowtables=("filter fast",)), STATE)
    result = call()
    assert result.exit_code == 1
    assert "  flowtables  filter fast\n" in result.stdout
    assert result.stdout.endswith(
        "warning: connections in flowtable 'filter fast' bypass the filter\n"
        "  exclude the inspected ports from it\n"
    )


def test_json_has_the_filter_the_system_and_the_misfits(system: pytest.MonkeyPatch) -> None:
    see(system, survey(flowtables=("filter fast",)), STATE)
    result = call("--json")
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    assert data["running"] is True
    assert data["filter"] == dataclasses.asdict(STATE)
    assert data["flowtables"] == ["filter fast"]
    assert data["families"]["IPv4"]["rules"]["flows"][0] == {
        "direction": "requests to",
        "port": 25,
        "first_queue": 0,
        "last_queue": 0,
        "fail_open": False,
    }
    assert [each["kind"] for each in data["misfits"]] == ["flowtable"]


@pytest.mark.parametrize("error", [ControlError("it does not answer"), UnanswerableError("what?")])
def test_filter_that_does_not_answer_is_a_failure(
    system: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> Answer:
        raise error

    system.setattr(command, "ask", fail)
    result = call()
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"nfinspect: error: {error}\n"
