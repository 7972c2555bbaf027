"""Payloads and values that several scripts use."""

from __future__ import annotations

from tests.attacks.script import Expect, Send, Step, option

DUMMY = b"NOOP one\r\n"
EVIL = b"XEVL one\r\n"
"""What must not pass: its verb is not one that the filter permits."""
MASKED = b"XXXXXXXX\r\n"
"""What the server may read instead."""
DONE = b"NOOP\r\n"
MD5 = option(19, b"\x11" * 16)
OLD = -500_000
"""Added to a timestamp, it makes the server discard the segment (PAWS)."""


def evil(at: int | None = None) -> tuple[Step, ...]:
    """Send the line openly: it is masked, and the server answers 500."""
    return (Send(EVIL, MASKED, at=at), Expect(b"500"))
