"""Themis' composite attacks: several discrepancies in one connection, none of which may succeed."""

from __future__ import annotations

from nfinspect.actions import DropReason as Why
from tests.attacks.script import (
    ACK,
    FIN,
    RST,
    SYN,
    Attack,
    Expect,
    Fate,
    Reconnect,
    Script,
    Send,
    Step,
    Wait,
    option,
)

DECOY = b"NOOP ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGH\r\n"
FIRST, SECOND = DECOY[:20], DECOY[20:]
TINY = 30
"""One-byte segments at the end; the originals have a thousand."""

SYN_FIN = Send(b"", Why.BAD_FLAGS, flags=SYN | FIN, at=99)
IN_WINDOW_SYN = Send(b"", Why.DUPLICATE_SYN, flags=SYN, at=21)
OLD_ACK = Send(SECOND, Why.INVALID_ACK, at=20, ack=-12_345_678, options=b"\1\1\1\1")
"""The server would discard it."""
IN_WINDOW_RST = Send(flags=RST, at=21)
NO_ACK = Send(SECOND, Why.BAD_FLAGS, flags=0, at=20)
BEGINNING: tuple[Step, ...] = (
    Send(flags=SYN, at=-1, options=option(4) + b"\1\1"),
    Expect(),
    Send(flags=ACK),
    Expect(b"220"),
    Send(FIRST, at=0),
    Wait(0.05),
)
SACKED: tuple[Step, ...] = (
    Send(DECOY[30:40], Fate.HELD, at=30),
    Wait(0.05),
    Send(flags=RST, at=40),  # the right-most SACK edge, if the server had it
    Wait(0.05),
)
ENDED: tuple[Step, ...] = (
    Send(SECOND[:10], Fate.ANY, at=20),
    Send(b"", Fate.ANY, at=40, flags=FIN | ACK),
)
CLOSING: tuple[Step, ...] = (
    Send(b"A" * 20, Fate.ANY, at=30, ack=-12_345_678),
    Reconnect(-100),
    Send(b"", Fate.ANY, flags=SYN, at=-1),
)


def tiny(passed: bytes) -> tuple[Step, ...]:
    """The rest of the line, byte by byte; *passed* is what passes."""
    return tuple(
        Send(b"A", passed[at : at + 1], at=20 + at, flags=ACK) for at in range(len(passed))
    )


def composite(number: int) -> Script:
    """Each contains the previous one, and more."""
    before = (SYN_FIN,) if number >= 5 else ()
    parts: list[Step] = [*before, *BEGINNING]
    if number >= 3:
        parts.append(IN_WINDOW_SYN)
    if number >= 2:
        parts.append(OLD_ACK)
    parts.append(IN_WINDOW_RST)
    if number >= 4:
        parts.append(NO_ACK)
    if number < 6:
        parts += tiny(b"A" * TINY)
        received = FIRST + b"A" * TINY
    elif number == 6:
        missing = b"A" + SECOND[1:10]
        parts += [*SACKED, Send(missing, at=20, released=(DECOY[30:40],))]
        received = FIRST + missing + DECOY[30:40]
    else:
        parts += [*SACKED, *ENDED]
        if number == 8:
            parts.append(Send(b"", Fate.ANY, flags=RST, at=40))
        parts += CLOSING
        received = DECOY[:40]
    return Script(tuple(parts), (received,), str(number), greeting=False)


COMPOSITE = (
    Attack(
        "composite",
        ("Themis: composite 1 to 8",),
        "each part as above, whatever came before it: the old acknowledgement decides nothing, and"
        " what the server could SACK is held",
        tuple(composite(number) for number in range(1, 9)),
    ),
)
