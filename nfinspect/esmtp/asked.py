"""What the clauses of a map ask of its messages, prepared once: only that is measured."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from nfinspect.esmtp.lines import ShortLine
from nfinspect.policy.conditions import Above, Not
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.model import Clause

UNLIMITED: Final = 2**63 - 1
NEVER: Final = -1

_EMPTY: Final = rb"(?P<empty>\r?\n)"
_BOUNDARY: Final = rb"(?P<boundary>--)"


class Bounds:
    """The limits of one criterion's clauses, each once."""

    __slots__ = ("above", "highest", "lowest", "up_to")

    def __init__(self, above: Sequence[int] = (), up_to: Sequence[int] = ()) -> None:
        self.above = tuple(sorted(set(above)))
        """Of ``gt N``, the lowest first."""
        self.up_to = tuple(sorted(set(up_to), reverse=True))
        """Of ``match not … gt N``, the highest first."""
        self.lowest = self.above[0] if self.above else UNLIMITED
        """A value above it matches."""
        self.highest = self.up_to[0] if self.up_to else NEVER
        """A final value up to it matches."""


class Asked:
    """What is measured of a message."""

    __slots__ = (
        "body_lines",
        "body_size",
        "encoding",
        "exact",
        "filename",
        "filenames",
        "filetype",
        "header_lines",
        "header_size",
        "here",
        "parts",
        "recipients",
        "short_body_lines",
        "short_header_lines",
        "to_fields",
        "unnamed",
        "upcoming",
        "whole",
    )

    def __init__(self, bounds: Mapping[Criterion, Bounds]) -> None:
        """``bounds``: of each criterion that a clause has."""
        none = Bounds()
        self.header_lines = bounds.get(Criterion.HEADER_LINE_LENGTH, none)
        self.body_lines = bounds.get(Criterion.BODY_LINE_LENGTH, none)
        self.short_header_lines = tuple([ShortLine(each) for each in self.header_lines.up_to])
        self.short_body_lines = tuple([ShortLine(each) for each in self.body_lines.up_to])
        self.header_size = bounds.get(Criterion.HEADER_LENGTH, none)
        self.body_size = bounds.get(Criterion.BODY_LENGTH, none)
        self.recipients = bounds.get(Criterion.TO_FIELDS, none)
        self.to_fields = Criterion.TO_FIELDS in bounds
        self.whole = self.to_fields or any(
            each in bounds for each in (Criterion.HEADER_LENGTH, Criterion.BODY_LENGTH)
        )
        """Header or body are measured as wholes."""
        self.exact = self.whole or bool(self.header_lines.up_to)
        """It matters that the empty line is none of the header."""
        self.filename = bounds.get(Criterion.MIME_FILENAME_LENGTH, none)
        self.filenames = Criterion.MIME_FILENAME_LENGTH in bounds
        filetype = Criterion.MIME_FILETYPE in bounds
        encoding = Criterion.MIME_ENCODING in bounds
        named = filetype or bool(self.filename.up_to)
        self.unnamed = NEVER if named else self.filename.lowest
        """A type or disposition of no more bytes has no name that matters."""
        self.filetype = filetype
        self.encoding = encoding
        self.parts = self.filenames or filetype or encoding
        """Parts are read, and not only the message's header."""
        names = []
        if self.parts:
            kinds = [b"type"]
            if self.filenames or filetype:
                kinds.append(b"disposition")
            if encoding:
                kinds.append(b"transfer-encoding")
            names.append(b"content-(?:" + b"|".join(kinds) + b")")
        if self.to_fields:
            names.append(b"to")
        choices = [_EMPTY]
        if names:
            name = b"|".join(names)
            choices.insert(0, rb"(?P<field>(?:" + name + rb")[ \t]*(?::|\Z))")
        if self.parts:
            choices.insert(len(choices) - 1, _BOUNDARY)
        line = rb"\.?(?:" + b"|".join(choices) + b")"
        self.here = re.compile(line, re.IGNORECASE)
        """A line of a header that matters: it is empty, a boundary, or begins a field."""
        self.upcoming = re.compile(rb"\n" + line, re.IGNORECASE)


def asked_by(clauses: Iterable[Clause]) -> Asked:
    """What is measured for these clauses."""
    above: dict[Criterion, list[int]] = {}
    up_to: dict[Criterion, list[int]] = {}
    for clause in clauses:
        condition, limits = clause.condition, above
        if isinstance(condition, Not):
            condition, limits = condition.condition, up_to
        limit = condition.limit if isinstance(condition, Above) else NEVER
        limits.setdefault(clause.criterion, []).append(limit)
    bounds = {
        criterion: Bounds(above.get(criterion, ()), up_to.get(criterion, ()))
        for criterion in {*above, *up_to}
    }
    return Asked(bounds)
