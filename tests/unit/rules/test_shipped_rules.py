"""The rule sets in iptables/ are what the command prints for the default policy."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from nfinspect import cli

SHIPPED = Path(__file__).parents[3] / "iptables"


@pytest.mark.parametrize(
    ("option", "name"), [("-4", "default.v4.rules"), ("-6", "default.v6.rules")]
)
def test_shipped_rules_are_what_the_command_prints(option: str, name: str) -> None:
    result = CliRunner().invoke(cli.main, ["rules", option], prog_name="nfinspect")
    assert result.exit_code == 0, result.output
    assert (SHIPPED / name).read_text() == result.stdout, (
        f"update it: nfinspect rules {option} > iptables/{name}"
    )


def test_shipped_guard_and_settings_are_what_the_command_prints_for_a_bridge() -> None:
    result = CliRunner().invoke(cli.main, ["rules", "--bridge"], prog_name="nfinspect")
    printed = result.stdout.replace("# For sysctl", "# For nft").split("# For nft")
    parts = [part.partition("\n")[2] for part in printed[1:]]
    assert parts == [(SHIPPED / f"bridge.{kind}").read_text() for kind in ("nft", "sysctl")]


def test_command_prints_the_rules_for_ipv4_and_then_for_ipv6() -> None:
    result = CliRunner().invoke(cli.main, ["rules"], prog_name="nfinspect")
    both = [(SHIPPED / f"default.v{version}.rules").read_text() for version in (4, 6)]
    assert result.stdout == "".join(both)
