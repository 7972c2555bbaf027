"""Scans the server's replies (docs/appliance.md, sections 1, 2 and 9).

A reply has one or more lines; a hyphen after the code means that another line follows, anything
else ends the reply. A line ends at LF, with or without CR, since some servers send bare LF and
clients accept it. Lines are inspected as they arrive: the code once its third digit is there, the
text character by character, with little state.

The code of the last line is the code of the reply. If only some lines say 354, nobody can tell what
the client will send; such a reply counts as an unsolicited 354.
"""

from __future__ import annotations

from typing import Final

from nfinspect.esmtp.dialogue import Effect, outcome
from nfinspect.esmtp.ehlo import EhloScanner
from nfinspect.esmtp.evaluation import Fact, judge
from nfinspect.esmtp.session import REMEMBERED, SHOWN, Session, without_ending
from nfinspect.esmtp.verbs import Request
from nfinspect.events import (
    REPLY,
    AnomalyKind,
    BannerMasked,
    MailAnswered,
    ReplySeen,
    TlsStarted,
    UninspectedCause,
)
from nfinspect.policy.criteria import Criterion

CR: Final = 13
LF: Final = 10
HYPHEN: Final = 45

_BANNER: Final = bytes(
    character if character in b"20\r\n" else ord("*") for character in range(256)
)
"""The translation of a greeting's characters (docs/appliance.md, section 2)."""
_SPECIAL: Final = frozenset({Request.GREETING, Request.EHLO, Request.EMPTY, Request.BDAT})
"""Requests whose reply cannot take the short path in ``ReplyScanner.scan``."""


class ReplyScanner:
    """The state of the current reply."""

    __slots__ = (
        "banner",
        "code",
        "ehlo",
        "first_code",
        "length",
        "line",
        "lines",
        "numeric",
        "solicited",
    )

    def __init__(self) -> None:
        self.first_code = b""
        """The code of the reply's first line; empty between replies."""
        self.lines = 0
        """Complete lines of the reply."""
        self.ehlo: EhloScanner | None = None
        """While a reply to EHLO arrives."""
        self.line = b""
        """The first bytes of the current line, as they arrived."""
        self.length = 0
        """Bytes of the current line that have arrived."""
        self.code = b""
        """The current line's code, once complete."""
        self.numeric = True
        self.solicited = False
        """The reply was outstanding."""
        self.banner = False
        """The reply is a greeting, to be masked."""

    def scan(self, session: Session, data: bytes) -> int:
        """Inspect the next bytes; returns the position after the last one that may pass."""
        dialogue = session.dialogue
        outstanding = dialogue.outstanding
        draining = session.closing is not None
        position, size = 0, len(data)
        while position < size:
            if draining and not outstanding:
                break
            newline = data.find(b"\n", position)
            if (
                newline - position > 3
                and not self.length
                and not self.first_code
                and outstanding
                and outstanding[0] not in _SPECIAL
                and data[position + 3] != HYPHEN
            ):
                # Most replies: a single line, whole in one packet, with nothing to mask.
                code = data[position : position + 3]
                if code.isdigit() and not isinstance(outcome(outstanding[0], code), AnomalyKind):
                    if session.transcript:
                        line = without_ending(data[position : newline + 1])[:REMEMBERED]
                        session.events.append(ReplySeen(session.connection, line))
                    if session.reported:
                        _tell_answer(session, data[position : newline + 1])
                    line_start, position = position, newline + 1
                    self._complete(session, code, position, data, line_start)
                    if session.closing is None or draining:
                        continue
                    if session.transcript:
                        self._list_rest(session, data, line_start, position)
                    break
            start, position = position, size if newline < 0 else newline + 1
            self._scan_piece(session, data, start, position, newline >= 0)
            if session.over or (session.closing is not None and not draining):
                if session.transcript:
                    self._list_rest(session, data, start, position)
                break
        return position

    def _scan_piece(
        self, session: Session, data: bytes, start: int, stop: int, finished: bool
    ) -> None:
        """Inspect the part of a line that one packet contains."""
        before = self.length
        self.length += stop - start
        if finished and not before:
            line = data[start:stop]
        else:
            room = REMEMBERED - len(self.line)
            if room > 0:
                self.line += data[start : min(stop, start + room)]
            line = self.line
        if before < 3 and self.numeric:
            code = line[:3]
            self.numeric = code.isdigit()
            if not self.numeric:
                kind = AnomalyKind.NOT_NUMERIC
                if not self.first_code:
                    kind = session.dialogue.begin_line_without_code()
                session.anomaly(kind, without_ending(line)[:REMEMBERED])
            elif len(code) == 3:
                self.code = code
                self._inspect_code(session, line)
            if session.uninspected is not None:
                return
        ehlo = self.ehlo
        if self.banner:
            if self.code == b"220":
                _mask_banner(session, data, start, stop, before)
        elif ehlo is not None and self.lines and self.code:
            end = stop - finished
            ended = finished
            if end > start and data[end - 1] == CR:
                end -= 1
                ended = True
            begin = max(start, start + len(b"250-") - before)
            if begin <= end:
                ehlo.scan(session, data, begin, end, ended, whole=before <= 4)
        if finished:
            self._finish_line(session, stop, line)

    def _inspect_code(self, session: Session, line: bytes) -> None:
        """A line's code is complete."""
        code, dialogue = self.code, session.dialogue
        if self.first_code:
            if code == b"220" and dialogue.outstanding[:1] == [Request.GREETING]:
                self._begin_banner(session, line)
            if code != self.first_code:
                session.anomaly(
                    AnomalyKind.UNASKED_354
                    if b"354" in (code, self.first_code)
                    else AnomalyKind.MISMATCHED_CODE,
                    without_ending(line)[:REMEMBERED],
                )
            return
        anomaly = dialogue.begin_reply(code)
        request = dialogue.outstanding[0] if dialogue.outstanding else None
        self.first_code = code
        self.solicited = request is not None
        self.lines = 0
        self.banner = False
        self.ehlo = None
        if anomaly is not None:
            if session.unfiltered and request in (Request.MASKED, Request.BDAT):
                session.uninspected = UninspectedCause.RECORDED_WITHOUT_FILTER
            elif (
                session.unfiltered
                and session.bare_line_feed
                and request in (None, Request.ABANDONED)
            ):
                session.uninspected = UninspectedCause.BARE_LF_ANSWERED
            else:
                session.anomaly(anomaly, without_ending(line)[:REMEMBERED])
        if request == Request.GREETING:
            if code == b"220":
                self._begin_banner(session, line)
        elif (request == Request.EHLO or dialogue.ehlo_doubtful) and code[:1] == b"2":
            self.ehlo = EhloScanner()
            dialogue.offer(pipelining=False)
            session.begin_ehlo_reply()

    def _begin_banner(self, session: Session, line: bytes) -> None:
        """A greeting has a line with the code 220: such lines are masked, and no others, as a
        server may go on to say why it refuses the client."""
        if session.rules.parameters.mask_banner and not self.banner:
            self.banner = True
            text = line[4:]
            if b"*" in text and text.translate(_BANNER) == text:
                session.already_masked(REPLY)
            else:
                session.events.append(BannerMasked(session.connection, session.rules.map.name))

    def _finish_line(self, session: Session, stop: int, line: bytes) -> None:
        if session.transcript:
            listed = without_ending(line)[:REMEMBERED]
            session.events.append(ReplySeen(session.connection, listed))
        if self.code:
            if line[3] == HYPHEN:
                self.lines += 1
            else:
                if self.solicited:
                    if session.reported:
                        _tell_answer(session, line)
                    self._complete(session, self.code, stop, line, 0)
                else:
                    session.dialogue.end_doubtful(session.replied + stop)
                if self.ehlo is not None:
                    self.ehlo.finish(session)
                    self.ehlo = None
                self.first_code = b""
                self.banner = False
        elif not self.first_code:
            session.dialogue.end_doubtful(session.replied + stop)
        self.line = b""
        self.length = 0
        self.code = b""
        self.numeric = True
        if self.ehlo is not None:
            self.ehlo.begin_line()

    def _complete(self, session: Session, code: bytes, stop: int, text: bytes, begin: int) -> None:
        """The last line of an outstanding reply, at ``begin`` in ``text``, ends at ``stop`` of the
        packet."""
        dialogue = session.dialogue
        ends_list = session.rules.counts_recipients and dialogue.outstanding[0] == Request.DATA
        effect = dialogue.answered(code, session.replied + stop)
        if effect is Effect.RECIPIENT_REFUSED or ends_list:
            self._judge_refused(session, text[begin : begin + SHOWN], complete=ends_list)
        if effect is Effect.TLS_STARTS and session.closing is None:
            session.events.append(
                TlsStarted(session.connection, session.rules.parameters.allow_tls_log)
            )

    def _judge_refused(self, session: Session, text: bytes, *, complete: bool) -> None:
        """A recipient has been refused, or no more are to come (``complete``)."""
        refused = session.dialogue.refused
        if complete or refused > session.rules.refused:
            fact = Fact(
                Criterion.INVALID_RECIPIENTS,
                0,
                refused,
                without_ending(text.split(b"\n", 1)[0]),
                refused if complete else -1,
                complete=complete,
            )
            judge(session, fact, Criterion.INVALID_RECIPIENTS)

    def _list_rest(self, session: Session, data: bytes, start: int, stop: int) -> None:
        """List, for the transcript, the rest of the packet at which inspection ended; the last line
        inspected was ``data[start:stop]``."""
        if self.length:
            rest = (self.line if self.length > stop - start else data[start:stop]) + data[stop:]
        else:
            rest = data[stop:]
        session.events.extend(
            ReplySeen(session.connection, without_ending(line)[:REMEMBERED])
            for line in rest.split(b"\n")[:-1]
        )


def _mask_banner(session: Session, data: bytes, start: int, stop: int, before: int) -> None:
    """Mask everything but the code and its separator, CR and LF."""
    begin = start + 3 - before
    if begin < start:
        begin = start
    elif begin < stop and data[begin] in b" -":
        begin += 1
    text = data[begin:stop]
    masked = text.translate(_BANNER)
    if masked != text:
        session.overwrite(data, begin, masked)


def _tell_answer(session: Session, line: bytes) -> None:
    """If the reply that ends with this line answers a message in which a clause matched, report
    it."""
    if session.dialogue.outstanding[0] == Request.MESSAGE:
        session.reported = False
        text = without_ending(line)[:REMEMBERED]
        session.events.append(MailAnswered(session.connection, text))
