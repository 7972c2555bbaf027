"""What the running filter can be asked: ``status``, ``reload``, ``clear conn``, or ``show`` and the
words after it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from nfinspect.live.control import UnanswerableError

STATUS = "status"
RELOAD = "reload"
DRY_RUN = "--dry-run"
"""After ``reload``."""
CLEAR = "clear"
SHOW = "show"

SERVICE_POLICY = ("service-policy", "inspect", "esmtp")
QUEUE = ("queue",)

REQUESTS = (SERVICE_POLICY, QUEUE)


def request(words: Sequence[str]) -> tuple[str, ...]:
    """Return the one of `REQUESTS` that *words* are, in full or shortened to its first words.

    Raises UnanswerableError for anything else.
    """
    for known in REQUESTS:
        if words and tuple(words) == known[: len(words)]:
            return known
    available = ", ".join(f"'show {' '.join(known)}'" for known in REQUESTS)
    raise UnanswerableError(f"unknown command 'show {' '.join(words)}'; available: {available}")


def cleared(words: Sequence[str]) -> bytes | None:
    """Return the address in the words after ``clear``: ``conn``, or ``conn address ADDRESS``; None
    if all connections are meant.

    Raises UnanswerableError for anything else.
    """
    if list(words) == ["conn"]:
        return None
    if list(words[:2]) == ["conn", "address"] and len(words) == 3:
        try:
            return ip_address(words[2]).packed
        except ValueError as error:
            raise UnanswerableError(f"'{words[2]}' is no IP address") from error
    raise UnanswerableError(
        f"unknown command 'clear {' '.join(words)}'; available: 'clear conn [address ADDRESS]'"
    )
