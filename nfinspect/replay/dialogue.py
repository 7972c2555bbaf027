"""The lines of a connection as its two ends sent them and as they left the filter.

While a connection is replayed, `Wire` keeps its segments in the spool: as they arrived, and as they
left. `rows` makes of them what ``lab.side_by_side`` shows.

No credential is shown, nor what may be one: of the client's lines, those of a message are, and those
that the transcript lists (as it lists them); any other, if it begins with a known verb.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

from nfinspect.esmtp.observer import Observer
from nfinspect.esmtp.request import as_listed
from nfinspect.esmtp.session import REMEMBERED
from nfinspect.esmtp.verbs import PERMITTED_WITH_TLS
from nfinspect.events import CommandSeen, Connection, Endpoint, UninspectedCause
from nfinspect.lab.comparison import CUT, PASSED, LinePair
from nfinspect.lab.comparison import rows as compared
from nfinspect.lab.conversation import REPLY, REQUEST, CapturedSegment, Conversation, reassemble
from nfinspect.packet.segment import SYN, Segment, parse
from nfinspect.replay.redact import Redactor
from nfinspect.replay.spool import Spool, SpooledList

MOST_BYTES = 8 * 1024 * 1024
MOST_SEGMENTS = 50_000
"""Payload and segments kept of a connection, the packets that leave included."""

FIRST_LINES, LAST_LINES = 4, 2
"""Lines shown at the beginning and at the end of a run of mail text that fared alike."""

HIDDEN = b"***"

BEGINNING_UNKNOWN = frozenset({UninspectedCause.MIDSTREAM.value})
"""Where inspection ended for these, nobody knows what the client's first line is."""

_NOBODY = Connection(0, Endpoint("", bytes(4), 0), Endpoint("", bytes(4), 0))
_WRAP = 1 << 32
_ARRIVED, _LEFT = 0, 1


class Wire:
    """The segments of one connection."""

    __slots__ = ("_bytes", "_client", "_first", "complete", "items")

    def __init__(self, spool: Spool, client_key: bytes) -> None:
        self.items = SpooledList(spool)
        self._client = client_key
        self._first: dict[bytes, int] = {}
        """The sequence number of the first byte in each direction, by packet key."""
        self._bytes = 0
        self.complete = True
        """All of its segments are kept."""

    def arrived(self, datagram: bytes, packet: int) -> None:
        """A packet has arrived."""
        self._add(_ARRIVED, datagram, packet)

    def left(self, datagram: bytes, packet: int) -> None:
        """A packet has left: the given one, changed or not, or one that the filter made at it."""
        self._add(_LEFT, datagram, packet)

    def _add(self, side: int, datagram: bytes, packet: int) -> None:
        segment = parse(datagram, len(datagram))
        if not isinstance(segment, Segment):
            return
        syn = segment.flags & SYN
        if side == _ARRIVED and (syn or segment.key not in self._first):
            self._first.setdefault(segment.key, segment.sequence + bool(syn))
        payload = segment.payload_bytes
        if not payload:
            return
        self.complete = self._bytes < MOST_BYTES and self.items.count < MOST_SEGMENTS
        if not self.complete:
            return
        self._bytes += len(payload)
        first = self._first.get(segment.key, segment.sequence)
        offset = (segment.sequence - first + _WRAP // 2) % _WRAP - _WRAP // 2
        request = segment.key == self._client
        self.items.append([side, request, packet, offset, payload.decode("latin-1")])


def rows(
    items: Iterable[list[Any]],
    commands: Iterable[str],
    *,
    known: bool,
    redactor: Redactor | None = None,
) -> list[LinePair | str]:
    """The lines of a connection; a string stands for lines that are left out.

    *items*: those of its `Wire`; *commands*: its transcript. *known*: its beginning was seen, so the
    first line of the client is a command. *redactor*: what makes pseudonyms in them, as in the
    transcript.
    """
    sides = Conversation("", ""), Conversation("", "")
    for order, (side, request, packet, offset, text) in enumerate(items):
        # A request leaves on the server's side, a reply on the client's.
        place = side if request else 1 - side
        direction = REQUEST if request else REPLY
        payload = text.encode("latin-1")
        sides[place].segments.append(CapturedSegment(packet, order, direction, offset, payload, ""))
    for each in sides:
        each.request = reassemble(each.segments, REQUEST)
        each.reply = reassemble(each.segments, REPLY)
    listed = {command.encode()[:REMEMBERED] for command in commands}
    shown = _shown(compared(*sides), listed, known, bytes if redactor is None else redactor.request)
    if redactor is not None:
        shown = ((text, redactor.row(row, message=text)) for text, row in shown)
    return list(_shortened(shown))


def _shown(
    found: Iterable[LinePair], listed: set[bytes], known: bool, shown: Callable[[bytes], bytes]
) -> Iterator[tuple[bool, LinePair | str]]:
    """The rows as they may be shown, and whether each is mail text."""
    observer = Observer(_NOBODY, unknown=not known)
    for row in found:
        if observer.over:
            yield False, "TLS: nothing of what follows can be seen"
            return
        if row.direction == REPLY:
            observer.reply(row.sent + b"\r\n")
            yield False, row
            continue
        text = observer.in_message
        observer.request(row.sent + b"\r\n", 0, 0)
        events, observer.events[:] = list(observer.events), []
        yield text, row if text else _listed(row, listed, any(map(_is_command, events)), shown)


def _is_command(event: object) -> bool:
    return isinstance(event, CommandSeen) and event.line != HIDDEN


def _listed(
    row: LinePair, listed: set[bytes], command: bool, as_shown: Callable[[bytes], bytes]
) -> LinePair:
    """A row of a command, or of what may be a credential."""
    shown = as_listed(None, row.sent)
    verb = shown.split(None, 1)[:1]
    if not command or not (
        as_shown(shown[:REMEMBERED]) in listed
        or not shown.strip(b"X")
        or (verb and verb[0].upper() in PERMITTED_WITH_TLS)
    ):
        shown = HIDDEN
    if shown == row.sent:
        return row
    received = row.received
    if received is not None and received.strip(b"X"):
        received = shown if row.verdict in (PASSED, CUT) else HIDDEN
    return LinePair(
        row.direction, shown, received, row.verdict, (), row.tries, row.arrivals, row.packet
    )


def _shortened(found: Iterable[tuple[bool, LinePair | str]]) -> Iterator[LinePair | str]:
    """The rows without the middle of long runs of mail text that fared alike."""
    for text, run in groupby(found, lambda item: item[0] and _fate(item[1])):
        rows = [row for _, row in run]
        yield from _ends_of(rows) if text else rows


def _fate(row: LinePair | str) -> str:
    return row if isinstance(row, str) else row.verdict


def _ends_of(run: list[LinePair | str]) -> Iterator[LinePair | str]:
    left_out = len(run) - FIRST_LINES - LAST_LINES
    if left_out < 2:
        yield from run
        return
    yield from run[:FIRST_LINES]
    yield f"{left_out:,} more lines of the message"
    yield from run[-LAST_LINES:]
