"""Writes the table of criteria into docs/policy.md: ``python -m tests.unit.policy.document``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nfinspect.policy.criteria import MOST, ROWS, CriterionRow, Kind

DOCUMENT = Path(__file__).parents[3] / "docs/policy.md"

BEGIN = "<!-- from nfinspect/policy/criteria.py -->\n"
END = "<!-- end -->\n"


def written() -> str:
    """The text of the document with its table made anew."""
    before, marker, rest = DOCUMENT.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not marker or not end:
        raise ValueError(f"{DOCUMENT} has no place for the table")
    return before + BEGIN + "".join(f"{line}\n" for line in _criteria()) + END + after


def _criteria() -> Iterator[str]:
    yield "| match | what is compared | scope | actions | `log` alone writes a line | `not` is certain |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in ROWS:
        actions = ", ".join(
            f"`{action.value}{' N' if action.value == 'rate-limit' else ''}`"
            for action in row.actions
        )
        once = "once a mail" if row.once_a_mail else f"once a {row.scope.value}"
        value = _value(row).replace("|", "\\|")
        yield (
            f"| `{row.criterion.value} {value}` | {row.compared} | {row.scope.value} | {actions}"
            f" | {once} | {row.judged} |"
        )


def _value(row: CriterionRow) -> str:
    match row.kind:
        case Kind.WORDS:
            return f"{{{' | '.join(row.words)}}}..."
        case Kind.EXPRESSION:
            return "regex {NAME | class NAME}"
        case _:
            return f"gt N (1 to {MOST[row.kind]})"


if __name__ == "__main__":
    DOCUMENT.write_text(written())
