"""Reads the structure of a message as it arrives: its header, the parts and their headers, and the
fields that somebody asks for (RFC 5322, RFC 2045, RFC 2046).

Parts. Any line that begins with ``--`` is taken for a boundary, so that no trick with boundaries (one
that is missing, that begins another, that is declared twice) can hide a part, and parts within
parts, however deep, need no memory. A part's header follows the boundary, up to an empty line. After a header of
type ``message/…`` another header follows, and also after a part's header without a type, since in a
multipart/digest that part is a message (RFC 2046 section 5.1.5). A boundary within a header begins a
part as well: mail readers end a header at a line that is no field.

Fields. One that spans packets is kept until it ends, up to ``FIELD_BOUND`` bytes; that it ends, the next
line's first bytes tell. Of a longer one the rest is unknown. While all connections together keep too
much, the bound is ``FRUGAL_BOUND``.
"""

from __future__ import annotations

import enum
import re
from typing import Final, NamedTuple

from nfinspect.esmtp.asked import Asked
from nfinspect.esmtp.field import is_message, value_of

LF: Final = 10

FIELD_BOUND: Final = 65536
"""Bytes kept of a field that spans packets."""
FRUGAL_BOUND: Final = 2048
"""The same, while all messages together keep too many."""
HEAD: Final = 40
"""Bytes kept of a line that spans packets: more than a field name has."""

LARGE: Final = 4096
SPARSE: Final = 24
"""In data of more than LARGE bytes, search for a single rare byte up to SPARSE times, before
searching for the whole pattern."""

_BOUNDARIES: Final = (b"--", b".--")
_FIELD_END: Final = re.compile(rb"\n(?=[^ \t.]|\.[^ \t])")
"""A line end after which the next line is known not to continue the field."""


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


class FieldKind(enum.IntEnum):
    """What a field is about."""

    OTHER = 0
    TYPE = 1
    DISPOSITION = 2
    ENCODING = 3
    TO = 4


_KINDS: Final = {
    b"content-type": FieldKind.TYPE,
    b"content-disposition": FieldKind.DISPOSITION,
    b"content-transfer-encoding": FieldKind.ENCODING,
    b"to": FieldKind.TO,
}


class Field(NamedTuple):
    """A header field that has been asked for, with its line breaks and stuffed dots."""

    kind: FieldKind
    text: bytes
    value: bytes
    """Unfolded and without comments; empty for ``To``."""
    position: int
    """Its end in the packet's data."""
    whole: bool
    """It was not longer than what is kept."""


def next_boundary(data: bytes, start: int, end: int) -> int:
    """Where the first line in ``data[start:end]`` that looks like a MIME boundary begins; -1 if
    there is none. ``start`` must be the start of a line."""
    if data.startswith(_BOUNDARIES, start):
        return start
    hyphen = start
    if end - start > LARGE:
        for _ in range(SPARSE):
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


class StructureReader:
    """Where in the structure of a message the next byte is."""

    __slots__ = ("field", "frugal", "message_type", "part_within", "section", "typed")

    def __init__(self) -> None:
        self.section = HEADER
        self.field: bytearray | None = None
        """An unfinished field that has been asked for, as far as it has arrived."""
        self.frugal = False
        """Little may be kept."""
        self.message_type = False
        """The current header has a content type ``message/…``."""
        self.typed = False
        """The current header has another content type."""
        self.part_within = False
        """A boundary has been met in the message's header."""

    @property
    def kept(self) -> int:
        """Bytes kept of an unfinished field."""
        field = self.field
        return 0 if field is None else len(field)

    def read(
        self,
        asked: Asked,
        data: bytes,
        start: int,
        first: int,
        end: int,
        head: bytes,
        length: int,
        fields: list[Field],
    ) -> int:
        """Read the message's next bytes, ``data[start:end]``, and add the fields that end there.

        Up to ``first`` they belong to a line of which ``length`` bytes have arrived, ``head`` are its
        first. Returns where in ``data`` the message's header ends: ``start`` if it had already ended,
        ``end`` if it continues.
        """
        header_end = end if self.section == HEADER else start
        if self.section == BODY and not asked.parts:
            return header_end

        position = start
        if self.field is not None:
            position = self._continue_field(asked, data, start, end, fields)
            if position < 0:
                return header_end
        if position == start and length:
            position = first
            if length <= HEAD:
                found = asked.here.match(head + data[start : min(end, start + HEAD)])
                kind = found.lastgroup if found else None
                if self.section == BODY:
                    if kind == "boundary":
                        self._begin_part()
                elif kind == "empty":
                    if self.section == HEADER:
                        header_end = first
                    self._end_header()
                elif kind == "boundary":
                    self._begin_part()
                elif kind == "field":
                    self.field = bytearray(head)
                    position = self._continue_field(asked, data, start, end, fields)
                    if position < 0:
                        return header_end

        while position < end:
            if self.section == BODY:
                if not asked.parts:
                    break
                position = next_boundary(data, position, end)
                if position < 0:
                    break
                self._begin_part()
            found = asked.here.match(data, position, end) or asked.upcoming.search(
                data, position, end
            )
            if found is None:
                break
            if found.lastgroup == "empty":
                position = found.end()
                if self.section == HEADER:
                    header_end = position
                self._end_header()
            elif found.lastgroup == "boundary":
                self._begin_part()
                position = data.find(b"\n", found.end(), end) + 1
                if not position:
                    break
            else:
                begin = found.start("field")
                stop = _FIELD_END.search(data, found.end(), end)
                if stop is None:
                    self.field = bytearray()
                    self._continue_field(asked, data, begin, end, fields)
                    break
                position = stop.end()
                self._end_field(asked, data[begin:position], position, fields, whole=True)
        return header_end

    def _continue_field(
        self, asked: Asked, data: bytes, start: int, end: int, fields: list[Field]
    ) -> int:
        """Add to the unfinished field. Returns the start of the line after it; -1 if the field
        continues."""
        field = self.field
        assert field is not None
        known = len(field)
        bound = FRUGAL_BOUND if self.frugal else FIELD_BOUND
        taken = min(end, start + max(bound + 1 - known, 2))  # two show whether it has ended
        field += data[start:taken]
        stop = _FIELD_END.search(field, max(known - 2, 0))
        if stop is not None:
            position = max(start, start + stop.end() - known)
            self.field = None
            self._end_field(asked, bytes(field[: stop.end()]), position, fields, whole=True)
            return position
        if len(field) <= bound:
            return -1
        self.field = None
        self._end_field(asked, bytes(field), taken, fields, whole=False)
        newline = data.find(b"\n", taken, end)
        return newline + 1 if newline >= 0 else end

    def _end_field(
        self, asked: Asked, text: bytes, position: int, fields: list[Field], *, whole: bool
    ) -> None:
        kind = _kind(text)
        value = b""
        if kind == FieldKind.TYPE:
            value = value_of(text)
            if is_message(value):
                self.message_type = True
            else:
                self.typed = True
            if len(text) <= asked.unnamed:
                return
        elif kind == FieldKind.DISPOSITION:
            if len(text) <= asked.unnamed:
                return
        elif kind == FieldKind.ENCODING:
            value = value_of(text)
        elif kind == FieldKind.OTHER or self.section != HEADER:
            return
        fields.append(Field(kind, text, value, position, whole))

    def _begin_part(self) -> None:
        """A boundary. The message's header, for its length and its lines, goes on to its empty line
        all the same."""
        if self.section == HEADER:
            self.part_within = True
        else:
            self.section = PART
            self.message_type = False
        self.typed = False

    def _end_header(self) -> None:
        part = self.section == PART or self.part_within
        if self.message_type or (part and not self.typed):
            self.section = EMBEDDED
        else:
            self.section = BODY
        self.message_type = self.typed = self.part_within = False


def _kind(text: bytes) -> FieldKind:
    """What a field is about, by its name."""
    begin = int(text.startswith(b"."))
    colon = text.find(b":")
    if colon < 0:
        return FieldKind.OTHER
    return _KINDS.get(text[begin:colon].rstrip(b" \t").lower(), FieldKind.OTHER)
