"""``nfinspect check``, and the option --config of other commands."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from nfinspect import cli
from nfinspect.cli import check, configuration
from nfinspect.policy import (
    Configuration,
    default_configuration,
    default_text,
    parse_policy,
)

ROOT = Path(__file__).parents[3]

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
mail.cfg:1:18: unexpected 'globl'; expected global or interface; did you mean global?
  service-policy p globl
                   ^
mail.cfg:2:1: unexpected 'foo'; expected class-map, policy-map, service-policy, tcp-map, class, regex, \
access-list, access-group, conduit, name, names, no, object, object-group, static, nat, global, alias, \
nat-control, interface, nameif, ip, timeout, sysopt, fixup, mailhost or pix
  foo
  ^
"""


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["check", *arguments], prog_name="nfinspect")


def test_valid_file_is_explained_and_the_status_is_0() -> None:
    Path("mail.cfg").write_text(GOOD)
    result = call("mail.cfg")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "TCP port 25, inspect esmtp m\n  [bold]Mail\n" in result.stdout
    assert "header line length gt 5 " in result.stdout
    assert "\n  no mask-banner\n" in result.stdout
    assert "advice: mail.cfg:4:3: 7.x syntax" in result.stdout


def test_configuration_on_stdin_is_checked() -> None:
    valid = CliRunner().invoke(cli.main, ["check", "-"], input=GOOD)
    assert valid.exit_code == 0
    assert "advice: stdin:4:3: 7.x syntax" in valid.stdout
    faulty = CliRunner().invoke(cli.main, ["check", "-"], input=BAD)
    assert (faulty.exit_code, faulty.stdout) == (1, ERRORS.replace("mail.cfg", "stdin"))


def test_parameter_that_is_not_in_the_file_is_shown_with_its_default() -> None:
    Path("mail.cfg").write_text(GOOD)
    default = "  ! unseen-data drop-connection when live, uninspected in a replay\n"
    assert default in call("mail.cfg").stdout
    Path("mail.cfg").write_text(
        GOOD.replace(" match", " parameters\n  unseen-data uninspected\n match")
    )
    assert "\n  unseen-data uninspected\n" in call("mail.cfg").stdout
    assert default not in call("mail.cfg").stdout


@pytest.mark.parametrize("columns", ["20", "40", "1000"])
def test_piped_text_does_not_depend_on_the_terminal_width(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mail.cfg").write_text(default_text())
    monkeypatch.delenv("COLUMNS", raising=False)
    ordinary = call("mail.cfg").stdout
    monkeypatch.setenv("COLUMNS", columns)
    assert call("mail.cfg").stdout == ordinary
    assert re.search(r"^ +6 +MIME filename length gt 255 +drop-connection log *$", ordinary, re.M)
    assert "…" not in ordinary


def test_valid_file_with_json_is_one_object() -> None:
    Path("mail.cfg").write_text(GOOD)
    result = call("mail.cfg", "--json")
    assert result.exit_code == 0
    (inspection,) = json.loads(result.stdout)["inspections"]
    assert inspection["map"] == "m"
    assert inspection["ports"] == ["25"]
    assert inspection["match"] == [
        {"clause": "match header line length gt 5", "action": "drop-connection log"}
    ]
    assert json.loads(result.stdout)["errors"] == []
    advice = json.loads(result.stdout)["advice"]
    assert [(a["line"], a["code"]) for a in advice] == [(1, "no-allow-tls"), (4, "old-words")]


def test_errors_of_a_faulty_file_are_listed_and_the_status_is_1() -> None:
    Path("mail.cfg").write_text(BAD)
    result = call("mail.cfg")
    assert (result.exit_code, result.stdout, result.stderr) == (1, ERRORS, "")


def test_faulty_file_with_json_is_one_object() -> None:
    Path("mail.cfg").write_text(BAD)
    result = call("mail.cfg", "--json")
    assert result.exit_code == 1
    errors = json.loads(result.stdout)["errors"]
    assert [(e["line"], e["column"]) for e in errors] == [(1, 18), (2, 1)]
    assert errors[0]["expected"] == ["global", "interface"]


LISTING = """hostname fw
snmp-server location here
no snmp-server contact
access-list esa permit ip any 192.168.1.1
class-map esa
 match access-list esa
policy-map global_policy
 class esa
  no inspect esmtp
static (inside,outside) 1.1.1.1 192.168.1.1 netmask 255.255.255.255 tcp 50 100 udp 10
"""


def test_end_of_the_report_counts_every_line() -> None:
    Path("fw.cfg").write_text(LISTING)
    result = call("fw.cfg")
    assert result.exit_code == 0
    assert "class esa (access-list esa): exempt from inspection\n" in result.stdout
    assert (
        "192.168.1.1 is 1.1.1.1; at most 50 connections, at most 100 embryonic\n" in result.stdout
    )
    assert "understood: 7 lines\n" in result.stdout
    assert "not about this filter: 3 lines (snmp-server 2, hostname 1)\n" in result.stdout
    end = result.stdout.partition("not done, although it changes what happens to mail: ")[2]
    assert end.startswith("1 line\nfw.cfg:10:1: not done as it stands: UDP connections")


def test_advice_on_several_lines_is_printed_once() -> None:
    Path("fw.cfg").write_text("".join(f"access-list l permit ip any 10.0.0.{n}\n" for n in range(20))
                              + LISTING.replace(" esa permit", " l permit").replace("list esa", "list l"))  # fmt: skip
    out = call("fw.cfg").stdout
    assert out.count("an address without host or a mask") == 1
    assert "\n  the same: lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13 and 8 more\n" in out
    advice = json.loads(call("fw.cfg", "--json").stdout)["advice"]
    assert len([a for a in advice if a["code"] == "bare-address"]) == 21


def test_rules_of_another_configuration_are_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("fw.cfg").write_text(LISTING)
    monkeypatch.setattr(check, "has_capability", lambda _: True)
    asked = []
    monkeypatch.setattr(check, "ours_in_place", lambda: True)
    monkeypatch.setattr(
        check, "others_in_place", lambda diversion: not asked.append(diversion.ports)
    )
    assert "advice: fw.cfg:1:1: the rules in place are not those of this" in call("fw.cfg").stdout
    assert asked == [(25,), (25,)]  # with a bridge, and without


def test_json_has_counts_and_lists_of_findings() -> None:
    Path("fw.cfg").write_text(LISTING)
    data = json.loads(call("fw.cfg", "--json").stdout)
    assert (data["errors"], data["understood"]) == ([], 7)
    assert data["other"] == {"hostname": 1, "snmp-server": 2}
    assert [(f["line"], f["column"]) for f in data["not_done"]] == [(10, 1)]
    assert {"bare-address", "new-connections"} <= {f["code"] for f in data["advice"]}
    assert all(f["read"].startswith("docs/") for f in data["advice"])
    esa = next(c for c in data["classes"] if c["class_map"] == "esa")
    assert (esa["exempt"], esa["inspection"]) == (True, None)
    faulty = json.loads(CliRunner().invoke(cli.main, ["check", "-", "--json"], input=BAD).stdout)
    assert {key for key in data if key in faulty} >= {"errors", "not_done", "advice", "understood"}


def test_extract_writes_what_matters_and_is_read_to_the_same_policy() -> None:
    Path("fw.cfg").write_text(LISTING)
    assert call("fw.cfg", "--extract", "out.cfg").exit_code == 0
    text = Path("out.cfg").read_text()
    assert "access-list esa extended permit ip any host 192.168.1.1\n" in text
    assert "snmp-server" not in text
    assert "! line 10 is not done as it stands: " in text
    assert parse_policy(text, "out").policy == parse_policy(LISTING, "fw").policy
    assert call("fw.cfg", "--extract", "-").stdout == text


def test_interface_option_names_the_linux_interface() -> None:
    Path("fw.cfg").write_text(LISTING)
    codes = lambda *options: {  # noqa: E731
        f["code"] for f in json.loads(call("fw.cfg", "--json", *options).stdout)["advice"]
    }
    both = ("--interface", "outside=eth0", "--interface", "inside=eth1")
    assert "assumed-interfaces" in codes()
    assert "assumed-interfaces" not in codes(*both)
    assert "outside: security level 0, Linux interface eth0\n" in call("fw.cfg", *both).stdout
    assert call("fw.cfg", "--interface", "outside").exit_code == 2


@pytest.mark.parametrize("data", [b"\xff\xfe!\0", b"! \xe4\n", b"\0\1\2"])
def test_file_that_is_not_text_is_an_error(data: bytes) -> None:
    Path("mail.cfg").write_bytes(data)
    result = call("mail.cfg")
    assert result.exit_code == 1
    assert result.stdout.startswith("mail.cfg:1:")


def test_file_larger_than_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "LARGEST_FILE", 4)
    Path("mail.cfg").write_text("! ok")
    assert call("mail.cfg").exit_code == 0
    Path("mail.cfg").write_text("! not")
    result = call("mail.cfg")
    assert result.exit_code == 1
    assert "larger than 4 bytes" in result.stdout


@pytest.mark.parametrize("arguments", [[], ["none.cfg"], ["."]])
def test_missing_file_is_a_usage_error(arguments: list[str]) -> None:
    assert call(*arguments).exit_code == 2


def read_by_config_option(*arguments: str) -> tuple[Result, list[Configuration]]:
    """Call a command that has --config; return its result and the configuration it was given."""
    got: list[Configuration] = []

    @click.command()
    @configuration.config_option
    def command(configuration: Configuration) -> None:
        got.append(configuration)

    return CliRunner().invoke(command, arguments), got


def test_without_config_the_default_configuration_is_used() -> None:
    assert read_by_config_option()[1] == [default_configuration()]


def test_config_file_is_used_and_its_notices_go_to_stderr() -> None:
    Path("mail.cfg").write_text(default_text() + "!\n")
    result, (read,) = read_by_config_option("--config", "mail.cfg")
    assert (result.exit_code, result.output) == (0, "")
    assert read.policy == default_configuration().policy

    Path("mail.cfg").write_text(GOOD)
    result, (read,) = read_by_config_option("--config", "mail.cfg")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("nfinspect: notice: mail.cfg:4:3: ")
    assert [m.name for m in read.maps] == ["m"]


def test_interface_option_belongs_to_config_and_works_without_a_file() -> None:
    option = ("--interface", "outside=eth0")
    Path("mail.cfg").write_text(default_text())
    for arguments in (option, ("--config", "mail.cfg", *option), (*option, "--config", "mail.cfg")):
        result, (read,) = read_by_config_option(*arguments)
        assert (result.exit_code, result.output) == (0, "")
        assert [(i.name, i.device) for i in read.policy.interfaces] == [("outside", "eth0")]
        assert read.policy.inspections == default_configuration().policy.inspections
    assert read_by_config_option("--interface", "outside")[0].exit_code == 2


def test_interfaces_that_do_not_exist_are_named() -> None:
    policy = parse_policy("nameif e0 outside security0\nnameif e1 dmz security50", "a").policy
    assert configuration.missing_interfaces(policy, ["lo", "outside", "dmz"]) == ""
    told = configuration.missing_interfaces(policy, ["outside"])
    assert told.startswith("there is no Linux interface for dmz (dmz): --interface")


def test_faulty_config_file_ends_the_command_with_status_2() -> None:
    Path("mail.cfg").write_text(BAD)
    result, read = read_by_config_option("--config", "mail.cfg")
    assert (result.exit_code, result.stdout, read) == (2, "", [])
    assert result.stderr == f"nfinspect: error: {ERRORS}"


def test_missing_library_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    """As after an update without script/setup."""
    (tmp_path / "re2.py").write_text("raise ModuleNotFoundError(name='re2')\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-m", "nfinspect", "check", "nothing.cfg"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(
        "nfinspect: error: the Python module re2 is missing; run script/setup\n"
    )
