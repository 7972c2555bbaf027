"""What the running filter can be asked: ``status``, ``reload``, or ``show`` and the words after it."""

from __future__ import annotations

from collections.abc import Sequence

from nfinspect.live.control import UnanswerableError

STATUS = "status"
RELOAD = "reload"
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
