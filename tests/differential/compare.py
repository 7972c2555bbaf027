"""Random cases, each judged by both."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from nfinspect.esmtp.clauses import compile_map
from nfinspect.policy.model import InspectionMap
from tests.differential import drawing, naive, session

SEGMENTATIONS = 4
"""Of each mail and map."""


@dataclass(frozen=True)
class Difference:
    number: int
    inspection_map: InspectionMap
    text: bytes
    cuts: list[int]
    naive: naive.Outcome
    streaming: naive.Outcome

    def __str__(self) -> str:
        clauses = "\n".join(
            f"  {clause.position} match {clause.words}: {clause.action.value}"
            for clause in self.inspection_map.clauses
        )
        ends = [0, *self.cuts]
        packets = [self.text[a:b] for a, b in itertools.pairwise(ends)]
        return (
            f"case {self.number}\n{clauses}\n  packets: {packets}\n"
            f"  naive:     {self.naive}\n  streaming: {self.streaming}"
        )


def differences(cases: int, seed: int) -> Iterator[Difference]:
    """Each case is told from its number and the seed."""
    for number in range(0, cases, SEGMENTATIONS):
        chance = Random(f"{seed} {number}")
        text = drawing.message(chance)
        text = text[: naive.end_of(text)]
        inspection_map = drawing.inspection_map(chance)
        rules = compile_map(inspection_map)
        for each in range(SEGMENTATIONS):
            cuts = drawing.cuts(chance, len(text))
            expected = naive.outcome(inspection_map, text, cuts)
            got = session.outcome(rules, text, cuts)
            if expected != got:
                yield Difference(number + each, inspection_map, text, cuts, expected, got)
