"""A changed configuration for the running filter: SIGHUP and `nfinspect reload`, under load too."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfinspect.lab.dialogue import ClientConnection, RecordingServer
from nfinspect.lab.filter import NFINSPECT, RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import FILTER, SCRIPT_ADDRESS

PATIENCE = 20.0
"""Seconds until a test gives up."""

AGAIN = (
    "nfinspect: notice: the configuration was read again: it applies to new connections"
    " (nfinspect clear conn ends the open ones)"
)
COMMAND = b"NOOP " + b"x" * 300
SENDERS, MOST_MAILS, RELOADS = 4, 1000, 9


def limited(limit: int) -> str:
    return (
        f"policy-map type inspect esmtp m\n match cmd line length gt {limit}\n"
        "  drop-connection log\n"
        "policy-map global_policy\n class inspection_default\n  no inspect esmtp\n"
        "  inspect esmtp m\n"
    )


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture
def config(lab: Lab) -> Path:
    file = lab.directory / "m.cfg"
    file.write_text(limited(500))
    return file


@pytest.fixture
def live(lab: Lab, config: Path) -> Iterator[RunningFilter]:
    running = lab.filter(config)
    yield running
    running.end()


@pytest.fixture
def server(lab: Lab) -> Iterator[RecordingServer]:
    with RecordingServer(lab, SCRIPT_ADDRESS) as server:
        yield server


def reload(lab: Lab) -> Any:
    control = str(lab.directory / "control")
    return lab.run(FILTER, [*NFINSPECT, "reload", "--control", control], check=False)


def opened(lab: Lab) -> ClientConnection:
    client = ClientConnection.open(lab, SCRIPT_ADDRESS)
    assert client.reply().startswith("220 ")
    return client


def clause(live: RunningFilter) -> dict[str, Any]:
    (inspection,) = live.show_json("service-policy")["service_policy"]
    (row,) = inspection["match"]
    return dict(row)


@pytest.mark.parametrize("how", ["SIGHUP", "reload"])
def test_new_connections_follow_the_changed_file_and_open_ones_do_not(
    lab: Lab, live: RunningFilter, config: Path, server: RecordingServer, how: str
) -> None:
    with opened(lab) as old:
        config.write_text(limited(200))
        if how == "SIGHUP":
            os.kill(live.pid, signal.SIGHUP)
            assert live.wait(lambda: AGAIN in live.errors, PATIENCE)
        else:
            done = reload(lab)
            assert (done.returncode, done.stdout, done.stderr) == (
                0,
                AGAIN.removeprefix("nfinspect: ") + "\n",
                "",
            )
        with opened(lab) as new:
            new.send(COMMAND + b"\r\n")
            assert live.wait(lambda: any("-108004:" in line for line in live.syslog), PATIENCE)
        assert old.command(COMMAND).startswith("250")
    assert clause(live) == {
        "clause": "match cmd line length gt 200",
        "action": "drop-connection log",
        "packet": 1,
    }
    live.stop()


def test_cleared_connections_begin_anew_under_the_changed_file(
    lab: Lab, live: RunningFilter, config: Path, server: RecordingServer
) -> None:
    control = ["--control", str(lab.directory / "control")]
    with opened(lab) as old, opened(lab):
        config.write_text(limited(200))
        assert reload(lab).returncode == 0
        for words, count in ((["conn", "address", "192.0.2.77"], 0), (["conn"], 2), (["conn"], 0)):
            done = lab.run(FILTER, [*NFINSPECT, "clear", *words, *control], check=False)
            assert done.stdout == f"{count} connections ended\n", done.stderr
        ended = [line for line in live.syslog if "-302014:" in line]
        assert live.wait(lambda: sum("Cleared" in line for line in live.syslog) == 2, PATIENCE), (
            ended
        )
        old.send(COMMAND + b"\r\n")  # of no connection now
        assert live.wait(lambda: any("-106015:" in line for line in live.syslog), PATIENCE)
    with opened(lab) as new:
        new.send(COMMAND + b"\r\n")
        assert live.wait(lambda: any("-108004:" in line for line in live.syslog), PATIENCE)
    done = lab.run(FILTER, [*NFINSPECT, "clear", "arp", *control], check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "available: 'clear conn [address ADDRESS]'" in done.stderr
    live.stop()


def test_faulty_file_changes_nothing_and_says_why(
    lab: Lab, live: RunningFilter, config: Path, server: RecordingServer
) -> None:
    config.write_text("policy-map type inspect esmtp m\n match weather\n")
    done = reload(lab)
    assert (done.returncode, done.stdout) == (2, "")
    said = f"error: the policy stays as it is: {config}:2:8: "
    assert done.stderr.startswith(f"nfinspect: {said}")
    assert any(line.startswith(f"nfinspect: {said}") for line in live.errors)
    config.unlink()
    os.kill(live.pid, signal.SIGHUP)
    missing = f"nfinspect: error: the policy stays as it is: {config}: No such file or directory"
    assert live.wait(lambda: missing in live.errors, PATIENCE)
    with opened(lab) as client:
        assert client.command(COMMAND).startswith("250")
    assert clause(live)["clause"] == "match cmd line length gt 500"


def test_filter_without_a_file_keeps_its_policy(lab: Lab) -> None:
    live = lab.filter()
    done = reload(lab)
    live.end()
    assert done.returncode == 2
    assert "it is the default, without a file (run --config FILE)" in done.stderr


def test_rules_of_somebody_else_are_not_touched_by_a_reload(lab: Lab, live: RunningFilter) -> None:
    lab.run(FILTER, ["iptables", "-t", "security", "-A", "NFINSPECT", "-p", "udp"])
    before = lab.run(FILTER, ["iptables", "-t", "security", "-S"]).stdout
    assert reload(lab).returncode == 0
    assert lab.run(FILTER, ["iptables", "-t", "security", "-S"]).stdout == before
    live.stop()


def test_dry_run_tells_and_changes_nothing(lab: Lab, live: RunningFilter, config: Path) -> None:
    rules = lab.run(FILTER, ["iptables-save"]).stdout.splitlines()
    running = live.show("running-config")
    config.write_text(limited(200).replace("global_policy", "global_policy\n class s\n  inspect esmtp")
                      + "class-map s\n match port tcp eq 587\n")  # fmt: skip
    control = ["--control", str(lab.directory / "control")]
    done = lab.run(FILTER, [*NFINSPECT, "reload", "--dry-run", *control])
    lines = done.stdout.splitlines()
    assert "  -  match cmd line length gt 500" in lines
    assert "  +  match cmd line length gt 200" in lines
    assert "  port 587: not covered -> inspect esmtp _default_esmtp_map, class s" in lines
    again = lab.run(FILTER, ["iptables-save"]).stdout.splitlines()
    assert [x for x in again if x[0] == "-"] == [x for x in rules if x[0] == "-"]
    assert live.show("running-config") == running
    config.write_text("match weather\n")
    assert (
        lab.run(FILTER, [*NFINSPECT, "reload", "--dry-run", *control], check=False).returncode == 2
    )
    config.write_text(limited(500))
    live.stop()


def test_other_signals_do_not_end_the_filter(lab: Lab, live: RunningFilter) -> None:
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        os.kill(live.pid, number)
    assert live.wait(lambda: AGAIN in live.errors, PATIENCE)
    assert live.show_json("queue")["number"] == 0
    live.stop()


def test_reloads_under_load_lose_no_mail_and_change_no_open_connection(
    lab: Lab, live: RunningFilter, config: Path, server: RecordingServer
) -> None:
    failures: list[BaseException] = []
    sent: list[str] = []
    over = threading.Event()

    def send(sender: int) -> None:
        try:
            for number in range(MOST_MAILS):
                if over.is_set():
                    return
                with opened(lab) as client:
                    assert client.command("EHLO client.example").startswith("250")
                    assert client.command("MAIL FROM:<a@client.example>").startswith("250")
                    assert client.command("RCPT TO:<b@mail.example>").startswith("250")
                    assert client.command("DATA").startswith("354")
                    body = f"Subject: {sender}-{number}\r\n\r\n" + "text\r\n" * 2000
                    client.send(body.encode())
                    assert client.command(".").startswith("250")
                    assert client.command("QUIT").startswith("221")
                sent.append(f"{sender}-{number}")
        except BaseException as error:
            failures.append(error)

    with opened(lab) as old:
        assert old.command(COMMAND).startswith("250")
        senders = [threading.Thread(target=send, args=(each,)) for each in range(SENDERS)]
        for sender in senders:
            sender.start()
        for number in range(RELOADS):
            faulty = number % 3 == 2
            config.write_text("match weather\n" if faulty else limited(200 + number % 3))
            assert reload(lab).returncode == (2 if faulty else 0)
        over.set()
        for sender in senders:
            sender.join()
        assert old.command(COMMAND).startswith("250")
    assert failures == []
    recordings = server.wait(len(sent) + 1)
    arrived = [
        found[1].decode()
        for recording in recordings
        if (
            found := re.search(
                rb"Subject: (\d+-\d+)\r\n\r\n(text\r\n){2000}\.\r\n", recording.received
            )
        )
    ]
    assert sorted(arrived) == sorted(sent)
    assert len(sent) > SENDERS * RELOADS  # there was a load
    state = live.show_json("queue")
    assert (state["kernel_dropped"], state["user_dropped"]) == (0, 0)
    assert state["verdicts"].get("internal errors", 0) == 0
    assert not [line for line in live.syslog if "-108004:" in line]


# ---- lines -------------------------------------------------------------------------------------


def test_lines_in_a_file_have_the_time_and_those_for_a_pipe_do_not(
    lab: Lab, server: RecordingServer
) -> None:
    built = r"%ASA-6-302013: Built inbound TCP connection 1 for outside:"
    stamp = r"[A-Z][a-z]{2} \d\d \d{4} \d\d:\d\d:\d\d: "
    lab.run(FILTER, [*NFINSPECT, "rules", "--apply"])
    for arguments, journal, wanted in (
        ([], False, stamp),
        (["--log-format", "plain"], False, ""),
        (["--log-format", "journal"], False, "<6>"),
        ([], True, "<6>"),
    ):
        log = lab.directory / "log"
        control = str(lab.directory / "logging")
        state = str(lab.directory / "logging-state")
        with log.open("w") as file:
            status = os.fstat(file.fileno())
            stream = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"} if journal else {}
            process = lab.popen(
                FILTER,
                [*NFINSPECT, "run", "--control", control, "--state", state, *arguments],
                stdout=file,
                environment=stream,
            )
            assert process.stderr is not None
            ready = process.stderr.readline()
            assert ready.endswith("nfinspect ready, queues 0-0\n")
            with opened(lab) as client:
                assert client.command("QUIT").startswith("221")
            process.terminate()
            process.communicate(timeout=PATIENCE)
        assert re.match(wanted + built, log.read_text()), (arguments, log.read_text()[:100])
