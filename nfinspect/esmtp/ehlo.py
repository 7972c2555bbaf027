"""Scans the reply to EHLO: its keywords, and what of them is masked (docs/appliance.md, section 2).

A keyword that arrives in pieces passes while it may become one that is shown, and is X from the first byte
on that decides otherwise.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from nfinspect.esmtp.evaluation import match
from nfinspect.esmtp.keywords import KEYWORDS, LONGEST, OTHERS, PIPELINING, STARTTLS
from nfinspect.esmtp.session import Session
from nfinspect.events import REPLY, ClauseAction, Evidence, KeywordsHidden

MOST_HIDDEN: Final = 32
LONGEST_HIDDEN: Final = 40
"""Masked keywords of a reply that are named, and bytes of each."""

_KEYWORD_END: Final = re.compile(rb"[ =\r]")
_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Shown(enum.IntEnum):
    """Whether the current EHLO line is shown to the client."""

    UNDECIDED = 0
    """What has arrived may become a keyword that is shown."""
    VISIBLE = 1
    MASKED = 2


class EhloScanner:
    """The state of an EHLO reply."""

    __slots__ = ("hidden", "keyword", "letters", "shown", "word")

    def __init__(self) -> None:
        self.letters = 0
        """Masked lines of the reply."""
        self.hidden: tuple[bytes, ...] = ()
        """Their keywords."""
        self.word = OTHERS
        """The configuration word for the keyword of a masked line."""
        self.begin_line()

    def begin_line(self) -> None:
        self.shown = Shown.UNDECIDED
        self.keyword = b""
        """The current line's keyword as far as it has arrived, in capitals."""

    def finish(self, session: Session) -> None:
        """The reply is complete."""
        if self.hidden:
            session.events.append(KeywordsHidden(session.connection, self.hidden))

    def scan(
        self, session: Session, data: bytes, start: int, end: int, ended: bool, whole: bool
    ) -> None:
        """Inspect the part of an EHLO line's text that this packet contains. ``ended``: its end is
        included; ``whole``: its beginning is."""
        rules = session.rules
        masked_from = end
        known_now: bytes | None = None
        """The keyword, if this packet has shown what it is."""
        if self.shown == Shown.MASKED:
            masked_from = start
        elif self.shown == Shown.UNDECIDED and start < end + ended:
            found = _KEYWORD_END.search(data, start, end)
            word_end = end if found is None else found.start()
            complete = found is not None or ended
            known = len(self.keyword)
            keyword = self.keyword + data[start : min(word_end, start + LONGEST + 1)].upper()
            if whole and ended:
                if start == end:
                    return
                word = _word(session, keyword)
                if word in rules.masked_parameters:
                    masked_from = start
            else:
                for length in range(known + 1, len(keyword) + 1):
                    if rules.masks_prefix(keyword[:length]):
                        masked_from = start + length - 1 - known
                        word = _likely_word(keyword[:length])
                        break
                else:
                    if not complete and len(keyword) <= LONGEST:
                        self.keyword = keyword
                        return
                    word = _word(session, keyword)
                    if word in rules.masked_parameters:
                        masked_from = word_end
            self.word = word
            if word in rules.masked_parameters:
                self.shown = Shown.MASKED
                self.letters += masked_from < end
                if (
                    masked_from < end
                    and len(self.hidden) < MOST_HIDDEN
                    and keyword[:-1].strip(b"X")
                ):
                    self.hidden += (keyword[:LONGEST_HIDDEN],)
            else:
                self.shown = Shown.VISIBLE
                if keyword == PIPELINING:
                    session.dialogue.offer(pipelining=True)
            known_now = keyword
        replacement = b"X" * (end - masked_from)
        if replacement and ended:
            letter = (self.letters - 1) % len(_LETTERS)
            replacement = replacement[:-1] + _LETTERS[letter : letter + 1]
        masks = bool(replacement)
        if masks and len(replacement) > 1 and data[masked_from:end] == replacement:
            session.already_masked(REPLY)
            masks = False
        if known_now is None and not masks:
            return
        for rule in rules.by_parameter.get(self.word, ()):
            if rule.clause.action is ClauseAction.MASK:
                if masks:
                    match(session, rule)
            elif known_now is not None:
                match(session, rule, Evidence("EHLO keyword", known_now[:LONGEST_HIDDEN]))
        if masks:
            session.overwrite(data, masked_from, replacement)


def _word(session: Session, keyword: bytes) -> str:
    """The configuration word for a keyword; empty for a permitted STARTTLS."""
    if keyword == STARTTLS and session.rules.parameters.allow_tls:
        return ""
    return KEYWORDS.get(keyword, OTHERS)


def _likely_word(beginning: bytes) -> str:
    """The configuration word for a line whose keyword is masked before it is complete."""
    return next((KEYWORDS[known] for known in KEYWORDS if known.startswith(beginning)), OTHERS)
