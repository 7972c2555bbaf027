r"""What a lenient server could take for the end of a message, and we do not (docs/policy.md; SMTP smuggling, SEC
Consult 2023).

The data ends with CR LF . CR LF (RFC 5321 section 4.1.1.4). Servers have been found that take less for it: a dot
between any two of CR LF, bare CR and bare LF, also with NULs beside it, which some servers remove. What follows is
text for us and commands for such a server. So a dot that has nothing but NULs between it and a CR or LF, on both
sides, is found here, unless it is the true one.

A dot is known when the CR or LF behind it arrives. The CR behind a CR LF . may be the true one's and passes where a
packet ends with it; the next byte decides.
"""

from __future__ import annotations

import re
from typing import Final

from nfinspect.esmtp.evaluation import Standing, react
from nfinspect.esmtp.session import Session
from nfinspect.events import ClauseAction, CloseCause

CR: Final = 13
LF: Final = 10
NUL: Final = 0

_ENDED_DOT: Final = re.compile(rb"\.\0*[\r\n]")
_NEWLINES: Final = (b"\r\n", b"\n", b"\r")


class NewlineScanner:
    """The state of a message."""

    __slots__ = ("_context", "_told")

    def __init__(self) -> None:
        self._context = b"\r\n"
        """What may be the beginning of an end of data, at the end of what has passed: with at most one
        NUL in each place."""
        self._told = False
        """It has been reported; once a mail."""

    def scan(self, session: Session, data: bytes, start: int) -> None:
        """Look at the message's part of ``data``, from ``start`` to its end or that of the data. May
        mask, or close."""
        context = self._context
        text = context + data[start:]
        known = len(context)
        for found in _ENDED_DOT.finditer(text):
            dot, last = found.start(), found.end() - 1
            strict = text.startswith(b"\r\n", dot - 2) if dot >= 2 else False
            if strict and last == dot + 1 and text[last] == CR:
                if last + 1 == len(text):
                    break  # the next packet shows
                if text[last + 1] == LF:
                    return  # the true end
            elif last < known:
                continue  # it was met in an earlier packet
            elif not _begins_line(text, dot):
                continue
            self._met(session, data, dot - known + start, last - known + start, start)
            if session.closing is not None:
                return
        self._keep(text)

    def _met(self, session: Session, data: bytes, dot: int, last: int, start: int) -> None:
        """A dot at this position of ``data``, ended at ``last``; either may have passed before
        ``start``."""
        reaction = session.rules.parameters.bare_newline
        if reaction is None:
            return
        if not self._told:
            self._told = True
            react(session, Standing.BARE_NEWLINE, reaction, None)
        if reaction.action is ClauseAction.MASK:
            if dot >= start:
                session.overwrite(data, dot, b"X")
            elif last >= start:
                session.overwrite(data, last, b"X")
            else:
                session.close(CloseCause.PARAMETER)  # too late to mask it

    def _keep(self, text: bytes) -> None:
        """Remember what may become an end of data with the next packet."""
        if text.endswith(b"\r"):
            found = _beginning(text[:-1])
            self._context = found + b"\r" if b"." in found else b"\r"
        else:
            self._context = _beginning(text)


def _beginning(text: bytes) -> bytes:
    """The line end, NULs and dot with which *text* ends; empty if it ends otherwise."""
    rest = text.rstrip(b"\0")
    after = text[len(rest) : len(rest) + 1]
    dot = before = b""
    if rest.endswith(b"."):
        text = rest[:-1]
        dot = b"."
        rest = text.rstrip(b"\0")
        before = text[len(rest) : len(rest) + 1]
    for newline in _NEWLINES:
        if rest.endswith(newline):
            return newline + before + dot + after
    return b""


def _begins_line(text: bytes, dot: int) -> bool:
    """Whether nothing but NULs is between a dot and a CR or LF."""
    at = dot - 1
    while at >= 0 and text[at] == NUL:
        at -= 1
    return at >= 0 and text[at] in (CR, LF)
