"""The lab itself: what it builds, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2 import netns

from nfinspect.lab import topology
from nfinspect.lab.lab import Lab
from nfinspect.lab.mailbox import Maildir
from nfinspect.lab.standing import STATIC, Files
from nfinspect.lab.topology import (
    CLIENT,
    CLIENT_ADDRESS,
    CLIENT_ADDRESS6,
    FILTER,
    OUTSIDE_ADDRESS,
    SERVER,
    SERVER_ADDRESS,
    SERVER_ADDRESS6,
    LabError,
    full_name,
)
from nfinspect.policy import default_text

NFINSPECT = (sys.executable, "-m", "nfinspect")


def remains(prefix: str) -> list[str]:
    """What a lab has left behind on the machine."""
    places = [Path("/etc/netns"), Path("/run/netns"), Path("/tmp"), Path("/run/nfinspect-lab")]
    files = [str(file) for place in places if place.exists() for file in place.glob(f"{prefix}*")]
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


class Standing:
    """The commands of a lab with a prefix of its own, so as not to disturb one that is already up."""

    def __init__(self, name: str) -> None:
        self.prefix = f"nfi{os.getpid()}-{name}"

    def __call__(self, word: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return command(word, "--prefix", self.prefix, *map(str, arguments))

    def done(self, word: str, *arguments: str | Path) -> str:
        """The output of a command that must succeed and complain of nothing."""
        done = self(word, *arguments)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def send(self, server: str = "mail.example") -> str:
        """Send a mail, and return what swaks shows of it."""
        words = ["swaks", "--server", server, "--to", "box@inside.example"]
        return self.done("exec", "client", *words)


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Standing]:
    standing = Standing(request.node.name.partition("_")[2][:20].rstrip("_"))
    yield standing
    topology.remove(standing.prefix)
    assert remains(standing.prefix) == []


def test_bare_lab_up_exec_and_down(lab: Standing) -> None:
    up = lab.done("up", "--bare", "--no-offloads")
    assert SERVER_ADDRESS in up
    again = lab("up")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == f"nfinspect: error: the lab '{lab.prefix}' is already up\n"
    listing = lab("exec", "server", "ip", "-br", "address", "show", "eth0")
    assert SERVER_ADDRESS6 in listing.stdout
    assert lab("exec", "filter", "--", "sh", "-c", "exit 7").returncode == 7
    found = lab("exec", "filter", "--", "nfinspect", "--version")
    assert (found.returncode, found.stdout.split()[:1]) == (0, ["nfinspect"])
    assert topology.processes(lab.prefix, SERVER) == topology.processes(lab.prefix, FILTER) == []
    assert lab.done("status").startswith(f"{lab.prefix}: up; routed, bare\n")
    assert lab.done("down") == ""
    assert remains(lab.prefix) == []
    assert lab("exec", "client", "true").stderr == (
        f"nfinspect: error: the lab '{lab.prefix}' is not up;"
        f" start it with: nfinspect lab up --prefix {lab.prefix}\n"
    )
    assert lab("down").returncode == lab("status").returncode == 1


@pytest.mark.parametrize(
    ("options", "addresses"),
    [
        ((), (CLIENT_ADDRESS, SERVER_ADDRESS, SERVER_ADDRESS)),
        (("--bridge", "--ipv6"), (CLIENT_ADDRESS6, SERVER_ADDRESS6, SERVER_ADDRESS6)),
        (("--nat",), (CLIENT_ADDRESS, SERVER_ADDRESS, OUTSIDE_ADDRESS)),
    ],
    ids=["routed", "bridged-ipv6", "nat"],
)
def test_mail_passes_the_filter_of_a_lab_that_is_up(
    lab: Standing, options: tuple[str, ...], addresses: tuple[str, str, str]
) -> None:
    lab.done("up", *options)
    assert f"<-  220 {'*' * 26}\n" in lab.send()
    files = Files(lab.prefix)
    (mail,) = Maildir(files.mail.parent).wait()
    assert b"This is a test mailing\n" in mail
    client, server, mapped = addresses
    deadline = time.monotonic() + 10
    while "302014" not in (syslog := files.syslog.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert re.search(
        rf"302013: Built inbound TCP connection 1 for outside:{client}/\d+ \({client}/\d+\)"
        rf" to inside:{server}/25 \({mapped}/25\)",
        syslog,
    )
    (state,) = json.loads(lab.done("status", "--json"))["labs"]
    assert state["filter"]["ready"] is True
    assert state["filter"]["queue"]["verdicts"]["rewritten"] > 0
    assert [each["exists"] for each in state["namespaces"].values()] == [True] * 3
    (process,) = state["namespaces"]["filter"]["processes"]
    assert "nfinspect run --apply-rules" in process["command"]
    assert state["files"]["mail"] == str(files.mail)
    os.kill(process["pid"], signal.SIGKILL)
    broken = lab("status")
    assert (broken.returncode, broken.stderr) == (1, "")
    assert "no filter answers, so no mail passes" in broken.stdout


def test_configuration_of_a_lab_holds_also_after_reload(lab: Standing, tmp_path: Path) -> None:
    config = tmp_path / "banner.cfg"
    text = (
        "policy-map type inspect esmtp m\n parameters\n  no mask-banner\npolicy-map global_policy\n"
    )
    text += " class inspection_default\n  inspect esmtp m\nservice-policy global_policy global\n"
    config.write_text(text)
    lab.done("up", "--config", config, "--nat")
    assert "<-  220 mail.example ESMTP" in lab.send()
    # The file that runs has the translation as well.
    policy = Files(lab.prefix).policy
    assert policy.read_text() == text + STATIC + "\n"
    policy.write_text(text.replace("no mask", "mask") + STATIC + "\n")
    lab("exec", "filter", "nfinspect", "reload")
    assert "<-  220 *" in lab.send()


def test_configuration_that_translates_itself_runs_as_it_is(lab: Standing, tmp_path: Path) -> None:
    config = tmp_path / "static.cfg"
    line = f"static (inside,outside) {OUTSIDE_ADDRESS} {SERVER_ADDRESS} netmask 255.255.255.255 tcp 100 50"
    not_done = "policy-map global_policy\n class class-default\n  set connection decrement-ttl\n"
    config.write_text(f"{default_text()}{line}\n{not_done}")
    up = lab("up", "--config", config, "--nat")
    assert up.returncode == 0
    assert "routing lowers the TTL" in up.stderr  # its notices are shown
    assert not Files(lab.prefix).policy.exists()
    assert lab.done("status").startswith(f"{lab.prefix}: up; routed, translated, {config}\n")
    lab.send(OUTSIDE_ADDRESS)


def test_lab_with_a_faulty_configuration_is_not_built(lab: Standing, tmp_path: Path) -> None:
    config = tmp_path / "faulty.cfg"
    config.write_text("policy-map type inspect esmtp m\n match weather\n")
    up = lab("up", "--config", config)
    assert (up.returncode, up.stdout) == (2, "")
    assert up.stderr.startswith(f"{config}:2:") or f"{config}:2:" in up.stderr
    assert remains(lab.prefix) == []


@pytest.mark.parametrize(
    "words", [("--nat", "--bridge"), ("--nat", "--ipv6"), ("--bare", "--config", "/dev/null")]
)
def test_options_that_contradict_each_other(lab: Standing, words: tuple[str, ...]) -> None:
    assert lab("up", *words).returncode == 2
    assert remains(lab.prefix) == []


@pytest.mark.parametrize("name", ["../x", "", "a/b", "-x", "x" * 61])
def test_name_of_a_lab_is_no_path(name: str) -> None:
    for word in ("up", "down"):
        done = command(word, f"--prefix={name}")
        assert (done.returncode, done.stdout) == (1, "")
        assert "is no name for a lab" in done.stderr


def test_lab_without_root_fails_and_says_why() -> None:
    # Import as root: another user may not be able to read this checkout.
    program = "import os\nfrom nfinspect.lab.topology import build\nos.seteuid(65534)\nbuild('x')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert "LabError: the lab needs root to create network namespaces" in done.stderr
