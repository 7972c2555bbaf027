"""The packets that the filter injects reach the Linux TCP and take effect: routed, with every kind
of address translation.

A segment is lost before the filter, so the segments after it are held. Only the filter can report
this to the sender, as the receiver sees nothing beyond the gap. If the sender retransmits the
segment at once, without a timeout, it has received the report and accepted it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.live.conntrack import SEARCH_PERIOD
from tests.end_to_end.ends import (
    IPV4,
    IPV6,
    Family,
    Watch,
    drop_one,
    exchange_with_gaps,
    queue,
    rules,
)


@dataclass(frozen=True, slots=True)
class Translation:
    """Rules of table nat (or raw); the client connects to the filter instead of the server."""

    rules: Sequence[str] = ()
    to_filter: bool = False
    port: int = 25
    searched: bool = False
    """The filter has to search the whole connection tracking table."""


DNAT = "nat PREROUTING -i outside -p tcp -d {outside} --dport 25 -j DNAT --to-destination {server}"
OTHER_PORT = DNAT.replace("--dport 25", "--dport 2525") + ":25"
SNAT = "nat POSTROUTING -o inside -p tcp --dport 25 -j SNAT --to-source {inside}"
MASQUERADE = "nat POSTROUTING -o inside -p tcp -j MASQUERADE --to-ports 40000-40999"
UNTRACKED = tuple(
    f"raw PREROUTING -p tcp --{side} 25 -j CT --notrack" for side in ("dport", "sport")
)

CLOSED = "filter OUTPUT -p tcp -m conntrack ! --ctstate ESTABLISHED -j DROP"

TRANSLATIONS = {
    "none": Translation(),
    "server-behind-a-closed-firewall": Translation((DNAT, CLOSED), True),
    "server": Translation((DNAT,), True),
    "server-and-port": Translation((OTHER_PORT,), True, 2525),
    "client": Translation((SNAT,)),
    "client-and-port": Translation((MASQUERADE,)),
    "both-known-server": Translation((OTHER_PORT, MASQUERADE), True, 2525),
    "both": Translation((OTHER_PORT.replace("2525", "2526"), MASQUERADE), True, 2526, True),
    "untracked": Translation((*UNTRACKED, MASQUERADE), searched=True),
}


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("name", TRANSLATIONS)
def test_gap_is_reported_to_the_sender_on_either_side(
    plain_lab: Lab, running: RunningFilter, family: Family, name: str
) -> None:
    lab, translation = plain_lab, TRANSLATIONS[name]
    if translation.searched:
        time.sleep(SEARCH_PERIOD)
    injected = queue(lab)["verdicts"]["injected"]
    with rules(lab, family, *translation.rules, drop_one("-i outside"), drop_one("-i inside")):
        to = family.outside if translation.to_filter else family.server
        with Watch(lab) as watch:
            exchange_with_gaps(lab, family, to, translation.port)
            watch.assert_one_connection()
    verdicts = queue(lab)["verdicts"]
    assert verdicts["injected"] > injected
    assert "not injected" not in verdicts
