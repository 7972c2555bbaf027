"""The live filter on a real queue, in namespaces: packets, signals, rules and errors."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nfinspect.lab.lab import Lab
from nfinspect.lab.namespaces import NFINSPECT
from nfinspect.lab.topology import (
    CLIENT,
    FILTER,
    SERVER,
    SERVER_ADDRESS,
    SERVER_ADDRESS6,
)
from nfinspect.live.queue import MAX_LENGTH
from nfinspect.rules.mark import MARK, MASK
from tests.end_to_end.ends import PATIENCE, eventually

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))
FAMILIES = pytest.mark.parametrize(
    ("family", "server"),
    [(socket.AF_INET, SERVER_ADDRESS), (socket.AF_INET6, SERVER_ADDRESS6)],
    ids=["IPv4", "IPv6"],
)


@pytest.fixture
def lab(shared_lab: Lab) -> Iterator[Lab]:
    yield shared_lab
    for program in ("iptables", "ip6tables"):
        for arguments in ("-F", "-t security -F", "-t security -X", "-t raw -F", "-t raw -X"):
            shared_lab.run(FILTER, [program, *arguments.split()])


def nfinspect(
    lab: Lab, *arguments: str, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run an nfinspect command on the filter to its end, whatever its status."""
    return lab.run(FILTER, [*prefix, *NFINSPECT, *arguments], check=False)


class Running:
    """A live filter that has been started, with a stand-in engine or the real one."""

    def __init__(self, lab: Lab, *command: str, environment: dict[str, str] | None = None) -> None:
        self._lab = lab
        self.process = lab.popen(FILTER, command, environment=environment)
        assert self.process.stderr is not None
        self.first_line = self.process.stderr.readline()
        line = self.first_line
        while line and not line.startswith("  forwarding "):  # the last one about the start
            line = self.process.stderr.readline()
        self.output = self.errors = ""

    @classmethod
    def stand_in(
        cls, lab: Lab, engine: str, *arguments: str, environment: dict[str, str] | None = None
    ) -> Running:
        command = (*STAND_IN, engine, str(control(lab)), *arguments)
        return cls(lab, *command, environment=environment)

    @classmethod
    def real(cls, lab: Lab, *arguments: str, environment: dict[str, str] | None = None) -> Running:
        state = ("--state", str(lab.directory / "closed"))
        command = (*NFINSPECT, "run", "--control", str(control(lab)), *state, *arguments)
        return cls(lab, *command, environment=environment)

    def show(self, *words: str) -> Any:
        done = nfinspect(self._lab, "show", *words, "--json", "--control", str(control(self._lab)))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        self.output, self.errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode


def control(lab: Lab) -> Path:
    return lab.directory / "control"


@contextlib.contextmanager
def running(lab: Lab, filter_: Running) -> Iterator[Running]:
    """Check that the filter is ready and apply the rules; the filter has ended after the block."""
    try:
        assert filter_.first_line == "nfinspect ready, queues 0-0\n", filter_.first_line
        lab.run(FILTER, [*NFINSPECT, "rules", "--apply"])
        yield filter_
    finally:
        if filter_.process.poll() is None:
            filter_.process.kill()
            filter_.wait()


class Transfer:
    """A server on port 25 that keeps what a client sends."""

    def __init__(self, lab: Lab, family: int, server: str) -> None:
        self._lab, self._family, self._server = lab, family, server
        self._listener = lab.socket(SERVER, family)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((server, 25))
        self._listener.listen()
        self._listener.settimeout(PATIENCE)
        self.received = b""
        self._thread = threading.Thread(target=self._receive, daemon=True)

    def __enter__(self) -> Transfer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _receive(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(PATIENCE)
            while data := connection.recv(1 << 20):
                self.received += data

    def send(self, data: bytes) -> bytes:
        """Send *data* from the client and return what arrived."""
        with self._lab.socket(CLIENT, self._family) as client:
            client.settimeout(PATIENCE)
            client.connect((self._server, 25))
            client.sendall(data)
        self._thread.join(PATIENCE)
        return self.received


def unanswered(lab: Lab, family: int, server: str) -> bool:
    """Whether a SYN gets no answer within half a second."""
    with lab.socket(CLIENT, family) as client:
        client.settimeout(0.5)
        try:
            client.connect((server, 25))
        except TimeoutError:
            return True
        except ConnectionRefusedError:
            return False
        return False


SEND_RAW = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
header = bytes.fromhex("c0000019 00000001 00000000 50100000 00000000")
for _ in range(int(sys.argv[2])):
    for length in sys.argv[3:]:
        raw.sendto(header + bytes(int(length)), (sys.argv[1], 0))
"""

RECEIVE_RAW = """
import socket, sys
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
raw.settimeout(20)
print("ready", flush=True)
for _ in range(int(sys.argv[1])):
    print(len(raw.recv(65536)) - 40, flush=True)
"""


def send_raw(lab: Lab, *payloads: int, count: int = 1, server: str = SERVER_ADDRESS) -> None:
    """Send TCP segments to port 25 with *payloads* zeros each, fragmented if they exceed the MTU."""
    program = [sys.executable, "-c", SEND_RAW, server, str(count), *map(str, payloads)]
    lab.run(CLIENT, program)


MEGABYTE = bytes(range(256)) * 4096


# ---- packets -----------------------------------------------------------------------------------


@FAMILIES
def test_transfer_passes_byte_for_byte_and_gso_packets_are_counted(
    lab: Lab, family: int, server: str
) -> None:
    with (
        running(lab, Running.stand_in(lab, "AcceptAll")) as live,
        Transfer(lab, family, server) as transfer,
    ):
        assert transfer.send(MEGABYTE) == MEGABYTE
        state = live.show("queue")
        assert live.stop() == 0
    assert state["gso"] >= 10
    assert state["received"] == state["verdicts"]["accepted"] > state["gso"]
    assert (state["waiting"], state["held"]) == (0, 0)
    assert (state["kernel_dropped"], state["user_dropped"], state["enobufs"]) == (0, 0, 0)


@FAMILIES
def test_each_packet_comes_with_its_interfaces_and_whether_its_checksum_is_ready(
    lab: Lab, family: int, server: str
) -> None:
    log = lab.directory / "log"
    with (
        running(lab, Running.stand_in(lab, "Describe", str(log))) as live,
        Transfer(lab, family, server) as transfer,
    ):
        transfer.send(MEGABYTE)
        assert live.stop() == 0
    seen = [json.loads(line) for line in log.read_text().splitlines()]
    paths = {(each["ingress"], each["egress"], each["link_source"]) for each in seen}
    assert paths == {("outside", "inside", ""), ("inside", "outside", "")}
    assert {each["version"] for each in seen} == {4 if family == socket.AF_INET else 6}
    # veth leaves checksums to the receiver; only the few packets sent without a socket have one.
    assert not any(each["checksum_ready"] for each in seen if each["length"] > 1000)
    assert any(each["gso"] and each["length"] > 10_000 for each in seen)
    assert all(each["captured_length"] is None for each in seen)


def test_what_earlier_packets_left_in_the_buffer_is_never_read(lab: Lab) -> None:
    """A segment of each length, and so of each alignment, over a buffer full of forged messages."""
    log = lab.directory / "log"
    poisoned = {"POISON": "yes"}
    with running(lab, Running.stand_in(lab, "Describe", str(log), environment=poisoned)) as live:
        lengths = range(1460)
        send_raw(lab, *lengths)
        seen = eventually(lambda: log.read_text().count("\n") >= len(lengths) and log.read_text())
        state = live.show("queue")
        assert live.stop() == 0
    read = [json.loads(line)["length"] for line in seen.splitlines()]
    # The server's RST answers are among them.
    assert [length for length in read if length != 40] == [40 + each for each in lengths][1:]
    assert state["received"] == state["verdicts"]["accepted"]
    assert state["waiting"] == 0


@pytest.mark.parametrize(
    ("server", "headers"), [(SERVER_ADDRESS, 40), (SERVER_ADDRESS6, 60)], ids=["IPv4", "IPv6"]
)
def test_fragments_arrive_as_one_packet_and_a_truncated_one_with_its_true_length(
    lab: Lab, server: str, headers: int
) -> None:
    log = lab.directory / "log"
    with running(lab, Running.stand_in(lab, "Describe", str(log))) as live:
        send_raw(lab, 4000, 65_495, server=server)
        seen = eventually(lambda: log.read_text().count("\n") == 2 and log.read_text())
        assert live.stop() == 0
    whole, cut = map(json.loads, seen.splitlines())
    assert (whole["length"], whole["captured_length"]) == (4000 + headers, None)
    assert (cut["length"], cut["captured_length"]) == (65_531, 65_495 + headers)
    assert whole["checksum_ready"]


def test_held_packets_leave_in_the_order_of_their_verdicts(lab: Lab) -> None:
    receiver = lab.popen(SERVER, [sys.executable, "-c", RECEIVE_RAW, "3"])
    assert receiver.stdout is not None
    assert receiver.stdout.readline() == "ready\n"
    with running(lab, Running.stand_in(lab, "HoldThenReverse")) as live:
        send_raw(lab, 10, 20, 30)
        out, _ = receiver.communicate(timeout=PATIENCE)
        assert live.stop() == 0
    assert out.split() == ["30", "20", "10"]


def test_verdict_for_a_packet_whose_interface_went_down_is_refused_and_counted() -> None:
    with Lab() as lab, running(lab, Running.stand_in(lab, "HoldThenReverse")) as live:
        send_raw(lab, 10, 20)
        eventually(lambda: live.show("queue")["waiting"] == 2)
        lab.run(FILTER, ["ip", "link", "set", "outside", "down"])
        eventually(lambda: live.show("queue")["waiting"] == 0)
        lab.run(FILTER, ["ip", "link", "set", "outside", "up"])

        def accepted_after_another() -> Any:
            send_raw(lab, 30)
            return live.show("queue")["verdicts"]["accepted"] >= 3

        eventually(accepted_after_another)
        state = eventually(lambda: (s := live.show("queue"))["waiting"] == s["held"] and s)
        assert state["verdicts"]["refused by the kernel"] == 2
        assert live.stop() == 0


@FAMILIES
def test_injected_packet_leaves_with_its_mark_and_arrives(
    lab: Lab, family: int, server: str
) -> None:
    program = "iptables" if family == socket.AF_INET else "ip6tables"
    marked = ["-m", "mark", "--mark", f"{MARK:#x}/{MASK:#x}"]
    lab.run(FILTER, [program, "-A", "OUTPUT", *marked])
    with running(lab, Running.stand_in(lab, "Reset")) as live:
        with lab.socket(CLIENT, family) as client:
            client.settimeout(PATIENCE)
            with pytest.raises(ConnectionRefusedError):
                client.connect((server, 25))
        assert live.show("queue")["verdicts"]["injected"] == 1
        assert live.stop() == 0
    counted = lab.run(FILTER, [program, "-nvxL", "OUTPUT"]).stdout.splitlines()[2].split()[0]
    assert counted == "1"


def test_packets_that_the_kernel_drops_are_shown(lab: Lab) -> None:
    with running(lab, Running.stand_in(lab, "AcceptAll")) as live:
        live.process.send_signal(signal.SIGSTOP)
        send_raw(lab, 60_000, count=1500)  # more bytes than the receive buffer holds
        live.process.send_signal(signal.SIGCONT)
        eventually(lambda: live.show("queue")["waiting"] == 0)
        first = live.show("queue")
        assert first["user_dropped"] >= 1
        assert first["enobufs"] >= 1
        assert first["kernel_dropped"] == 0
        assert first["received"] + first["user_dropped"] == 1500

        live.process.send_signal(signal.SIGSTOP)
        send_raw(lab, 1, count=MAX_LENGTH + 500)  # more packets than may wait
        live.process.send_signal(signal.SIGCONT)
        eventually(lambda: live.show("queue")["waiting"] == 0)
        second = live.show("queue")
        assert second["kernel_dropped"] == 500
        assert second["user_dropped"] == first["user_dropped"]
        assert live.stop() == 0


def test_full_queue_passes_packets_with_fail_open(lab: Lab) -> None:
    with running(lab, Running.real(lab, "--fail-open")) as live:
        live.process.send_signal(signal.SIGSTOP)
        send_raw(lab, 1, count=MAX_LENGTH)
        receiver = lab.popen(SERVER, [sys.executable, "-c", RECEIVE_RAW, "1"])
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "ready\n"
        send_raw(lab, 77)
        assert receiver.communicate(timeout=PATIENCE)[0].split() == ["77"]
        live.process.send_signal(signal.SIGCONT)
        assert live.stop() == 0


# ---- a policy that inspects nothing ------------------------------------------------------------


@FAMILIES
def test_policy_that_inspects_nothing_passes_mail_unchanged(
    lab: Lab, family: int, server: str
) -> None:
    config = lab.directory / "none.cfg"
    config.write_text("policy-map global_policy\n class inspection_default\n  no inspect esmtp\n")
    with contextlib.ExitStack() as stack:
        with Transfer(lab, family, server) as older, lab.socket(CLIENT, family) as client:
            client.settimeout(PATIENCE)
            client.connect((server, 25))
            assert nfinspect(lab, "rules", "--apply").returncode == 0  # fail-closed until it runs
            live = Running.real(lab, "--config", str(config), "--apply-rules")
            stack.callback(live.process.kill)
            assert "inspects nothing: all mail passes uninspected" in live.first_line
            client.sendall(b"XYZZY | older\r\n")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
            assert older.received == b"XYZZY | older\r\n"
        with Transfer(lab, family, server) as newer:
            assert newer.send(b"XYZZY | newer\r\n") == b"XYZZY | newer\r\n"
        shown = nfinspect(lab, "show", "service-policy", "--control", str(control(lab)))
        assert shown.stdout == "The policy inspects nothing: all mail passes uninspected\n"
        assert live.stop() == 0
    old, new = re.findall(r"Built inbound TCP connection \d+ for (\S+) .* to (\S+) ", live.output)
    assert (old[0].split(":")[0], new[0].split(":")[0]) == ("outside", "outside")
    assert old[1].endswith("/25")
    assert new[1].endswith("/25")


# ---- stopping ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_drops_what_is_held_and_leaves_nothing_waiting(
    lab: Lab, number: signal.Signals
) -> None:
    with running(lab, Running.stand_in(lab, "HoldAll")) as live:
        send_raw(lab, 1, 2, 3)
        state = eventually(lambda: (s := live.show("queue"))["waiting"] == 3 and s)
        assert state["held"] == 3
        started = time.monotonic()
        assert live.stop(number) == 0
        assert time.monotonic() - started < 2
    assert "waiting 0, " in live.output
    assert "    dropped flushed, packet 3\n" in live.output
    assert not control(lab).exists()


def test_stop_with_a_gap_open_drops_the_segment_beyond_it(lab: Lab) -> None:
    first = b"NOOP " + b"x" * 93 + b"\r\n"
    lost = "FORWARD -p tcp --dport 25 -m length --length 140:160 -j DROP"
    lab.run(FILTER, ["iptables", "-A", *lost.split()])
    listener = lab.socket(SERVER)
    with listener, running(lab, Running.real(lab)) as live, lab.socket(CLIENT) as client:
        listener.settimeout(PATIENCE)
        listener.bind((SERVER_ADDRESS, 25))
        listener.listen()
        client.settimeout(PATIENCE)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.connect((SERVER_ADDRESS, 25))
        server, _ = listener.accept()
        for endpoint in (client, server):  # close() aborts: no retransmission into the next test
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with server:
            server.sendall(b"220 mail.example\r\n")
            assert client.recv(1000).startswith(b"220 ")
            client.sendall(first)
            client.sendall(b"NOOP\r\n")
            state = eventually(lambda: (s := live.show("queue"))["held"] == 1 and s)
            assert state["waiting"] == 1
            assert state["verdicts"]["injected"] >= 1  # the gap is reported to the sender
            assert live.stop() == 0
    assert "waiting 0, held 0, " in live.output
    assert "    dropped flushed, packet 1\n" in live.output


def test_stop_prints_what_show_prints(lab: Lab) -> None:
    with running(lab, Running.real(lab)) as live:
        words = (["service-policy", "inspect", "esmtp"], ["queue"])
        shown = [nfinspect(lab, "show", *each, "--control", str(control(lab))) for each in words]
        assert live.stop() == 0
    assert live.output == "".join(done.stdout for done in shown)
    assert live.output.startswith("Global policy:\n  Service-policy: global_policy\n")
    assert "Queue 0:\n" in live.output


def test_engine_with_a_bug_passes_nothing_and_leaves_nothing_waiting(lab: Lab) -> None:
    with running(lab, Running.stand_in(lab, "Fail")) as live:
        assert unanswered(lab, socket.AF_INET, SERVER_ADDRESS)
        send_raw(lab, 1, count=50)
        state = eventually(lambda: (s := live.show("queue"))["received"] >= 51 and s)
        assert live.stop() == 0
    assert state["waiting"] == 0
    assert state["dropped"] == {"filter-error": state["received"]}
    assert live.errors.count("ZeroDivisionError: a bug") == 1


def test_filter_keeps_running_when_its_stdout_is_closed(lab: Lab) -> None:
    with running(lab, Running.real(lab)) as live:
        assert live.process.stdout is not None
        live.process.stdout.close()
        for _ in range(3):
            unanswered(lab, socket.AF_INET, SERVER_ADDRESS)  # the SYN is dropped and logged
        assert live.process.stderr is not None
        # The rules were applied after the start, which a warning has noticed.
        said = [live.process.stderr.readline() for _ in range(2)]
        assert any("stdout failed (Broken pipe)" in line for line in said)
        assert not unanswered(lab, socket.AF_INET, SERVER_ADDRESS)
        live.process.send_signal(signal.SIGTERM)
        assert live.process.wait(PATIENCE) == 0


def test_json_run_prints_events_with_their_times_and_then_the_counters(lab: Lab) -> None:
    started = datetime.now(UTC)
    with running(lab, Running.real(lab, "--json")) as live:
        unanswered(lab, socket.AF_INET, SERVER_ADDRESS)
        assert live.stop() == 0
    *events, last = map(json.loads, live.output.splitlines())
    assert [each["event"] for each in events] == ["connection-built", "connection-torn-down"]
    times = [datetime.fromisoformat(each["time"]) for each in events]
    assert started <= times[0] <= times[1] <= datetime.now(UTC)
    assert last["counters"]["connections"]["built"] == 1
    assert last["queue"]["waiting"] == 0


def test_service_manager_is_notified_of_ready_and_stopping(lab: Lab) -> None:
    path = str(lab.directory / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(PATIENCE)
        manager.bind(path)
        with running(lab, Running.real(lab, environment={"NOTIFY_SOCKET": path})) as live:
            assert manager.recv(100) == b"READY=1"
            live.stop()
            assert manager.recv(100) == b"STOPPING=1"


# ---- rules -------------------------------------------------------------------------------------


def tables(lab: Lab) -> str:
    """All rules in the filter's namespace, without counters and dates."""
    saved = [lab.run(FILTER, [program]).stdout for program in ("iptables-save", "ip6tables-save")]
    lines = "".join(saved).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("#", ":")))


def test_rules_applied_twice_exist_once_and_are_removed_without_a_trace(lab: Lab) -> None:
    for program in ("iptables", "ip6tables"):
        lab.run(FILTER, [program, "-t", "security", "-N", "OTHERS"])
        lab.run(FILTER, [program, "-t", "security", "-A", "FORWARD", "-j", "OTHERS"])
    before = tables(lab)
    assert nfinspect(lab, "rules", "--apply", "--fail-open").returncode == 0
    assert nfinspect(lab, "rules", "--apply").returncode == 0
    once = tables(lab)
    assert nfinspect(lab, "rules", "--apply").returncode == 0
    assert tables(lab) == once
    assert once.count("-A FORWARD -p tcp -m comment --comment nfinspect -j NFINSPECT") == 2
    assert once.count("-j NFQUEUE --queue-num 0") == 4
    assert "bypass" not in once

    removed = nfinspect(lab, "rules", "--remove")
    assert (removed.returncode, removed.stderr) == (0, "")
    assert tables(lab) == before
    again = nfinspect(lab, "rules", "--remove")
    assert (again.returncode, again.stderr) == (0, "nfinspect: there are no rules to remove\n")


@FAMILIES
def test_without_a_filter_nothing_passes_unless_the_rules_fail_open(
    lab: Lab, family: int, server: str
) -> None:
    assert not unanswered(lab, family, server)
    nfinspect(lab, "rules", "--apply")
    assert unanswered(lab, family, server)
    nfinspect(lab, "rules", "--apply", "--fail-open")
    assert not unanswered(lab, family, server)
    nfinspect(lab, "rules", "--remove")
    assert not unanswered(lab, family, server)


def test_printed_rules_restored_equal_the_applied_ones(lab: Lab) -> None:
    for option, program in (("-4", "iptables-restore"), ("-6", "ip6tables-restore")):
        text = nfinspect(lab, "rules", option).stdout
        lab.run(FILTER, [program, "--noflush"], input=text)
    printed = tables(lab)
    nfinspect(lab, "rules", "--apply")
    assert tables(lab) == printed


def test_run_with_apply_rules_applies_them_and_leaves_them_at_the_end(lab: Lab) -> None:
    live = Running.real(lab, "--apply-rules")
    try:
        assert live.first_line == "nfinspect ready, queues 0-0\n"
        assert tables(lab).count("-j NFQUEUE --queue-num 0") == 4
    finally:
        assert live.stop() == 0
    assert unanswered(lab, socket.AF_INET, SERVER_ADDRESS)


# ---- errors ------------------------------------------------------------------------------------


def test_second_filter_on_the_same_socket_fails_and_names_the_first(lab: Lab) -> None:
    with running(lab, Running.stand_in(lab, "AcceptAll")) as live:
        done = nfinspect(lab, "run", "--control", str(control(lab)), "--queue-num", "1")
        assert live.stop() == 0
    pid = live.process.pid
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"nfinspect: error: another nfinspect (process {pid}) is listening on"
        f" {control(lab)}; stop it, or choose another socket with --control\n"
    )


def test_second_filter_on_the_same_queue_fails_and_the_first_keeps_running(lab: Lab) -> None:
    with running(lab, Running.stand_in(lab, "AcceptAll")) as live:
        other = lab.directory / "other"
        done = nfinspect(lab, "run", "--control", str(other))
        assert not other.exists()
        assert live.show("queue")["number"] == 0
        assert live.stop() == 0
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: queue 0 is in use by another process (netlink port " in done.stderr


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("net_admin", "reading queue 0 needs CAP_NET_ADMIN"),
        ("net_raw", "injecting packets needs CAP_NET_RAW"),
    ],
)
def test_run_without_a_capability_names_it(lab: Lab, missing: str, message: str) -> None:
    without = ("setpriv", f"--bounding-set=-{missing}")
    done = nfinspect(lab, "run", "--control", str(control(lab)), prefix=without)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"nfinspect: error: {message}: run nfinspect as root, or grant it the capability\n"
    )
    assert not control(lab).exists()


def test_rules_without_the_capability_quote_the_error_of_iptables(lab: Lab) -> None:
    done = nfinspect(lab, "rules", "--apply", prefix=("setpriv", "--bounding-set=-net_admin"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("nfinspect: error: cannot apply the rules: IPv4: iptables")
    assert "Permission denied" in done.stderr


def test_rules_without_iptables_name_the_package(lab: Lab) -> None:
    done = nfinspect(lab, "rules", "--apply", prefix=("env", "PATH=/nowhere"))
    assert (done.returncode, done.stderr) == (
        1,
        "nfinspect: error: cannot apply the rules: iptables is not installed"
        " (apt-get install iptables), or not in PATH\n",
    )


def test_show_without_a_filter_is_one_error_line(lab: Lab) -> None:
    done = nfinspect(lab, "show", "queue", "--control", str(control(lab)))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (f"nfinspect: error: no filter is listening on {control(lab)}\n")


def test_show_of_an_unknown_subject_lists_the_known_ones(lab: Lab) -> None:
    with running(lab, Running.stand_in(lab, "AcceptAll")) as live:
        done = nfinspect(lab, "show", "weather", "--control", str(control(lab)))
        assert live.stop() == 0
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown command 'show weather'; available: 'show service-policy " in done.stderr


AS_NOBODY = """
import os, sys
from nfinspect.cli import main

command = ["show", "queue", "--control", sys.argv[1]]
own, sys.stdout = sys.stdout, open(os.devnull, "w")
sys.argv = ["nfinspect", *command]
try:
    main()  # as root, so that everything is imported that another user may not be able to read
except SystemExit as ended:
    assert not ended.code, ended.code
sys.stdout = own
os.setgroups([])
os.setuid(65534)
main()
"""


def test_show_is_refused_to_users_other_than_root(lab: Lab) -> None:
    with running(lab, Running.stand_in(lab, "AcceptAll")) as live:
        done = lab.run(FILTER, [sys.executable, "-c", AS_NOBODY, str(control(lab))], check=False)
        assert live.stop() == 0
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"nfinspect: error: only root may query the filter on {control(lab)}\n"
