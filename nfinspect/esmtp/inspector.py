"""Inspects the two byte streams of one ESMTP connection: the room's one door.

This file leads each packet's bytes to the scanner that is due (``request.py``, ``message.py``,
``chunk.py``, ``reply.py``) and takes back what may pass. Who is due is the dialogue's business
(``dialogue.py``), what was found the session's (``session.py``).
"""

from __future__ import annotations

from nfinspect.esmtp.chunk import ChunkScanner
from nfinspect.esmtp.dialogue import CHUNK, CHUNK_ANNOUNCED, COMMANDS, MESSAGE, SHUTTING, TLS
from nfinspect.esmtp.message import MessageScanner
from nfinspect.esmtp.reply import ReplyScanner
from nfinspect.esmtp.request import CommandScanner, as_listed
from nfinspect.esmtp.session import REMEMBERED, Session
from nfinspect.esmtp.verbs import Asked
from nfinspect.events import (
    CloseCause,
    CommandSeen,
    Connection,
    StartTlsInjection,
    UninspectedCause,
)
from nfinspect.policy.model import InspectionMap


class Inspector(Session):
    """Inspects the two byte streams of one ESMTP connection, in order, each byte once.

    The engine calls ``request`` and ``reply`` with the next in-order bytes of a direction, one call
    for what one packet brings. What is returned may pass, in place of the same number of first
    bytes of ``data`` (the very same object if nothing changed). A shorter answer is a cut: the rest
    has not been looked at, and is offered again when it arrives again or when the other direction
    has moved on (the request direction is shut until the reply to DATA, AUTH, STARTTLS; without
    pipelining after each command; before the greeting).

    ``events``: what happened during the last call, in order; the engine takes and clears it.

    ``closing``: set after a call, inspection has ended the connection: the whole packet is dropped,
    whatever was returned. Commands of that packet are not owed a reply.

    ``uninspected``: set after a call, inspection has ended and both directions pass from here on.
    Bytes returned by the same call have been decided; the rest of ``data`` is returned unchanged
    with them.

    ``refusing``: the last call to ``request`` passed nothing of a packet that is to be dropped, not
    held: a fragment of a verb under ``incomplete-command drop``.
    """

    __slots__ = ("chunk", "commands", "message", "replies")

    def __init__(
        self,
        connection: Connection,
        inspection_map: InspectionMap,
        *,
        transcript: bool = False,
        recorded: bool = False,
    ) -> None:
        """``transcript``: emit CommandSeen and ReplySeen. ``recorded``: the traffic was captured
        without the filter, so a positive reply to a masked line is no anomaly but the end of the
        inspection (docs/appliance.md, section 9)."""
        super().__init__(connection, inspection_map, transcript=transcript, recorded=recorded)
        self.commands = CommandScanner()
        self.message = MessageScanner()
        self.chunk = ChunkScanner()
        self.replies = ReplyScanner()

    def request(self, data: bytes, packet_length: int, acknowledged: int) -> bytes:
        """``packet_length``: payload bytes of the whole packet that brought ``data`` (section 9's
        500 byte rule). ``acknowledged``: bytes of the reply stream (counted from its beginning,
        as returned by ``reply``) that this packet's sender says it has received."""
        closed = self.closing
        if closed is not None:
            return b""
        if self.uninspected is not None:
            return data
        dialogue = self.dialogue
        owed = len(dialogue.outstanding)
        self.matched = 0
        self.refusing = False
        position, size = 0, len(data)
        while position < size:
            phase = dialogue.phase
            if phase == MESSAGE:
                position = self.message.scan(self, data, position)
            elif phase == TLS:
                if acknowledged < dialogue.tls_from:
                    self._injected()
                else:
                    self.uninspected = UninspectedCause.TLS
                    break
            elif phase == CHUNK_ANNOUNCED:
                self.chunk.follows(self, acknowledged)
                continue
            elif phase == CHUNK:
                before, position = position, self.chunk.scan(self, data, position)
                if position == before:
                    break
                if dialogue.phase != CHUNK and self.chunk.within_line:
                    self.commands.begin_behind_chunk()
            elif dialogue.shut:
                if dialogue.outstanding[-1] != Asked.STARTTLS:
                    break
                self._injected()
            elif phase == COMMANDS:
                position = self.commands.scan(self, data, position, packet_length)
                if self.refusing:
                    break
            else:
                position = self.commands.scan_response(self, data, position)
            if self.closing is not None:
                if self.transcript:
                    self._list_rest(data, position)
                dialogue.forget_questions(owed)
                self.edited = None
                return b""
        if self.edited is not None:
            return self._rewritten(data, position)
        return data if position == size or self.uninspected is not None else data[:position]

    def reply(self, data: bytes) -> bytes:
        """What of the server's next bytes may pass. After a close: the replies that are owed."""
        if self.uninspected is not None:
            return data
        self.matched = 0
        draining = self.closing is not None
        position = self.replies.scan(self, data)
        if self.closing is not None and not draining:
            self.dialogue.forget_questions(0)
            self.edited = None
            return b""
        self.replied += position
        if self.edited is not None:
            return self._rewritten(data, len(data) if self.uninspected is not None else position)
        return data if position == len(data) or self.uninspected is not None else data[:position]

    @property
    def replies_owed(self) -> int:
        """Replies to commands that have passed and whose last line has not. After a close the
        engine goes on calling ``reply``, which then returns the bytes up to the end of the last
        owed reply and nothing behind it."""
        outstanding = self.dialogue.outstanding
        return len(outstanding) - (bool(outstanding) and outstanding[0] == Asked.GREETING)

    def _injected(self) -> None:
        self.events.append(StartTlsInjection(self.connection))
        self.close(CloseCause.STARTTLS_INJECTION)

    def _list_rest(self, data: bytes, position: int) -> None:
        """For the transcript: the commands of the packet behind the one that closed."""
        for line in data[position:].split(b"\r\n")[:-1]:
            self.events.append(CommandSeen(self.connection, as_listed(None, line[:REMEMBERED])))
            verb = self.rules.verbs.get(line[:4].upper())
            if verb is not None and verb.asked in SHUTTING:
                break

    def _rewritten(self, data: bytes, end: int) -> bytes:
        edited = self.edited
        assert edited is not None
        self.edited = None
        if edited == data:  # X over X: it has passed a filter before
            return data if end == len(data) else data[:end]
        return bytes(edited) if end == len(edited) else bytes(edited[:end])
