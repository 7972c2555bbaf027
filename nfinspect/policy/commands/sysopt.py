"""``sysopt connection tcpmss``: the bounds of the MSS that a SYN may announce. Other words of sysopt are not
about mail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nfinspect.policy.grammar import GLOBAL, Draft, Family, Row
from nfinspect.policy.model import SegmentSizes
from nfinspect.policy.syntax import Statement, number


@dataclass(slots=True)
class SegmentSizesDraft:
    """Bytes; 0 sets no bound."""

    largest: int = 0
    smallest: int = 0


def _tcpmss(draft: Draft, _: None, statement: Statement[Any]) -> None:
    said = draft[SegmentSizesDraft]
    if "minimum" in statement:
        said.smallest = statement["size"]
    else:
        said.largest = statement["size"]


FAMILY = Family(
    {GLOBAL: (Row("sysopt connection tcpmss [minimum:minimum] size:BYTES", _tcpmss),)},
    {"BYTES": number(0, 65535)},
    others={GLOBAL: {"sysopt": None}},
)


def resolve(draft: Draft) -> SegmentSizes:
    """Return the bounds that the text sets."""
    said = draft[SegmentSizesDraft]
    return SegmentSizes(said.largest, said.smallest)


def lines(draft: Draft) -> Iterator[str]:
    """Yield the lines that set them."""
    said = draft[SegmentSizesDraft]
    if said.largest:
        yield f"sysopt connection tcpmss {said.largest}"
    if said.smallest:
        yield f"sysopt connection tcpmss minimum {said.smallest}"
