"""What the rules of random policies do to real packets is what the engine decides about them; a small share
of ``python -m tests.classification``."""

from __future__ import annotations

import pytest

from tests.classification.drawing import MAPPED
from tests.classification.ground import Ground
from tests.classification.judge import Tally, Verdict, try_policy

POLICIES = 15
CONNECTIONS = 100

ALL = (Verdict.INSPECTED, Verdict.EXEMPT, Verdict.FORGED, Verdict.NOT_DIVERTED)


@pytest.mark.parametrize("bridge", [False, True], ids=["routed", "bridged"])
def test_rules_let_pass_only_what_is_exempt(bridge: bool) -> None:
    tally = Tally()
    faults: list[str] = []
    lost = set()
    with Ground(bridge=bridge) as ground:
        for seed in range(POLICIES):
            _, judged = try_policy(ground, seed, CONNECTIONS, tally)
            faults += [f"{seed}: {p}: {v.value}" for p, v in judged if v.is_fault]
            lost |= {p.connection.destination for p, v in judged if v is Verdict.LOST}
    assert faults == []
    assert lost <= set(MAPPED)  # which the policy may translate for other ports only
    assert all(tally.verdicts[each] > 10 for each in ALL), tally.verdicts
