"""``nfinspect lab``: what needs neither root nor a lab."""

from click.testing import CliRunner

from nfinspect import cli
from nfinspect.lab.cases import CASES


def test_list_of_cases_fits_the_terminal_and_is_complete() -> None:
    result = CliRunner().invoke(cli.main, ["lab", "demo", "--list"], env={"COLUMNS": "60"})
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 60
    heads = [line[2:].split()[0] for line in lines if line[2:3].strip()]
    assert heads == [case.name for case in CASES]


def test_list_of_cases_in_a_pipe_has_one_line_per_case() -> None:
    result = CliRunner().invoke(cli.main, ["lab", "demo", "--list"], env={"COLUMNS": None})
    assert len(result.stdout.splitlines()) == len(CASES)


def test_help_truncates_no_summary() -> None:
    result = CliRunner().invoke(cli.main, ["lab", "--help"])
    assert "..." not in result.stdout.partition("Commands:")[2]


def test_option_after_the_namespace_is_a_usage_error_that_says_where_it_belongs() -> None:
    result = CliRunner().invoke(cli.main, ["lab", "exec", "client", "--prefix", "x", "--", "true"])
    assert result.exit_code == 2
    assert "options must come before client|filter|server" in result.stderr


def test_demo_is_either_drawn_or_json() -> None:
    result = CliRunner().invoke(cli.main, ["lab", "demo", "--json", "--svg", "x.svg"])
    assert result.exit_code == 2
    assert "--svg is a picture of what --json replaces" in result.stderr
