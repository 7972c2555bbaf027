"""The note's static line, live: its 51st connection is refused while 50 are open, and accepted when one ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CLIENT, CLIENT_ADDRESS, FILTER, OUTSIDE, SERVER, SERVER_ADDRESS

MAPPED = "192.0.2.25"
CONFIGURATION = f"""\
nameif ethernet0 outside security0
nameif ethernet1 inside security100
static (inside,outside) {MAPPED} {SERVER_ADDRESS} netmask 255.255.255.255 tcp 50 100
"""
MOST = 50
SHORT = 1.5
"""Seconds: a SYN has not been answered, and was sent a second time."""

LISTENER = """\
import socket
listening = socket.create_server(("", 25), backlog=200)
print("ready", flush=True)
kept = []
while True:
    connection, peer = listening.accept()
    connection.sendall(b"220 mail.example ESMTP\\r\\n")
    kept.append(connection)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, RunningFilter]]:
    path = tmp_path_factory.mktemp("limits") / "fw.cfg"
    path.write_text(CONFIGURATION)
    with Lab(offloads=False) as lab:
        lab.run(FILTER, ["ip", "address", "add", f"{MAPPED}/32", "dev", OUTSIDE.name])
        server = lab.popen(SERVER, ["python3", "-c", LISTENER])
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        running = lab.filter(path)
        yield lab, running
        running.end()
        server.terminate()
        server.wait()


def connected(lab: Lab, seconds: float = 10, address: str = MAPPED) -> socket.socket | None:
    """A new connection to the mapped address, or another; None if the SYN is not answered in time."""
    made = lab.socket(CLIENT)
    made.settimeout(seconds)
    try:
        made.connect((address, 25))
    except TimeoutError:
        made.close()
        return None
    assert made.recv(100) == b"220 " + b"*" * len("mail.example ESMTP") + b"\r\n"
    return made


def refused(running: RunningFilter) -> list[str]:
    return [line for line in running.syslog if "-201011: " in line]


def reset(connection: socket.socket) -> None:
    """End a connection at once."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def test_connection_51_waits_for_one_to_end(lab: tuple[Lab, RunningFilter]) -> None:
    lab_, running = lab
    kept = [connected(lab_) for _ in range(MOST - 1)]
    assert None not in kept
    # The 50th stays embryonic: a SYN whose answer nobody acknowledges.
    lab_.run(CLIENT, ["iptables", "-A", "OUTPUT", "-p", "tcp", "--dport", "25", "--tcp-flags", "ALL",
                      "ACK", "-m", "conntrack", "--ctstate", "NEW,ESTABLISHED", "-j", "DROP"])  # fmt: skip
    half = lab_.socket(CLIENT)
    half.setblocking(False)
    assert half.connect_ex((MAPPED, 25)) != 0
    assert running.wait(lambda: sum("-302013: " in line for line in running.syslog) == MOST, 10)

    assert connected(lab_, SHORT) is None
    assert running.wait(lambda: bool(refused(running)), 10)
    assert refused(running)[0].startswith(
        f"%ASA-3-201011: Connection limit exceeded {MOST}/{MOST} for inbound packet from"
        f" {CLIENT_ADDRESS}/"
    )
    assert refused(running)[0].endswith(f" to {SERVER_ADDRESS}/25 on interface outside")
    assert running.show_json("queue")["dropped"]["connection-limit"] >= 1

    shown = running.show("conn").splitlines()
    assert shown[0] == f"{MOST} in use, {MOST} most used"
    assert f"inside {SERVER_ADDRESS}({MAPPED}):25," in shown[1]
    assert [line.rpartition(" ")[2] for line in shown[1:]] == ["UOMB"] * (MOST - 1) + ["aMB"]
    assert "current embryonic conns 1, current conns 50, drop " in running.show(
        "service-policy", "set", "connection"
    )
    assert f"TCP flow count/limit = {MOST}/{MOST}\n" in running.show("local-host", SERVER_ADDRESS)
    assert f"NAT from inside:{SERVER_ADDRESS} to outside:{MAPPED}\n" in running.show("xlate")

    lab_.run(CLIENT, ["iptables", "-F", "OUTPUT"])
    reset(kept.pop())
    again = connected(lab_)
    assert again is not None
    before = len(refused(running))
    assert connected(lab_, SHORT) is None
    assert running.wait(lambda: len(refused(running)) > before, 10)
    half.close()
    for each in (again, *kept):
        reset(each)
    # All places are free again.
    assert running.wait(lambda: sum("-302014: " in line for line in running.syslog) >= MOST, 20)
    last = [connected(lab_) for _ in range(MOST)]
    assert None not in last
    for each in last:
        reset(each)


def test_after_a_restart_idle_connections_hold_their_places(tmp_path: Path) -> None:
    path = tmp_path / "fw.cfg"
    path.write_text(CONFIGURATION.replace("tcp 50 100", "tcp 3 0"))
    with Lab(offloads=False) as lab:
        lab.run(FILTER, ["ip", "address", "add", f"{MAPPED}/32", "dev", OUTSIDE.name])
        server = lab.popen(SERVER, ["python3", "-c", LISTENER])
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        running = lab.filter(path)
        kept = [connected(lab) for _ in range(3)]
        assert None not in kept
        running.end()
        running = lab.filter(path)
        assert connected(lab, SHORT) is None
        assert running.wait(lambda: bool(refused(running)), 10)
        assert "limit exceeded 3/3 " in refused(running)[0]
        assert running.show("conn", "count") == "0 in use, 0 most used\n"
        kept[0].sendall(b"NOOP\r\n")  # it is picked up, and counted once
        assert running.wait(lambda: any("-302013: " in line for line in running.syslog), 10)
        before = len(refused(running))
        assert connected(lab, SHORT) is None
        assert len(refused(running)) > before
        for each in kept:
            reset(each)
        # The first was in the table; the others end in conntrack's, which is looked at again.
        again = connected(lab, 30)
        assert again is not None
        again.close()
        running.end()
        server.terminate()
        server.wait()


def test_table_is_full_when_the_command_says_so() -> None:
    with Lab(offloads=False) as lab:
        server = lab.popen(SERVER, ["python3", "-c", LISTENER])
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        running = lab.filter(arguments=["--connections", "1"])
        first = connected(lab, address=SERVER_ADDRESS)
        assert first is not None
        assert connected(lab, SHORT, SERVER_ADDRESS) is None
        assert running.wait(lambda: any("-201008: " in line for line in running.syslog), 10)
        assert running.show_json("queue")["dropped"]["table-full"] >= 1
        reset(first)
        running.end()
