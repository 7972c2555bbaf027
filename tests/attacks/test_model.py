"""Every attack through the engine to model servers with every overlap policy."""

from __future__ import annotations

from itertools import combinations

import pytest

from tests.attacks.catalogue import CASES, SECTIONS
from tests.attacks.model import Outcome, Play
from tests.attacks.overlaps import RELATIONS
from tests.attacks.script import Fate, Script, Send, Verdict, expected_of
from tests.fuzz.interception import Intercepting
from tests.model.overlap import POLICIES

OFFSET = 0xDEAD_BEEF
"""What TCP intercept adds to the server's sequence numbers."""


def verdict_of(send: Send) -> Verdict:
    return send.payload if send.becomes == Fate.SAME else send.becomes


@pytest.mark.parametrize(
    ("policy", "offset"),
    [*((policy, 0) for policy in POLICIES), ("linux", OFFSET), ("last", OFFSET)],
)
@pytest.mark.parametrize("name", CASES)
def test_each_packet_gets_its_verdict_and_the_server_reads_what_was_approved(
    name: str, policy: str, offset: int
) -> None:
    script, family = CASES[name]
    _check(script, Play(script, policy, family, offset=offset))


WITHOUT_TIMESTAMPS = ("old-timestamp", "in-the-servers-name", "conflicting-repetition lost")
"""In these a packet is to be lost for its old timestamp, and TCP intercept on a bridge permits none."""


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, (script, _) in CASES.items()
        if script.greeting and not name.startswith(WITHOUT_TIMESTAMPS)
    ],
)
def test_so_it_does_where_the_filter_has_intercepted_the_connection(name: str) -> None:
    script, family = CASES[name]
    play = Play(script, "linux", family, offset=OFFSET, intercepted=True)
    _check(script, play)
    assert isinstance(play.engine, Intercepting)
    assert play.engine.translated


def _check(script: Script, play: Play) -> None:
    outcome = play.run()
    for send, verdict, released, left in outcome.verdicts:
        if send.becomes == Fate.ANY:
            continue
        assert (verdict, released) == (verdict_of(send), send.released), send
        for field, value in send.leaves.items():
            assert getattr(left, field) == value, (field, send)
    assert outcome.received == expected_of(script)
    assert outcome.held == 0
    assert not [line for mail in play.server.mails for line in mail.commands if line[:4] == b"XEVL"]


def unfiltered(attack: str, policy: str) -> dict[str, Outcome]:
    """The outcomes of an attack's scripts without the filter."""
    return {
        script.name: Play(script, policy, 4, filtered=False).run()
        for attacks in SECTIONS.values()
        for each in attacks
        if each.name == attack
        for script in each.scripts
    }


def test_servers_without_the_filter_read_different_streams() -> None:
    """Otherwise it would prove nothing that they read the same stream behind the filter."""
    readings = {policy: unfiltered("overlap-beyond-a-gap", policy) for policy in POLICIES}
    assert all(len(reading) == len(RELATIONS) for reading in readings.values())
    for one, other in combinations(POLICIES, 2):
        differ = [
            name
            for name in readings[one]
            if readings[one][name].received != readings[other][name].received
        ]
        assert bool(differ) == (POLICIES[one] != POLICIES[other]), (one, other)
