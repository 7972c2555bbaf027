"""What a long replay keeps on disk: finished connections, commands, syslog lines.

Items are JSON texts, written once and read at the end; a small amount stays in memory.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from struct import Struct
from typing import Any

IN_MEMORY = 1024 * 1024
"""Bytes that a spool keeps in memory before it goes to disk."""

CHUNK = 4 * 1024
"""Bytes that a list collects in memory before they go to the spool."""
STRING = 64
"""Bytes that a string takes besides its characters, and its place in a list."""

_OFFSETS_AT_ONCE = 4096
_ENTRY = Struct("<QQ")  # offset and length


class Spool:
    """Bytes in a temporary file. Errors are raised as OSError with the directory's name."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 (see close)
        self.size = 0

    def append(self, data: bytes) -> tuple[int, int]:
        """Append *data*; returns its offset and length for `read`."""
        return self.put(self.size, data)

    def put(self, offset: int, data: bytes) -> tuple[int, int]:
        """Write *data* at *offset*; a gap after the current end is filled with zeros."""
        try:
            self._file.seek(offset)
            self._file.write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from error
        self.size = max(self.size, offset + len(data))
        return offset, len(data)

    def read(self, offset: int, length: int) -> bytes:
        """Read *length* bytes at *offset*."""
        self._file.seek(offset)
        return self._file.read(length)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()


class SpooledList:
    """A list of JSON items, of which only the last few are in memory."""

    __slots__ = ("_pending", "_pending_size", "_spool", "chunks", "count")

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._pending: list[str] = []
        self._pending_size = 0
        self.chunks: list[tuple[int, int]] = []
        """Positions in the spool; complete after `settle`."""
        self.count = 0

    def append(self, item: Any) -> None:
        """Append *item*, made of JSON types."""
        text = json.dumps(item)
        self.count += 1
        self._pending.append(text)
        self._pending_size += len(text) + STRING
        if self._pending_size >= CHUNK:
            self.settle()

    def settle(self) -> None:
        """Put the rest into the spool."""
        if self._pending:
            self.chunks.append(self._spool.append(",".join(self._pending).encode("ascii")))
            self._pending = []
            self._pending_size = 0


def texts(spool: Spool, chunks: list[tuple[int, int]]) -> Iterator[str]:
    """The JSON list in *chunks*, without its brackets, in pieces."""
    for position, (offset, length) in enumerate(chunks):
        yield ("," if position else "") + spool.read(offset, length).decode("ascii")


def items(spool: Spool, chunks: list[tuple[int, int]]) -> Iterator[Any]:
    """The items of the list in *chunks*."""
    for offset, length in chunks:
        yield from json.loads(b"[" + spool.read(offset, length) + b"]")


class SpooledTable:
    """JSON objects by number, from 1; written in any order, read in order."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._index = Spool()

    def put(self, number: int, item: dict[str, Any]) -> None:
        """Store *item* under *number*."""
        place = self._spool.append(json.dumps(item).encode("ascii"))
        self._index.put((number - 1) * _ENTRY.size, _ENTRY.pack(*place))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, self._index.size, _OFFSETS_AT_ONCE * _ENTRY.size):
            index = self._index.read(start, _OFFSETS_AT_ONCE * _ENTRY.size)
            for offset, length in _ENTRY.iter_unpack(index):
                if length:
                    yield json.loads(self._spool.read(offset, length))

    def close(self) -> None:
        """Delete the index."""
        self._index.close()
