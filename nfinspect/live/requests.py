"""What a person may ask the running filter, as the words behind ``show``."""

from __future__ import annotations

from collections.abc import Sequence

from nfinspect.live.control import UnanswerableError

SERVICE_POLICY = ("service-policy", "inspect", "esmtp")
QUEUE = ("queue",)

REQUESTS = (SERVICE_POLICY, QUEUE)


def request(words: Sequence[str]) -> tuple[str, ...]:
    """Return the one of `REQUESTS` that *words* mean: all of its words, or the first of them.

    Raises UnanswerableError for anything else.
    """
    for known in REQUESTS:
        if words and tuple(words) == known[: len(words)]:
            return known
    there_is = ", ".join(f"'show {' '.join(known)}'" for known in REQUESTS)
    raise UnanswerableError(f"'show {' '.join(words)}' is nothing to answer; there is {there_is}")
