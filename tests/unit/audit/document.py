"""Writes the tables of the catalogue into the documents: ``python -m tests.unit.audit.document``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nfinspect.audit.catalogue import CLOSED, COUNTERS, DROPPED, ENDED, UNINSPECTED, Explanation

DOCS = Path(__file__).parents[3] / "docs"

TABLES_IN: Mapping[str, Mapping[str, Mapping[Any, Explanation]]] = {
    "packets.md": {"dropped": DROPPED},
    "troubleshooting.md": {"closed": CLOSED, "ended": ENDED, "uninspected": UNINSPECTED},
}
"""Which tables each document has, by the name in its marker."""

BEGIN = "<!-- from nfinspect/audit/catalogue.py: {} -->\n"
END = "<!-- end -->\n"


def table(rows: Mapping[Any, Explanation], document: str) -> str:
    """The table in Markdown, under a sentence that says where it is counted."""
    kind = type(next(iter(rows)))
    shown, name = COUNTERS[kind]
    counted = f"Counted by {shown + ', and by ' if shown else ''}`{name}` in JSON.\n\n"
    head = "| reason | what it means | what to do | log | more |\n| --- | --- | --- | --- | --- |\n"
    return counted + head + "".join(_lines(rows, document))


def _lines(rows: Mapping[Any, Explanation], document: str) -> Iterator[str]:
    for reason, row in rows.items():
        log = ", ".join(map(str, row.syslog))
        yield (
            f"| `{reason.value}` | {_code(row.meaning)} | {_code(row.cure)} | {log} |"
            f" {_link(row, document)} |\n"
        )


def _code(text: str) -> str:
    """Words in quotation marks as code; a bar would end the cell."""
    return re.sub(r"(?<!\w)'([^']+)'", r"`\1`", text.replace("|", "\\|"))


def _link(row: Explanation, document: str) -> str:
    name, _, anchor = row.section.partition("#")
    return f"[{anchor.replace('-', ' ')}]({'' if name == document else name}#{anchor})"


def written(document: str) -> str:
    """The text of the document with its tables made anew."""
    text = (DOCS / document).read_text()
    for name, rows in TABLES_IN[document].items():
        begin = BEGIN.format(name)
        before, marker, rest = text.partition(begin)
        _, end, after = rest.partition(END)
        if not marker or not end:
            raise ValueError(f"{document} has no place for the table {name}")
        text = before + begin + table(rows, document) + end + after
    return text


if __name__ == "__main__":
    for each in TABLES_IN:
        (DOCS / each).write_text(written(each))
