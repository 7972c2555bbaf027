"""Each criterion with each action that it takes, with and without ``not``, in replay of a capture: the rows of
tests/unit/engine/test_criteria.py, as configuration text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nfinspect.events import ClauseAction
from nfinspect.policy.criteria import Criterion
from tests.capture.recorded import conversation, replayed
from tests.policy_text import clause_of, configuration
from tests.unit.engine.test_criteria import CASES, EHLO, name, rows
from tests.unit.replay.stand_in import pcap

BEFORE = (("server", b"220 2\r\n"), ("client", EHLO), ("server", b"250 s\r\n"))
FORWARD = {"client": ">", "server": "<"}


@pytest.mark.parametrize(("criterion", "negated", "action", "log"), [*rows()], ids=name)
def test_clause_is_found_at_its_packet_and_nowhere_else(
    criterion: Criterion, negated: bool, action: ClauseAction, log: bool, tmp_path: Path
) -> None:
    clause = clause_of(criterion, negated, action, log)
    config = tmp_path / "m.cfg"
    config.write_text(configuration(clause))
    case = CASES[criterion]
    for number, steps in enumerate((case.meets, case.misses)):
        dialogue = [(FORWARD[side], line) for side, line in (*BEFORE, *steps)]
        capture = tmp_path / f"{number}.pcap"
        capture.write_bytes(pcap(conversation(tuple(dialogue)), 101))
        (connection,) = json.loads(replayed(capture, "--json", "--config", config))["connections"]
        found = [each for each in connection["actions"] if "match" in each["clause"]]
        if (number == 1) is negated:
            assert [(each["clause"], each["action"]) for each in found] == [
                (f"match {clause.words}", action.value)
            ]
            # Three packets open; then each line has an acknowledgement of its own.
            assert found[0]["packet"] == 3 + 2 * len(dialogue) - 1
            closed = connection["close_reason"] == "Flow closed by inspection"
            assert closed is action.closes
        else:
            assert not found
