"""``nfinspect check``, and the option --config of other commands."""

import json
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from nfinspect import cli
from nfinspect.cli import configuration
from nfinspect.policy import Configuration, default_configuration, default_text

GOOD = """policy-map type inspect esmtp m
 description [bold]Mail
 match header line length gt 5
  drop send-protocol-error log
policy-map global_policy
 class inspection_default
  inspect esmtp m
"""
BAD = "service-policy p globl\nfoo\n"
ERRORS = """\
mail.cfg:1:18: unexpected 'globl'; expected global
  service-policy p globl
                   ^
mail.cfg:2:1: unexpected 'foo'; expected class-map, policy-map or service-policy
  foo
  ^
"""


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["check", *arguments], prog_name="nfinspect")


def test_sound_file_is_explained_and_the_status_is_0() -> None:
    Path("mail.cfg").write_text(GOOD)
    result = call("mail.cfg")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "TCP port 25, inspect esmtp m\n  [bold]Mail\n" in result.stdout
    assert "header line length gt 5 " in result.stdout
    assert "\n  no mask-banner\n" in result.stdout
    assert "notice: mail.cfg:4:3: 7.x syntax" in result.stdout


def test_configuration_on_stdin_is_checked() -> None:
    sound = CliRunner().invoke(cli.main, ["check", "-"], input=GOOD)
    assert sound.exit_code == 0
    assert "notice: stdin:4:3: 7.x syntax" in sound.stdout
    faulty = CliRunner().invoke(cli.main, ["check", "-"], input=BAD)
    assert (faulty.exit_code, faulty.stdout) == (1, ERRORS.replace("mail.cfg", "stdin"))


def test_what_holds_without_a_line_is_told_too() -> None:
    Path("mail.cfg").write_text(GOOD)
    told = "  ! unseen-data drop-connection when live, uninspected in a replay\n"
    assert told in call("mail.cfg").stdout
    Path("mail.cfg").write_text(
        GOOD.replace(" match", " parameters\n  unseen-data uninspected\n match")
    )
    assert "\n  unseen-data uninspected\n" in call("mail.cfg").stdout
    assert told not in call("mail.cfg").stdout


@pytest.mark.parametrize("columns", ["20", "40", "1000"])
def test_piped_text_is_the_same_whatever_the_terminals_width(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mail.cfg").write_text(default_text())
    monkeypatch.delenv("COLUMNS", raising=False)
    ordinary = call("mail.cfg").stdout
    monkeypatch.setenv("COLUMNS", columns)
    assert call("mail.cfg").stdout == ordinary
    assert re.search(r"^ +6 +MIME filename length gt 255 +drop-connection log *$", ordinary, re.M)
    assert "…" not in ordinary


def test_sound_file_in_json_is_one_object() -> None:
    Path("mail.cfg").write_text(GOOD)
    result = call("mail.cfg", "--json")
    assert result.exit_code == 0
    (inspection,) = json.loads(result.stdout)["inspections"]
    assert inspection["map"] == "m"
    assert inspection["port"] == 25
    assert inspection["match"] == [
        {"clause": "match header line length gt 5", "action": "drop-connection log"}
    ]
    assert json.loads(result.stdout)["errors"] == []
    assert [notice["line"] for notice in json.loads(result.stdout)["notices"]] == [4]


def test_faulty_file_is_told_line_by_line_and_the_status_is_1() -> None:
    Path("mail.cfg").write_text(BAD)
    result = call("mail.cfg")
    assert (result.exit_code, result.stdout, result.stderr) == (1, ERRORS, "")


def test_faulty_file_in_json_is_one_object() -> None:
    Path("mail.cfg").write_text(BAD)
    result = call("mail.cfg", "--json")
    assert result.exit_code == 1
    errors = json.loads(result.stdout)["errors"]
    assert [(e["line"], e["column"]) for e in errors] == [(1, 18), (2, 1)]
    assert errors[0]["expected"] == ["global"]


@pytest.mark.parametrize("data", [b"\xff\xfe!\0", b"! \xe4\n", b"\0\1\2"])
def test_file_that_is_no_text_is_an_error(data: bytes) -> None:
    Path("mail.cfg").write_bytes(data)
    result = call("mail.cfg")
    assert result.exit_code == 1
    assert result.stdout.startswith("mail.cfg:1:")


def test_file_beyond_the_bound_is_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "LARGEST_FILE", 4)
    Path("mail.cfg").write_text("! ok")
    assert call("mail.cfg").exit_code == 0
    Path("mail.cfg").write_text("! not")
    result = call("mail.cfg")
    assert result.exit_code == 1
    assert "larger than 4 bytes" in result.stdout


@pytest.mark.parametrize("arguments", [[], ["none.cfg"], ["."]])
def test_file_that_is_not_there_is_wrong_usage(arguments: list[str]) -> None:
    assert call(*arguments).exit_code == 2


def read_by_config_option(*arguments: str) -> tuple[Result, list[Configuration]]:
    """Call a command that has --config; return what it did and the configuration it got."""
    got: list[Configuration] = []

    @click.command()
    @configuration.config_option
    def command(configuration: Configuration) -> None:
        got.append(configuration)

    return CliRunner().invoke(command, arguments), got


def test_no_config_is_the_default_configuration() -> None:
    assert read_by_config_option()[1] == [default_configuration()]


def test_config_is_the_files_configuration_and_its_notices_go_to_stderr() -> None:
    Path("mail.cfg").write_text(default_text() + "!\n")
    result, (read,) = read_by_config_option("--config", "mail.cfg")
    assert (result.exit_code, result.output) == (0, "")
    assert read.policy == default_configuration().policy

    Path("mail.cfg").write_text(GOOD)
    result, (read,) = read_by_config_option("--config", "mail.cfg")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("nfinspect: notice: mail.cfg:4:3: ")
    assert [m.name for m in read.maps] == ["m"]


def test_faulty_config_ends_the_command_with_status_2() -> None:
    Path("mail.cfg").write_text(BAD)
    result, read = read_by_config_option("--config", "mail.cfg")
    assert (result.exit_code, result.stdout, read) == (2, "", [])
    assert result.stderr == f"nfinspect: error: {ERRORS}"
