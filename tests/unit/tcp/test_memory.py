"""The memory of what has passed, compared with one that works byte by byte."""

from __future__ import annotations

import random

import pytest

from nfinspect.tcp.memory import FILL, SMALL, Memory

BASE = 2**32 - 300
"""Absolute numbers continue beyond the 32-bit wrap."""


class Naive:
    """One entry per remembered byte: as it arrived, and as it passed."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[int, int]] = {}

    def append(self, start: int, arrived: bytes, passed: bytes) -> None:
        self.known.update(enumerate(zip(arrived, passed, strict=True), start))

    def recall(self, start: int, end: int) -> bytes:
        return bytes(self.known.get(at, (0, FILL))[1] for at in range(start, end))

    def conflicts(self, start: int, repeated: bytes) -> bool:
        return any(
            at in self.known and self.known[at][0] != byte
            for at, byte in enumerate(repeated, start)
        )


@pytest.mark.parametrize("seed", range(40))
def test_memory_recalls_and_compares_like_a_memory_of_single_bytes(seed: int) -> None:
    chance = random.Random(seed)
    memory, naive = Memory(), Naive()
    end = first = BASE
    sizes = chance.choice(((1, 2, 3), (1, 100, SMALL - 1, SMALL), (SMALL, 700), (1, 600)))
    for _ in range(300):
        what = chance.random()
        if what < 0.3:
            arrived = chance.randbytes(chance.choice(sizes))
            passed = arrived if chance.random() < 0.5 else arrived.swapcase()
            if len(arrived) >= SMALL and chance.random() < 0.1:
                end += chance.choice((1, 50))
            memory.append(end, arrived, passed)
            naive.append(end, arrived, passed)
            end += len(arrived)
        elif what < 0.4 and end > first:
            first = chance.randint(first, end)
            freed = memory.release(first)
            kept = memory.chunks[0].start if memory.chunks else end
            gone = [at for at in naive.known if at < kept]
            assert kept <= first or all(at not in naive.known for at in range(first, kept))
            assert len(gone) == freed
            for at in gone:
                del naive.known[at]
        else:
            start = chance.randint(BASE - 50, end + 20)
            stop = chance.randint(start, min(end + 40, start + chance.choice((1, 20, 3000))))
            recalled = memory.recall(start, stop)
            assert recalled == naive.recall(start, stop)
            repeated = bytearray(naive.known.get(at, (0, 0))[0] for at in range(start, stop))
            assert not memory.conflicts(start, bytes(repeated))
            if repeated:
                repeated[chance.randrange(len(repeated))] ^= 0x20
            differs = naive.conflicts(start, bytes(repeated))
            assert memory.conflicts(start, bytes(repeated)) == differs
        assert memory.size == len(naive.known)


def test_sparse_memory_recalls_x_between_the_bytes_it_knows() -> None:
    memory = Memory()
    for start in (100, 2_000, 5_000):
        memory.append(start, b"a" * SMALL, b"A" * SMALL)
    known = b"A" * SMALL
    assert memory.recall(100, 100 + SMALL) == known
    assert memory.recall(0, 700) == b"X" * 100 + known + b"X" * (600 - SMALL)
    assert memory.recall(1_000, 1_500) == b"X" * 500
    assert memory.recall(2_010, 5_010) == known[10:] + b"X" * (3_000 - SMALL) + b"A" * 10
    assert memory.recall(300, 300) == b""
    assert memory.recall(5_000 + SMALL, 6_000) == b"X" * (1_000 - SMALL)
    assert not memory.conflicts(700, b"?" * 1_300)
    assert memory.conflicts(700, b"?" * 1_301)
    assert not memory.conflicts(100 + SMALL, b"?")
    assert memory.conflicts(99 + SMALL, b"?")


def test_release_within_a_chunk_keeps_the_whole_chunk() -> None:
    memory = Memory()
    memory.append(0, b"a" * SMALL, b"A" * SMALL)
    memory.append(SMALL, b"b" * SMALL, b"B" * SMALL)
    assert memory.release(SMALL + 1) == SMALL
    assert memory.recall(SMALL - 1, SMALL + 2) == b"XBB"
    assert memory.size == SMALL
