"""Scans the message between the 354 and the final dot (docs/appliance.md, sections 1 and 10).

`structure` reads what it is made of, and what the map asks for (`asked`) is measured as it passes:
lines, the lengths of header and body, and the fields in which names, types, encodings and addresses
stand. Nearly all bytes are skipped at C speed: lines from line end to line end over windows as wide
as the limit, and of a body only those that begin with ``--`` are looked at.

Only CR LF . CR LF ends the data. For line lengths, and for the empty line that ends the header, a bare
LF ends a line too, as it does for servers and mail readers. A stuffed dot at the beginning of a line
belongs to the transport and does not count.
"""

from __future__ import annotations

import re
from typing import Final

from nfinspect.esmtp.asked import Asked, Bounds
from nfinspect.esmtp.evaluation import Fact, evaluate
from nfinspect.esmtp.fields import measure
from nfinspect.esmtp.lines import CR, DOT, LF, first_long_line, long_lines, short_lines
from nfinspect.esmtp.session import Session
from nfinspect.esmtp.sizes import Size
from nfinspect.esmtp.structure import (
    HEAD,
    HEADER,
    LARGE,
    SPARSE,
    Field,
    StructureReader,
)
from nfinspect.events import MessageSeen
from nfinspect.policy.criteria import Criterion

BODY_LINE: Final = Criterion.BODY_LINE_LENGTH
HEADER_LINE: Final = Criterion.HEADER_LINE_LENGTH
TO_FIELDS: Final = Criterion.TO_FIELDS

_FIELD_NAME: Final = re.compile(rb"\.?([!-9;-~]{1,78})[ \t]*:")
"""RFC 5322 section 3.6.8."""
_MESSAGE_ID: Final = re.compile(rb"^message-id[ \t]*:[ \t\r\n]*([^\r\n]{1,250})", re.I | re.M)


def end_of_data(data: bytes, start: int) -> int:
    """The position after the first CR LF . CR LF in ``data[start:]``; -1 if there is none."""
    dot = start + 1
    if len(data) - start > LARGE:
        for _ in range(SPARSE):
            dot = data.find(b".", dot + 1)
            if dot < 0:
                return -1
            if data[dot - 2 : dot + 3] == b"\r\n.\r\n":
                return dot + 3
    # CPython's rfind is two to four times as fast as find for a few bytes.
    if data.rfind(b"\r\n.\r\n", dot - 1) < 0:
        return -1
    return data.find(b"\r\n.\r\n", dot - 1) + 5


class MessageScanner:
    """The state of a message."""

    __slots__ = (
        "addresses",
        "after_crlf",
        "body_size",
        "ended_in_cr",
        "head",
        "header_size",
        "length",
        "structure",
    )

    def __init__(self) -> None:
        self.structure = StructureReader()
        self.length = 0
        """Bytes of the unfinished line that have arrived, including stuffed dot and CR."""
        self.head = b""
        """Its first bytes."""
        self.ended_in_cr = False
        """The last packet ended with its CR."""
        self.after_crlf = True
        """The line before it ended in CR LF, so a lone dot in it ends the data."""
        self.header_size: Size | None = None
        self.body_size: Size | None = None
        """If the map asks for one of them."""
        self.addresses = 0
        """In the fields ``To`` of its header."""

    @property
    def kept(self) -> int:
        """Bytes kept of an unfinished field."""
        return self.structure.kept

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

        asked = session.rules.asked
        facts: list[Fact] = []
        fields: list[Field] = []
        structure = self.structure
        opening = structure.section
        structure.frugal = session.frugal
        if opening == HEADER and session.transcript:
            _note_message_id(session, data, start, end)
        header_end = structure.read(asked, data, start, first, end, self.head, self.length, fields)
        for field in fields:
            self.addresses = measure(asked, field, self.addresses, facts)
        # The final dot's line is none of the body, and the empty line none of the header.
        body_end = max(start, end - 3) if over else end
        lines_end = header_end
        if opening == HEADER:
            if asked.exact:
                if structure.section != HEADER:
                    lines_end = max(start, data.rfind(b"\n", start, header_end - 1) + 1)
                lines_end = min(lines_end, body_end)
            if self.length:
                is_line = lines_end > start
                self._measure_open_line(
                    HEADER_LINE, asked.header_lines, data, start, first, is_line, facts
                )
            if first < lines_end:
                _measure_header_lines(asked, data, first, lines_end, facts)
        elif self.length:
            is_line = body_end > start
            self._measure_open_line(BODY_LINE, asked.body_lines, data, start, first, is_line, facts)
        if header_end < body_end:
            _measure_body_lines(asked, data, max(first, header_end), body_end, facts)
        if asked.whole:
            self._measure_whole(
                asked, data, start, lines_end, header_end, body_end, opening == HEADER, over, facts
            )
        if facts:
            _note_message_id(session, data, start, end)
            evaluate(session, facts)
            if session.closing is not None:
                return end

        if over:
            session.begin_mail()
            session.dialogue.expect_message_reply()
            if session.transcript:
                session.events.append(MessageSeen(session.connection))
        else:
            self._keep_open_line(data, start)
        return end

    def _measure_open_line(
        self,
        criterion: Criterion,
        bounds: Bounds,
        data: bytes,
        start: int,
        first: int,
        is_line: bool,
        facts: list[Fact],
    ) -> None:
        """Measure the unfinished line, which continues to ``first``: its end, or that of the data.
        ``is_line``: it is not the empty line after the header, or the final dot."""
        finished = data[first - 1] == LF
        stop = first - 1 if finished else first
        dot = self.head[0] == DOT
        before = self.length - self.ended_in_cr - dot
        ends_in_cr = data[stop - 1] == CR if stop > start else self.ended_in_cr
        length = self.length + stop - start - ends_in_cr - dot
        exceeds = length > bounds.lowest and before <= bounds.above[-1]
        falls_short = finished and is_line and length <= bounds.highest
        if not exceeds and not falls_short:
            return
        text = b""  # of the body nothing is shown
        if criterion is HEADER_LINE:
            text = field_name(self.head, 0)
        if exceeds:
            facts.append(Fact(criterion, start, length, text, before))
        if falls_short:
            facts.append(Fact(criterion, start, length, text, length, complete=True))

    def _measure_whole(
        self,
        asked: Asked,
        data: bytes,
        start: int,
        lines_end: int,
        header_end: int,
        body_end: int,
        opening: bool,
        over: bool,
        facts: list[Fact],
    ) -> None:
        """Measure header and body as wholes; their lines in this packet end at ``lines_end`` and
        ``body_end``. ``opening``: it begins in the header."""
        header, body = self.header_size, self.body_size
        if header is None or body is None:
            header = self.header_size = Size(Criterion.HEADER_LENGTH)
            body = self.body_size = Size(Criterion.BODY_LENGTH)
        within_line = self.length > 0
        opened = self.structure.section == HEADER
        line = b"" if over else self._open_line(data, start)
        if opening:
            header.add(
                asked.header_size,
                data,
                start,
                lines_end,
                within_line,
                opened and line in (b"\r", b".\r"),
                facts,
            )
        if opening and (over or not opened):
            header.end(asked.header_size, lines_end, facts)
            if self.addresses <= asked.recipients.highest:
                count = self.addresses
                facts.append(Fact(TO_FIELDS, lines_end, count, before=count, complete=True))
        if not opened:
            body.add(
                asked.body_size,
                data,
                header_end,
                body_end,
                within_line and header_end == start,
                line == b".\r" and body_end > header_end,
                facts,
            )
        if over:
            body.end(asked.body_size, body_end, facts)

    def _open_line(self, data: bytes, start: int) -> bytes:
        """The first three bytes of the line that is unfinished at the end of this packet."""
        begin = data.rfind(b"\n", start) + 1
        if begin:
            return data[begin : begin + 3]
        return (self.head + data[start : start + 3])[:3]

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


def _measure_header_lines(
    asked: Asked, data: bytes, start: int, end: int, facts: list[Fact]
) -> None:
    bounds = asked.header_lines
    if first_long_line(data, start, end, bounds.lowest) >= 0:
        for position, length in long_lines(data, start, end, bounds.above):
            text = field_name(data, position)
            facts.append(Fact(HEADER_LINE, position, length, text))
    if bounds.up_to:
        for position, length in short_lines(data, start, end, asked.short_header_lines):
            text = field_name(data, position)
            facts.append(Fact(HEADER_LINE, position, length, text, length, complete=True))


def _measure_body_lines(asked: Asked, data: bytes, start: int, end: int, facts: list[Fact]) -> None:
    bounds = asked.body_lines
    if first_long_line(data, start, end, bounds.lowest) >= 0:
        for position, length in long_lines(data, start, end, bounds.above):
            facts.append(Fact(BODY_LINE, position, length))
    if bounds.up_to:
        for position, length in short_lines(data, start, end, asked.short_body_lines):
            facts.append(Fact(BODY_LINE, position, length, b"", length, complete=True))
