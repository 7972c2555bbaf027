"""What attackers say."""

from __future__ import annotations

from tests.attacks.script import Hear, Send, Step, option

DUMMY = b"NOOP one\r\n"
EVIL = b"XEVL one\r\n"
"""What must not get through: of no verb that the filter's map has."""
MASKED = b"XXXXXXXX\r\n"
"""What the server may read of it."""
DONE = b"NOOP\r\n"
MD5 = option(19, b"\x11" * 16)
OLD = -500_000
"""A timestamp for which the server throws the segment away."""


def evil(at: int | None = None) -> tuple[Step, ...]:
    """Say it where it belongs: it is masked, and the server knows no such command."""
    return (Send(EVIL, MASKED, at=at), Hear(b"500"))
