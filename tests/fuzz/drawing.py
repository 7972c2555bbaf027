"""What chance decides about a session beforehand."""

from __future__ import annotations

import enum
from random import Random

from nfinspect.tcp.limits import SHARE, Limits
from tests.fuzz.network import Link
from tests.model.overlap import POLICIES
from tests.model.stack import Habits


class Kind(enum.IntEnum):
    """The remainder of the seed. SWAP sessions are inspected by ``SwapCase``, MAIL by the real one."""

    SWAP = 0
    MAIL = 1
    SWAP_HOSTILE = 2
    MAIL_HOSTILE = 3
    SWAP_CLOSED = 4
    MAIL_CLOSED = 5

    @property
    def hostile(self) -> bool:
        return self in (Kind.SWAP_HOSTILE, Kind.MAIL_HOSTILE)

    @property
    def closed(self) -> bool:
        return self in (Kind.SWAP_CLOSED, Kind.MAIL_CLOSED)

    @property
    def is_mail(self) -> bool:
        return bool(self & 1)


def limits(random: Random, largest: int) -> Limits:
    """Bounds that are met; ``largest``: what has to pass at once, if anything is to move."""
    return Limits(
        held_packets=random.choice((1, 3, 64)),
        held_bytes=random.choice((1500, 5000, 1 << 18)),
        held_packets_total=random.choice((2, 5, 1024)),
        memory_bytes=random.choice((largest, 2 * largest, 1 << 24)),
        memory_bytes_total=random.choice((2 * SHARE * largest, 1 << 24)),
        reports=random.choice((1, 4, 2048)),
        reports_total=random.choice((2, 65_536)),
    )


def link(random: Random, *, verbs_whole: bool) -> Link:
    """Good or bad; with ``verbs_whole`` it splits nothing."""
    lossy, splits = random.choice((0, 4)), 0 if verbs_whole else 2
    return Link(
        delay=random.choice((0.001, 0.01, 0.1)),
        jitter=random.choice((0.0, 0.0, 0.001, 0.05)),
        trouble=random.choice((0.0, 0.05, 0.2, 0.4)),
        weights=(lossy, 2, 2, splits, 2, 1 if lossy else 0),
        spike=random.choice((0.05, 0.5, 3.0)),
    )


def habits(random: Random, *, verbs_whole: bool) -> Habits:
    """An end of any kind; with ``verbs_whole`` one that cuts nothing small."""
    largest = 1000 if verbs_whole else random.choice((20, 60, 200, 536, 1448))
    window = random.choice((2 * largest, 700, 5000, 60000, 200000))
    return Habits(
        initial=random.choice((2**32 - random.randint(1, 2000), random.getrandbits(32))),
        largest=largest,
        cut=not verbs_whole and random.random() < 0.5,
        burst=random.choice((1, 1, 1, 4)),
        window=window,
        scale=random.choice((None, 0, 3, 7) if window > 2000 else (None, 0)),
        sack=random.random() < 0.7,
        timestamps=random.random() < 0.6,
        policy=random.choice(tuple(POLICIES)),
        delayed=random.random() < 0.3,
        reading=random.choice((0.0, 0.0, 0.0, 0.01, 0.5)),
        probe_with_data=not verbs_whole and random.random() < 0.4,
        keep_alives=random.choice((0, 0, 0, 3)),
    )
