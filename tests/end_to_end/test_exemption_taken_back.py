"""A policy that exempts nobody any more: who is open and exempt stays so, who comes later is inspected."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from nfinspect.lab.dialogue import ClientConnection, RecordingServer
from nfinspect.lab.filter import NFINSPECT, RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import FILTER, SCRIPT_ADDRESS, SCRIPT_ADDRESS6

EXEMPTING = f"""\
access-list gateway permit ip any host {SCRIPT_ADDRESS}
access-list gateway permit ip any host {SCRIPT_ADDRESS6}
class-map gateway
 match access-list gateway
policy-map global_policy
 class gateway
  no inspect esmtp
"""
PATIENCE = 20.0

NO_PICK_UP = (
    "policy-map type inspect esmtp _default_esmtp_map\n parameters\n"
    "  midstream-pickup 0\n  mask-banner\n"
)

STAY = "connections that are open and were exempt as they began stay so to their end: 1"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def opened(lab: Lab, address: str) -> tuple[ClientConnection, bool]:
    """A connection, and whether its greeting came as it was sent."""
    client = ClientConnection.open(lab, address)
    return client, "*" not in client.reply()


def marks(lab: Lab) -> int:
    rules = lab.run(FILTER, ["iptables", "-t", "security", "-S"]).stdout
    return rules.count("connmark --mark")


@pytest.mark.parametrize("address", [SCRIPT_ADDRESS, SCRIPT_ADDRESS6])
@pytest.mark.parametrize("midstream_pickup", [True, False])
def test_open_connection_stays_exempt(lab: Lab, address: str, midstream_pickup: bool) -> None:
    more = "" if midstream_pickup else NO_PICK_UP
    for state in ("time_wait", "last_ack", "close"):
        lab.run(FILTER, ["sysctl", "-qw", f"net.netfilter.nf_conntrack_tcp_timeout_{state}=1"])
    file = lab.directory / "fw.cfg"
    file.write_text(EXEMPTING + more)
    running = lab.filter(file, arguments=["--apply-rules"])
    control = ["--control", str(lab.directory / "control")]
    with RecordingServer(lab, address):
        old, plain = opened(lab, address)
        assert plain
        file.write_text(more + "class-map unused\n match any\n")
        done = lab.run(FILTER, [*NFINSPECT, "reload", *control])
        assert f": {STAY}\n" in done.stdout
        before = _received(running)
        assert old.command("NOOP").startswith("250")
        assert old.command("QUIT").startswith("221")
        old.close()
        assert _received(running) == before
        new, plain = opened(lab, address)
        assert not plain
        new.close()
    # Once it is over, the rules are those of the policy alone.
    assert marks(lab) == (address == SCRIPT_ADDRESS)
    deadline = time.monotonic() + PATIENCE
    while marks(lab):
        assert time.monotonic() < deadline
        lab.run(FILTER, [*NFINSPECT, "rules", "--apply", "--config", file])
    running.end()


@pytest.mark.parametrize("address", [SCRIPT_ADDRESS, SCRIPT_ADDRESS6])
def test_cleared_connection_follows_the_new_policy(lab: Lab, address: str) -> None:
    file = lab.directory / "fw.cfg"
    file.write_text(EXEMPTING + NO_PICK_UP)
    running = lab.filter(file, arguments=["--apply-rules"])
    control = ["--control", str(lab.directory / "control")]
    with RecordingServer(lab, address):
        old, plain = opened(lab, address)
        assert plain
        file.write_text(NO_PICK_UP)
        lab.run(FILTER, [*NFINSPECT, "reload", *control])
        for host, ended in (("192.0.2.77", 0), ("2001:db8:1::77", 0), (address, 1), (address, 0)):
            done = lab.run(FILTER, [*NFINSPECT, "clear", "conn", "address", host, *control])
            assert done.stdout.splitlines() == [
                "0 connections ended",
                *["1 exempt connection ended"] * ended,
            ]
        old.send(b"NOOP\r\n")
        assert running.wait(lambda: any("-106015:" in line for line in running.syslog), PATIENCE)
        old.close()
    running.end()


def _received(running: RunningFilter) -> int:
    return int(running.show_json("queue")["received"])
