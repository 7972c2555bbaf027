"""TCP intercept, live: a flood of SYNs from forged addresses switches it on, a real client gets through it and is
inspected, and with the flood it ends."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import (
    CLIENT,
    CLIENT_ADDRESS,
    CLIENT_ADDRESS6,
    FILTER,
    OUTSIDE,
    SERVER,
    SERVER_ADDRESS,
    SERVER_ADDRESS6,
)

MAPPED = "192.0.2.25"
EMBRYONIC = 20
CONFIGURATION = """\
nameif ethernet0 outside security0
nameif ethernet1 inside security100
"""
CLASS = f"policy-map global_policy\n class class-default\n  set connection {{}} {EMBRYONIC}\n"
LIMITED, PER_CLIENT = CLASS.format("embryonic-conn-max"), CLASS.format("per-client-embryonic-max")
STATIC = (
    f"static (inside,outside) {MAPPED} {SERVER_ADDRESS} netmask 255.255.255.255 tcp 0 {EMBRYONIC}\n"
)


class Case(NamedTuple):
    text: str
    address: str
    members: str
    """What `in_place` lists while intercept lasts."""
    lines: tuple[str, ...] = ("201010",)
    pair: bool = False
    """One client floods, which is a real one."""


CASES = {
    "IPv4": Case(LIMITED, SERVER_ADDRESS, "NFINSPECT-SERVERS4 1\n"),
    "IPv6": Case(LIMITED, SERVER_ADDRESS6, "NFINSPECT-SERVERS6 1\n"),
    "static": Case(STATIC, MAPPED, "NFINSPECT-SERVERS4 2\n", ("201003", "407002")),
    "pair": Case(PER_CLIENT, SERVER_ADDRESS, "NFINSPECT-PAIRS4 1\n", ("201012",), True),
}
NO_RESETS = ["OUTPUT", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP"]
FORGED = {4: "203.0.113.", 6: "2001:db8:5::"}
FLOOD = 3 * EMBRYONIC
MAIL = random.Random(20).randbytes(1024 * 1024).hex().encode()
"""2 MiB, to be sent in lines."""

SENDER = """\
import socket, sys
sending = {
    version: socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for version, family in (("4", socket.AF_INET), ("6", socket.AF_INET6))
}
for line in sys.stdin:
    sending[line[0]].sendto(bytes.fromhex(line), (sys.argv[1], 0))
"""
LISTENER = """\
import hashlib, socket
listening = socket.create_server(("::", 25), family=socket.AF_INET6, dualstack_ipv6=True, backlog=200)
print("ready", flush=True)
while True:
    connection, peer = listening.accept()
    with connection, connection.makefile("rwb") as lines:
        def reply(text):
            lines.write(text + b"\\r\\n")
            lines.flush()
        reply(b"220 mail.example ESMTP")
        commands = []
        for line in lines:
            command = line.rstrip(b"\\r\\n")
            commands.append(command.decode())
            if command == b"DATA":
                reply(b"354 go on")
                body = hashlib.sha256()
                for line in lines:
                    if line == b".\\r\\n":
                        break
                    body.update(line)
                commands.append(body.hexdigest())
            reply(b"250 ok")
            if command == b"QUIT":
                break
    print(" ".join(commands), flush=True)
"""


@pytest.fixture(params=CASES)
def case(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Lab, RunningFilter, Case]]:
    chosen = CASES[request.param]
    with Lab(offloads=False) as lab:
        running = filtered(lab, chosen, tmp_path)
        yield lab, running, chosen
        running.stop()
        assert "NFINSPECT" not in in_place(lab)


def filtered(
    lab: Lab, chosen: Case, directory: Path, arguments: Sequence[str] = ()
) -> RunningFilter:
    path = directory / "fw.cfg"
    path.write_text(CONFIGURATION + chosen.text)
    for command in (
        ["address", "replace", f"{MAPPED}/32", "dev", OUTSIDE.name],
        ["route", "replace", FORGED[4] + "0/24", "via", CLIENT_ADDRESS],
        ["route", "replace", FORGED[6] + "/64", "via", CLIENT_ADDRESS6],
    ):
        lab.run(FILTER, ["ip", *command])
    return lab.filter(path, arguments=arguments)


LISTING = """\
from pyroute2.ipset import IPSet
with IPSet() as sets:
    for each in sets.list():
        entries = each.get_attr("IPSET_ATTR_ADT").get_attrs("IPSET_ATTR_DATA")
        print(each.get_attr("IPSET_ATTR_SETNAME"), len(entries))
"""


def in_place(lab: Lab) -> str:
    """The rules, and the sets with how many entries each has."""
    return lab.run(FILTER, [sys.executable, "-c", LISTING]).stdout + "".join(
        lab.run(FILTER, [program, "-t", table, "-S"]).stdout
        for program in ("iptables", "ip6tables")
        for table in ("raw", "security", "nat")
    )


def proxied(running: RunningFilter) -> int:
    """Clients that have completed the handshake with the kernel's proxy."""
    lines = Path(f"/proc/{running.pid}/net/stat/synproxy").read_text().splitlines()
    column = lines[0].split().index("cookie_valid")
    return sum(int(line.split()[column], 16) for line in lines[1:])


def flood(lab: Lab, case: Case, first: int, flags: str = "S") -> None:
    """Send a packet from each of many forged addresses, or from as many ports of the client."""
    to = case.address
    version = 6 if ":" in to else 4
    layer = IPv6 if version == 6 else IP
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("WScale", 7)]
    lines = [
        bytes(
            layer(src=CLIENT_ADDRESS if case.pair else FORGED[version] + str(host), dst=to)
            / TCP(
                sport=1024 + host,
                dport=25,
                seq=host + ("R" in flags),
                flags=flags,
                options=options if flags == "S" else [],
            )
        ).hex()
        for host in range(first, first + FLOOD)
    ]
    lab.run(CLIENT, ["python3", "-c", SENDER, to], input="\n".join(lines))


def listening(lab: Lab) -> subprocess.Popen[str]:
    server = lab.popen(SERVER, ["python3", "-c", LISTENER])
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    return server


def logged(running: RunningFilter, number: str) -> int:
    return sum(f"-{number}: " in line for line in running.syslog)


def said(running: RunningFilter, words: str) -> list[str]:
    return [line for line in running.errors if words in line]


def mail(lab: Lab, case: Case, server: subprocess.Popen[str], body: bytes) -> None:
    """Send a mail with a bad verb before it, and see it arrive."""
    client = lab.socket(CLIENT, socket.AF_INET6 if ":" in case.address else socket.AF_INET)
    client.settimeout(30)
    client.connect((case.address, 25))
    with client, client.makefile("rwb") as lines:
        assert lines.readline() == b"220 " + b"*" * len("mail.example ESMTP") + b"\r\n"
        for command, answer in (
            (b"EXPN root", b"250 "),
            (b"MAIL FROM:<a@client.example>", b"250 "),
            (b"RCPT TO:<b@mail.example>", b"250 "),
            (b"DATA", b"354 "),
            (body + b".", b"250 "),
            (b"QUIT", b"250 "),
        ):
            lines.write(command + b"\r\n")
            lines.flush()
            assert lines.readline().startswith(answer)
        assert lines.read() == b""
    assert server.stdout is not None
    received = server.stdout.readline()
    assert received.startswith("XXXXXXXXX MAIL FROM:")
    assert received.split()[-2:] == [hashlib.sha256(body).hexdigest(), "QUIT"]


def test_a_flood_is_intercepted_and_mail_gets_through(
    case: tuple[Lab, RunningFilter, Case],
) -> None:
    lab, running, chosen = case
    before = in_place(lab)
    server = listening(lab)
    assert server.stdout is not None
    if chosen.pair:
        lab.run(CLIENT, ["iptables", "-A", *NO_RESETS])
    flood(lab, chosen, 1)
    assert running.wait(lambda: bool(said(running, "TCP intercept begins")), 10)
    assert running.wait(lambda: chosen.members in in_place(lab), 10)
    assert "SYNPROXY --sack-perm --timestamp --wscale " in in_place(lab)
    for line in chosen.lines:
        assert running.wait(lambda line=line: logged(running, line) > 0, 10)
    assert logged(running, "302013") == EMBRYONIC

    dropped = running.show_json("queue")["dropped"]["intercepted"]
    flood(lab, chosen, 101)
    assert running.show_json("queue")["dropped"]["intercepted"] == dropped

    body = b"".join(MAIL[at : at + 76] + b"\r\n" for at in range(0, len(MAIL), 76))
    mail(lab, chosen, server, body)
    assert proxied(running) == 1
    assert running.wait(lambda: logged(running, "302013") == EMBRYONIC + 1, 10)

    if chosen.pair:
        lab.run(CLIENT, ["iptables", "-D", *NO_RESETS])
    flood(lab, chosen, 1, "R")  # those who wait give up
    assert running.wait(lambda: bool(said(running, "TCP intercept ends")), 20)
    assert running.wait(lambda: chosen.members not in in_place(lab), 20)
    if chosen.address == MAPPED:  # the others need not wait so long, too
        assert running.wait(lambda: in_place(lab) == before, 20)
    server.terminate()
    server.wait()


def test_intercept_ends_with_the_filter_and_the_next_one_ends_what_a_killed_one_left(
    tmp_path: Path,
) -> None:
    chosen = CASES["IPv4"]
    with Lab(offloads=False) as lab:
        running = filtered(lab, chosen, tmp_path)
        before = in_place(lab)
        server = listening(lab)
        for way in ("terminate", "kill"):
            flood(lab, chosen, 1)
            assert running.wait(lambda: chosen.members in in_place(lab), 10)
            if way == "kill":
                os.kill(running.pid, signal.SIGKILL)
            running.end()
            assert (in_place(lab) == before) == (way == "terminate")
            running = filtered(lab, chosen, tmp_path)
        assert running.wait(lambda: in_place(lab) == before, 10)
        running.stop()
        server.terminate()
        server.wait()
