"""How a receiver's TCP resolves segments that overlap while they wait beyond a gap.

The table is from Novak and Sturges, "Target-Based TCP Stream Reassembly" (2007), as used by intrusion
detection systems since. It says which bytes of an overlap are kept. No TCP ever takes back bytes that
it has delivered.
"""

from __future__ import annotations

from typing import Final

ORIGINAL, LATER = False, True

# Where the later segment starts relative to the original, and in each tuple where it ends: before the
# original's end, at it, or after it.
_FIRST = (ORIGINAL, ORIGINAL, ORIGINAL)
_LAST = (LATER, LATER, LATER)
POLICIES: Final[dict[str, tuple[tuple[bool, bool, bool], ...]]] = {
    #            starts before, at,               after the original's start
    "first": (_FIRST, _FIRST, _FIRST),
    "last": (_LAST, _LAST, _LAST),
    "bsd": (_LAST, _FIRST, _FIRST),
    "windows": (_LAST, _FIRST, _FIRST),
    "linux": (_LAST, (ORIGINAL, ORIGINAL, LATER), _FIRST),
    "solaris": ((ORIGINAL, LATER, LATER), (ORIGINAL, LATER, LATER), (ORIGINAL, ORIGINAL, LATER)),
}


def later_wins(policy: str, original: tuple[int, int], later: tuple[int, int]) -> bool:
    """Whether the later segment's bytes are kept where these intervals overlap."""
    begins = (later[0] > original[0]) - (later[0] < original[0]) + 1
    ends = (later[1] > original[1]) - (later[1] < original[1]) + 1
    return POLICIES[policy][begins][ends]


class Waiting:
    """What has arrived beyond a gap: pieces in order that do not overlap."""

    __slots__ = ("pieces", "policy")

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.pieces: list[tuple[int, bytes]] = []

    def add(self, start: int, data: bytes) -> None:
        end = start + len(data)
        kept: list[tuple[int, bytes]] = []
        open_ranges = [(start, end)]
        """Ranges of the new segment that are kept. Pieces are in order, so only the last range can
        still be split."""
        for at, old in self.pieces:
            stop = at + len(old)
            if stop <= start or at >= end:
                kept.append((at, old))
            elif later_wins(self.policy, (at, stop), (start, end)):
                if at < start:
                    kept.append((at, old[: start - at]))
                if stop > end:
                    kept.append((end, old[end - at :]))
            else:
                kept.append((at, old))
                low, high = open_ranges.pop()
                open_ranges += [(x, y) for x, y in ((low, at), (stop, high)) if x < y]
        kept += [(low, data[low - start : high - start]) for low, high in open_ranges]
        kept.sort()
        self.pieces = kept

    def take(self, start: int) -> bytes:
        """Remove and return what is contiguous from ``start`` on."""
        taken = b""
        while self.pieces and self.pieces[0][0] <= start:
            at, data = self.pieces.pop(0)
            if at + len(data) > start:
                taken += data[start - at :]
                start = at + len(data)
        return taken

    def ranges(self) -> list[tuple[int, int]]:
        """The ranges that are waiting, adjacent ones joined."""
        joined: list[tuple[int, int]] = []
        for at, data in self.pieces:
            if joined and joined[-1][1] == at:
                joined[-1] = (joined[-1][0], at + len(data))
            else:
                joined.append((at, at + len(data)))
        return joined
