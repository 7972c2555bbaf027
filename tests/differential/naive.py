"""A slow evaluator of the clauses about messages: it has the whole message in memory and goes through it
line by line, without any of the streaming code. Only the reading of one whole field (`filename`,
`field`, `mailboxes`) is shared; `written` checks that against Python's email package.

What docs/esmtp.md says of lengths, parts and fields is all that it knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nfinspect.esmtp.field import encoding, media_types, value_of
from nfinspect.esmtp.filename import filename_length, readable_filenames
from nfinspect.esmtp.mailboxes import addresses
from nfinspect.events import ClauseAction
from nfinspect.policy.conditions import Above, Condition, Matches, Not, OneOf
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.model import Clause, InspectionMap

MIME = {Criterion.MIME_ENCODING, Criterion.MIME_FILENAME_LENGTH, Criterion.MIME_FILETYPE}


@dataclass(frozen=True)
class Line:
    start: int
    end: int
    """After its LF."""
    text: bytes
    """Without line ending and stuffed dot."""
    dot: bool


@dataclass(frozen=True)
class Met:
    """A clause is met."""

    known: int
    """The byte at which that is known."""
    position: int
    """Where the thing begins or ends, for the order within a packet."""
    rank: int
    """The order of what is reported at one position."""
    clause: Clause


@dataclass(frozen=True)
class Outcome:
    matches: tuple[tuple[int, int], ...]
    """Packet and clause, in order, each pair once."""
    closed: int | None
    """The packet at which the connection is closed."""


def end_of(text: bytes) -> int:
    """Where the message ends, after its final dot's CR LF."""
    if text.startswith(b".\r\n"):
        return 3
    return text.index(b"\r\n.\r\n") + 5


def lines_of(text: bytes) -> list[Line]:
    lines = []
    start = 0
    for whole in text.split(b"\n")[:-1]:
        end = start + len(whole) + 1
        content = whole.removesuffix(b"\r")
        dot = content.startswith(b".")
        lines.append(Line(start, end, content[dot:], dot))
        start = end
    return lines


def outcome(inspection_map: InspectionMap, text: bytes, cuts: list[int]) -> Outcome:
    """What happens to a message that comes in packets that end at these places."""
    found = list(Reading(inspection_map, text[: end_of(text)]).found())
    packets: dict[int, list[tuple[int, int, int, Clause]]] = {}
    for met in found:
        number = next(index for index, end in enumerate(cuts) if met.known < end)
        begin = cuts[number - 1] if number else 0
        place = max(met.position, begin)
        packets.setdefault(number, []).append((place, met.rank, met.clause.position, met.clause))
    matches: list[tuple[int, int]] = []
    for number in sorted(packets):
        for _, _, position, clause in sorted(packets[number], key=lambda row: row[:3]):
            if (number, position) not in matches:
                matches.append((number, position))
            if clause.action in (ClauseAction.DROP_CONNECTION, ClauseAction.RESET):
                return Outcome(tuple(matches), number)
    return Outcome(tuple(matches), None)


class Reading:
    """One message and one map."""

    def __init__(self, inspection_map: InspectionMap, text: bytes) -> None:
        self.clauses = inspection_map.clauses
        self.text = text
        *self.lines, self.final = lines_of(text)
        self.reads_parts = any(clause.criterion in MIME for clause in self.clauses)
        self.empty = next((line for line in self.lines if not line.text), None)
        if self.empty is not None and text[self.empty.start : self.empty.end].count(b"\r") > 1:
            raise AssertionError("not an empty line")
        body_from = self.final.start if self.empty is None else self.empty.end
        self.header = [line for line in self.lines if line.end <= body_from and line.text]
        if self.empty is None:
            self.header = self.lines
        self.body = [line for line in self.lines if line.start >= body_from]

    def found(self) -> Iterator[Met]:
        yield from self.fields()
        for line in self.header:
            yield from self.line(Criterion.HEADER_LINE_LENGTH, line, 1000)
        for line in self.body:
            yield from self.line(Criterion.BODY_LINE_LENGTH, line, 2000)
        end = self.final if self.empty is None else self.empty
        yield from self.whole(Criterion.HEADER_LENGTH, self.header, end, 3000)
        yield from self.whole(Criterion.BODY_LENGTH, self.body, self.final, 5000)

    def of(self, criterion: Criterion) -> Iterator[tuple[Clause, Condition, bool]]:
        for clause in self.clauses:
            if clause.criterion is criterion:
                condition = clause.condition
                if isinstance(condition, Not):
                    yield clause, condition.condition, True
                else:
                    yield clause, condition, False

    def line(self, criterion: Criterion, line: Line, rank: int) -> Iterator[Met]:
        for clause, condition, negated in self.of(criterion):
            assert isinstance(condition, Above)
            if negated and len(line.text) <= condition.limit:
                yield Met(line.end - 1, line.start, rank + 1, clause)
            if not negated and len(line.text) > condition.limit:
                at = line.start + line.dot + condition.limit
                # Whether a CR is the line's ending, the next byte tells.
                known = at + (self.text[at] == 13)
                yield Met(known, line.start, rank, clause)

    def whole(self, criterion: Criterion, lines: list[Line], end: Line, rank: int) -> Iterator[Met]:
        places = [
            (place, line) for line in lines for place in range(line.start + line.dot, line.end)
        ]
        for clause, condition, negated in self.of(criterion):
            assert isinstance(condition, Above)
            if not negated and len(places) > condition.limit:
                place, line = places[condition.limit]
                known = place
                if self.text[place] == 13 and place == line.start + line.dot:
                    # It could belong to the empty line or to the final dot.
                    known += line.dot or criterion is Criterion.HEADER_LENGTH
                yield Met(known, place, rank, clause)
            elif negated and len(places) <= condition.limit:
                yield Met(end.end - 1, end.start, rank + 1, clause)

    # Fields

    def fields(self) -> Iterator[Met]:
        count = 0
        for number, (in_header, name, text, after) in enumerate(self.wanted_fields()):
            rank = number * 10
            known = after + (self.text[after] == 46)
            if name == b"to":
                if in_header:
                    before, count = count, count + addresses(text)
                    for clause, condition, negated in self.of(Criterion.TO_FIELDS):
                        assert isinstance(condition, Above)
                        if not negated and before <= condition.limit < count:
                            yield Met(known, after, rank, clause)
                continue
            yield from self.measured(name, text, known, after, rank)
        end = self.final if self.empty is None else self.empty
        for clause, condition, negated in self.of(Criterion.TO_FIELDS):
            assert isinstance(condition, Above)
            if negated and count <= condition.limit:
                yield Met(end.end - 1, end.start, 4000, clause)

    def measured(
        self, name: bytes, text: bytes, known: int, after: int, rank: int
    ) -> Iterator[Met]:
        if name == b"content-transfer-encoding":
            word = encoding(value_of(text)).decode()
            for clause, condition, negated in self.of(Criterion.MIME_ENCODING):
                assert isinstance(condition, OneOf)
                if (word in condition.choices) != negated:
                    yield Met(known, after, rank, clause)
            return
        length = filename_length(text)
        for clause, condition, negated in self.of(Criterion.MIME_FILENAME_LENGTH):
            assert isinstance(condition, Above)
            if length and (length > condition.limit) != negated:
                yield Met(known, after, rank, clause)
        values = media_types(value_of(text)) if name == b"content-type" else []
        values += readable_filenames(text)
        for clause, condition, negated in self.of(Criterion.MIME_FILETYPE):
            assert isinstance(condition, Matches)
            if values:
                matches = any(
                    re.search(each.pattern.encode(), value)
                    for each in condition.expressions
                    for value in values
                )
                if matches != negated:
                    yield Met(known, after, rank + 1, clause)

    def wanted_fields(self) -> Iterator[tuple[bool, bytes, bytes, int]]:
        """Whether it is in the header, name, text and end of each field."""
        lines = [*self.lines, self.final]
        in_header, reading, part = True, True, False
        is_message = typed = False
        index = 0
        while index < len(lines) - 1:
            line = lines[index]
            index += 1
            if line.text.startswith(b"--") and self.reads_parts:
                if in_header:
                    part = True
                else:
                    part, reading, is_message = True, True, False
                typed = False
            elif not reading:
                continue
            elif not line.text:
                reading = is_message or (part and not typed)
                in_header = part = is_message = typed = False
            elif (name := _name(line.text)) is not None:
                start = line.start
                while lines[index].text[:1] in (b" ", b"\t"):
                    index += 1
                after = lines[index].start
                text = self.text[start:after]
                if name == b"content-type" and self.reads_parts:
                    if re.match(rb'[\s"]*message[\s"]*/', value_of(text), re.IGNORECASE):
                        is_message = True
                    else:
                        typed = True
                if name == b"to" or self.reads_parts:
                    yield in_header, name, text, after


def _name(line: bytes) -> bytes | None:
    found = re.match(
        rb"(content-(?:type|disposition|transfer-encoding)|to)[ \t]*:", line, re.IGNORECASE
    )
    return found[1].lower() if found else None
