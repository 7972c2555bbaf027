"""run, rules and show: usage errors, which are found before anything is changed."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nfinspect import cli
from nfinspect.cli import rules, run
from nfinspect.cli.configuration import read_again
from nfinspect.live.service import UNLIMITED, LogRate
from nfinspect.rules.diversion import Diversion


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments, prog_name="nfinspect")


@pytest.mark.parametrize("command", ["run", "rules"])
def test_more_than_one_queue_is_not_supported_yet(command: str) -> None:
    result = call(command, "--queues", "2")
    assert result.exit_code == 2
    assert "2 queues are not supported yet: use --queues 1" in result.stderr


@pytest.mark.parametrize("number", ["-1", "65536", "all"])
def test_invalid_queue_number_is_a_usage_error(number: str) -> None:
    assert call("run", "--queue-num", number).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--apply", "--remove"], "only one of --apply, --remove, --roll-back and --confirm"),
        (["--apply", "--roll-back"], "only one of --apply, --remove"),
        (["--remove", "--confirm"], "only one of --apply, --remove"),
        (["--confirm", "60"], "--confirm takes SECONDS with --apply, and none without"),
        (["--apply", "--confirm"], "--confirm takes SECONDS with --apply, and none without"),
        (["--roll-back", "-4"], "-4 and -6 only select what is printed"),
        (["--apply", "-4"], "-4 and -6 only select what is printed"),
        (["--bridge", "-4"], "-4 and -6 cannot be used with --bridge."),
        (["--bridge", "-6"], "-4 and -6 cannot be used with --bridge."),
    ],
)
def test_contradictory_options_of_rules_are_a_usage_error(
    arguments: list[str], message: str
) -> None:
    result = call("rules", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("command", ["run", "rules"])
def test_faulty_configuration_is_a_usage_error_with_its_line(command: str, tmp_path: Path) -> None:
    config = tmp_path / "faulty.cfg"
    config.write_text("policy-map type inspect esmtp m\n match weather\n")
    result = call(command, "--config", str(config))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"nfinspect: error: {config}:2:")


def test_run_with_bridge_but_without_apply_rules_is_a_usage_error() -> None:
    result = call("run", "--bridge")
    assert result.exit_code == 2
    assert "--bridge needs --apply-rules" in result.stderr


def test_log_format_with_json_is_a_usage_error() -> None:
    result = call("run", "--json", "--log-format", "time")
    assert result.exit_code == 2
    assert "--log-format is about syslog lines, which --json replaces." in result.stderr


def test_configuration_that_cannot_be_read_twice_is_refused(tmp_path: Path) -> None:
    """A pipe is empty at the second reading, which would mean the default map."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="is no regular file, and cannot be read again"):
        read_again(pipe, {})


@pytest.mark.parametrize("rate", ["", "5", "-1/10", "10/0", "0/10", "1.5/1", "many/10", "1/2/3"])
def test_invalid_log_rate_is_a_usage_error(rate: str) -> None:
    result = call("run", "--log-rate", rate)
    assert result.exit_code == 2
    assert f"'{rate}' is neither NUMBER/SECONDS, both from 1, nor 0" in result.stderr


@pytest.mark.parametrize(("text", "rate"), [("1000/10", (1000, 10)), ("1/86400", (1, 86400))])
def test_log_rate_is_a_number_of_lines_in_seconds(
    monkeypatch: pytest.MonkeyPatch, text: str, rate: tuple[int, int]
) -> None:
    assert log_rate_of(monkeypatch, "--log-rate", text) == rate


def test_log_rate_is_limited_unless_it_is_0(monkeypatch: pytest.MonkeyPatch) -> None:
    assert log_rate_of(monkeypatch) == (1000, 10)
    assert log_rate_of(monkeypatch, "--log-rate", "0") == UNLIMITED


def log_rate_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> LogRate:
    rates: list[LogRate] = []
    monkeypatch.setattr(run, "filter_packets", lambda *each, **_: rates.append(each[2].log_rate))
    assert call("run", *arguments).exit_code == 0
    (rate,) = rates
    return rate


def test_policy_that_inspects_nothing_still_diverts_port_25(tmp_path: Path) -> None:
    config = tmp_path / "none.cfg"
    config.write_text("policy-map global_policy\n class inspection_default\n  no inspect esmtp\n")
    result = call("rules", "-4", "--config", str(config))
    assert (result.exit_code, result.stdout) == (0, call("rules", "-4").stdout)


def test_empty_diversion_removes_the_existing_rules(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    removed: list[str] = []
    monkeypatch.setattr(rules.rollback, "apply", lambda *_, **__: pytest.fail("nothing to apply"))
    monkeypatch.setattr(rules.rollback, "remove", lambda: not removed.append("all"))
    rules.put_in_place(Diversion(()), bridge=True)
    assert removed == ["all"]
    assert "notice: there is nothing to divert: no rules applied" in capsys.readouterr().err


def test_flowtable_is_warned_of_when_rules_are_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules.rollback, "apply", lambda *_, **__: [])
    monkeypatch.setattr(rules.flowtables, "names", lambda: ["filter fast"])
    result = call("rules", "--apply")
    assert result.exit_code == 0
    assert result.stderr == (
        "nfinspect: warning: connections in flowtable 'filter fast' bypass the filter"
        " (exclude the inspected ports from it)\n"
    )


def test_printed_rules_replace_those_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    there = ["-N NFINSPECT", "-A FORWARD -p tcp -m comment --comment nfinspect -j NFINSPECT"]
    monkeypatch.setattr(rules, "has_capability", lambda _: True)
    monkeypatch.setattr(rules.iptables, "in_place", lambda family: {"mangle": there})
    text = call("rules", "-4").stdout
    assert "# They replace the rules of nfinspect that are in place now.\n*mangle\n" in text
    assert ":NFINSPECT - [0:0]\n-D FORWARD -p tcp" in text


def test_printed_rules_have_the_queue_number_and_fail_open() -> None:
    result = call("rules", "-4", "--queue-num", "7", "--fail-open")
    assert result.exit_code == 0
    assert result.stdout.count("-j NFQUEUE --queue-num 7 --queue-bypass\n") == 2
    assert "it passes uninspected (fail-open)" in result.stdout


def test_show_without_a_subject_is_a_usage_error() -> None:
    assert call("show").exit_code == 2


def test_show_of_an_unknown_subject_lists_the_known_ones_without_asking_a_filter() -> None:
    result = call("show", "service-policy", "inspect", "dns", "--control", "/nowhere")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "nfinspect: error: unknown command 'show service-policy inspect dns'; available:"
        " 'show service-policy inspect esmtp', 'show queue', 'show conn', 'show local-host',"
        " 'show service-policy set connection', 'show xlate'\n"
    )


@pytest.mark.parametrize("words", ["queue", "service-policy", "service-policy inspect esmtp"])
def test_show_of_a_known_subject_asks_the_filter(words: str) -> None:
    result = call("show", *words.split(), "--control", "/nowhere")
    assert result.exit_code == 1
    assert "no filter is listening on /nowhere" in result.stderr
