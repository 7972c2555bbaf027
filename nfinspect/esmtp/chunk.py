"""The chunk of a masked BDAT (docs/appliance.md, section 9; RFC 3030).

The server has received X instead of BDAT and takes what follows for commands. A client that waited
for the reply has seen it refused, and does send commands: the segment with the first byte after the
BDAT line acknowledges the reply. A client that did not wait sends its chunk, which is masked over
its whole announced length. This is decided once, at the first byte, even if that may not pass yet:
a retransmitted segment may acknowledge more than the original did.

CR LF pairs stay, so that lines do not grow without limit; each ends a line that the server rejects.
Everything else is X, a bare LF too. A CR at the end of a packet passes, as the next byte is not yet
known. If the chunk ends within a line, the client's next command continues that line for the
server: it is masked too, or the chunk's X would turn a CLIENT into XCLIENT.

With ``parameters / bdat-chunk`` such a chunk closes the connection instead.
"""

from __future__ import annotations

from nfinspect.esmtp.dialogue import OUTSTANDING_BOUND
from nfinspect.esmtp.session import Session
from nfinspect.esmtp.verbs import Request
from nfinspect.events import ChunkMasked, ClauseAction, CloseCause


class ChunkScanner:
    """The state of the current chunk."""

    __slots__ = ("ended_in_cr", "within_line")

    def __init__(self) -> None:
        self.ended_in_cr = False
        self.within_line = False
        """The chunk's last line, as the server sees it, is unfinished."""

    def follows(self, session: Session, acknowledged: int) -> bool:
        """The first byte after a masked BDAT has arrived: whether it belongs to the chunk."""
        dialogue = session.dialogue
        answered_at = dialogue.chunk_answered_at
        if answered_at is not None and acknowledged >= answered_at:
            dialogue.end_chunk()
            return False
        dialogue.decide_chunk()
        action = session.rules.parameters.bdat_chunk
        if action.closes:
            session.close(CloseCause.BDAT_CHUNK, reset=action is ClauseAction.RESET)
            return True
        self.ended_in_cr = self.within_line = False
        session.events.append(ChunkMasked(session.connection, dialogue.announced))
        return True

    def scan(self, session: Session, data: bytes, start: int) -> int:
        """Mask the chunk's part of ``data`` from ``start`` on. Returns the position after it;
        ``start`` if too many replies are outstanding."""
        dialogue = session.dialogue
        if len(dialogue.outstanding) >= OUTSTANDING_BOUND:
            return start
        stop = min(len(data), start + dialogue.announced)
        over = dialogue.count_chunk(stop - start)
        position = start
        if self.ended_in_cr and data[start] == 10:
            position += 1
            self._end_line(session)
        elif self.ended_in_cr:
            self.within_line = True
        end = stop
        self.ended_in_cr = not over and end > position and data[end - 1] == 13
        if self.ended_in_cr:
            end -= 1
        lines = data[position:end].split(b"\r\n")
        for line in lines[:-1]:
            self.within_line |= bool(line)
            self._end_line(session)
        self.within_line |= bool(lines[-1])
        session.overwrite(data, position, b"\r\n".join([b"X" * len(line) for line in lines]))
        if over:
            dialogue.end_chunk()
        return stop

    def _end_line(self, session: Session) -> None:
        """A line ends. An empty one, as between a mail's header and body, need not be answered."""
        session.dialogue.expect_reply(Request.MASKED if self.within_line else Request.EMPTY)
        self.within_line = False
