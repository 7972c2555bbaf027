"""The state of the SMTP dialogue, as far as it determines what the next bytes are.

Invariants
- Everything that a reply changes is a row of ``ANSWERS``; everything that a client line changes is
  a method of ``Dialogue``. No other module writes these fields.
- The only bytes that this module looks at are those of a reply code.
- Replies answer what was sent in order; a reply counts at its last line.

Theory of operation. ``phase`` says what the client's next byte belongs to: a command, an AUTH
exchange, the message, a chunk, TLS. It can change only where the client has to wait for a reply. So
after each line whose reply determines the phase (DATA, AUTH and each line of its exchange,
STARTTLS), the request direction is *shut* until that reply is complete. It is shut after EHLO and
HELO too, as their reply determines whether commands may be pipelined (in RFC 2920, too, EHLO must
be the last command in a group); and after MAIL within a transaction, as only its reply tells
whether the recipient count restarts. Without pipelining it is shut after every line. At the
beginning of a connection it is shut until the greeting.

A server that replies while the client sends a message, answers a challenge or is about to begin TLS
has left that phase by itself: it may take the next bytes for commands, the client may go on with
what it began, and the filter cannot know. That is the phase ABANDONED, in which nothing of the
client's may pass.

Not every reply can be told to answer one line. A 4xx or 5xx answers an empty line or what was sent
after it, for some servers ignore empty lines; a line without a code may be a whole reply. Such a
reply is *doubtful*. If more outstanding replies remain than can come, the direction would be shut
for ever. So when the client, having acknowledged a doubtful reply, goes on, it has taken that for
the answer, and so do we (``settle``). At worst the server's true reply is still to come; 354, 334
and 220, which alone change what the client's bytes are, then answer nothing and are anomalies.
"""

from __future__ import annotations

import enum
from typing import Final

from nfinspect.esmtp.verbs import Request
from nfinspect.events import AnomalyKind


class DialoguePhase(enum.IntEnum):
    """What the client's next byte belongs to."""

    COMMANDS = 0
    AUTH_RESPONSE = 1
    MESSAGE = 2
    CHUNK_ANNOUNCED = 3
    """After a masked BDAT: the next byte will show whether the client waited."""
    CHUNK = 4
    TLS = 5
    """The server has accepted STARTTLS."""
    ABANDONED = 6
    """Nobody knows: the server has left DATA, an AUTH exchange or STARTTLS by itself."""


COMMANDS: Final = DialoguePhase.COMMANDS
AUTH_RESPONSE: Final = DialoguePhase.AUTH_RESPONSE
MESSAGE: Final = DialoguePhase.MESSAGE
CHUNK_ANNOUNCED: Final = DialoguePhase.CHUNK_ANNOUNCED
CHUNK: Final = DialoguePhase.CHUNK
TLS: Final = DialoguePhase.TLS
ABANDONED: Final = DialoguePhase.ABANDONED


class Effect(enum.Enum):
    """What a reply does to the session."""

    NOTHING = enum.auto()
    HELO_ACCEPTED = enum.auto()
    EHLO_ACCEPTED = enum.auto()
    TRANSACTION_OPENS = enum.auto()
    TRANSACTION_OVER = enum.auto()
    RECIPIENT_REFUSED = enum.auto()
    OLD_TRANSACTION_CONTINUES = enum.auto()
    MESSAGE_OPENS = enum.auto()
    CHALLENGED = enum.auto()
    TLS_STARTS = enum.auto()


NOTHING: Final = Effect.NOTHING

Outcome = Effect | AnomalyKind

# A full code takes precedence over its first digit. A code with no entry in its row or in ANYWHERE
# has no effect.
_MASKED: Final[dict[bytes, Outcome]] = {
    b"220": AnomalyKind.MASKED_ACCEPTED,
    b"334": AnomalyKind.MASKED_ACCEPTED,
    **{b"%d" % digit: AnomalyKind.MASKED_ACCEPTED for digit in (0, 1, 2, 3, 6, 7, 8, 9)},
}
ANYWHERE: Final[dict[bytes, Outcome]] = {
    b"220": AnomalyKind.UNASKED_220,
    b"334": AnomalyKind.UNASKED_REPLY,
    b"354": AnomalyKind.UNASKED_354,
}
ANSWERS: Final[dict[Request, dict[bytes, Outcome]]] = {
    Request.GREETING: {b"220": Effect.NOTHING},
    Request.COMMAND: {},
    Request.HELO: {b"2": Effect.HELO_ACCEPTED},
    Request.EHLO: {b"2": Effect.EHLO_ACCEPTED},
    Request.MAIL: {
        b"2": Effect.TRANSACTION_OPENS,
        b"4": Effect.TRANSACTION_OVER,
        b"5": Effect.TRANSACTION_OVER,
    },
    Request.NESTED_MAIL: {
        b"2": Effect.TRANSACTION_OPENS,
        b"4": Effect.OLD_TRANSACTION_CONTINUES,
        b"5": Effect.OLD_TRANSACTION_CONTINUES,
    },
    Request.RSET: {b"2": Effect.TRANSACTION_OVER},
    Request.DATA: {b"354": Effect.MESSAGE_OPENS},
    Request.MESSAGE: {},
    Request.AUTH: {b"334": Effect.CHALLENGED},
    Request.STARTTLS: {b"220": Effect.TLS_STARTS},
    Request.MASKED: _MASKED,
    Request.BDAT: _MASKED,
    Request.EMPTY: {},
    Request.ABANDONED: {},
    Request.RECIPIENT: {b"5": Effect.RECIPIENT_REFUSED},
}
UNASKED: Final[dict[bytes, AnomalyKind | None]] = {
    b"220": AnomalyKind.UNASKED_220,
    b"354": AnomalyKind.UNASKED_354,
    b"421": None,  # may come at any time (RFC 5321 section 3.8)
}
"""What a reply code means if no reply is outstanding; any other code is UNASKED_REPLY."""

SHUTTING: Final = frozenset(
    {
        Request.GREETING,
        Request.HELO,
        Request.EHLO,
        Request.NESTED_MAIL,
        Request.DATA,
        Request.AUTH,
        Request.STARTTLS,
    }
)
"""These shut the request direction until their reply, even with pipelining."""

OUTSTANDING_BOUND: Final = 1000
"""With so many replies outstanding, the request direction is shut until the next reply."""


def outcome(request: Request, code: bytes) -> Outcome:
    """What a reply with this code means."""
    row = ANSWERS[request]
    return row.get(code) or ANYWHERE.get(code) or row.get(code[:1]) or NOTHING


class Dialogue:
    """The state: outstanding replies, and what comes next."""

    __slots__ = (
        "announced",
        "challenge_doubtful",
        "chunk_answered_at",
        "claimed",
        "doubtful",
        "doubtful_until",
        "ehlo_doubtful",
        "late",
        "offered",
        "outstanding",
        "phase",
        "pipelining",
        "recipients",
        "recipients_before",
        "refused",
        "replying",
        "shut",
        "tls_from",
        "transaction",
    )

    def __init__(self) -> None:
        self.outstanding = [Request.GREETING]
        """What the outstanding replies will answer, oldest first. A list, since it is short, and an
        empty deque is larger than the rest of a dialogue."""
        self.phase = DialoguePhase.COMMANDS
        self.recipients = 0
        """RCPT commands since MAIL."""
        self.recipients_before = 0
        """``recipients`` before the latest MAIL."""
        self.refused = 0
        """RCPT commands since MAIL that the server has refused (5xx)."""
        self.announced = 0
        """Bytes of a masked BDAT's chunk still to come."""
        self.chunk_answered_at: int | None = None
        """Offset in the reply stream at which the reply to the last masked BDAT ends."""
        self.tls_from = 0
        """Offset in the reply stream at which the 220 to STARTTLS ends."""
        self.doubtful = 0
        """Replies that may have answered one more line than they were taken to answer."""
        self.doubtful_until = 0
        """Offset in the reply stream at which the latest of them ends."""
        self.shut = True
        """Nothing from the client passes before the next reply."""
        self.pipelining = False
        """The client may pipeline commands: it said EHLO, and saw PIPELINING."""
        self.offered = False
        """See ``offer``."""
        self.transaction = False
        """A mail transaction may be open on the server (RFC 5321 section 4.1.4)."""
        self.replying = False
        """The oldest outstanding reply has begun and is not complete."""
        self.claimed = False
        """Meanwhile the client has gone on, with a doubtful reply as the answer: to the client this
        one answers its next line."""
        self.late = False
        """A reply that was settled may still come, and so may each one after it come late; until a
        354 or 334 shows what the server answers."""
        self.ehlo_doubtful = False
        """An EHLO was settled: its reply may still come, and is to be masked."""
        self.challenge_doubtful = False
        """An AUTH was settled, or was refused by what may have been a late reply: if its 334 still
        comes, the server takes for the response what we have passed as the next command."""

    def __repr__(self) -> str:
        shut = " shut" if self.shut else ""
        owed = ", ".join(request.name.lower() for request in self.outstanding)
        return f"<Dialogue {self.phase.name.lower()}{shut} awaits [{owed}]>"

    def expect_reply(self, request: Request) -> None:
        """A client line, or the message, has passed completely: a reply is now outstanding."""
        outstanding = self.outstanding
        outstanding.append(request)
        if request == Request.EMPTY:  # not every server replies to one
            if len(outstanding) >= OUTSTANDING_BOUND:
                outstanding.remove(request)  # an ignored one must keep nothing shut
            return
        self.shut = self._waits()

    def expect_auth_reply(self) -> None:
        """A client line of an AUTH exchange has passed; its reply tells whether another follows."""
        self.phase = DialoguePhase.COMMANDS
        self.expect_reply(Request.AUTH)

    def expect_message_reply(self) -> None:
        """The end of the message has passed: whatever the reply, the transaction is over."""
        self.phase = DialoguePhase.COMMANDS
        self.transaction = False
        self.expect_reply(Request.MESSAGE)

    def begin_transaction(self) -> Request:
        """MAIL, SAML, SEND or SOML has passed: returns what its reply will answer."""
        nested = self.transaction
        self.transaction = True
        self.recipients_before = self.recipients
        self.recipients = 0
        return Request.NESTED_MAIL if nested else Request.MAIL

    def end_transaction(self) -> None:
        """RSET without an argument has passed; no server refuses that."""
        self.transaction = False

    def add_recipient(self) -> int:
        """RCPT has passed: returns how many since MAIL."""
        self.recipients += 1
        return self.recipients

    def offer(self, pipelining: bool) -> None:
        """Note whether the current EHLO reply has shown PIPELINING to the client."""
        self.offered = pipelining

    def begin_chunk(self, announced: int) -> None:
        """A masked BDAT has announced a chunk of so many bytes."""
        self.announced = announced
        self.chunk_answered_at = None
        self.phase = DialoguePhase.CHUNK_ANNOUNCED

    def decide_chunk(self) -> None:
        """The client did not wait for the reply to its BDAT: its chunk follows."""
        self.phase = DialoguePhase.CHUNK

    def count_chunk(self, count: int) -> bool:
        """So many bytes of the chunk have passed; returns whether that completes it."""
        self.announced -= count
        return self.announced == 0

    def end_chunk(self) -> None:
        """Commands follow again."""
        self.phase = DialoguePhase.COMMANDS

    def withdraw_after(self, count: int) -> None:
        """The packet with the latest commands was dropped: keep the first ``count`` outstanding
        replies."""
        while len(self.outstanding) > count:
            self.outstanding.pop()

    def begin_reply(self, code: bytes) -> AnomalyKind | None:
        """A reply with this code begins: returns its anomaly, if there is one.

        A server answers an empty line with 4xx or 5xx, or not at all: any other reply answers what
        was sent after it. Likewise a reply that cannot answer the oldest line answers a later one,
        if a doubtful one may have answered that.
        """
        outstanding = self.outstanding
        while outstanding:
            if outstanding[0] == Request.EMPTY and code[:1] not in b"45":
                self.remove_oldest()
            elif (
                self.doubtful
                and len(outstanding) > 1
                and isinstance(outcome(outstanding[0], code), AnomalyKind)
            ):
                self._settle_oldest()
            else:
                break
        if not outstanding:
            if code != b"354" and self._leave():
                return None if code == b"421" else AnomalyKind.ABANDONED
            return UNASKED.get(code, AnomalyKind.UNASKED_REPLY)
        self.replying = True
        found = outcome(outstanding[0], code)
        return found if isinstance(found, AnomalyKind) else None

    def _leave(self) -> bool:
        """A reply, or a line without a code, begins that answers nothing. If the client is sending
        a message, answering a challenge or about to begin TLS, the server has left that phase;
        returns whether so."""
        if self.phase not in (
            DialoguePhase.MESSAGE,
            DialoguePhase.AUTH_RESPONSE,
            DialoguePhase.TLS,
        ):
            return False
        self.phase = DialoguePhase.ABANDONED
        self.outstanding.append(Request.ABANDONED)  # so that the whole of it passes
        return True

    def begin_line_without_code(self) -> AnomalyKind:
        """A line without a code begins, outside any reply: returns its anomaly."""
        if not self.outstanding and self._leave():
            return AnomalyKind.ABANDONED
        return AnomalyKind.NOT_NUMERIC

    def end_doubtful(self, position: int) -> None:
        """A line without a code, or a reply that was owed to nothing when it began, ends at offset
        ``position`` of the reply stream. It may be the answer to what is outstanding now."""
        outstanding = self.outstanding
        if not outstanding:
            return
        if outstanding[0] == Request.ABANDONED:
            self.remove_oldest()
            return
        self.doubtful += 1
        self.doubtful_until = position

    def settle(self, acknowledged: int) -> int:
        """The client goes on although the direction is shut, with ``acknowledged`` bytes of the
        reply stream acknowledged. If these include replies that account for all that is
        outstanding, nothing is any more. Returns how many outstanding replies were removed."""
        outstanding = self.outstanding
        if not self.doubtful or acknowledged < self.doubtful_until:
            return 0
        if self.replying:
            self.claimed = True
            return 0
        if len(outstanding) - outstanding.count(Request.EMPTY) > self.doubtful:
            return 0
        count = len(outstanding)
        while outstanding:
            self._settle_oldest()
        self.doubtful = 0
        self.shut = False
        return count

    def _settle_oldest(self) -> None:
        """Take the oldest outstanding reply for given, without an effect that the reply might not
        have had."""
        request = self.outstanding.pop(0)
        if request == Request.EMPTY:
            return
        self.doubtful -= 1
        self.late = True
        if request == Request.NESTED_MAIL:
            self.recipients = self.recipients_before
        elif request == Request.EHLO:
            self.ehlo_doubtful = True
        elif request == Request.AUTH:
            self.challenge_doubtful = True
        elif request == Request.BDAT:
            self.chunk_answered_at = self.doubtful_until

    def answered(self, code: bytes, position: int) -> Effect:
        """The oldest outstanding reply is complete; it ends at offset ``position`` of the reply
        stream. Returns its effect."""
        request = self.remove_oldest()
        self.replying = False
        if request == Request.EMPTY and self.outstanding:
            self.doubtful += 1
            self.doubtful_until = position
        elif self.doubtful and not self.outstanding:
            self.doubtful = int(self.claimed)
            self.doubtful_until = position
        self.claimed = False
        found = outcome(request, code)
        if request == Request.AUTH and self.late and found is not Effect.CHALLENGED:
            self.challenge_doubtful = True
        if request == Request.BDAT and Request.BDAT not in self.outstanding:
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
            self.refused = 0
        elif found is Effect.RECIPIENT_REFUSED:
            self.refused += 1
        elif found is Effect.TRANSACTION_OVER:
            # Unless the client has begun another one meanwhile.
            self.transaction = Request.MAIL in self.outstanding
        elif found is Effect.OLD_TRANSACTION_CONTINUES:
            self.recipients = self.recipients_before
        elif found is Effect.MESSAGE_OPENS:
            self.late = False
            self.phase = DialoguePhase.MESSAGE
        elif found is Effect.CHALLENGED:
            self.late = False
            self.phase = (
                DialoguePhase.ABANDONED if self.challenge_doubtful else DialoguePhase.AUTH_RESPONSE
            )
        else:
            self.phase = DialoguePhase.TLS
            self.tls_from = position
        self.shut = self._waits()
        return found

    def remove_oldest(self) -> Request:
        """Remove the oldest outstanding reply; returns what it answers."""
        outstanding = self.outstanding
        request = outstanding.pop(0)
        if self.shut:
            self.shut = self._waits()
        return request

    def _waits(self) -> bool:
        """Whether the client's next byte has to wait for what is outstanding: the one formula for
        ``shut``. The reply to an empty line may never come, and shuts nothing."""
        outstanding = self.outstanding
        count = len(outstanding)
        if not count or (
            self.pipelining and count < OUTSTANDING_BOUND and outstanding[-1] not in SHUTTING
        ):
            return False
        return outstanding.count(Request.EMPTY) < count
