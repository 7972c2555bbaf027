"""SYN cookies: a SYN-ACK's sequence number from which the client's acknowledgement tells all that is kept of
its SYN (RFC 4987 section 3.6).

One bit names the key, two the MSS, one says whether SACK is permitted; the other 28 authenticate these, the ends
and the client's initial sequence number. Two keys are valid: the present one, and the one before. Of each
it is counted how many cookies it has made: an acknowledgement is only looked at where one can be in
flight. One that comes back is not taken off the count: whoever sent it again and again would make those of
others invalid.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s
from typing import Final

from nfinspect.packet.options import SynOptions

PERIOD: Final = 32.0
"""Seconds after which there is a new key: a cookie is valid for so long at least, for twice that at most."""
KEY_BYTES: Final = 16

SEGMENT_SIZES: Final = {4: (536, 1220, 1380, 1460), 6: (1220, 1360, 1420, 1440)}
"""By IP version. The largest that is not above the client's own is meant; smaller ones count as the first,
whose packets fit any path (RFC 9293 section 3.7.1)."""

_SHIFT: Final = 28
_MASK: Final = (1 << _SHIFT) - 1


class Cookies:
    __slots__ = ("_keys", "_made", "_random", "_turn", "_until")

    def __init__(self, random: Callable[[int], bytes]) -> None:
        """*random* returns so many random bytes."""
        self._random = random
        self._keys = [b"", b""]
        """The one that is valid for even, and the one for odd turns; empty before the first."""
        self._made = [0, 0]
        """Cookies of each key."""
        self._turn = 0
        self._until = 0.0
        """When the next turn begins."""

    def in_flight(self, now: float) -> int:
        """Cookies that may still come back."""
        if self._made[0] or self._made[1]:
            self._turn_to(now)
        return self._made[0] + self._made[1]

    @property
    def deadline(self) -> float | None:
        """When some of these will be void; None if there are none."""
        return self._until if self._made[0] or self._made[1] else None

    def make(self, key: bytes, initial: int, offered: SynOptions, now: float) -> int:
        """A sequence number in answer to a SYN with the key ``Segment.key`` and the number *initial*."""
        self._turn_to(now)
        turn = self._turn
        if not self._keys[turn]:
            self._keys[turn] = self._random(KEY_BYTES)
        sizes = SEGMENT_SIZES[4 if len(key) == 12 else 6]
        chosen = 0
        for index in range(len(sizes)):
            if sizes[index] <= (offered.mss or 0):
                chosen = index
        self._made[turn] += 1
        top = turn << 3 | chosen << 1 | offered.sack_permitted
        return top << _SHIFT | self._proof(key, initial, top)

    def check(self, key: bytes, initial: int, cookie: int, now: float) -> SynOptions | None:
        """What the SYN offered whose answer had this number; None if it had not."""
        self._turn_to(now)
        top = cookie >> _SHIFT
        turn = top >> 3
        if not self._made[turn] or cookie & _MASK != self._proof(key, initial, top):
            return None
        return SynOptions(
            SEGMENT_SIZES[4 if len(key) == 12 else 6][top >> 1 & 3], None, bool(top & 1), False
        )

    def _proof(self, key: bytes, initial: int, top: int) -> int:
        told = b"%b%b%c" % (key, initial.to_bytes(4, "big"), top)
        digest = blake2s(told, digest_size=4, key=self._keys[top >> 3]).digest()
        return int.from_bytes(digest, "big") & _MASK

    def _turn_to(self, now: float) -> None:
        if now < self._until:
            return
        if now >= self._until + PERIOD:  # both are over
            self._forget(self._turn)
            self._until = now
        self._turn ^= 1
        self._forget(self._turn)
        self._until += PERIOD

    def _forget(self, turn: int) -> None:
        self._keys[turn] = b""
        self._made[turn] = 0
