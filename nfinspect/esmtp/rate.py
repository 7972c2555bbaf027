"""``rate-limit N``: at most N messages in a second (docs/policy.md).

A token bucket for each clause, for all connections of its map together: it holds N tokens, one for each
message, and N flow in within a second.
"""

from __future__ import annotations


class Bucket:
    __slots__ = ("_filled", "_tokens", "rate")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._tokens = float(rate)
        self._filled = 0.0
        """When the tokens were counted last."""

    def has_one(self, now: float) -> bool:
        """Whether one more message may pass."""
        gone = now - self._filled
        if gone > 0:
            self._tokens = min(float(self.rate), self._tokens + gone * self.rate)
            self._filled = now
        return self._tokens >= 1.0

    def take(self) -> None:
        """A message passes."""
        self._tokens = max(0.0, self._tokens - 1.0)
