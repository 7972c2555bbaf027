"""The dialogue of client and server, as far as it decides what the next bytes are.

Laws
- Everything that a reply changes is a row of ``ANSWERS``; everything that a line of the client
  changes is a method of ``Dialogue``. Nothing else in this room writes these fields.
- This file knows no bytes but the three of a reply code.
- Replies answer what was asked, in order; the last line of a reply answers.

Theory of operation. ``phase`` says what the client's next byte is: a command, an answer in an AUTH
exchange, the message, a chunk, TLS. It can change only where the client has to wait, so behind each
line whose reply decides it the request direction is *shut* until that reply is complete: DATA,
AUTH and each line of its exchange, STARTTLS. EHLO and HELO shut it too, since their reply decides
whether commands may be sent in groups (RFC 2920 lets EHLO end a group as well); MAIL inside of a
transaction does, since only its reply tells whether recipients are counted anew. Without
pipelining every line shuts it, and so does the connection itself until the greeting.
"""

from __future__ import annotations

import enum
from typing import Final

from nfinspect.esmtp.verbs import Asked
from nfinspect.events import AnomalyKind


class Phase(enum.IntEnum):
    """What the client's next byte belongs to."""

    COMMANDS = 0
    AUTH_RESPONSE = 1
    MESSAGE = 2
    CHUNK_ANNOUNCED = 3
    """Behind a masked BDAT: the next byte tells whether the client waited."""
    CHUNK = 4
    TLS = 5
    """The server has accepted STARTTLS."""


COMMANDS, AUTH_RESPONSE, MESSAGE, CHUNK_ANNOUNCED, CHUNK, TLS = Phase


class Effect(enum.Enum):
    """What a reply does to the session."""

    NOTHING = enum.auto()
    HELO_ACCEPTED = enum.auto()
    EHLO_ACCEPTED = enum.auto()
    TRANSACTION_OPENS = enum.auto()
    TRANSACTION_OVER = enum.auto()
    STILL_THE_OLD_TRANSACTION = enum.auto()
    MESSAGE_OPENS = enum.auto()
    CHALLENGED = enum.auto()
    TLS_STARTS = enum.auto()


NOTHING = Effect.NOTHING

Outcome = Effect | AnomalyKind

# A whole code goes before its first digit; what is in neither row nor ANYWHERE has no effect.
_MASKED: dict[bytes, Outcome] = {
    b"220": AnomalyKind.MASKED_ACCEPTED,
    b"334": AnomalyKind.MASKED_ACCEPTED,
    **{b"%d" % digit: AnomalyKind.MASKED_ACCEPTED for digit in (0, 1, 2, 3, 6, 7, 8, 9)},
}
ANYWHERE: dict[bytes, Outcome] = {
    b"220": AnomalyKind.UNASKED_220,
    b"334": AnomalyKind.UNASKED_REPLY,
    b"354": AnomalyKind.UNASKED_354,
}
ANSWERS: dict[Asked, dict[bytes, Outcome]] = {
    Asked.GREETING: {b"220": Effect.NOTHING},
    Asked.COMMAND: {},
    Asked.HELO: {b"2": Effect.HELO_ACCEPTED},
    Asked.EHLO: {b"2": Effect.EHLO_ACCEPTED},
    Asked.MAIL: {
        b"2": Effect.TRANSACTION_OPENS,
        b"4": Effect.TRANSACTION_OVER,
        b"5": Effect.TRANSACTION_OVER,
    },
    Asked.NESTED_MAIL: {
        b"2": Effect.TRANSACTION_OPENS,
        b"4": Effect.STILL_THE_OLD_TRANSACTION,
        b"5": Effect.STILL_THE_OLD_TRANSACTION,
    },
    Asked.RSET: {b"2": Effect.TRANSACTION_OVER},
    Asked.DATA: {b"354": Effect.MESSAGE_OPENS},
    Asked.MESSAGE: {},
    Asked.AUTH: {b"334": Effect.CHALLENGED},
    Asked.STARTTLS: {b"220": Effect.TLS_STARTS},
    Asked.MASKED: _MASKED,
    Asked.BDAT: _MASKED,
    Asked.EMPTY: {},
}
UNASKED: dict[bytes, AnomalyKind | None] = {
    b"220": AnomalyKind.UNASKED_220,
    b"354": AnomalyKind.UNASKED_354,
    b"421": None,  # may come at any time (RFC 5321 section 3.8)
}
"""What a code is when nothing was asked; what is not here is UNASKED_REPLY."""

SHUTTING: Final = frozenset(
    {
        Asked.GREETING,
        Asked.HELO,
        Asked.EHLO,
        Asked.NESTED_MAIL,
        Asked.DATA,
        Asked.AUTH,
        Asked.STARTTLS,
    }
)
"""What shuts the request direction until its reply, with pipelining too."""

OUTSTANDING_BOUND: Final = 1000
"""So many replies may be outstanding; then the request direction is shut until the next one."""


def outcome(asked: Asked, code: bytes) -> Outcome:
    """What a reply with this code means to what was asked."""
    row = ANSWERS[asked]
    return row.get(code) or ANYWHERE.get(code) or row.get(code[:1]) or NOTHING


class Dialogue:
    """State only: what was asked, and what comes next."""

    __slots__ = (
        "announced",
        "chunk_answered_at",
        "offered",
        "outstanding",
        "phase",
        "pipelining",
        "recipients",
        "recipients_before",
        "shut",
        "tls_from",
        "transaction",
    )

    def __init__(self) -> None:
        self.outstanding = [Asked.GREETING]
        """What has been asked and not been answered, oldest first. A list: it is short, and an empty
        deque is larger than all the rest of a dialogue."""
        self.phase = Phase.COMMANDS
        self.shut = True
        """Nothing of the client passes before the next reply."""
        self.pipelining = False
        """The client may send commands in groups: it said EHLO, and saw PIPELINING."""
        self.offered = False
        """As ``offer`` says."""
        self.transaction = False
        """A mail transaction may be open on the server (RFC 5321 section 4.1.4)."""
        self.recipients = 0
        """RCPT commands since MAIL."""
        self.recipients_before = 0
        """The same before a MAIL inside of a transaction."""
        self.announced = 0
        """Bytes of a masked BDAT's chunk that are still to come."""
        self.chunk_answered_at: int | None = None
        """Where in the reply stream the reply to the last masked BDAT ends."""
        self.tls_from = 0
        """Where in the reply stream the 220 to STARTTLS ends."""

    def ask(self, asked: Asked) -> None:
        """A line of the client (or its message) is complete and has passed: a reply is due."""
        outstanding = self.outstanding
        outstanding.append(asked)
        if asked == Asked.EMPTY:  # not every server answers it
            self.shut = self.shut or len(outstanding) >= OUTSTANDING_BOUND
            return
        self.shut = (
            not self.pipelining or asked in SHUTTING or len(outstanding) >= OUTSTANDING_BOUND
        )

    def ask_after_exchange(self) -> None:
        """A line of the client in an AUTH exchange: its reply tells whether another follows."""
        self.phase = Phase.COMMANDS
        self.ask(Asked.AUTH)

    def ask_after_message(self) -> None:
        """The end of the message has passed. Whatever the reply, the transaction is over."""
        self.phase = Phase.COMMANDS
        self.transaction = False
        self.ask(Asked.MESSAGE)

    def begin_transaction(self) -> Asked:
        """MAIL or its like: what it asks."""
        nested = self.transaction
        self.transaction = True
        self.recipients_before = self.recipients
        self.recipients = 0
        return Asked.NESTED_MAIL if nested else Asked.MAIL

    def end_transaction(self) -> None:
        """RSET without an argument, which no server refuses."""
        self.transaction = False

    def add_recipient(self) -> int:
        """RCPT: how many there are since MAIL."""
        self.recipients += 1
        return self.recipients

    def offer(self, pipelining: bool) -> None:
        """Whether the EHLO reply that is being read has shown PIPELINING to the client."""
        self.offered = pipelining

    def begin_chunk(self, announced: int) -> None:
        """A masked BDAT has announced so many bytes."""
        self.announced = announced
        self.chunk_answered_at = None
        self.phase = Phase.CHUNK_ANNOUNCED

    def decide_chunk(self) -> None:
        """The client did not wait for the reply: the chunk follows."""
        self.phase = Phase.CHUNK

    def count_chunk(self, count: int) -> bool:
        """So many bytes of the chunk have passed; whether that were all."""
        self.announced -= count
        return self.announced == 0

    def end_chunk(self) -> None:
        """Commands follow."""
        self.phase = Phase.COMMANDS

    def forget_questions(self, count: int) -> None:
        """The packet that asked has been dropped: only the first ``count`` are still owed."""
        while len(self.outstanding) > count:
            self.outstanding.pop()

    def judge(self, code: bytes) -> AnomalyKind | None:
        """What is wrong with a reply that begins with this code, if anything.

        An empty line is answered 4xx or 5xx, if at all: any other reply answers what follows it.
        """
        outstanding = self.outstanding
        while outstanding and outstanding[0] == Asked.EMPTY and code[:1] not in b"45":
            self.answered_plainly()
        if not outstanding:
            return UNASKED.get(code, AnomalyKind.UNASKED_REPLY)
        found = outcome(outstanding[0], code)
        return found if isinstance(found, AnomalyKind) else None

    def answered(self, code: bytes, position: int) -> Effect:
        """The last line of the reply to the oldest question has passed; it ends at ``position`` of
        the reply stream."""
        asked = self.answered_plainly()
        found = outcome(asked, code)
        if asked == Asked.BDAT and Asked.BDAT not in self.outstanding:
            self.chunk_answered_at = position
        if found is Effect.NOTHING or isinstance(found, AnomalyKind):
            return Effect.NOTHING
        if found is Effect.HELO_ACCEPTED:
            self.pipelining = self.transaction = False
        elif found is Effect.EHLO_ACCEPTED:
            self.pipelining = self.offered
            self.transaction = False
        elif found is Effect.TRANSACTION_OPENS:
            self.transaction = True
        elif found is Effect.TRANSACTION_OVER:
            # Unless another has been asked for meanwhile.
            self.transaction = Asked.MAIL in self.outstanding
        elif found is Effect.STILL_THE_OLD_TRANSACTION:
            self.recipients = self.recipients_before
        elif found is Effect.MESSAGE_OPENS:
            self.phase = Phase.MESSAGE
        elif found is Effect.CHALLENGED:
            self.phase = Phase.AUTH_RESPONSE
        else:
            self.phase = Phase.TLS
            self.tls_from = position
        self.shut = bool(self.outstanding) and (
            not self.pipelining or self.outstanding[-1] in SHUTTING
        )
        return found

    def answered_plainly(self) -> Asked:
        """The same where the reply has no effect but to have come: what it answers."""
        outstanding = self.outstanding
        asked = outstanding.pop(0)
        if self.shut:
            self.shut = bool(outstanding) and (
                not self.pipelining
                or outstanding[-1] in SHUTTING
                or len(outstanding) >= OUTSTANDING_BOUND
            )
        return asked
