"""The note's cure, in a lab: the exempt gateway's mail passes as it is, on its translated address too,
and all other mail is inspected."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from nfinspect.lab.filter import NFINSPECT, RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import (
    CLIENT,
    CLIENT_ADDRESS,
    EXIM_ADDRESS,
    FILTER,
    OUTSIDE,
    SERVER,
    SERVER_ADDRESS,
)

MAPPED, EXIM_MAPPED = "192.0.2.25", "192.0.2.26"

CONFIGURATION = f"""\
nameif ethernet0 outside security0
nameif ethernet1 inside security100
access-list ironport_esa_internal extended permit ip any {SERVER_ADDRESS}
access-list ironport_esa_internal extended permit ip {SERVER_ADDRESS} any
class-map ironport_esa
match address ironport_esa_internal
policy-map global_policy
class ironport_esa
no inspect esmtp
static (inside,outside) {MAPPED} {SERVER_ADDRESS} netmask 255.255.255.255 tcp 50 100
static (inside,outside) {EXIM_MAPPED} {EXIM_ADDRESS} netmask 255.255.255.255
"""

LISTENER = """\
import socket
listening = socket.create_server(("", 25))
print("ready", flush=True)
while True:
    connection, peer = listening.accept()
    connection.sendall(b"220 mail.example ESMTP\\r\\n")
    line = connection.makefile("rb").readline()
    connection.sendall(b"502 " + peer[0].encode() + b" " + line)
    connection.close()
"""
"""Answers a command with the client's address and the command."""

CALLER = """\
import socket, sys
with socket.create_connection((sys.argv[1], 25), 10, (sys.argv[2], 0)) as connection:
    replies = connection.makefile("rb")
    greeting = replies.readline()
    connection.sendall(b"STARTTLS\\r\\n")
    sys.stdout.buffer.write(greeting + replies.readline())
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, RunningFilter]]:
    path = tmp_path_factory.mktemp("exemption") / "fw.cfg"
    path.write_text(CONFIGURATION)
    with Lab(offloads=False) as lab:
        for mapped in (MAPPED, EXIM_MAPPED):
            lab.run(FILTER, ["ip", "address", "add", f"{mapped}/32", "dev", OUTSIDE.name])
        server = lab.popen(SERVER, ["python3", "-c", LISTENER])
        client = lab.popen(CLIENT, ["python3", "-c", LISTENER])
        for each in (server, client):
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        running = lab.filter(path)
        yield lab, running
        running.end()  # not stop, which takes the notices about the note's words for errors
        for each in (server, client):
            each.terminate()
            each.wait()


def call(lab: Lab, namespace: str, address: str, source: str = "") -> list[str]:
    return lab.run(namespace, ["python3", "-c", CALLER, address, source]).stdout.splitlines()


@pytest.mark.parametrize("address", [SERVER_ADDRESS, MAPPED])
def test_gateway_receives_and_sends_what_its_peer_does(
    lab: tuple[Lab, RunningFilter], address: str
) -> None:
    before = lab[1].show_json("queue")["received"]
    assert call(lab[0], CLIENT, address) == [
        "220 mail.example ESMTP",
        f"502 {CLIENT_ADDRESS} STARTTLS",
    ]
    # Its SYN, which the static's limit counts; all else the kernel alone lets pass.
    assert lab[1].show_json("queue")["received"] == before + 1


def test_gateway_sends_from_its_mapped_address(lab: tuple[Lab, RunningFilter]) -> None:
    assert call(lab[0], SERVER, CLIENT_ADDRESS) == [
        "220 mail.example ESMTP",
        f"502 {MAPPED} STARTTLS",
    ]


def test_other_mail_is_inspected(lab: tuple[Lab, RunningFilter]) -> None:
    greeting, reply = call(lab[0], CLIENT, EXIM_ADDRESS)
    assert greeting == "220 " + "*" * len("mail.example ESMTP")
    assert reply == f"502 {CLIENT_ADDRESS} XXXXXXXX"


def test_lines_name_direction_interfaces_and_mapped_addresses(
    lab: tuple[Lab, RunningFilter],
) -> None:
    lab_, running = lab
    assert call(lab_, SERVER, CLIENT_ADDRESS, EXIM_ADDRESS)[1] == f"502 {EXIM_MAPPED} XXXXXXXX"

    def built() -> list[str]:
        return [line for line in running.syslog if "Built outbound TCP connection" in line]

    assert running.wait(lambda: bool(built()), 10)
    assert f" for outside:{CLIENT_ADDRESS}/25 " in built()[0]
    assert re.search(rf" to inside:{EXIM_ADDRESS}/(\d+) \({EXIM_MAPPED}/\1\)$", built()[0])
    assert call(lab_, CLIENT, EXIM_MAPPED)[1] == f"502 {CLIENT_ADDRESS} XXXXXXXX"
    inbound = f" to inside:{EXIM_ADDRESS}/25 ({EXIM_MAPPED}/25)"
    assert running.wait(lambda: any(line.endswith(inbound) for line in running.syslog), 10)


def test_running_filter_says_why(lab: tuple[Lab, RunningFilter]) -> None:
    lab_, running = lab
    words = ["packet-tracer", "input", "outside", "tcp", CLIENT_ADDRESS, "4000", MAPPED, "25"]
    control = ["--control", str(lab_.directory / "control")]
    trace = lab_.run(FILTER, [*NFINSPECT, *words, *control]).stdout
    assert "class ironport_esa: no inspect esmtp\n" in trace
    assert running.show("running-config", "static").startswith("static (inside,outside)")
