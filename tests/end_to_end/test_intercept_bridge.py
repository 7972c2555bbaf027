"""TCP intercept on a bridge, without an address and with one: the filter itself answers the SYNs of a flood from
forged addresses, a real client gets through and is inspected, and with the flood it ends. Single packets of
both handshakes may be lost.
"""

from __future__ import annotations

import hashlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import (
    BRIDGE,
    CLIENT,
    CLIENT_ADDRESS,
    CLIENT_ADDRESS6,
    FILTER,
    SERVER,
    SERVER_ADDRESS,
    SERVER_ADDRESS6,
)
from tests.end_to_end.test_intercept import (
    EMBRYONIC,
    FORGED,
    LIMITED,
    MAIL,
    NO_RESETS,
    PER_CLIENT,
    Case,
    flood,
    listening,
    logged,
    said,
)

CONFIGURATION = """\
nameif outside outside security0
nameif inside inside security100
"""


class Bridged(NamedTuple):
    case: Case
    bridge_address: str = ""


CASES = {
    "IPv4": Bridged(Case(LIMITED, SERVER_ADDRESS, "")),
    "IPv6": Bridged(Case(LIMITED, SERVER_ADDRESS6, "")),
    "pair": Bridged(Case(PER_CLIENT, SERVER_ADDRESS, "", ("201012",), True)),
    "address": Bridged(Case(LIMITED, SERVER_ADDRESS, ""), "198.51.100.1/24"),
}
INVALID = ["-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"]
"""A firewall's rule, before those that divert: connection tracking sees numbers of both sides."""
BODY = b"".join(MAIL[at : at + 76] + b"\r\n" for at in range(0, len(MAIL), 76))


@pytest.fixture(params=CASES)
def bridged(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Lab, RunningFilter, Case]]:
    chosen = CASES[request.param]
    with Lab(offloads=False, bridge=True) as lab:
        if chosen.bridge_address:
            lab.run(FILTER, ["ip", "address", "add", chosen.bridge_address, "dev", BRIDGE])
        for program in ("iptables", "ip6tables"):
            lab.run(FILTER, [program, "-A", "FORWARD", *INVALID])
        running = filtered(lab, chosen.case, tmp_path)
        yield lab, running, chosen.case
        running.stop()


def filtered(lab: Lab, case: Case, directory: Path) -> RunningFilter:
    path = directory / "fw.cfg"
    path.write_text(CONFIGURATION + case.text)
    # As behind a router: the client's link-layer address is that of all forged addresses.
    for net, via in ((FORGED[4] + "0/24", CLIENT_ADDRESS), (FORGED[6] + "/64", CLIENT_ADDRESS6)):
        lab.run(SERVER, ["ip", "route", "replace", net, "via", via, "dev", "eth0", "onlink"])
    return lab.filter(path)


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
    bridged: tuple[Lab, RunningFilter, Case],
) -> None:
    lab, running, case = bridged
    server = listening(lab)
    if case.pair:
        lab.run(CLIENT, ["iptables", "-A", *NO_RESETS])
    flood(lab, case, 1)
    assert running.wait(lambda: bool(said(running, "TCP intercept begins")), 10)
    for line in case.lines:
        assert running.wait(lambda line=line: logged(running, line) > 0, 10)
    assert logged(running, "302013") == EMBRYONIC

    mail(lab, case, server, BODY)
    assert logged(running, "302013") == EMBRYONIC + 1
    queue = running.show_json("queue")
    assert "not injected" not in queue["verdicts"]
    assert queue["intercepted"]["connected"] == 1
    assert f"TCP intercept on a bridge: answered {queue['intercepted']['answered']}," in (
        running.show("queue")
    )

    if case.pair:
        lab.run(CLIENT, ["iptables", "-D", *NO_RESETS])
    flood(lab, case, 1, "R")  # those who wait give up
    assert running.wait(lambda: bool(said(running, "TCP intercept ends")), 20)
    server.terminate()
    server.wait()
