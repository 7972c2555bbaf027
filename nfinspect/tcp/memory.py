"""The memory of bytes that were passed and that the receiver has not acknowledged.

Retransmissions are answered from here: a rewritten segment is rewritten identically again, and
different bytes in a retransmission reach nobody. Only the cumulative acknowledgement releases
bytes; SACK does not, as a receiver may renege (RFC 2018 section 8).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import attrgetter
from typing import Final

SMALL: Final = 512
"""Bytes. Smaller chunks are merged up to this size: otherwise the overhead per chunk would let a
sender of one-byte segments use many times the memory bound."""

FILL: Final = 0x58
"""``X``: replaces bytes no longer remembered, which the receiver has acknowledged and discards."""


class Chunk:
    """Bytes as they arrived and as they were passed (often the same object)."""

    __slots__ = ("arrived", "end", "passed", "start")

    def __init__(self, start: int, arrived: bytes, passed: bytes) -> None:
        self.start = start
        self.end = start + len(passed)
        self.arrived = arrived
        self.passed = passed


class Memory:
    """Contiguous chunks in sequence order. Whole chunks are kept until their last byte is
    acknowledged; ``size`` counts what is kept, in bytes."""

    __slots__ = ("chunks", "size")

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.size = 0

    def append(self, start: int, arrived: bytes, passed: bytes) -> None:
        chunks, size = self.chunks, len(passed)
        self.size += size
        if not chunks or chunks[-1].end - chunks[-1].start + size > SMALL:
            chunks.append(Chunk(start, arrived, passed))
            return
        last = chunks[-1]
        same = last.arrived is last.passed and arrived is passed
        joined = last.passed + passed
        chunks[-1] = Chunk(last.start, joined if same else last.arrived + arrived, joined)

    def release(self, acknowledged: int) -> int:
        """Release chunks that end at or before ``acknowledged``; returns the bytes freed."""
        freed = done = 0
        for chunk in self.chunks:
            if chunk.end > acknowledged:
                break
            freed += len(chunk.passed)
            done += 1
        del self.chunks[:done]
        self.size -= freed
        return freed

    @property
    def end(self) -> int | None:
        """The sequence number after the last remembered byte; None if nothing is remembered."""
        return self.chunks[-1].end if self.chunks else None

    def recall(self, start: int, end: int) -> bytes:
        """What was passed from ``start`` up to ``end``; bytes no longer remembered are ``X``."""
        pieces: list[bytes] = []
        position = start
        for chunk in self._between(start, end):
            if chunk.start > position:
                pieces.append(bytes([FILL]) * (chunk.start - position))
                position = chunk.start
            pieces.append(chunk.passed[position - chunk.start : end - chunk.start])
            position = min(chunk.end, end)
        if position < end:
            pieces.append(bytes([FILL]) * (end - position))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def conflicts(self, start: int, repeated: bytes) -> bool:
        """Whether ``repeated``, at ``start``, differs from what arrived there before.

        Compares with what the sender sent, not with what was passed: an honest retransmission of a
        rewritten segment is no conflict. Bytes no longer remembered are not compared.
        """
        end = start + len(repeated)
        for chunk in self._between(start, end):
            low, high = max(start, chunk.start), min(end, chunk.end)
            if low < high and (
                repeated[low - start : high - start]
                != chunk.arrived[low - chunk.start : high - chunk.start]
            ):
                return True
        return False

    def _between(self, start: int, end: int) -> list[Chunk]:
        """The chunks with bytes from ``start`` up to ``end``."""
        chunks = self.chunks
        first = bisect_right(chunks, start, key=_end)
        return chunks[first : bisect_left(chunks, end, first, key=_start)]


_start, _end = attrgetter("start"), attrgetter("end")
