"""The maps whose cost is compared."""

from __future__ import annotations

import pytest

from bench import clauses
from bench.micro import WORKLOADS
from bench.session import session
from nfinspect.actions import Emit
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.events import ClauseMatched
from nfinspect.policy import parse_policy
from nfinspect.policy.criteria import Criterion


@pytest.mark.parametrize("name", clauses.maps())
def test_map_is_read_without_a_notice(name: str) -> None:
    text = clauses.maps()[name]
    if text is not None:
        configuration = parse_policy(text, name)
        assert configuration.notices == ()


def test_largest_map_has_nine_hundred_clauses_of_all_criteria() -> None:
    *_, (name, text) = clauses.maps().items()
    policy = clauses.policy_of(text)
    of_map = policy.inspections[0].map.clauses
    assert name == "900 clauses"
    assert len(of_map) == 901  # one more masks the reply to EHLO
    for criterion in Criterion:
        assert sum(clause.criterion is criterion for clause in of_map) >= 60


@pytest.mark.parametrize("name", list(clauses.maps())[1:3] + list(clauses.maps())[-1:])
def test_no_clause_matches_in_the_session_but_the_mask(name: str) -> None:
    engine = Engine(clauses.policy_of(clauses.maps()[name]), started=0.0)
    load = WORKLOADS[0]
    seen = []
    for packet in session(load.size, load.segment):
        arrival = Arrival(None, packet.datagram, 1000.0, checksum_ready=False, gso=packet.gso)
        seen += [each.event for each in engine.arrive(arrival) if isinstance(each, Emit)]
    met = {each.criterion for each in seen if isinstance(each, ClauseMatched)}
    assert met == {"ehlo-reply-parameter others"}
