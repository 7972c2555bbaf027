"""The chunk behind a masked BDAT (docs/appliance.md, section 9; RFC 3030).

The server has read X instead of BDAT and takes what follows for commands. A client that waited for
the reply knows better and sends commands indeed: the segment that brings the first byte behind the
BDAT line acknowledges the reply. One that did not wait sends its chunk, which is masked over the
whole announced length. That is decided once, when the first byte is seen, although it may not pass
yet: the repetition of a segment acknowledges more than the original did.

CR LF pairs stay, so that no line grows without end, and each ends a line that the server refuses;
anything else is X, a bare LF too. A CR at the end of a packet passes before its successor is seen.
Where the chunk ends within a line, the client's next command is the rest of that line to the server:
it is masked with it, or the X of the chunk would make an XCLIENT of a CLIENT.
"""

from __future__ import annotations

from nfinspect.esmtp.dialogue import OUTSTANDING_BOUND
from nfinspect.esmtp.session import Session
from nfinspect.esmtp.verbs import Asked
from nfinspect.events import ChunkMasked


class ChunkScanner:
    """The state of the chunk that is arriving."""

    __slots__ = ("ended_in_cr", "within_line")

    def __init__(self) -> None:
        self.ended_in_cr = False
        self.within_line = False
        """The chunk's last line has begun and not ended, as the server reads it."""

    def follows(self, session: Session, acknowledged: int) -> bool:
        """The first byte behind a masked BDAT is here: whether it belongs to the chunk."""
        dialogue = session.dialogue
        answered_at = dialogue.chunk_answered_at
        if answered_at is not None and acknowledged >= answered_at:
            dialogue.end_chunk()
            return False
        dialogue.decide_chunk()
        self.ended_in_cr = self.within_line = False
        session.events.append(ChunkMasked(session.connection, dialogue.announced))
        return True

    def scan(self, session: Session, data: bytes, start: int) -> int:
        """Mask what ``data`` has of the chunk from ``start``; the position behind. The same
        position if too many replies are outstanding."""
        dialogue = session.dialogue
        if len(dialogue.outstanding) >= OUTSTANDING_BOUND:
            return start
        stop = min(len(data), start + dialogue.announced)
        over = dialogue.count_chunk(stop - start)
        position = start
        if self.ended_in_cr and data[start] == 10:
            position += 1
            self.within_line = False
            dialogue.ask(Asked.MASKED)
        elif self.ended_in_cr:
            self.within_line = True
        end = stop
        self.ended_in_cr = not over and end > position and data[end - 1] == 13
        if self.ended_in_cr:
            end -= 1
        lines = data[position:end].split(b"\r\n")
        for _ in lines[1:]:
            self.within_line = False
            dialogue.ask(Asked.MASKED)
        self.within_line |= bool(lines[-1])
        session.overwrite(data, position, b"\r\n".join([b"X" * len(line) for line in lines]))
        if over:
            dialogue.end_chunk()
        return stop
