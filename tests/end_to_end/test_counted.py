"""Connections that nobody inspects and that limits count, live: exempt ones, and those to other ports. The
kernel passes their packets, and the filter's counts are connection tracking's."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nfinspect.lab.filter import NFINSPECT, RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CLIENT, FILTER, SERVER_ADDRESS
from tests.end_to_end.counted import (
    DARK,
    EXEMPT,
    MAPPED,
    OTHER,
    Filter,
    forge,
    reset,
    run,
    until,
)
from tests.model.wire import ACK, FIN, RST

SHORT = 1.5
"""Seconds: a SYN has not been answered, and was sent a second time."""
SCENARIOS = 20
ACCOUNTING = "/proc/sys/net/netfilter/nf_conntrack_acct"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Filter]]:
    with Lab(offloads=False) as lab:
        made: list[Filter] = []

        def begin(limits: str, lines: str = "") -> Filter:
            made.append(Filter(lab, tmp_path, limits, lines))
            return made[-1]

        yield begin
        for each in made:
            each.end()


def refused(running: RunningFilter) -> list[str]:
    return [line for line in running.syslog if "-201011: " in line]


def test_connection_51_to_port_80_waits_for_one_to_end(start: Callable[..., Filter]) -> None:
    made = start("50 100")
    kept = [made.connected(OTHER) for _ in range(50)]
    assert None not in kept
    assert made.connected(OTHER, SHORT) is None
    assert made.connected(EXEMPT, SHORT) is None
    assert "limit exceeded 50/50 for inbound packet" in refused(made.running)[0]
    assert until(lambda: {each["state"] for each in made.shown()} == {"established"})
    shown = made.running.show("conn").splitlines()
    assert shown[0] == "50 in use, 50 most used"
    assert f"inside {SERVER_ADDRESS}({MAPPED}):80, " in shown[1]
    assert {line.rpartition(" ")[2] for line in shown[1:]} == {"UB"}
    assert "TCP flow count/limit = 50/50\n" in made.running.show("local-host", SERVER_ADDRESS)
    seen = made.running.show_json("queue")["received"]
    for each in kept:
        each.sendall(b"NOOP\r\n")
        assert each.recv(100).startswith(b"250 ")
    assert made.running.show_json("queue")["received"] == seen  # no data comes by
    reset(kept.pop())
    again = made.connected(OTHER)
    assert again is not None
    kept.append(again)
    for each in kept:
        each.close()
    assert until(lambda: made.shown() == [])
    # All places are free again.
    last = [made.connected(EXEMPT) for _ in range(50)]
    assert None not in last


def test_busy_connection_does_not_idle_out_and_a_quiet_one_does(
    start: Callable[..., Filter],
) -> None:
    timeout = " class class-default\n  set connection timeout idle 0:0:5\n"
    made = start("2 0", timeout)
    busy, quiet = made.connected(EXEMPT), made.connected(OTHER)
    assert busy is not None
    assert quiet is not None
    ended = time.monotonic() + 40
    while len(made.shown()) == 2 or time.monotonic() < ended - 15:
        assert time.monotonic() < ended
        busy.sendall(b"NOOP\r\n")
        assert busy.recv(100).startswith(b"250 ")
        time.sleep(0.5)
    (left,) = made.shown()
    assert left["server"].endswith(":25")
    assert left["bytes"] > 0
    assert until(lambda: any("Conn-timeout" in line for line in made.running.syslog))
    assert made.here() == made.there()
    again = made.connected(OTHER)
    assert again is not None
    assert made.connected(OTHER, SHORT) is None
    quiet.close()
    again.close()


def test_forged_segments_free_no_place_and_half_open_connections_time_out(
    start: Callable[..., Filter],
) -> None:
    made = start("2 0", " class class-default\n  set connection timeout embryonic 0:0:5\n")
    kept = made.connected(OTHER)
    assert kept is not None
    half = made.lab.socket(CLIENT)
    half.setblocking(False)
    half.connect_ex(DARK)
    assert until(lambda: len(made.shown()) == 2)
    for flags in (RST, RST | ACK, FIN | ACK) * 3:
        forge(made, kept, flags)
    assert made.connected(EXEMPT, SHORT) is None
    assert refused(made.running)
    half.close()
    assert until(lambda: any("SYN Timeout" in line for line in made.running.syslog))
    again = made.connected(EXEMPT)
    assert again is not None
    assert made.connected(EXEMPT, SHORT) is None
    assert made.here() == made.there()
    kept.sendall(b"NOOP\r\n")
    assert kept.recv(100).startswith(b"250 ")


def test_counts_are_rebuilt_after_kill_and_cleared_by_the_operator(
    start: Callable[..., Filter],
) -> None:
    made = start("3 0")
    kept = [made.connected(to) for to in (EXEMPT, OTHER, OTHER)]
    assert None not in kept
    made.restart(kill=True)
    assert made.here() == made.there()
    assert sum(made.here().values()) == 3
    assert made.connected(OTHER, SHORT) is None
    assert "limit exceeded 3/3 " in refused(made.running)[0]
    for each in kept:
        each.close()
    assert until(lambda: made.shown() == [])
    last = made.connected(OTHER)
    assert last is not None
    control = str(made.lab.directory / "control")
    cleared = made.lab.run(FILTER, [*NFINSPECT, "clear", "conn", "--control", control]).stdout
    assert cleared == "1 connection ended\n"
    assert made.shown() == []
    assert any(" Cleared" in line for line in made.running.syslog)


def test_client_gets_through_intercept_to_another_port_and_is_counted(
    start: Callable[..., Filter],
) -> None:
    made = start("0 2")
    dark = []
    for _ in range(2):
        half = made.lab.socket(CLIENT)
        half.setblocking(False)
        half.connect_ex(DARK)
        dark.append(half)
    assert until(lambda: len(made.shown()) == 2)
    through = made.connected(OTHER, 20)
    assert through is not None
    assert any("TCP intercept begins" in line for line in made.running.errors)
    through.sendall(b"NOOP\r\n")
    assert through.recv(100).startswith(b"250 ")
    assert until(lambda: sum(each["state"] == "established" for each in made.shown()) == 1)
    assert until(lambda: made.here() == made.there())
    through.close()
    assert until(lambda: {each["server"].split(":")[1] for each in made.shown()} <= {"81"})


LOSES = """\
import json, os, socket, sys
from nfinspect.live import tracking
tracking.RECEIVE_BUFFER = 1
os.system("iptables -t mangle -A OUTPUT -p tcp --dport 99 -j CONNMARK --set-xmark 0x8000000/0x8000000")
class Engine:
    passed, seen = 0, []
    def tell(self, sightings, now): return []
    def look(self, sightings, since, now):
        self.seen.append(len(sightings))
        return []
    def forgotten(self): return []
tracking.SHORTEST, engine, said = 0, Engine(), []
counted = tracking.CountedByKernel(engine, lambda decide: decide(0), lambda: True, said.append)
counted.begin()
listening = socket.create_server(("", 99), backlog=100)
kept = [socket.create_connection(("127.0.0.1", 99)) for _ in range(50)]
while len(engine.seen) < 2:
    counted.serve()
counted.close()
print(json.dumps([engine.seen, said]))
"""


def test_lost_events_lead_to_a_look_at_the_whole_table() -> None:
    with Lab(offloads=False) as lab:
        lab.run(FILTER, ["ip", "link", "set", "lo", "up"])
        seen, said = json.loads(lab.run(FILTER, [sys.executable, "-c", LOSES]).stdout)
    assert seen[0] == 0
    assert seen[-1] == 50
    assert said == ["notice: events of connection tracking were lost; its table is read again"]


def test_accounting_is_put_back_and_connections_pass_while_no_filter_runs(
    start: Callable[..., Filter],
) -> None:
    made = start("1 0")
    assert made.lab.run(FILTER, ["cat", ACCOUNTING]).stdout == "1\n"
    made.running.end()
    assert made.lab.run(FILTER, ["cat", ACCOUNTING]).stdout == "0\n"
    kept = [made.connected(to) for to in (EXEMPT, OTHER)]
    assert None not in kept
    made.restart()
    assert sum(made.here().values()) == 2
    assert made.connected(OTHER, SHORT) is None


def test_counts_are_those_of_connection_tracking_after_each_scenario(tmp_path: Path) -> None:
    with Lab(offloads=False) as lab:
        done = run(lab, tmp_path, SCENARIOS, seed=3)
    assert done["begin"] > 0
