"""The lab itself: what it builds, and that it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyroute2 import netns

from nfinspect.lab import topology
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import (
    CLIENT,
    FILTER,
    SERVER,
    SERVER_ADDRESS,
    SERVER_ADDRESS6,
    LabError,
    full_name,
)

NFINSPECT = (sys.executable, "-m", "nfinspect")


def remains(prefix: str) -> list[str]:
    """What a lab has left behind on the machine."""
    places = [Path("/etc/netns"), Path("/run/netns"), Path("/tmp")]
    files = [str(file) for place in places if place.exists() for file in place.glob(f"{prefix}-*")]
    return files + [name for name in netns.listnetns() if name.startswith(f"{prefix}-")]


def test_client_reaches_the_server_through_the_filter_over_ipv4_and_ipv6() -> None:
    with Lab() as lab:
        for address in (SERVER_ADDRESS, SERVER_ADDRESS6):
            route = lab.run(CLIENT, ["ip", "route", "get", address]).stdout
            assert f" via {'2001:db8:1::1' if ':' in address else '192.0.2.1'} " in route
        assert lab.run(CLIENT, ["getent", "ahostsv4", "mail.example"]).stdout.startswith(
            SERVER_ADDRESS
        )
        started = time.monotonic()
        lab.run(CLIENT, ["getent", "hosts", "elsewhere.example"], check=False)
        assert time.monotonic() - started < 2, "looking up an unknown name must not hang"


def test_two_labs_can_be_up_at_once() -> None:
    with Lab() as one, Lab() as other:
        assert one.prefix != other.prefix
        for lab in (one, other):
            assert "outside" in lab.run(FILTER, ["ip", "link"]).stdout


def test_lab_ended_by_an_exception_leaves_no_process_no_namespace_and_no_file() -> None:
    lab = Lab()
    sleepers = []

    def fail() -> None:
        with lab:
            sleepers.append(lab.popen(SERVER, ["sleep", "1000"]))
            # One in a session of its own that ignores SIGTERM.
            lab.run(SERVER, ["sh", "-c", "trap '' TERM; setsid sleep 1000 >/dev/null 2>&1 &"])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [sleeper.wait(5) for sleeper in sleepers] == [-signal.SIGTERM]
    assert remains(lab.prefix) == []


def test_lab_cannot_be_built_twice_under_one_prefix_and_the_first_stays_intact() -> None:
    with Lab() as lab:
        with pytest.raises(LabError, match="is already up"):
            topology.build(lab.prefix)
        assert lab.run(CLIENT, ["true"]).returncode == 0


def test_error_of_a_failed_program_quotes_its_stderr() -> None:
    with Lab() as lab, pytest.raises(LabError, match=r"ip in client ended with 1: .*nowhere"):
        lab.run(CLIENT, ["ip", "link", "show", "nowhere"])


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_demo_interrupted_takes_its_lab_down(ending: signal.Signals) -> None:
    demo = subprocess.Popen(
        [*NFINSPECT, "lab", "demo", "recipients-101"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    prefix = f"nfi{demo.pid}-1"
    deadline = time.monotonic() + 20
    while not Path("/run/netns", full_name(prefix, CLIENT)).exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(1)  # the demo is now under way
    demo.send_signal(ending)
    out, err = demo.communicate(timeout=30)
    assert demo.returncode == 128 + signal.SIGINT, out + err
    assert "Traceback" not in err
    assert remains(prefix) == []


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NFINSPECT, "lab", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_lab_up_exec_and_down() -> None:
    # With a prefix of its own, so as not to disturb a lab that is already up.
    prefix = f"nfi{os.getpid()}-up"

    def lab(word: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return command(word, "--prefix", prefix, *arguments)

    try:
        up = lab("up", "--no-offloads")
        assert (up.returncode, up.stderr) == (0, "")
        assert SERVER_ADDRESS in up.stdout
        again = lab("up")
        assert (again.returncode, again.stdout) == (1, "")
        assert again.stderr == f"nfinspect: error: the lab '{prefix}' is already up\n"
        listing = lab("exec", "server", "ip", "-br", "address", "show", "eth0")
        assert SERVER_ADDRESS6 in listing.stdout
        assert lab("exec", "filter", "--", "sh", "-c", "exit 7").returncode == 7
        found = lab("exec", "filter", "--", "nfinspect", "--version")
        assert (found.returncode, found.stdout.split()[:1]) == (0, ["nfinspect"])
        down = lab("down")
        assert (down.returncode, down.stdout, down.stderr) == (0, "", "")
    finally:
        topology.remove(prefix)
    assert remains(prefix) == []
    assert lab("exec", "client", "true").stderr == (
        "nfinspect: error: the lab is not up; start it with 'nfinspect lab up'\n"
    )
    assert lab("down").returncode == 1


def test_lab_without_root_fails_and_says_why() -> None:
    # Import as root: another user may not be able to read this checkout.
    program = "import os\nfrom nfinspect.lab.topology import build\nos.seteuid(65534)\nbuild('x')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert "LabError: the lab needs root to create network namespaces" in done.stderr
