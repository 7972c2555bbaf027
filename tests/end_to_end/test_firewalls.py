"""Beside Docker, ufw and firewalld: they decide who may connect, and the filter inspects what they let
pass; neither touches the other's rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import pytest

from nfinspect.lab.dialogue import ClientConnection, RecordingServer
from nfinspect.lab.filter import NFINSPECT, RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import FILTER, SCRIPT_ADDRESS, SCRIPT_ADDRESS6
from tests.end_to_end.firewalls import DOCKER, FIREWALLD, FLUSH, UFW, Command, Firewall

ADDRESSES = (SCRIPT_ADDRESS, SCRIPT_ADDRESS6)


def do(lab: Lab, commands: Sequence[Command]) -> None:
    for argv, text in commands:
        lab.run(FILTER, argv, input=text)


def rules_of_others(lab: Lab) -> list[str]:
    """All rules of the machine but nfinspect's."""
    saved = "".join(lab.run(FILTER, [f"{p}-save"]).stdout for p in ("iptables", "ip6tables"))
    listed = lab.run(FILTER, ["nft", "list", "tables"]).stdout.splitlines()
    own = [lab.run(FILTER, ["nft", "list", *t.split()]).stdout for t in listed if "firewalld" in t]
    rules = [line for line in saved.splitlines() if line.startswith(("-A", ":", "*"))]
    kept = [re.sub(r" \[.*", "", line) for line in rules if "NFINSPECT" not in line]
    # A table that was empty before is listed as empty now.
    text = "\n".join(kept)
    return re.findall(r"-A .*|:FORWARD DROP", text) + own


def inspected(lab: Lab, running: RunningFilter) -> None:
    """Mail passes, and the filter sees it."""
    for address in ADDRESSES:
        before = running.show_json("queue")["received"]
        with RecordingServer(lab, address), ClientConnection.open(lab, address) as client:
            assert set(client.reply()) <= set("220 *\r\n")
            assert client.command("QUIT").startswith("221")
        assert running.show_json("queue")["received"] > before


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.mark.parametrize("firewall", [DOCKER, UFW, FIREWALLD], ids=lambda each: each.name)
def test_firewall_decides_who_connects_and_the_filter_inspects(
    lab: Lab, firewall: Firewall
) -> None:
    do(lab, firewall.start)
    others = rules_of_others(lab)
    running = lab.filter()
    assert rules_of_others(lab) == others
    for address in ADDRESSES:
        with RecordingServer(lab, address), pytest.raises(OSError):
            ClientConnection.open(lab, address, timeout=1)
    assert running.show_json("queue")["received"] == 0  # refused ahead of the filter
    do(lab, firewall.permit)
    inspected(lab, running)
    do(lab, firewall.reload)
    inspected(lab, running)
    others = rules_of_others(lab)
    running.stop()
    assert rules_of_others(lab) == others


@pytest.mark.parametrize("firewall", [DOCKER, UFW, FIREWALLD], ids=lambda each: each.name)
def test_firewall_that_starts_later_leaves_the_rules_alone(lab: Lab, firewall: Firewall) -> None:
    running = lab.filter()
    do(lab, firewall.start)
    do(lab, firewall.permit)
    inspected(lab, running)
    status = lab.run(
        FILTER, [*NFINSPECT, "status", "--control", str(lab.directory / "control"), "--json"]
    )
    assert json.loads(status.stdout)["misfits"] == []
    running.stop()


def test_firewall_that_flushes_all_tables_is_warned_of_and_applying_again_cures_it(
    lab: Lab,
) -> None:
    running = lab.filter()
    do(lab, FLUSH)
    control = ["--control", str(lab.directory / "control")]
    status = lab.run(FILTER, [*NFINSPECT, "status", *control], check=False)
    assert status.returncode == 1
    assert "there are no rules of nfinspect: mail passes this machine uninspected" in status.stdout
    assert running.wait(lambda: any("no rules of nfinspect" in e for e in running.errors), 20)
    lab.run(FILTER, [*NFINSPECT, "rules", "--apply"])
    inspected(lab, running)
    running.end()
