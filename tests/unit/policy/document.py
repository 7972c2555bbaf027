"""Writes the table of criteria into docs/policy.md: ``python -m tests.unit.policy.document``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nfinspect.policy.criteria import MOST, NOT_EVALUATED, ROWS, CriterionRow, Kind

DOCUMENT = Path(__file__).parents[3] / "docs/policy.md"

BEGIN = "<!-- from nfinspect/policy/criteria.py: {} -->\n"
END = "<!-- end -->\n"


def written() -> str:
    """The text of the document with its tables made anew."""
    text = DOCUMENT.read_text()
    for name, lines in (("criteria", _criteria()), ("not done", _not_done())):
        begin = BEGIN.format(name)
        before, marker, rest = text.partition(begin)
        _, end, after = rest.partition(END)
        if not marker or not end:
            raise ValueError(f"{DOCUMENT} has no place for the table {name}")
        text = before + begin + "".join(f"{line}\n" for line in lines) + end + after
    return text


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


def _not_done() -> Iterator[str]:
    if NOT_EVALUATED:
        yield "Read, checked and reported as not done:"
        yield ""
    else:
        yield "Nothing."
    for words in sorted(NOT_EVALUATED, key=str.lower):
        yield f"- `{words}`"


if __name__ == "__main__":
    DOCUMENT.write_text(written())
