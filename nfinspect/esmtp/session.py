"""What the scanners of one connection share: the dialogue, the rules, and what they have found.

`evaluation` judges by the clauses what they have found.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from nfinspect.esmtp.clauses import Rules
from nfinspect.esmtp.dialogue import Dialogue
from nfinspect.events import (
    AlreadyMasked,
    AnomalyKind,
    CloseCause,
    Connection,
    Direction,
    Event,
    Mail,
    ServerAnomaly,
    UninspectedCause,
)
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.model import ServerAnomalyAction
from nfinspect.tcp.inspection import StreamInspector

SHOWN: Final = 320
"""Bytes, at most, of what a clause matched, in its evidence."""

REMEMBERED: Final = 1024
"""Bytes of an unfinished line kept for events and transcripts; scanning needs fewer."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Session(StreamInspector):
    """The shared state, and the methods by which scanners report what they find."""

    __slots__ = (
        "already",
        "bare_line_feed",
        "blob",
        "connection",
        "declared",
        "dialogue",
        "edited",
        "logged",
        "matched",
        "message_id",
        "recipient",
        "replied",
        "reported",
        "rules",
        "sender",
        "size",
        "transcript",
        "unfiltered",
    )

    def __init__(
        self,
        connection: Connection,
        rules: Rules,
        *,
        transcript: bool = False,
        unfiltered: bool = False,
        events: list[Event] | None = None,
    ) -> None:
        super().__init__(events)
        self.transcript = transcript
        self.unfiltered = unfiltered
        self.bare_line_feed = False
        """The client's unfinished line holds a bare LF, which a server may take for its end."""
        self.reported = False
        """A clause has matched in the message, so the reply to that is of interest."""
        self.connection = connection
        self.rules = rules
        self.dialogue = Dialogue()
        self.edited: bytearray | None = None
        """A copy of the packet's data with the changes made so far; None if there are none."""
        self.already: tuple[Direction, ...] = ()
        """The directions that have been reported as masked before."""
        self.blob = 0
        """Bytes that the last masked line, an XEXCH50, announced."""
        self.matched = 0
        """Bits of the clauses that this packet has matched."""
        self.logged = 0
        """Bits of the bare log clauses that have logged for this mail or EHLO reply."""
        self.replied = 0
        """Bytes of the reply stream before this packet."""
        self.sender = b""
        """The latest MAIL command of the mail being sent."""
        self.recipient = b""
        """Its latest RCPT command."""
        self.message_id = b""
        """Its Message-ID, if known."""
        self.declared = -1
        """The SIZE that the latest MAIL declared; -1: none, or it has been reported that the message
        is larger."""
        self.size = 0
        """Bytes of that message, while it arrives."""

    @property
    def over(self) -> bool:
        """Whether inspection has ended. (Asked of the field itself, a type checker, and with it the
        compiled form, would take a second answer to be that of the first.)"""
        return self.uninspected is not None

    @property
    def bare_line_feed_answered(self) -> bool:
        """Whether inspection has ended because of that."""
        return self.uninspected is UninspectedCause.BARE_LF_ANSWERED

    def overwrite(self, data: bytes, start: int, replacement: bytes) -> None:
        """Replace bytes of ``data``, the packet's data, from ``start`` on."""
        edited = self.edited
        if edited is None:
            edited = self.edited = bytearray(data)
        edited[start : start + len(replacement)] = replacement

    def already_masked(self, direction: Direction) -> None:
        """A mask changes nothing, since the bytes are masked already."""
        if direction not in self.already:
            self.already += (direction,)
            self.events.append(AlreadyMasked(self.connection, direction))

    def close(self, cause: CloseCause, *, reset: bool = False) -> None:
        """Close the connection at this packet; the first cause wins."""
        if self.closing is None:
            self.closing = cause
            self.resetting = reset

    @property
    def mail(self) -> Mail | None:
        """The mail being sent; None outside a transaction."""
        if not (self.sender or self.recipient):
            return None
        return Mail(
            self.sender[:REMEMBERED],
            self.recipient[:REMEMBERED],
            self.dialogue.recipients,
            self.message_id,
        )

    def begin_mail(self) -> None:
        """A new mail: its bare log clauses may log again."""
        self.logged &= ~self.rules.once_a_mail
        self.sender = self.recipient = self.message_id = b""
        self.declared = -1

    def begin_ehlo_reply(self) -> None:
        """A new EHLO reply: its bare log clauses may log again."""
        self.logged &= ~self.rules.groups[Criterion.EHLO_REPLY_PARAMETER].bits

    def anomaly(self, kind: AnomalyKind, line: bytes) -> None:
        """The server has violated the protocol."""
        if self.closing is not None:
            return
        self.events.append(ServerAnomaly(self.connection, kind, line))
        if kind is AnomalyKind.UNASKED_354:
            self.close(CloseCause.UNASKED_354)
        elif kind is AnomalyKind.ABANDONED:
            pass  # the client is to learn why; the inspector closes at its next byte
        elif self.rules.parameters.server_anomaly is ServerAnomalyAction.DROP_CONNECTION:
            self.close(CloseCause.SERVER_ANOMALY)


def without_ending(line: bytes) -> bytes:
    """A line without its CR LF, bare LF or final CR."""
    if line.endswith(b"\r\n"):
        return line[:-2]
    return line[:-1] if line.endswith((b"\n", b"\r")) else line
