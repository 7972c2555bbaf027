"""Global timeouts, and the argument that a time is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nfinspect.policy.grammar import GLOBAL, Draft, Family, Row
from nfinspect.policy.model import NEVER, Timeouts
from nfinspect.policy.syntax import Argument, Statement, WordError

LONGEST = 1193 * 3600
"""Seconds."""


@dataclass(slots=True)
class GlobalTimeouts:
    """Seconds, by the keyword of the line."""

    seconds: dict[str, int] = field(default_factory=dict)


def read_time(text: str, _: object) -> int:
    """Return the seconds in ``H:MM:SS`` or ``0``."""
    parts = text.split(":")
    if not all(part.isascii() and part.isdigit() and len(part) <= 4 for part in parts):
        raise WordError("not a time")
    if len(parts) == 1 and int(text) == 0:
        return 0
    if len(parts) not in (2, 3) or any(int(part) > 59 for part in parts[1:]):
        raise WordError("not a time")
    hours, minutes, seconds = (int(part) for part in (*parts, "0")[:3])
    total = hours * 3600 + minutes * 60 + seconds
    if total > LONGEST:
        raise WordError("longer than 1193:0:0")
    return total


def at_least(least: int) -> Argument:
    """A time of at least *least* seconds, or 0 for never."""

    def read(text: str, draft: Any) -> int:
        seconds = read_time(text, draft)
        if 0 < seconds < least:
            raise WordError(f"shorter than {time_words(least)}")
        return seconds

    return Argument(f"a time, as {time_words(least)} or longer, or 0 for never", read)


def time_words(seconds: float) -> str:
    """Return a time as a line writes it."""
    whole = 0 if seconds >= NEVER else int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def never_if_zero(seconds: int) -> float:
    """Return a timeout as a number to calculate with."""
    return float(seconds) or NEVER


def _timeout(draft: Draft, _: None, statement: Statement[Any]) -> None:
    for keyword in ("conn", "half-closed"):
        if keyword in statement:
            draft[GlobalTimeouts].seconds[keyword] = statement[keyword]


_OTHERS = (
    "udp | icmp | icmp-error | rpc | sunrpc | h323 | h225 | mgcp | mgcp-pat | sip | sip_media"
    " | sip-media | sip-invite | sip-disconnect | sip-provisional-media | uauth | pat-xlate | xlate"
    " | tcp-proxy-reassembly | floating-conn | conn-holddown | igp stale-route | sctp | rtp | pptp-gre | inactivity"
    " | absolute"
)

FAMILY = Family(
    {
        GLOBAL: (
            Row(
                "timeout {conn conn:CONN_TIME | half-closed half-closed:CLOSING_TIME"
                f" | {{{_OTHERS}}} [other:TIME] | absolute | inactivity}}...",
                _timeout,
            ),
        ),
    },
    {
        "CONN_TIME": at_least(300),
        "CLOSING_TIME": at_least(30),
        "TIME": Argument("a time, as 1:00:00", read_time, 0),
    },
)


# Resolving.


def resolve(draft: Draft) -> Timeouts:
    """Return the timeouts of a connection for which no class sets any."""
    seconds = draft[GlobalTimeouts].seconds
    default = Timeouts()
    return Timeouts(
        default.embryonic,
        never_if_zero(seconds["half-closed"]) if "half-closed" in seconds else default.half_closed,
        never_if_zero(seconds["conn"]) if "conn" in seconds else default.idle,
    )


# Writing.


def lines(draft: Draft) -> Iterator[str]:
    """Yield the line for the timeouts that the text sets."""
    seconds = draft[GlobalTimeouts].seconds
    if seconds:
        pairs = (f"{keyword} {time_words(value)}" for keyword, value in seconds.items())
        yield f"timeout {' '.join(pairs)}"
