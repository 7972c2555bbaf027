"""Labs that come and go, and labs whose commands are killed, leave a machine as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nfinspect.lab import place
from tests.end_to_end.machine import LABS, Machine, kill, wait_until

LAB, OTHER = LABS

SWAKS = ("swaks", "--to", "box@inside.example", "--server")

STUBBORN = f"cd {place.directory(LAB)}; trap ': > told' TERM; : > begun; while :; do sleep 1; done"

ROUNDS = (
    # two labs at once, by the options of `lab up`, and where the mail server is then
    (((), "198.51.100.25"), (("--bridge",), "198.51.100.25")),
    ((("--nat",), "192.0.2.25"), (("--ipv6",), "2001:db8:2::25")),
    ((("--bridge", "--ipv6"), "mail.example"), (("--nat", "--no-offloads"), "mail.example")),
    (((), "2001:db8:2::25"), (("--bare",), None)),
    ((("--bridge", "--bare"), None), (("--nat",), "2001:db8:2::25")),
)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


@pytest.fixture(autouse=True)
def unchanged(machine: Machine) -> Iterator[None]:
    """The machine is the same before and after each test."""
    before = machine.snapshot()
    yield
    assert machine.snapshot() == before


def test_ten_labs_two_at_a_time_come_and_go(machine: Machine) -> None:
    before = machine.snapshot()
    for round_ in ROUNDS:
        pair = dict(zip(LABS, round_, strict=True))
        ups = [
            machine.begin("up", "--prefix", name, *options) for name, (options, _) in pair.items()
        ]
        assert [up.communicate(timeout=60)[1] for up in ups] == ["", ""]
        clients = [
            machine.begin("exec", "--prefix", name, "client", *SWAKS, server)
            for name, (_, server) in pair.items()
            if server is not None
        ]
        for client in clients:
            assert f"<-  220 {'*' * 26}\n" in client.communicate(timeout=60)[0]
        labs = json.loads(machine.lab("status", "--json").stdout)["labs"]
        assert [lab["prefix"] for lab in labs] == LABS
        for lab in labs:  # each has inspected its own mail and no other
            queue = lab["filter"]["queue"]
            assert (queue is None) is (pair[lab["prefix"]][1] is None)
            assert queue is None or queue["verdicts"]["rewritten"] == 2
        if round_ is ROUNDS[0]:  # the other does not care
            assert machine.lab("down", "--prefix", LAB).returncode == 0
            assert machine.lab("status").stdout.startswith(f"{OTHER}: up; bridged")
        assert machine.lab("down", "--all").returncode == 0
        assert machine.snapshot() == before


def lab_file(machine: Machine, name: str) -> Path:
    return machine.path(place.directory(LAB) / name)


MOMENTS: dict[str, Callable[[Machine], bool]] = {
    "the directory is there": lambda machine: lab_file(machine, ".").exists(),
    "the first namespace is there": lambda machine: machine.path(
        f"/run/netns/{LAB}-client"
    ).exists(),
    "its files are there": lambda machine: machine.path(f"/etc/netns/{LAB}-server/hosts").exists(),
    "the filter begins": lambda machine: lab_file(machine, "filter/messages").exists(),
    "Postfix begins": lambda machine: lab_file(machine, "server/queue/quick-start").exists(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_lab_up_killed(machine: Machine, moment: str) -> None:
    up = machine.begin("up", "--prefix", LAB, *(["--bridge"] * moment.startswith("Postfix")))
    wait_until(lambda: MOMENTS[moment](machine), up)
    kill(up)
    again = machine.lab("up", "--prefix", LAB)
    assert again.returncode == 1
    assert again.stderr.endswith(
        f"left by a command that was killed: nfinspect lab down --prefix {LAB}\n"
    )
    status = machine.lab("status")
    assert (status.returncode, status.stdout.startswith(f"{LAB}: left behind; ")) == (1, True)
    down = machine.lab("down", "--prefix", LAB)
    assert (down.returncode, down.stdout, down.stderr) == (0, "", "")


def test_demo_killed(machine: Machine) -> None:
    demo = machine.begin("demo", "--bridge", "lost-packets")
    name = ""

    def captured() -> bool:
        nonlocal name
        found = list(machine.path(place.ROOT).glob("*/*.pcap"))
        name = found[0].parent.name if found else ""
        return bool(found)

    wait_until(captured, demo)
    assert machine.lab("status").stdout.startswith(f"{name}: in use; bridged")
    assert machine.lab("down", "--all").returncode == 0  # leaves alone what is in use
    kill(demo)
    assert machine.lab("status").stdout.startswith(f"{name}: left behind; bridged")
    assert machine.lab("down", "--all").returncode == 0


def test_filter_postfix_and_a_client_killed_and_lab_down_as_well(machine: Machine) -> None:
    assert machine.lab("up", "--prefix", LAB, "--nat").returncode == 0
    client = machine.begin(
        "exec", "--prefix", LAB, "client", *SWAKS, "mail.example", "--pipe", "cat"
    )
    state = json.loads(machine.lab("status", "--json").stdout)["labs"][0]["namespaces"]
    pids = [each["pid"] for namespace in state.values() for each in namespace["processes"]]
    for pid in pids:
        machine.run("kill", "-9", str(pid))
    kill(client)
    # One that does not want to end, so that `lab down` takes its time.
    stubborn = machine.begin("exec", "--prefix", LAB, "client", "sh", "-c", STUBBORN)
    wait_until(lambda: lab_file(machine, "begun").exists(), stubborn)
    down = machine.begin("down", "--prefix", LAB)
    wait_until(lambda: lab_file(machine, "told").exists(), down)
    kill(down)
    assert machine.lab("down", "--prefix", LAB).returncode == 0
