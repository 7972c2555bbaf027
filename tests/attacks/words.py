"""What attackers say."""

from __future__ import annotations

from tests.attacks.script import Hear, Send, Step

DUMMY = b"NOOP one\r\n"
EVIL = b"XEVL one\r\n"
"""What must not get through: of no verb that the filter's map has."""
MASKED = b"XXXXXXXX\r\n"
"""What the server may read of it."""
DONE = b"NOOP\r\n"


def evil(at: int | None = None) -> tuple[Step, ...]:
    """Say it where it belongs: it is masked, and the server knows no such command."""
    return (Send(EVIL, MASKED, at=at), Hear(b"500"))
