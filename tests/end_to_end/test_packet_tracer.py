"""packet-tracer of the running filter says what the kernel does with the packet then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from nfinspect.lab.dialogue import ClientConnection, RecordingServer
from nfinspect.lab.filter import NFINSPECT, RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import (
    CLIENT_ADDRESS,
    CLIENT_ADDRESS6,
    FILTER,
    OUTSIDE,
    SCRIPT_ADDRESS,
    SCRIPT_ADDRESS6,
    SERVER_ADDRESS,
)

CONFIGURATION = f"""\
nameif ethernet0 outside security0
nameif ethernet1 inside security100
static (inside,outside) tcp interface smtp {SCRIPT_ADDRESS} smtp
access-list gateway permit ip any host {SERVER_ADDRESS}
class-map gateway
 match access-list gateway
policy-map global_policy
 class gateway
  no inspect esmtp
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[tuple[Lab, RunningFilter]]:
    with Lab() as lab:
        for command in (
            "ip route add 203.0.113.0/25 via 198.51.100.27",
            "ip route add prohibit 203.0.113.128/25",
            "ip rule add ipproto tcp dport 2525 lookup 77",
            "ip route add 192.0.2.128/25 dev inside table 77",
            "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.outside.rp_filter=1",
        ):
            lab.run(FILTER, command.split())
        path = lab.directory / "fw.cfg"
        path.write_text(CONFIGURATION)
        running = lab.filter(path)
        yield lab, running
        running.end()


def trace(lab: Lab, *words: str) -> dict[str, Any]:
    control = ["--control", str(lab.directory / "control"), "--json"]
    command = [*NFINSPECT, "packet-tracer", "input", *words]
    return dict(json.loads(lab.run(FILTER, [*command, *control]).stdout))


def route(found: dict[str, Any]) -> str:
    (phase,) = [each for each in found["phases"] if each["type"] == "ROUTE-LOOKUP"]
    return str(phase["information"][0])


@pytest.mark.parametrize(
    ("interface", "ends", "told"),
    [
        ("outside", (CLIENT_ADDRESS, "4000", SCRIPT_ADDRESS, "25"), f"{SCRIPT_ADDRESS} inside"),
        ("outside", (CLIENT_ADDRESS6, "4000", SCRIPT_ADDRESS6, "25"), f"{SCRIPT_ADDRESS6} inside"),
        ("inside", (SERVER_ADDRESS, "4000", CLIENT_ADDRESS, "25"), f"{CLIENT_ADDRESS} outside"),
        ("outside", (CLIENT_ADDRESS, "4000", "203.0.113.9", "25"), "198.51.100.27 inside"),
        ("inside", (SERVER_ADDRESS, "4000", "192.0.2.200", "25"), "192.0.2.200 outside"),
        ("outside", (CLIENT_ADDRESS, "4000", "192.0.2.200", "2525"), "192.0.2.200 inside"),
    ],
)
def test_next_hop_and_egress_are_those_of_the_routes(
    lab: tuple[Lab, RunningFilter], interface: str, ends: tuple[str, ...], told: str
) -> None:
    hop, egress = told.split()
    found = trace(lab[0], interface, "tcp", *ends)
    assert route(found) == f"found next-hop {hop} using egress ifc {egress}"
    assert (found["result"], found["output_interface"]) == ("allow", egress)


@pytest.mark.parametrize(
    ("source", "destination", "reason"),
    [
        (CLIENT_ADDRESS, "203.0.113.200", "(no-route) No route to host"),
        (CLIENT_ADDRESS, "100.64.0.1", "(no-route) No route to host"),
        (SERVER_ADDRESS, SCRIPT_ADDRESS, "(rpf-violated) Reverse-path verify failed"),
    ],
)
def test_packet_that_is_not_forwarded_is_dropped_at_the_lookup(
    lab: tuple[Lab, RunningFilter], source: str, destination: str, reason: str
) -> None:
    found = trace(lab[0], "outside", "tcp", source, "4000", destination, "25")
    assert (found["result"], found["reason"]) == ("drop", reason)
    assert found["phases"][-1]["type"] == "ROUTE-LOOKUP"


def test_packet_to_the_machine_itself_is_not_forwarded(lab: tuple[Lab, RunningFilter]) -> None:
    own = OUTSIDE.addresses[0]
    found = trace(lab[0], "outside", "tcp", CLIENT_ADDRESS, "4000", own, "22")
    assert found["output_interface"] == "NP Identity Ifc"


def test_traced_connection_is_made_and_logged_as_the_trace_says(
    lab: tuple[Lab, RunningFilter],
) -> None:
    stage, running = lab
    own = OUTSIDE.addresses[0]
    found = trace(stage, "outside", "tcp", CLIENT_ADDRESS, "4000", own, "25")
    types = [each["type"] for each in found["phases"]]
    assert types == ["UN-NAT", "ROUTE-LOOKUP", "INSPECT", "DIVERSION", "FLOW-CREATION"]
    assert found["phases"][0]["information"][1] == f"Untranslate {own}/25 to {SCRIPT_ADDRESS}/25"
    assert route(found) == f"found next-hop {SCRIPT_ADDRESS} using egress ifc inside"
    with RecordingServer(stage, SCRIPT_ADDRESS), ClientConnection.open(stage, own) as client:
        assert client.reply().startswith("220 *")
    built = f" to inside:{SCRIPT_ADDRESS}/25 "
    assert running.wait(lambda: any(built in line for line in running.syslog), 10)
    exempt = trace(stage, "outside", "tcp", CLIENT_ADDRESS, "4000", SERVER_ADDRESS, "25")
    (diversion,) = [each for each in exempt["phases"] if each["type"] == "DIVERSION"]
    assert diversion["information"] == ["TCP port 25: exempt, so it passes without the filter"]
