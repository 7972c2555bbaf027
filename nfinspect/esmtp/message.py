"""Scans the message between the 354 and the final dot (docs/appliance.md, sections 1 and 10).

Two things are looked for, in passes of their own: lines that are too long, and MIME filenames.
Both go over most bytes at C speed: ``first_long_line`` hops from line end to line end over windows
as wide as the limit, and of a body only the lines that begin with ``--`` are looked at.

Lines. The end of data is CR LF . CR LF and nothing else. For lengths, and for the empty line that
ends the header, a bare LF ends a line too: that is how servers and readers of mail take it. The dot
that is stuffed at the beginning of a line belongs to the transport and is not counted; what stands
behind it is the line.

MIME. Any line that begins with ``--`` is taken for a boundary, so no trick with boundaries hides a
part. Behind it stands a part's header, up to an empty line. What follows a header of type
``message/…`` is a header again, and so is what follows a part's header without a type, which in a
multipart/digest is a message (RFC 2046 section 5.1.5). Content-Disposition and Content-Type fields
in a header are judged at their end, and remembered until then where they cross packets, up to
``FIELD_BOUND`` bytes; a longer field counts as a filename of that length, since nobody can tell what
stands in the rest.
"""

from __future__ import annotations

import enum
import re
from typing import Final, NamedTuple

from nfinspect.esmtp.clauses import UNLIMITED, Rule
from nfinspect.esmtp.filename import (
    FIELD_NAME,
    content_type,
    filename_length,
    is_interesting,
    is_message,
)
from nfinspect.esmtp.session import Session
from nfinspect.policy.model import Criterion

CR: Final = 13
LF: Final = 10
DOT: Final = 46

FIELD_BOUND: Final = 65536
"""So many bytes of a field that crosses packets are remembered."""
HEAD: Final = 40
"""So many bytes of a line that crosses packets are remembered: more than a field name has."""

_LARGE: Final = 4096
_SPARSE: Final = 24
"""In so many bytes, a rare byte is looked for on its own so many times, before several bytes are."""

_BOUNDARIES: Final = (b"--", b".--")
_FIELD_END = re.compile(rb"\n(?=[^ \t.]|\.[^ \t])")
"""The line end behind which the next line is seen not to continue the field."""
_LINE_OF_INTEREST: Final = (
    rb"\.?(?:(?P<field>" + FIELD_NAME + rb"(?::|\Z))|(?P<boundary>--)|(?P<empty>\r?\n))"
)
_HERE = re.compile(_LINE_OF_INTEREST, re.IGNORECASE)
_NEXT = re.compile(rb"\n" + _LINE_OF_INTEREST, re.IGNORECASE)


class Section(enum.IntEnum):
    """What the lines of a message belong to."""

    HEADER = 0
    BODY = 1
    PART = 2
    """The header of a part, its boundary line included."""
    EMBEDDED = 3
    """The header of a message within the message."""


HEADER, BODY, PART, EMBEDDED = Section


class Finding(NamedTuple):
    """Something that meets a clause."""

    position: int
    """The beginning of the line, or the end of the field: findings are evaluated in this order."""
    order: int
    """Within the position: a field ends before the line that begins there; then as in the map."""
    rule: Rule | None
    """None: all that the filename's length exceeds."""
    length: int


def first_long_line(data: bytes, start: int, end: int, limit: int) -> int:
    """The beginning of the first line in ``data[start:end]`` that is longer than ``limit``, -1 if
    there is none. ``start`` is the beginning of a line; the last line may be unfinished."""
    newest = data.rfind
    window = limit + 1
    while end - start > limit:
        newline = newest(b"\n", start, start + window)
        if newline >= 0:
            # Every line in the window is shorter than the window.
            start = newline + 1
            continue
        newline = data.find(b"\n", start, end)
        stop = end if newline < 0 else newline
        if line_length(data, start, stop) > limit:
            return start
        if newline < 0:
            return -1
        start = newline + 1
    return -1


def line_length(data: bytes, start: int, stop: int) -> int:
    """Bytes of the line ``data[start:stop]``, which ends before its LF: without the CR of a line
    end, which may be still to come, and without a stuffed dot."""
    if start == stop:
        return 0
    return stop - start - (data[stop - 1] == CR) - (data[start] == DOT)


def end_of_data(data: bytes, start: int) -> int:
    """The position behind the first CR LF . CR LF in ``data[start:]``, -1 if there is none."""
    dot = start + 1
    if len(data) - start > _LARGE:
        for _ in range(_SPARSE):
            dot = data.find(b".", dot + 1)
            if dot < 0:
                return -1
            if data[dot - 2 : dot + 3] == b"\r\n.\r\n":
                return dot + 3
    # CPython looks for a few bytes two to four times as fast from the right.
    if data.rfind(b"\r\n.\r\n", dot - 1) < 0:
        return -1
    return data.find(b"\r\n.\r\n", dot - 1) + 5


def next_boundary(data: bytes, start: int, end: int) -> int:
    """Where the first line begins in ``data[start:end]`` that looks like a MIME boundary, -1 if
    there is none. ``start`` is the beginning of a line."""
    if data.startswith(_BOUNDARIES, start):
        return start
    hyphen = start
    if end - start > _LARGE:
        for _ in range(_SPARSE):
            hyphen = data.find(b"-", hyphen + 1, end)
            if hyphen < 0:
                return -1
            if data[hyphen - 1] == LF:
                if data[hyphen + 1 : hyphen + 2] == b"-":
                    return hyphen
            elif data[hyphen - 2 : hyphen + 2] == b"\n.--":
                return hyphen - 1
    behind = max(start, hyphen - 1)
    found = [
        data.find(lead, behind, end) + 1
        for lead in (b"\n--", b"\n.--")
        if data.rfind(lead, behind, end) >= 0
    ]
    return min(found, default=-1)


class MessageScanner:
    """The state of the message that is arriving."""

    __slots__ = (
        "after_crlf",
        "ended_in_cr",
        "field",
        "head",
        "length",
        "message_type",
        "section",
        "typed",
    )

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.section = HEADER
        self.length = 0
        """Bytes that have come of the line that is open, its stuffed dot and its CR included."""
        self.head = b""
        """The first of them."""
        self.ended_in_cr = False
        self.after_crlf = True
        """The line before it ended in CR LF, so a lone dot in it ends the data."""
        self.field: bytearray | None = None
        """A field of interest, as far as it has come."""
        self.message_type = False
        """The header that is open has a content type ``message/…``."""
        self.typed = False
        """It has another content type."""

    def scan(self, session: Session, data: bytes, start: int) -> int:
        """Judge the message's next bytes, from ``start`` to its end or that of ``data``; the
        position behind."""
        # Where the open line ends, and where the message does.
        size = end = first = len(data)
        over = False
        after_crlf = self.after_crlf
        if not self.length:
            first = start
        elif (newline := data.find(b"\n", start)) >= 0:
            first = newline + 1
            ends_in_crlf = self.ended_in_cr if newline == start else data[newline - 1] == CR
            over = (
                after_crlf
                and ends_in_crlf
                and self.length + first - start == 3
                and self.head[0] == DOT
            )
            after_crlf = ends_in_crlf
        if over:
            end = first
        elif first < size:
            if after_crlf and data.startswith(b".\r\n", first):
                found = first + 3
            else:
                found = end_of_data(data, first)
            if found >= 0:
                over, end = True, found

        findings: list[Finding] = []
        opening = self.section
        header_end = self._scan_sections(session, data, start, first, end, findings)
        rules = session.rules
        if self.length:
            self._scan_open_line(
                rules.header_lines if opening == HEADER else rules.body_lines,
                data,
                start,
                first - 1 if data[first - 1] == LF else first,
                findings,
            )
        if first < header_end:
            _scan_lines(rules.header_lines, data, first, header_end, findings)
        if header_end < end:
            _scan_lines(rules.body_lines, data, max(first, header_end), end, findings)
        if findings:
            findings.sort(key=lambda finding: finding[:2])
            for finding in findings:
                if finding.rule is not None:
                    session.match(finding.rule)
                else:
                    session.measured(Criterion.MIME_FILENAME_LENGTH, finding.length)
                if session.closing is not None:
                    return end

        if over:
            self._begin()
            session.begin_mail()
            session.dialogue.ask_after_message()
        else:
            self._keep_open_line(data, start)
        return end

    def _scan_sections(
        self,
        session: Session,
        data: bytes,
        start: int,
        first: int,
        end: int,
        findings: list[Finding],
    ) -> int:
        """Follow the headers and bodies, and judge the fields. Where in ``data`` the message's
        header ends: ``start`` if it had ended, ``end`` if it goes on."""
        limit = session.rules.filename
        names_matter = limit != UNLIMITED
        header_end = end if self.section == HEADER else start
        if self.section == BODY and not names_matter:
            return header_end

        position = start
        if self.field is not None:
            position = self._continue_field(data, start, end, limit, findings)
            if position < 0:
                return header_end
        if position == start and self.length:
            position = first
            if self.length <= HEAD:
                found = _HERE.match(self.head + data[start : min(end, start + HEAD)])
                kind = found.lastgroup if found else None
                if self.section == BODY:
                    if kind == "boundary":
                        self._begin_part()
                elif kind == "empty":
                    if self.section == HEADER:
                        header_end = first
                    self._end_header()
                elif kind == "boundary":
                    if self.section != HEADER:
                        self._begin_part()
                elif kind == "field":
                    self.field = bytearray(self.head)
                    position = self._continue_field(data, start, end, limit, findings)
                    if position < 0:
                        return header_end

        while position < end:
            if self.section == BODY:
                if not names_matter:
                    break
                position = next_boundary(data, position, end)
                if position < 0:
                    break
                self._begin_part()
            found = _HERE.match(data, position, end) or _NEXT.search(data, position, end)
            if found is None:
                break
            if found.lastgroup == "empty":
                position = found.end()
                if self.section == HEADER:
                    header_end = position
                self._end_header()
            elif found.lastgroup == "boundary":
                if self.section != HEADER:
                    self._begin_part()
                position = data.find(b"\n", found.end(), end) + 1
                if not position:
                    break
            else:
                begin = found.start("field")
                stop = _FIELD_END.search(data, found.end(), end)
                if stop is None:
                    self.field = bytearray()
                    self._continue_field(data, begin, end, limit, findings)
                    break
                position = stop.end()
                self._judge_field(data[begin:position], position, limit, findings)
        return header_end

    def _continue_field(
        self, data: bytes, start: int, end: int, limit: int, findings: list[Finding]
    ) -> int:
        """More of the open field: the beginning of the line behind it, -1 if it goes on."""
        field = self.field
        assert field is not None
        known = len(field)
        taken = min(end, start + max(FIELD_BOUND + 1 - known, 0))
        field += data[start:taken]
        stop = _FIELD_END.search(field, max(known - 2, 0))
        if stop is not None:
            position = max(start, start + stop.end() - known)
            whole = bytes(field[: stop.end()])
            self.field = None
            self._judge_field(whole, position, limit, findings)
            return position
        if len(field) <= FIELD_BOUND:
            return -1
        self.field = None
        self._judge_field(bytes(field), taken, limit, findings, at_least=FIELD_BOUND)
        newline = data.find(b"\n", taken, end)
        return newline + 1 if newline >= 0 else end

    def _judge_field(
        self, field: bytes, position: int, limit: int, findings: list[Finding], at_least: int = 0
    ) -> None:
        if limit == UNLIMITED or not is_interesting(field):
            return
        value = content_type(field)
        if value is not None:
            if is_message(value):
                self.message_type = True
            else:
                self.typed = True
        # Nothing is longer than the field that it stands in, decoded or joined or not.
        length = max(filename_length(field), at_least) if len(field) > limit else at_least
        if length > limit:
            findings.append(Finding(position, -1, None, length))

    def _begin_part(self) -> None:
        self.section = PART
        self.message_type = self.typed = False

    def _end_header(self) -> None:
        if self.message_type or (self.section == PART and not self.typed):
            self.section = EMBEDDED
        else:
            self.section = BODY
        self.message_type = self.typed = False

    def _scan_open_line(
        self, rules: tuple[Rule, ...], data: bytes, start: int, stop: int, findings: list[Finding]
    ) -> None:
        """The line that had begun goes on to ``stop``, the position of its LF if that is here."""
        dot = self.head[0] == DOT
        before = self.length - self.ended_in_cr - dot
        ends_in_cr = data[stop - 1] == CR if stop > start else self.ended_in_cr
        length = self.length + stop - start - ends_in_cr - dot
        for order, rule in enumerate(rules):
            if before <= rule.clause.limit < length:
                findings.append(Finding(start, order, rule, length))

    def _keep_open_line(self, data: bytes, start: int) -> None:
        size = len(data)
        begin = data.rfind(b"\n", start) + 1
        if not begin:
            if len(self.head) < HEAD:
                self.head += data[start : start + HEAD - len(self.head)]
            self.length += size - start
            self.ended_in_cr = data[-1] == CR
            return
        self.after_crlf = data[begin - 2] == CR if begin - 2 >= start else self.ended_in_cr
        self.length = size - begin
        self.head = data[begin : begin + HEAD]
        self.ended_in_cr = begin < size and data[-1] == CR


def _scan_lines(
    rules: tuple[Rule, ...], data: bytes, start: int, end: int, findings: list[Finding]
) -> None:
    for order, rule in enumerate(rules):
        position = first_long_line(data, start, end, rule.clause.limit)
        if position >= 0:
            findings.append(Finding(position, order, rule, 0))
