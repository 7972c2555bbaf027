"""`nfinspect status`, and what the running filter says by itself, with each misfit on a real system."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from nfinspect.lab.dialogue import ClientConnection, RecordingServer, Script
from nfinspect.lab.filter import NFINSPECT, RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CLIENT, FILTER, SCRIPT_ADDRESS

PATIENCE = 20.0
"""Seconds until a test gives up; the filter looks every five."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def live(lab: Lab) -> Iterator[RunningFilter]:
    running = lab.filter()
    yield running
    running.end()


def nfinspect(lab: Lab, *arguments: str) -> Any:
    return lab.run(FILTER, [*NFINSPECT, *arguments], check=False)


def status(lab: Lab) -> tuple[int, Any]:
    """The exit status and the object of ``nfinspect status --json``."""
    done = nfinspect(lab, "status", "--json", "--control", str(lab.directory / "control"))
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def warnings(lab: Lab) -> list[str]:
    """The kinds of warnings; the exit status tells whether there are any."""
    code, data = status(lab)
    found = [each["kind"] for each in data["misfits"] if each["severity"] == "warning"]
    assert code == (1 if found else 0)
    return found


@contextlib.contextmanager
def changed(lab: Lab, *there: str, back: Sequence[str] = ()) -> Iterator[None]:
    """Run commands on the filter, and others at the end, by default those that mend the rules."""
    try:
        for command in there:
            lab.run(FILTER, command.split())
        yield
    finally:
        for command in back or ("RULES",):
            lab.run(
                FILTER,
                [*NFINSPECT, "rules", "--apply"] if command == "RULES" else command.split(),
            )


def test_nothing_is_wrong_when_the_rules_are_in_place(lab: Lab, live: RunningFilter) -> None:
    assert warnings(lab) == []
    shown = nfinspect(lab, "status", "--control", str(lab.directory / "control")).stdout
    assert shown.startswith("nfinspect is running\n  version     ")
    assert "  rules       IPv4 and IPv6: port 25 to queue 0, fail-closed, table security\n" in shown
    assert "  forwarding  IPv4 on, IPv6 on\n" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert live.errors == ["nfinspect ready, queues 0-0"]
    assert "  ports       25 inspected" in live.details
    assert "  queue       0; while it is full, further packets are dropped (fail-closed)" in (
        live.details
    )
    assert f"  socket      {lab.directory / 'control'}" in live.details


SECURITY = ("iptables -t security", "ip6tables -t security")
MISFITS = [
    (["no-rules"], ["RULES --remove"], ["RULES"]),
    (["family-missing"], [
        "ip6tables -t security -F", "ip6tables -t security -X NFINSPECT",
    ], ["RULES"]),
    (["chain-not-called"], [f"{each} -F FORWARD" for each in SECURITY], ["RULES"]),
    (["chain-not-called"], [f"{each} -F" for each in SECURITY], ["RULES"]),
    (["chain-empty"], [f"{each} -F NFINSPECT" for each in SECURITY], ["RULES"]),
    (["direction-missing"], ["iptables -t security -D NFINSPECT 3"], ["RULES"]),
    (["port-missing"], [
        "ip6tables -t security -R NFINSPECT 2 -p tcp --dport 26 -j NFQUEUE",
        "ip6tables -t security -R NFINSPECT 3 -p tcp --sport 26 -j NFQUEUE",
    ], ["RULES"]),
    (["rule-ahead"], ["iptables -t security -I FORWARD -p tcp --dport 25 -j ACCEPT"],
     ["iptables -t security -D FORWARD 1"]),
    (["other-queue"], ["RULES --apply --queue-num 5"], ["RULES"]),
    (["syns-elsewhere"], [
        "iptables -t security -R NFINSPECT 1 -p tcp --tcp-flags SYN,ACK SYN -m multiport --ports 25"
        " -j NFQUEUE --queue-num 9",
    ], ["RULES"]),
    (["forwarding-off"], ["sysctl -qw net.ipv4.ip_forward=0"], ["sysctl -qw net.ipv4.ip_forward=1"]),
    (["forwarding-off"], ["sysctl -qw net.ipv6.conf.all.forwarding=0"],
     ["sysctl -qw net.ipv6.conf.all.forwarding=1"]),
    (["bridge-hidden"], [
        "ip link add br0 type bridge",
        "sysctl -qw net.ipv4.ip_forward=0 net.bridge.bridge-nf-call-iptables=0",
    ], [
        "sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1",
        "ip link del br0",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kinds", "there", "back"),
    MISFITS,
    ids=[f"{kinds[0]}-{n}" for n, (kinds, *_) in enumerate(MISFITS)],
)
def test_misfit_is_named_while_it_lasts(
    lab: Lab, live: RunningFilter, kinds: list[str], there: list[str], back: list[str]
) -> None:
    commands = [each.replace("RULES", " ".join([*NFINSPECT, "rules"])) for each in there]
    with changed(lab, *commands, back=back):
        assert warnings(lab) == kinds
    assert warnings(lab) == []


def test_rules_of_somebody_else_are_told_from_none_by_the_packets(
    lab: Lab, live: RunningFilter
) -> None:
    queue = ["-p", "tcp", "-m", "multiport", "--ports", "25", "-j", "NFQUEUE"]
    lab.run(FILTER, [*NFINSPECT, "rules", "--remove"])
    lab.run(FILTER, ["iptables", "-A", "FORWARD", *queue])
    try:
        with (
            RecordingServer(lab, SCRIPT_ADDRESS),
            ClientConnection.open(lab, SCRIPT_ADDRESS) as client,
        ):
            assert client.command("QUIT").startswith("220")
        code, data = status(lab)
    finally:
        lab.run(FILTER, ["iptables", "-D", "FORWARD", *queue])
        lab.run(FILTER, [*NFINSPECT, "rules", "--apply"])
    assert (code, [each["kind"] for each in data["misfits"]]) == (0, ["foreign-rules"])


def test_rules_that_cannot_be_listed_are_unknown(lab: Lab, live: RunningFilter) -> None:
    control = str(lab.directory / "control")
    command = ["env", "PATH=/nowhere", *NFINSPECT, "status", "--control", control]
    done = lab.run(FILTER, command, check=False)
    assert done.returncode == 1
    assert (
        "warning: IPv4: whether mail is diverted is unknown: iptables is not installed"
    ) in done.stdout


def test_status_asked_in_another_namespace_says_so(lab: Lab, live: RunningFilter) -> None:
    control = str(lab.directory / "control")
    done = lab.run(CLIENT, [*NFINSPECT, "status", "--control", control], check=False)
    assert done.returncode == 1
    assert f"the filter (process {live.pid}) runs in another network namespace" in done.stdout
    assert f"nsenter --net --target {live.pid} nfinspect status" in done.stdout
    assert "  rules " not in done.stdout


def test_packets_are_missed_until_they_arrive_and_what_passes_uninspected_is_named(
    lab: Lab,
) -> None:
    """A connection older than the filter."""
    server = RecordingServer(lab, SCRIPT_ADDRESS, Script(replies={}))
    with server, ClientConnection.open(lab, SCRIPT_ADDRESS) as client:
        client.reply()
        running = lab.filter(
            arguments=["--control", str(lab.directory / "second"), "--queue-num", "1"]
        )
        lab.run(FILTER, [*NFINSPECT, "rules", "--apply", "--queue-num", "1"])
        try:
            options = ("status", "--json", "--control", str(lab.directory / "second"))
            notices = json.loads(nfinspect(lab, *options).stdout)["misfits"]
            assert [each["kind"] for each in notices] == ["no-packets"]
            assert client.command("NOOP").startswith("250")
            data = json.loads(nfinspect(lab, *options).stdout)
            assert [each["kind"] for each in data["misfits"]] == ["uninspected"]
            assert data["filter"]["uninspected"] == {"older than the filter": 1}
            assert data["filter"]["received"] >= 2
            said = "nfinspect: notice: connections pass uninspected (older than the filter)"
            assert running.wait(lambda: any(said in line for line in running.errors), PATIENCE)
        finally:
            running.end()
            lab.run(FILTER, [*NFINSPECT, "rules", "--apply"])


def test_running_filter_says_what_has_changed_and_when_it_is_over(
    lab: Lab, live: RunningFilter
) -> None:
    warning = (
        "nfinspect: warning: there are no rules for IPv6: IPv6 mail passes uninspected"
        " (nfinspect rules --apply)"
    )
    over = "nfinspect: notice: over: there are no rules for IPv6: IPv6 mail passes uninspected"
    with changed(lab, "ip6tables -t security -F", "ip6tables -t security -X NFINSPECT"):
        assert live.wait(lambda: warning in live.errors, PATIENCE)
    assert live.wait(lambda: over in live.errors, PATIENCE)


def test_filter_on_another_queue_than_the_rules_warns_at_its_start(
    lab: Lab, live: RunningFilter
) -> None:
    control = str(lab.directory / "other")
    process = lab.popen(FILTER, [*NFINSPECT, "run", "--queue-num", "5", "--control", control])
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(10)]
    process.terminate()
    _, rest = process.communicate(timeout=PATIENCE)
    text = "".join(lines) + rest
    assert text.startswith("nfinspect ready, queues 5-5\n  version ")
    assert (
        "nfinspect: warning: IPv4 and IPv6: the rules send mail to queue 0, which another process"
        " reads, and this filter reads queue 5 (nfinspect rules --apply --queue-num 5, or nfinspect"
        " run --queue-num 0)\n"
    ) in text
    assert "the rules stay" not in text  # none of them are for this filter


def test_without_a_filter_the_rules_are_explained(lab: Lab) -> None:
    control = lab.directory / "nobody"
    lab.run(FILTER, [*NFINSPECT, "rules", "--apply", "--queue-num", "9"])
    try:
        done = nfinspect(lab, "status", "--control", str(control))
    finally:
        lab.run(FILTER, [*NFINSPECT, "rules", "--apply"])
    assert done.returncode == 1
    assert done.stdout == (
        "nfinspect is not running\n"
        "  rules       IPv4 and IPv6: port 25 to queue 9, fail-closed, table security\n"
        "  forwarding  IPv4 on, IPv6 on\n"
        f"warning: no filter answers on {control}\n"
        "  nfinspect run\n"
        "warning: IPv4 and IPv6: the rules send mail to queue 9, which nobody reads: no mail passes\n"
        "  nfinspect run --queue-num 9, or nfinspect rules --remove\n"
    )


def test_stopped_filter_says_that_the_rules_stay(lab: Lab) -> None:
    for options, meaning in (
        ([], "no mail passes to or from port 25 ('nfinspect rules --remove' lets it pass)"),
        (["--fail-open"], "mail to and from port 25 passes uninspected"),
    ):
        lab.run(FILTER, [*NFINSPECT, "rules", "--apply", "--queue-num", "7", *options])
        control = str(lab.directory / "seventh")
        process = lab.popen(FILTER, [*NFINSPECT, "run", "--queue-num", "7", "--control", control])
        assert process.stderr is not None
        assert process.stderr.readline() == "nfinspect ready, queues 7-7\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        assert errors.splitlines()[-1] == (
            "nfinspect: notice: the rules stay: until a filter runs on queue 7 again, " + meaning
        )
    lab.run(FILTER, [*NFINSPECT, "rules", "--apply"])
