"""The policy of an interface is asked before the global one, by the kernel as by the filter, routed or
on a bridge."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nfinspect.lab.dialogue import ClientConnection, RecordingServer
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import (
    CLIENT_ADDRESS,
    EXIM_ADDRESS,
    SCRIPT_ADDRESS,
    SCRIPT_ADDRESS6,
    SERVER_ADDRESS,
)

CONFIGURATION = f"""\
interface Ethernet0
 nameif outside
interface Ethernet1
 nameif inside
access-list gateways extended deny ip any host {EXIM_ADDRESS}
access-list gateways extended permit ip any 198.51.100.0 255.255.255.0
access-list gateways extended permit ip any host {SCRIPT_ADDRESS6}
class-map gateways
 match access-list gateways
access-list strict extended permit tcp host {CLIENT_ADDRESS} host {SERVER_ADDRESS} eq smtp
class-map strict
 match access-list strict
policy-map global_policy
 class inspection_default
  inspect esmtp
 class gateways
  no inspect esmtp
policy-map strict
 class strict
  inspect esmtp
service-policy global_policy global
service-policy strict interface outside
"""
"""All servers are exempt but one; and one more for a client on the outside."""

EXEMPT = {
    SCRIPT_ADDRESS: True,
    SCRIPT_ADDRESS6: True,
    EXIM_ADDRESS: False,
    SERVER_ADDRESS: False,
}


@pytest.fixture(scope="module", params=[False, True], ids=["routed", "bridged"])
def lab(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, RunningFilter]]:
    with Lab(bridge=request.param) as lab:
        path = lab.directory / "fw.cfg"
        path.write_text(CONFIGURATION)
        running = lab.filter(path)
        yield lab, running
        running.end()


@pytest.mark.parametrize("address", EXEMPT)
def test_exempt_connections_do_not_reach_the_queue(
    lab: tuple[Lab, RunningFilter], address: str
) -> None:
    stage, running = lab
    before = running.show_json("queue")["received"]
    with RecordingServer(stage, address), ClientConnection.open(stage, address) as client:
        assert client.reply().startswith("220 ")
        assert client.command("NOOP").startswith("250")
        assert client.command("QUIT").startswith("221")
    assert (running.show_json("queue")["received"] == before) == EXEMPT[address]
