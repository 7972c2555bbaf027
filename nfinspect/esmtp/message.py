"""Scans the message between the 354 and the final dot (docs/appliance.md, sections 1 and 10).

It looks for overlong lines and for MIME filenames, in separate passes. Both skip most bytes at C
speed: ``first_long_line`` jumps from line end to line end over windows as wide as the limit, and of
a body only the lines that begin with ``--`` are examined.

Lines. Only CR LF . CR LF ends the data. For line lengths, and for the empty line that ends the
header, a bare LF ends a line too, as it does for servers and mail readers. A stuffed dot at the
beginning of a line belongs to the transport and does not count.

MIME. Any line that begins with ``--`` is taken for a boundary, so that no trick with boundaries can
hide a part. A part's header follows it, up to an empty line. After a header of type ``message/…``
another header follows, and also after a part's header without a type, since in a multipart/digest
that part is a message (RFC 2046 section 5.1.5). Content-Disposition and Content-Type fields are
examined at their end; a field that spans packets is kept until then, up to ``FIELD_BOUND`` bytes. A
longer field counts as a filename of that length, since its rest is unknown.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from nfinspect.esmtp.clauses import UNLIMITED
from nfinspect.esmtp.evaluation import Fact, evaluate
from nfinspect.esmtp.filename import (
    FIELD_NAME,
    content_type,
    filename_length,
    filename_shown,
    is_interesting,
    is_message,
)
from nfinspect.esmtp.session import Session
from nfinspect.events import MessageSeen
from nfinspect.policy.criteria import Criterion

CR: Final = 13
LF: Final = 10
DOT: Final = 46

FIELD_BOUND: Final = 65536
"""Bytes kept of a field that spans packets."""
HEAD: Final = 40
"""Bytes kept of a line that spans packets: more than a field name has."""

_LARGE: Final = 4096
_SPARSE: Final = 24
"""In data of more than _LARGE bytes, search for a single rare byte up to _SPARSE times, before
searching for the whole pattern."""

_BOUNDARIES: Final = (b"--", b".--")
_FIELD_END: Final = re.compile(rb"\n(?=[^ \t.]|\.[^ \t])")
"""A line end after which the next line is known not to continue the field."""
_LINE_OF_INTEREST: Final = (
    rb"\.?(?:(?P<field>" + FIELD_NAME + rb"(?::|\Z))|(?P<boundary>--)|(?P<empty>\r?\n))"
)
_HERE: Final = re.compile(_LINE_OF_INTEREST, re.IGNORECASE)
_NEXT: Final = re.compile(rb"\n" + _LINE_OF_INTEREST, re.IGNORECASE)


_FIELD_NAME = re.compile(rb"\.?([!-9;-~]{1,78})[ \t]*:")
"""RFC 5322 section 3.6.8."""
_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:[ \t\r\n]*([^\r\n]{1,250})", re.I | re.M)


class Section(enum.IntEnum):
    """The section of a message to which a line belongs."""

    HEADER = 0
    BODY = 1
    PART = 2
    """A part's header, including its boundary line."""
    EMBEDDED = 3
    """The header of an embedded message."""


HEADER: Final = Section.HEADER
BODY: Final = Section.BODY
PART: Final = Section.PART
EMBEDDED: Final = Section.EMBEDDED


def first_long_line(data: bytes, start: int, end: int, limit: int) -> int:
    """Where the first line in ``data[start:end]`` that is longer than ``limit`` begins; -1 if there
    is none. ``start`` must be the start of a line; the last line may be unfinished."""
    newest = data.rfind
    window = limit + 1
    while end - start > limit:
        newline = newest(b"\n", start, start + window)
        if newline >= 0:
            # All lines up to here lie within the window, and none is longer than the limit.
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


def long_lines(data: bytes, start: int, end: int, limit: int) -> list[tuple[int, int]]:
    """Where the lines in ``data[start:end]`` begin that are longer than ``limit``, and their lengths.
    Only those that are longer than all before them: a clause matches once in a packet."""
    found = []
    while (position := first_long_line(data, start, end, limit)) >= 0:
        newline = data.find(b"\n", position, end)
        stop = end if newline < 0 else newline
        limit = line_length(data, position, stop)
        found.append((position, limit))
        if newline < 0:
            break
        start = newline + 1
    return found


def line_length(data: bytes, start: int, stop: int) -> int:
    """Length of the line ``data[start:stop]`` (without LF), not counting a stuffed dot or a final
    CR, whose LF may be still to come."""
    if start == stop:
        return 0
    return stop - start - (data[stop - 1] == CR) - (data[start] == DOT)


def end_of_data(data: bytes, start: int) -> int:
    """The position after the first CR LF . CR LF in ``data[start:]``; -1 if there is none."""
    dot = start + 1
    if len(data) - start > _LARGE:
        for _ in range(_SPARSE):
            dot = data.find(b".", dot + 1)
            if dot < 0:
                return -1
            if data[dot - 2 : dot + 3] == b"\r\n.\r\n":
                return dot + 3
    # CPython's rfind is two to four times as fast as find for a few bytes.
    if data.rfind(b"\r\n.\r\n", dot - 1) < 0:
        return -1
    return data.find(b"\r\n.\r\n", dot - 1) + 5


def next_boundary(data: bytes, start: int, end: int) -> int:
    """Where the first line in ``data[start:end]`` that looks like a MIME boundary begins; -1 if
    there is none. ``start`` must be the start of a line."""
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
    begin = max(start, hyphen - 1)
    found = [
        data.find(lead, begin, end) + 1
        for lead in (b"\n--", b"\n.--")
        if data.rfind(lead, begin, end) >= 0
    ]
    return min(found, default=-1)


class MessageScanner:
    """The state of the current message."""

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
        """Bytes of the unfinished line that have arrived, including stuffed dot and CR."""
        self.head = b""
        """Its first bytes."""
        self.ended_in_cr = False
        """The last packet ended with its CR."""
        self.after_crlf = True
        """The line before it ended in CR LF, so a lone dot in it ends the data."""
        self.field: bytearray | None = None
        """An unfinished Content-Disposition or Content-Type field, as far as it has arrived."""
        self.message_type = False
        """The current header has a content type ``message/…``."""
        self.typed = False
        """The current header has another content type."""

    def scan(self, session: Session, data: bytes, start: int) -> int:
        """Inspect the message's next bytes, from ``start`` to its end or that of ``data``. Returns
        the position after them."""
        # Find where the unfinished line ends, and where the message ends.
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

        findings: list[Fact] = []
        opening = self.section
        if opening == HEADER and session.transcript:
            _note_message_id(session, data, start, end)
        header_end = self._scan_sections(session, data, start, first, end, findings)
        rules = session.rules
        if self.length:
            self._scan_open_line(
                Criterion.HEADER_LINE_LENGTH if opening == HEADER else Criterion.BODY_LINE_LENGTH,
                rules.header_line if opening == HEADER else rules.body_line,
                data,
                start,
                first - 1 if data[first - 1] == LF else first,
                findings,
            )
        if first < header_end:
            _scan_header_lines(rules.header_line, data, first, header_end, findings)
        if header_end < end:
            _scan_body_lines(rules.body_line, data, max(first, header_end), end, findings)
        if findings:
            _note_message_id(session, data, start, end)
            evaluate(session, findings)
            if session.closing is not None:
                return end

        if over:
            self._begin()
            session.begin_mail()
            session.dialogue.expect_message_reply()
            if session.transcript:
                session.events.append(MessageSeen(session.connection))
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
        findings: list[Fact],
    ) -> int:
        """Track headers and bodies, and examine the fields. Returns where in ``data`` the message's
        header ends: ``start`` if it had already ended, ``end`` if it continues."""
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
                self._inspect_field(data[begin:position], position, limit, findings)
        return header_end

    def _continue_field(
        self, data: bytes, start: int, end: int, limit: int, findings: list[Fact]
    ) -> int:
        """Add to the unfinished field. Returns the start of the line after it; -1 if the field
        continues."""
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
            self._inspect_field(whole, position, limit, findings)
            return position
        if len(field) <= FIELD_BOUND:
            return -1
        self.field = None
        self._inspect_field(bytes(field), taken, limit, findings, at_least=FIELD_BOUND)
        newline = data.find(b"\n", taken, end)
        return newline + 1 if newline >= 0 else end

    def _inspect_field(
        self,
        field: bytes,
        position: int,
        limit: int,
        findings: list[Fact],
        at_least: int = 0,
    ) -> None:
        if limit == UNLIMITED or not is_interesting(field):
            return
        value = content_type(field)
        if value is not None:
            if is_message(value):
                self.message_type = True
            else:
                self.typed = True
        # No filename is longer than its field, even decoded and joined.
        length = max(filename_length(field), at_least) if len(field) > limit else at_least
        if length > limit:
            findings.append(
                Fact(Criterion.MIME_FILENAME_LENGTH, position, length, filename_shown(field))
            )

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
        self,
        criterion: Criterion,
        limit: int,
        data: bytes,
        start: int,
        stop: int,
        findings: list[Fact],
    ) -> None:
        """Measure the unfinished line, which continues to ``stop``: its LF, or the end of data."""
        dot = self.head[0] == DOT
        before = self.length - self.ended_in_cr - dot
        ends_in_cr = data[stop - 1] == CR if stop > start else self.ended_in_cr
        length = self.length + stop - start - ends_in_cr - dot
        if length > limit:
            text = b""  # of the body nothing is shown
            if criterion is Criterion.HEADER_LINE_LENGTH:
                text = field_name(self.head, 0)
            findings.append(Fact(criterion, start, length, text, before))

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


def field_name(data: bytes, position: int) -> bytes:
    """The name of the header field to which the line at ``position`` belongs; empty if the field
    does not begin in ``data``."""
    while data[position : position + 1] in (b" ", b"\t"):
        if not position:
            return b""
        position = data.rfind(b"\n", 0, position - 1) + 1
    found = _FIELD_NAME.match(data, position)
    return found[1] if found else b""


def _note_message_id(session: Session, data: bytes, start: int, end: int) -> None:
    """Remember the mail's Message-ID if this packet has it."""
    if not session.message_id:
        found = _MESSAGE_ID.search(data, start, end)
        if found is not None:
            session.message_id = found[1]


def _scan_header_lines(limit: int, data: bytes, start: int, end: int, findings: list[Fact]) -> None:
    for position, length in long_lines(data, start, end, limit):
        text = field_name(data, position)
        findings.append(Fact(Criterion.HEADER_LINE_LENGTH, position, length, text))


def _scan_body_lines(limit: int, data: bytes, start: int, end: int, findings: list[Fact]) -> None:
    for position, length in long_lines(data, start, end, limit):
        findings.append(Fact(Criterion.BODY_LINE_LENGTH, position, length))
