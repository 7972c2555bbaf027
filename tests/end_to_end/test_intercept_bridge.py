"""TCP intercept on a bridge, without an address and with one: the filter itself answers the SYNs of a flood from
forged addresses, a real client gets through and is inspected, and with the flood it ends. Single packets of
both handshakes may be lost.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from scapy.layers.inet import IP, TCP

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
from tests.end_to_end import test_handshake_loss as loss
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
    mail,
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
    assert running.wait(lambda: logged(running, "302013") == EMBRYONIC, 10)

    mail(lab, case, server, BODY)
    assert running.wait(lambda: logged(running, "302013") == EMBRYONIC + 1, 10)
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


# ---- losses

REFUSED = ["-p", "tcp", "--dport", "25", "--syn", "-j", "REJECT", "--reject-with", "tcp-reset"]
SENDER = """\
import socket, sys, time
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for number, line in enumerate(sys.stdin):
    raw.sendto(bytes.fromhex(line), (sys.argv[1], 0))
    if number % 100 == 0:
        time.sleep(0.07)
"""
"""As many as the queue takes."""


@pytest.fixture(scope="module", params=["IPv4", "IPv6"])
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[loss.Scene]:
    """Intercept lasts, as what the first flood has opened is embryonic for ten minutes."""
    case = CASES[request.param].case
    case = case._replace(text=case.text + loss.KEPT)
    with Lab(offloads=False, bridge=True) as lab:
        running = filtered(lab, case, tmp_path_factory.mktemp("loss"))
        server = lab.popen(SERVER, ["python3", "-c", loss.LISTENER])
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        flood(lab, case, 1)
        assert running.wait(lambda: bool(said(running, "TCP intercept begins")), 10)
        yield loss.Scene(lab, running, server, case.address, intercepted=True)
        running.stop()
        server.terminate()
        server.wait()


def connected(scene: loss.Scene) -> int:
    return scene.running.show_json("queue")["intercepted"]["connected"]


def by_port(where: str, device: str) -> list[str]:
    return ["-m", "physdev", "--physdev-in", device] if where == FILTER else ["-i", device]


@pytest.mark.parametrize("name", loss.LOSSES)
def test_mail_arrives_although_one_packet_is_lost(scene: loss.Scene, name: str) -> None:
    lost = loss.LOSSES[name]
    before = connected(scene)
    rule = ["PREROUTING", *by_port(lost.where, lost.device), "-p", "tcp", lost.side, "25"]
    rule += [*lost.flags.split(), "-m", "limit", "--limit", "1/day", "--limit-burst", "1"]
    table = [scene.iptables, "-w", "-t", "raw"]
    scene.lab.run(lost.where, [*table, "-A", *rule, "-j", "DROP"])
    client = scene.client()
    client.connect((scene.address, 25))
    loss.send(scene, client)
    listed = scene.lab.run(lost.where, [*table, "-nvxL", "PREROUTING"]).stdout.splitlines()
    scene.lab.run(lost.where, [*table, "-D", *rule, "-j", "DROP"])
    assert [line.split()[0] for line in listed if " limit: " in line] == ["1"]
    assert connected(scene) == before + 1


def test_a_large_mail_arrives_although_1_percent_of_packets_are_lost(scene: loss.Scene) -> None:
    before = connected(scene)
    table = [scene.iptables, "-w", "-t", "mangle"]
    rule = ["-p", "tcp", "-m", "statistic", "--mode", "random", "--probability", "0.01"]
    for device in ("outside", "inside"):
        losing = [*table, "-A", "PREROUTING", *by_port(FILTER, device), *rule, "-j", "DROP"]
        scene.lab.run(FILTER, losing)
    client = scene.client()
    client.connect((scene.address, 25))
    loss.send(scene, client, loss.LARGE)
    listed = scene.lab.run(FILTER, [*table, "-nvxL", "PREROUTING"]).stdout.splitlines()
    scene.lab.run(FILTER, [*table, "-F", "PREROUTING"])
    lost = [int(line.split()[0]) for line in listed if " statistic " in line]
    assert len(lost) == 2
    assert all(count > 3 for count in lost)
    assert connected(scene) == before + 1


def test_a_client_that_soon_uses_its_port_again_gets_through(scene: loss.Scene) -> None:
    for aborted in (False, True, False):
        client = scene.client()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(("", 40_000))
        client.connect((scene.address, 25))
        if aborted:
            assert client.recv(4) == b"220 "
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        else:
            loss.send(scene, client)
        time.sleep(0.1)  # its next initial number is beyond the server's window


def test_a_server_that_refuses_ends_the_client(scene: loss.Scene) -> None:
    scene.lab.run(SERVER, [scene.iptables, "-I", "INPUT", *REFUSED])
    with scene.client() as client, pytest.raises(ConnectionResetError):
        _hear(client, scene.address)
    scene.lab.run(SERVER, [scene.iptables, "-D", "INPUT", *REFUSED])


def _hear(client: socket.socket, address: str) -> bytes:
    client.connect((address, 25))
    return client.recv(1)


def test_with_the_filter_both_ends_of_a_translated_connection_end(tmp_path: Path) -> None:
    case = CASES["IPv4"].case
    with Lab(offloads=False, bridge=True) as lab:
        running = filtered(lab, case, tmp_path)
        server = listening(lab)
        flood(lab, case, 1)
        assert running.wait(lambda: bool(said(running, "TCP intercept begins")), 10)
        client = lab.socket(CLIENT)
        client.settimeout(15)
        with client:
            client.connect((case.address, 25))
            assert client.recv(4) == b"220 "
            running.stop()
            client.recv(100)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        server.terminate()
        server.wait()


def test_a_client_gets_through_with_a_cookie_when_no_more_are_kept(tmp_path: Path) -> None:
    case = CASES["IPv4"].case
    with Lab(offloads=False, bridge=True) as lab:
        running = filtered(lab, case, tmp_path)
        server = listening(lab)
        flood(lab, case, 1)
        assert running.wait(lambda: bool(said(running, "TCP intercept begins")), 10)
        lines = [
            bytes(
                IP(src=f"{FORGED[4]}{number % 200 + 1}", dst=case.address)
                / TCP(sport=2000 + number // 200, dport=25, seq=number, flags="S")
            ).hex()
            for number in range(6000)
        ]
        lab.run(CLIENT, ["python3", "-c", SENDER, case.address], input="\n".join(lines))
        assert running.wait(lambda: intercepted(running)["with a cookie"] > 0, 10)
        assert intercepted(running)["half open now"] <= 4096
        before = intercepted(running)["with a cookie"]
        mail(lab, case, server, BODY)
        assert intercepted(running)["with a cookie"] == before + 1
        assert intercepted(running)["connected"] == 1
        running.stop()
        server.terminate()
        server.wait()


def intercepted(running: RunningFilter) -> dict[str, int]:
    return running.show_json("queue")["intercepted"]
