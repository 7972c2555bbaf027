"""Inspects the two byte streams of one ESMTP connection: the package's entry point.

It hands each packet's bytes to the right scanner (``request.py``, ``message.py``, ``chunk.py``,
``reply.py``) and returns what may pass. ``dialogue.py`` says which scanner is next; ``session.py``
collects what the scanners find.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from nfinspect.esmtp.chunk import ChunkScanner
from nfinspect.esmtp.clauses import Rules
from nfinspect.esmtp.dialogue import (
    ABANDONED,
    CHUNK,
    CHUNK_ANNOUNCED,
    COMMANDS,
    MESSAGE,
    SHUTTING,
    TLS,
)
from nfinspect.esmtp.message import MessageScanner
from nfinspect.esmtp.newline import NewlineScanner
from nfinspect.esmtp.observer import Observer
from nfinspect.esmtp.reply import ReplyScanner
from nfinspect.esmtp.request import CommandScanner, as_listed
from nfinspect.esmtp.session import REMEMBERED, Session
from nfinspect.esmtp.verbs import AUTH_RESPONSE, Request
from nfinspect.events import (
    ClauseAction,
    CloseCause,
    CommandSeen,
    Connection,
    Event,
    Mail,
    SizeExceeded,
    StartTlsInjection,
    UninspectedCause,
)

CLOSING_REPLY: Final = b"554 5.7.1 Connection closed by policy\r\n"
"""RFC 5321 section 4.2.3, RFC 3463: delivery not authorized, message refused."""
LINE_SHOWN = 80
"""Bytes, at most, that are shown of a line that waits."""

_AWAITED = {
    Request.GREETING: "greeting",
    Request.MESSAGE: "reply to the message",
    Request.AUTH: "reply to AUTH",
    Request.MASKED: "reply to a masked line",
    Request.BDAT: "reply to a masked BDAT",
}
"""What is awaited. A reply to anything else is one to a permitted command."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Inspector(Session):
    """Inspects the two byte streams of one ESMTP connection, in order, each byte once.

    The engine calls ``request`` and ``reply`` with the next in-order bytes of a direction, one call
    per packet. The returned bytes may pass in place of as many first bytes of ``data`` (the same
    object if nothing changed). If fewer are returned, the rest has not been inspected: it is
    offered again when it is retransmitted, or when the other direction has advanced (the request
    direction is shut until the reply to DATA, AUTH or STARTTLS, without pipelining after each
    command, and before the greeting).

    ``events``: the events of the last call, in order; the engine takes and clears them.

    ``closing``: if set after a call, inspection closes the connection: the whole packet is dropped,
    whatever was returned, and its commands get no reply. ``resetting``: and both ends get an RST.

    ``uninspected``: if set after a call, inspection has ended and both directions pass from here
    on. The call has returned what it inspected, followed by the rest of ``data`` unchanged.

    ``refusing``: the last call to ``request`` passed nothing, and the packet must be dropped rather
    than held: it holds a fragment of a verb, under ``incomplete-command drop``.
    """

    __slots__ = ("chunk", "commands", "message", "newlines", "replies")

    def __init__(
        self,
        connection: Connection,
        rules: Rules,
        *,
        transcript: bool = False,
        unfiltered: bool = False,
        events: list[Event] | None = None,
    ) -> None:
        """``transcript``: emit CommandSeen and ReplySeen. ``unfiltered``: the traffic comes from a
        capture made without the filter, so a positive reply to a masked line is no anomaly, but ends inspection
        (docs/appliance.md, section 9). ``events``: see `StreamObserver`."""
        super().__init__(
            connection, rules, transcript=transcript, unfiltered=unfiltered, events=events
        )
        self.commands = CommandScanner()
        self.message: MessageScanner | None = None
        """While a message arrives."""
        self.chunk: ChunkScanner | None = None
        """While a masked BDAT's chunk is announced or arrives."""
        self.newlines: NewlineScanner | None = None
        """While a message arrives, if the map has ``bare-newline``."""
        self.replies = ReplyScanner()

    def request(self, data: bytes, packet_length: int, acknowledged: int) -> bytes:
        """Inspect the client's next bytes; returns what may pass.

        ``packet_length``: payload bytes of the whole packet that brought ``data`` (for the rule of
        500 bytes, docs/appliance.md, section 9). ``acknowledged``: how many bytes of the reply
        stream, from its beginning, this packet acknowledges."""
        closed = self.closing
        if closed is not None:
            return b""
        if self.over:
            return data
        dialogue = self.dialogue
        owed = len(dialogue.outstanding)
        self.matched = 0
        self.refusing = self.slowing = False
        position, size = 0, len(data)
        while position < size:
            phase = dialogue.phase
            if phase == MESSAGE:
                message = self.message
                if message is None:
                    message = self.message = MessageScanner()
                before, declared = position, self.declared
                outgrows = declared >= 0 and self.size + size - position > declared
                mail = self.mail if outgrows else None
                if self.rules.parameters.bare_newline is not None:
                    newlines = self.newlines
                    if newlines is None:
                        newlines = self.newlines = NewlineScanner()
                    newlines.scan(self, data, position)
                if self.closing is None:
                    position = message.scan(self, data, position)
                self.kept = message.kept
                self.size += position - before
                if outgrows:
                    self._outgrown(data, before, position, declared, mail)
                if dialogue.phase != MESSAGE:
                    self.message = self.newlines = None
            elif phase == TLS:
                if acknowledged < dialogue.tls_from:
                    self._injected()
                else:
                    self.uninspected = UninspectedCause.TLS
                    break
            elif phase == ABANDONED:
                self.close(CloseCause.ABANDONED_BY_SERVER)
            elif phase == CHUNK_ANNOUNCED:
                owed -= dialogue.settle(acknowledged)
                self.chunk = ChunkScanner()
                self.chunk.follows(self, acknowledged)
            elif phase == CHUNK:
                chunk = self.chunk
                assert chunk is not None
                before, position = position, chunk.scan(self, data, position)
                if position == before:
                    break
                if dialogue.phase != CHUNK:
                    self.chunk = None
                    if chunk.within_line:
                        self.commands.begin_after_chunk()
            elif dialogue.shut:
                settled = dialogue.settle(acknowledged)
                if settled:
                    owed -= settled
                    continue
                if dialogue.outstanding[-1] != Request.STARTTLS:
                    break
                self._injected()
            elif phase == COMMANDS:
                position = self.commands.scan(self, data, position, packet_length)
                if self.refusing:
                    break
            else:
                position = self.commands.scan_response(self, data, position)
            if self.closing is not None:
                if self.transcript and phase != ABANDONED:
                    self._list_rest(data, position)
                dialogue.withdraw_after(max(0, owed))
                self.edited = self.message = None
                self.kept = 0
                return b""
        if self.edited is not None:
            return self._rewritten(data, position)
        return data if position == size or self.over else data[:position]

    def reply(self, data: bytes) -> bytes:
        """Inspect the server's next bytes; returns what may pass. After a close, that is the
        outstanding replies."""
        if self.over:
            return data
        self.matched = 0
        draining = self.closing is not None
        position = self.replies.scan(self, data)
        if self.bare_line_feed_answered:
            self._list_unfinished()
        if self.closing is not None and not draining:
            self.dialogue.withdraw_after(0)
            self.edited = None
            return b""
        self.replied += position
        if self.edited is not None:
            return self._rewritten(data, len(data) if self.over else position)
        return data if position == len(data) or self.over else data[:position]

    @property
    def replies_owed(self) -> int:
        """Outstanding replies: those to commands that have passed. After a close the engine keeps
        calling ``reply``, which then returns the bytes up to the end of the last outstanding reply
        and nothing after it."""
        outstanding = self.dialogue.outstanding
        return len(outstanding) - (bool(outstanding) and outstanding[0] == Request.GREETING)

    @property
    def outstanding(self) -> int:
        """Replies that the server owes, the greeting included."""
        return len(self.dialogue.outstanding)

    @property
    def awaits(self) -> str:
        """What must come before the client's next byte may pass: ``greeting``, ``reply to MAIL``.
        Empty while the request direction is open."""
        dialogue = self.dialogue
        if not dialogue.shut or not dialogue.outstanding:
            return ""
        known = _AWAITED.get(dialogue.outstanding[-1])
        return known or f"reply to {self.commands.latest.decode('ascii')}"

    @property
    def closing_reply(self) -> bytes:
        """What the client is told of a close; nothing if the server has spoken out of turn, since
        then the client has a reply."""
        if (
            not self.rules.parameters.closing_reply
            or self.closing is CloseCause.ABANDONED_BY_SERVER
        ):
            return b""
        return CLOSING_REPLY

    def waiting_line(self, data: bytes) -> bytes:
        """The beginning of ``data``, bytes that must wait, as far as it may be shown: ``***`` where
        it may be a credential or a part of a message."""
        request = self.dialogue.outstanding[-1]
        line = data[:LINE_SHOWN].splitlines()[0]
        if request == Request.GREETING:
            return as_listed(None, line)
        return b"***" if request in (Request.AUTH, Request.DATA) else self._shown(line)

    @property
    def unended(self) -> int:
        """See ``CommandScanner.unended``."""
        return self.commands.unended

    @property
    def unended_line(self) -> bytes:
        """The beginning of the unfinished command line, as far as it may be shown."""
        commands = self.commands
        if commands.verb is not None and commands.verb.response:
            return b"***"
        return self._shown(commands.arrived[:LINE_SHOWN].splitlines()[0])

    def _shown(self, line: bytes) -> bytes:
        """A line that seems to be a command, with ``***`` in place of credentials; ``***`` alone for
        any other, which may be a credential too if the server has refused AUTH."""
        found = line.split(None, 1)
        known = not found or found[0].upper() in self.rules.prefixes
        return as_listed(None, line) if known else b"***"

    def _outgrown(
        self, data: bytes, start: int, stop: int, declared: int, mail: Mail | None
    ) -> None:
        """The message may have outgrown its declared size with this packet: report it once. Neither
        stuffed dots nor the final one count (RFC 1870 section 5). Those of earlier packets have not
        been counted, so nothing is said where one in 256 bytes would explain it."""
        final = 3 if self.dialogue.phase != MESSAGE else 2  # two of them may have come
        actual = self.size - final - data.count(b"\n..", start, stop)
        if self.closing is None and actual - (self.size - (stop - start)) // 256 > declared:
            self.events.append(SizeExceeded(self.connection, declared, actual, mail))
            self.declared = -1

    def _injected(self) -> None:
        self.events.append(StartTlsInjection(self.connection))
        reset = self.rules.parameters.starttls_injection is ClauseAction.RESET
        self.close(CloseCause.STARTTLS_INJECTION, reset=reset)

    def _list_unfinished(self) -> None:
        """List, for the transcript, the lines whose bare LF the server has taken for their end."""
        if self.transcript:
            commands = self.commands
            observer = Observer(self.connection)
            observer.authenticating = commands.verb is AUTH_RESPONSE
            observer.after_auth = commands.after_auth
            observer.request(commands.arrived.rstrip(b"\n") + b"\n", 0, 0)
            self.events[:0] = observer.events

    def _list_rest(self, data: bytes, position: int) -> None:
        """List, for the transcript, the packet's commands after the one that closed."""
        for line in data[position:].split(b"\r\n")[:-1]:
            self.events.append(
                CommandSeen(self.connection, self.commands.listed(None, line[:REMEMBERED]))
            )
            verb = self.rules.verbs.get(line[:4].upper())
            if verb is not None and verb.request in SHUTTING:
                break

    def _rewritten(self, data: bytes, end: int) -> bytes:
        edited = self.edited
        assert edited is not None
        self.edited = None
        if edited == data:  # X over X: the traffic has passed a filter before
            return data if end == len(data) else data[:end]
        return bytes(edited) if end == len(edited) else bytes(edited[:end])
