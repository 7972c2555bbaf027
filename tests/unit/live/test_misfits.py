"""What does not fit: rules, system and filter compared. The end-to-end tests have the real ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from nfinspect.live import misfits
from nfinspect.live.misfits import ROWS, FilterState, Severity, find, stays
from nfinspect.live.survey import FamilySurvey, Survey
from nfinspect.rules.diverted import REPLIES, REQUESTS, SYNS, FamilyRules, Flow

NAMESPACE = 7
FLOWS = (Flow(REQUESTS, 25, 0, 0, False), Flow(REPLIES, 25, 0, 0, False))
SYN_FLOWS = (Flow(SYNS, 25, 32768, 32768, False),)
RULES = FamilyRules("security", True, FLOWS, (), SYN_FLOWS)
BYPASS = dataclasses.replace(
    RULES, flows=tuple(dataclasses.replace(flow, fail_open=True) for flow in FLOWS)
)
NONE = FamilyRules()
STATE = FilterState(
    version="1",
    process=4711,
    namespace=NAMESPACE,
    running=100.0,
    policy="my.cfg",
    inspections=["p, class c: inspect esmtp m"],
    ports={"25": "m"},
    control="/run/socket",
    queue=0,
    only_watches=False,
    fail_open=False,
    received=10,
    latest=1.0,
    waiting=0,
    syns_lost=0,
    held=0,
    connections=1,
    uninspected={},
)


def survey(
    ipv4: FamilyRules | None = RULES, ipv6: FamilyRules | None = RULES, **more: Any
) -> Survey:
    families = {"IPv4": FamilySurvey(ipv4), "IPv6": FamilySurvey(ipv6)}
    return Survey(**({"families": families, "queues": frozenset({0})} | more), namespace=NAMESPACE)


def state(**changes: Any) -> FilterState:
    return dataclasses.replace(STATE, **changes)


def kinds(seen: Survey, of: FilterState | None = STATE) -> list[str]:
    return [misfit.kind for misfit in find(seen, of, control="/run/socket")]


def families(**changes: Any) -> Survey:
    """A survey whose IPv4 differs."""
    ipv4 = dataclasses.replace(FamilySurvey(RULES), **changes)
    return survey(families={"IPv4": ipv4, "IPv6": FamilySurvey(RULES)})


def test_nothing_is_wrong_with_a_filter_whose_rules_are_in_place() -> None:
    assert find(survey(), STATE) == []


CASES = [
    (["no-filter", "unread-queue"], survey(queues=frozenset()), None),
    (["no-filter"], survey(), None),  # another program reads the queue
    (["no-filter", "no-rules"], survey(NONE, NONE), None),
    (["other-namespace"], survey(NONE, NONE), state(namespace=8)),
    (["rules-unknown"], survey(None), STATE),
    (["no-rules", "no-packets"], survey(NONE, NONE), state(received=0, latest=None)),
    (["foreign-rules"], survey(NONE, NONE), STATE),
    (["family-missing"], survey(ipv6=NONE), STATE),
    (["chain-not-called"], survey(dataclasses.replace(RULES, called=False)), STATE),
    (["chain-empty"], survey(dataclasses.replace(RULES, flows=())), STATE),
    (["port-missing"], survey(), state(ports={"25": "m", "2525": "m"})),
    (["direction-missing"], survey(dataclasses.replace(RULES, flows=FLOWS[:1])), STATE),
    (["rule-ahead"], survey(dataclasses.replace(RULES, ahead=("-A FORWARD -j ACCEPT",))), STATE),
    (["other-queue"], survey(), state(queue=5)),
    (["syns-elsewhere"], survey(dataclasses.replace(RULES, syns=(Flow(SYNS, 25, 9, 9, True),))), STATE),
    (["syns-with-mail"], survey(dataclasses.replace(RULES, syns=())), STATE),
    (["syns-lost"], survey(), state(syns_lost=1)),
    (["forwarding-off"], families(forwards=False), STATE),
    (["bridge-hidden"], families(forwards=False, bridges=True, bridged_seen=False), STATE),
    (["flowtable"], survey(flowtables=("filter fast",)), STATE),
    (["inspects-nothing"], survey(), state(ports={"25": None})),
    (["no-packets"], survey(), state(received=0, latest=None)),
    (["uninspected"], survey(), state(uninspected={"TLS started": 2})),
]  # fmt: skip


@pytest.mark.parametrize(("expected", "seen", "of"), CASES, ids=lambda value: str(value)[:40])
def test_misfit_is_named(expected: list[str], seen: Survey, of: FilterState | None) -> None:
    assert kinds(seen, of) == expected


def test_every_row_has_a_case() -> None:
    assert {kind for expected, *_ in CASES for kind in expected} == set(ROWS)


@pytest.mark.parametrize(
    "seen",
    [
        families(forwards=False, used=False),  # nobody routes IPv6 without an address
        families(forwards=False, bridges=True, bridged_seen=True),
        families(forwards=True, bridged_seen=False),  # the bridge of containers
    ],
)
def test_system_that_is_meant_so_is_no_misfit(seen: Survey) -> None:
    assert kinds(seen) == []


def test_policy_without_ports_needs_no_rules() -> None:
    assert kinds(survey(NONE, NONE), state(ports={}, inspections=[])) == ["inspects-nothing"]


def test_misfit_of_both_families_is_one() -> None:
    (misfit,) = find(survey(), state(queue=5))
    assert str(misfit) == (
        "warning: IPv4 and IPv6: the rules send mail to queue 0, which another process reads, and"
        " this filter reads queue 5 (nfinspect rules --apply --queue-num 5, or nfinspect run"
        " --queue-num 0)"
    )


def test_rules_ahead_are_one_misfit_however_many() -> None:
    many = tuple(f"-A FORWARD -s 192.0.2.{n}/32 -j ACCEPT" for n in range(200))
    (misfit,) = find(survey(dataclasses.replace(RULES, ahead=many)), STATE)
    assert misfit.text.endswith(": -A FORWARD -s 192.0.2.0/32 -j ACCEPT (and 199 more)")


def test_queue_that_nobody_reads_is_named_with_what_becomes_of_mail() -> None:
    (closed,) = find(survey(queues=frozenset({5})), state(queue=5))
    assert "queue 0, which nobody reads (no mail passes)," in closed.text
    (open_,) = find(survey(BYPASS, BYPASS, queues=frozenset({5})), state(queue=5))
    assert "queue 0, which nobody reads (mail passes uninspected)," in open_.text


def test_cure_applies_rules_to_the_filter_s_queue() -> None:
    (default,) = find(survey(ipv6=NONE), STATE)
    assert default.cure == "nfinspect rules --apply"
    assert default.severity is Severity.WARNING
    on_5 = dataclasses.replace(
        RULES,
        flows=tuple(dataclasses.replace(f, first_queue=5, last_queue=5) for f in FLOWS),
        syns=(Flow(SYNS, 25, 32773, 32773, False),),
    )
    (other,) = find(survey(on_5, NONE), state(queue=5))
    assert other.cure == "nfinspect rules --apply --queue-num 5"


def test_queue_of_syns_that_the_filter_does_not_read_is_named() -> None:
    elsewhere = dataclasses.replace(RULES, syns=(Flow(SYNS, 25, 9, 9, False),))
    (misfit,) = find(survey(elsewhere, elsewhere), STATE)
    assert str(misfit) == (
        "warning: IPv4 and IPv6: the rules send SYNs to queue 9, which nobody reads (no mail passes),"
        " and this filter reads them from queue 32768: no connection begins (nfinspect rules --apply)"
    )


def test_misfit_as_json_has_its_kind_severity_text_and_cure() -> None:
    assert misfits.flowtable("filter fast").to_json() == {
        "kind": "flowtable",
        "severity": "warning",
        "text": "connections in flowtable 'filter fast' bypass the filter",
        "cure": "exclude the inspected ports from it",
    }


def test_rules_that_stay_are_explained() -> None:
    assert stays(survey().families, 0) == (
        "the rules stay: until a filter runs on queue 0 again, no mail passes to or from port 25"
        " ('nfinspect rules --remove' lets it pass)"
    )
    assert stays(survey(BYPASS, BYPASS).families, 0) == (
        "the rules stay: until a filter runs on queue 0 again, mail to and from port 25 passes"
        " uninspected"
    )
    assert stays(survey().families, 5) == ""
    assert stays(survey(NONE, None).families, 0) == ""
