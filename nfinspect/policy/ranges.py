"""Sets of addresses and of ports, as sorted ranges of integers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

BITS = {4: 32, 6: 128}
"""Of an address, by IP version."""

Range = tuple[int, int]
"""First and last, both included."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """A set of integers."""

    ranges: tuple[Range, ...] = ()
    """Sorted; neither overlapping nor adjacent."""

    @staticmethod
    def of(ranges: Iterable[Range]) -> Ranges:
        """Return the union of *ranges*."""
        joined: list[Range] = []
        for first, last in sorted(ranges):
            if joined and first <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
            else:
                joined.append((first, last))
        return Ranges(tuple(joined))

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __contains__(self, value: int) -> bool:
        at = bisect_right(self.ranges, (value, 1 << 128)) - 1
        return at >= 0 and value <= self.ranges[at][1]

    def __or__(self, other: Ranges) -> Ranges:
        return Ranges.of((*self.ranges, *other.ranges))

    def covers(self, other: Ranges) -> bool:
        """Whether every member of *other* is in this set."""
        for first, last in other.ranges:
            at = bisect_right(self.ranges, (first, 1 << 128)) - 1
            if at < 0 or last > self.ranges[at][1]:
                return False
        return True

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)


@dataclass(frozen=True, slots=True)
class Addresses:
    """A set of IPv4 and IPv6 addresses, as integers."""

    v4: Ranges = Ranges()
    v6: Ranges = Ranges()

    def of(self, version: int) -> Ranges:
        return self.v4 if version == 4 else self.v6

    def __or__(self, other: Addresses) -> Addresses:
        return Addresses(self.v4 | other.v4, self.v6 | other.v6)

    def __bool__(self) -> bool:
        return bool(self.v4 or self.v6)

    def covers(self, other: Addresses) -> bool:
        return self.v4.covers(other.v4) and self.v6.covers(other.v6)


ANY4 = Addresses(v4=Ranges(((0, 2**32 - 1),)))
ANY6 = Addresses(v6=Ranges(((0, 2**128 - 1),)))
ANY = ANY4 | ANY6
NOBODY = Addresses()
ALL_PORTS = Ranges(((0, 65535),))


def addresses(version: int, first: int, last: int) -> Addresses:
    """Return the addresses of one version from *first* to *last*."""
    found = Ranges(((first, last),))
    return Addresses(v4=found) if version == 4 else Addresses(v6=found)


@lru_cache(4096)
def parse_address(text: str) -> tuple[int, int]:
    """Return the IP version of an address, and the address as an integer; raises ValueError."""
    if ":" in text:
        return 6, int(IPv6Address(text))
    return 4, int(IPv4Address(text))


def address_text(version: int, value: int) -> str:
    """Return an address as text."""
    return str(IPv4Address(value) if version == 4 else IPv6Address(value))


def prefixes(version: int, ranges: Ranges) -> Iterator[tuple[int, int]]:
    """Yield the networks that make up *ranges*: the length of the prefix, and its bits."""
    return blocks(BITS[version], ranges)


def blocks(bits: int, ranges: Ranges) -> Iterator[tuple[int, int]]:
    """Yield the aligned blocks that make up *ranges* of numbers of so many *bits*: how many of their
    bits are the same, and these."""
    for first, last in ranges.ranges:
        while first <= last:
            # The largest network that begins at `first` and does not pass `last`.
            free = min((first & -first).bit_length() - 1 if first else bits, bits)
            free = min(free, (last - first + 1).bit_length() - 1)
            yield bits - free, first >> free
            first += 1 << free
