"""The life of the rules in a kernel: applied, changed, confirmed or rolled back, and removed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nfinspect.lab.namespaces import NFINSPECT
from tests.end_to_end.box import PROGRAMS, Box

PATIENCE = 20.0

EXEMPTING = """\
interface e0
 nameif outside
interface e1
 nameif inside
access-list gateways deny ip host 10.9.9.9 any
access-list gateways permit ip any host 192.0.2.1
access-list gateways permit ip any 2001:db8::/32
class-map gateways
 match access-list gateways
class-map submission
 match port tcp eq 587
policy-map global_policy
 class gateways
  no inspect esmtp
 class submission
  inspect esmtp
policy-map strict
 class submission
  inspect esmtp
service-policy global_policy global
service-policy strict interface outside
static (inside,outside) 192.0.2.1 10.0.0.1 netmask 255.255.255.255
"""

OTHERS = {
    "security": "-A FORWARD -p udp\n",
    "raw": "-A OUTPUT -p udp -j CT --notrack\n-A PREROUTING -p udp -j CT --notrack\n",
    "nat": "-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080\n",
    "filter": ":OTHERS - [0:0]\n-A FORWARD -j OTHERS\n-A OTHERS -p tcp -j ACCEPT\n",
    "mangle": "-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu\n",
}


@pytest.fixture(params=["nft", "legacy"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Box]:
    programs = tmp_path / "programs"
    programs.mkdir()
    with Box(request.param, programs) as box:
        yield box


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "fw.cfg"
    path.write_text(EXEMPTING)
    return str(path)


def others(box: Box) -> None:
    """Somebody else's rules."""
    for table, rules in OTHERS.items():
        for program in PROGRAMS:
            box.run(f"{program}-restore", "--noflush", input=f"*{table}\n{rules}COMMIT\n")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_apply_change_apply_remove_leaves_no_trace(box: Box, config: str) -> None:
    others(box)
    before = box.state()
    box.nfinspect("rules", "--apply")
    assert box.state() != before
    once = box.saved()
    box.nfinspect("rules", "--apply")
    assert box.saved() == once
    box.nfinspect("rules", "--apply", "--config", config, "--queue-num", "3", "--bridge")
    changed = box.saved()
    assert "NFINSPECT-C1" in changed
    assert ":NFINSPECT-DNAT" in changed
    box.nfinspect("rules", "--apply", "--config", config, "--queue-num", "3", "--bridge")
    assert box.saved() == changed
    box.nfinspect("rules", "--apply")
    assert box.saved() == once
    box.nfinspect("rules", "--remove")
    assert box.state() == before


def test_rules_applied_by_hand_twice_are_there_once(box: Box, config: str) -> None:
    others(box)
    for words in ([], ["--config", config]):
        saved = []
        for _ in range(2):
            for option, program in zip(("-4", "-6"), PROGRAMS, strict=True):
                text = box.nfinspect("rules", option, *words)
                box.run(f"{program}-restore", "--noflush", input=text)
            saved.append(box.saved())
        assert saved[0] == saved[1]
        assert saved[0].count("-A FORWARD -p tcp -m comment --comment nfinspect") == 2
        box.nfinspect("rules", "--apply", *words)
        assert box.saved() == saved[0]


def test_file_for_a_machine_without_rules_is_refused_where_there_are_some(box: Box) -> None:
    text = box.nfinspect("rules", "-4")
    box.run("iptables-restore", "--noflush", input=text)
    saved = box.saved()
    again = box.done("iptables-restore", "--noflush", input=text)
    assert again.returncode != 0
    assert box.saved() == saved


def test_roll_back_puts_the_set_before_in_its_place(box: Box, config: str) -> None:
    others(box)
    box.nfinspect("rules", "--apply", "--config", config)
    for program in PROGRAMS:  # the call is no longer the last rule
        box.run(
            program, "-t", "security", "-A", "FORWARD", "-p", "udp", "-m", "udp", "--dport", "9"
        )
    before = box.state()
    box.nfinspect("rules", "--apply", "--bridge")
    assert box.state() != before
    box.nfinspect("rules", "--apply", "--bridge")  # changes nothing, and forgets nothing
    box.nfinspect("rules", "--roll-back")
    assert box.state() == before
    again = box.done(*NFINSPECT, "rules", "--roll-back")
    assert (again.returncode, again.stderr) == (
        1,
        "nfinspect: error: cannot roll back: no earlier set is known\n",
    )


@pytest.mark.parametrize("kills", [False, True])
def test_rules_that_nobody_confirms_are_rolled_back(box: Box, config: str, kills: bool) -> None:
    box.nfinspect("rules", "--apply", "--config", config)
    before = box.saved()
    words = [*NFINSPECT, "rules", "--apply", "--confirm", "2"]
    if kills:  # with its terminal, as a connection that breaks
        process = subprocess.Popen(
            box.command(words), stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stderr is not None
        until(lambda: box.saved() != before)
        for number in (signal.SIGHUP, signal.SIGKILL):
            os.killpg(process.pid, number)
        process.wait()
        process.stderr.close()
    else:
        assert "rolled back in 2 seconds" in box.done(*words).stderr
        assert box.saved() != before
    until(lambda: box.saved() == before)
    late = box.done(*NFINSPECT, "rules", "--confirm")
    assert late.stderr == (
        "nfinspect: error: cannot confirm the rules: too late: they were rolled back\n"
    )


def test_confirmed_rules_stay(box: Box, config: str) -> None:
    box.nfinspect("rules", "--apply", "--config", config)
    before = box.saved()
    box.nfinspect("rules", "--apply", "--confirm", "600")
    box.nfinspect("rules", "--apply", "--confirm", "600", "--queue-num", "5")
    tried = box.saved()
    assert waiting(box)
    assert box.done(*NFINSPECT, "rules", "--confirm").returncode == 0
    until(lambda: not waiting(box))
    assert box.saved() == tried
    assert box.done(*NFINSPECT, "rules", "--confirm").returncode == 1
    box.nfinspect("rules", "--roll-back")  # to the last set that was confirmed
    assert box.saved() == before


def waiting(box: Box) -> list[str]:
    """The command lines of the processes that wait for a confirmation."""
    found = []
    for pid in box.run("ip", "netns", "pids", box.name).split():
        with suppress(FileNotFoundError):  # it has just ended
            found.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
    return [each for each in found if "rules --apply --confirm" in each]
