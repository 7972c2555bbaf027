"""What is counted, and under which names."""

import dataclasses
import json
from dataclasses import dataclass
from typing import get_args

import pytest

from nfinspect.actions import DropReason
from nfinspect.audit.counters import TALLIES, Counters
from nfinspect.audit.show import QueueState
from nfinspect.events import (
    BannerMasked,
    ClauseAction,
    ClauseMatched,
    CommandMasked,
    CommandMaskReason,
    CommandSeen,
    Connection,
    ConnectionBuilt,
    ConnectionTornDown,
    Direction,
    DuplicateSyn,
    Endpoint,
    Event,
    MessageSeen,
    ReplySeen,
    TeardownReason,
)
from nfinspect.policy import default_policy, parse_policy
from tests.unit.audit.document import DOCS

C = Connection(
    1, Endpoint("outside", bytes([192, 0, 2, 1]), 4321), Endpoint("inside", bytes(16), 25)
)
POLICY = default_policy()
MAP = POLICY.inspections[0].map


@dataclass
class Totals:
    packet: int = 0
    drop: int = 0
    reset_drop: int = 0


def matched(position: int, map_name: str = MAP.name, log: bool = True) -> ClauseMatched:
    words = MAP.clauses[position - 1].words
    return ClauseMatched(C, Direction.REQUEST, map_name, position, words, ClauseAction.LOG, log)


def after(*events: Event) -> Counters:
    counters = Counters()
    for event in events:
        counters.observe(event)
    return counters


def torn_down(reason: TeardownReason = TeardownReason.TCP_FINS) -> ConnectionTornDown:
    return ConnectionTornDown(C, reason, 0.0, 0)


def test_every_event_has_a_tally_or_is_known_to_have_none() -> None:
    others = {ConnectionBuilt, ClauseMatched, BannerMasked, CommandSeen, ReplySeen, MessageSeen}
    assert set(TALLIES) | others == set(get_args(Event))
    assert not set(TALLIES) & others


def test_connections_in_use_decrease_and_most_used_stays() -> None:
    built = ConnectionBuilt(C)
    counters = after(built, built, built, torn_down(), built, torn_down(TeardownReason.SYN_TIMEOUT))
    assert (counters.built, counters.in_use, counters.most_used) == (4, 2, 3)
    assert counters.tallies["torn_down"] == {"TCP FINs": 1, "SYN Timeout": 1}


def test_clause_counts_every_packet_that_matched_it_logged_or_not() -> None:
    counters = after(matched(3), matched(3, log=False), matched(4), matched(3, "another"))
    (counts,) = counters.inspections(POLICY, {})
    assert [n for _, n in counts.clauses] == [0, 0, 2, 1, 0, 0, 0]


def test_clause_in_the_place_of_another_does_not_inherit_its_count() -> None:
    """After a change of the policy older connections still match the clauses they began with."""
    text = "policy-map type inspect esmtp {name}\n match cmd line length gt {limit}\n  log\n"
    applied = "policy-map global_policy\n class inspection_default\n  inspect esmtp {name}\n"
    old, new = (
        parse_policy((text + applied).format(name="m", limit=limit), "m.cfg").policy
        for limit in (300, 200)
    )
    event = ClauseMatched(
        C, Direction.REQUEST, "m", 1, "cmd line length gt 300", ClauseAction.LOG, True
    )
    counters = after(event)
    assert [n for _, n in counters.inspections(old, {})[0].clauses] == [1]
    assert [n for _, n in counters.inspections(new, {})[0].clauses] == [0]


def test_masked_banners_are_counted_for_a_map_with_mask_banner() -> None:
    counters = after(BannerMasked(C, MAP.name), BannerMasked(C, MAP.name), BannerMasked(C, "m"))
    (counts,) = counters.inspections(POLICY, {})
    assert counts.mask_banner == 2
    text = "policy-map type inspect esmtp m\npolicy-map global_policy\n"
    text += "class inspection_default\ninspect esmtp m"
    (counts,) = counters.inspections(parse_policy(text, "a.cfg").policy, {})
    assert counts.mask_banner is None


def test_packet_totals_come_from_the_engine() -> None:
    totals = {POLICY.inspections[0]: Totals(packet=9, drop=2, reset_drop=1)}
    (counts,) = Counters().inspections(POLICY, totals)
    assert (counts.packet, counts.drop, counts.reset_drop) == (9, 2, 1)
    (counts,) = Counters().inspections(POLICY, {})
    assert (counts.packet, counts.drop, counts.reset_drop) == (0, 0, 0)


@pytest.mark.parametrize("kind", TALLIES)
def test_tally_without_events_is_zero_or_empty(kind: type) -> None:
    name, divided_by = TALLIES[kind]
    assert Counters().to_json(POLICY, {})[name] == ({} if divided_by else 0)


def test_json_contains_what_show_prints_and_all_other_counts() -> None:
    counters = after(
        ConnectionBuilt(C),
        BannerMasked(C, MAP.name),
        matched(4),
        CommandMasked(C, CommandMaskReason.UNKNOWN_VERB),
        CommandMasked(C, CommandMaskReason.FRAGMENT),
        CommandMasked(C, CommandMaskReason.UNKNOWN_VERB),
        DuplicateSyn(C),
    )
    counters.dropped(DropReason.BAD_CHECKSUM)
    counters.dropped(DropReason.BAD_CHECKSUM)
    result = counters.to_json(POLICY, {POLICY.inspections[0]: Totals(104468, 5, 0)})
    assert json.loads(json.dumps(result)) == result

    (shown,) = result["service_policy"]
    assert shown["match"][3] == {
        "clause": "match header line length gt 998",
        "action": "drop-connection log",
        "packet": 1,
    }
    assert len(shown.pop("match")) == 7
    assert shown == {
        "service_policy": "global_policy",
        "global": True,
        "class_map": "inspection_default",
        "inspect": "esmtp",
        "map": "_default_esmtp_map",
        "packet": 104468,
        "drop": 5,
        "reset_drop": 0,
        "mask_banner": 1,
    }
    assert result["connections"] == {"built": 1, "in_use": 1, "most_used": 1}
    assert result["dropped_packets"] == {"bad-checksum": 2}
    assert result["masked_commands"] == {"incomplete command": 1, "unknown command": 2}
    assert result["duplicate_syns"] == 1


# --- Names in JSON


def names(value: object) -> set[str]:
    """The names in an object of counters, but for reasons and causes, which are values."""
    if isinstance(value, list):
        return {name for each in value for name in names(each)}
    if not isinstance(value, dict):
        return set()
    return {
        name
        for key, each in value.items()
        for name in (
            {key} | (names(each) if key in ("service_policy", "match", "connections") else set())
        )
    }


@pytest.mark.parametrize("only_watches", [False, True])
def test_every_name_in_json_is_in_the_documents(only_watches: bool) -> None:
    text = (DOCS / "operation.md").read_text()
    policy = default_policy()
    found = names(Counters(only_watches=only_watches).to_json(policy, {}))
    found |= {field.name for field in dataclasses.fields(QueueState)}
    assert {name for name in found if f"`{name}`" not in text} == set()


def test_what_would_have_been_dropped_is_not_called_dropped() -> None:
    counters = Counters(only_watches=True)
    counters.dropped(DropReason.BAD_CHECKSUM)
    result = counters.to_json(default_policy(), {})
    assert result["would_drop_packets"] == {"bad-checksum": 1}
    assert not {"dropped_packets", "drop", "reset_drop"} & names(result)
    assert result["service_policy"][0]["would_drop"] == 0
