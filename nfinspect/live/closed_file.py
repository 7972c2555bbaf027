"""Connections that inspection closed, kept across restarts in a small file.

A blocked mail is retransmitted for a quarter of an hour. A filter that has just started knows
nothing of it, and would take the connection for one older than itself, which passes uninspected. So
each connection that inspection closes is written to a file, at that moment: kill -9 loses none.

The file is a header and records of one size, appended one by one; a checksum in each tells a record
that was written in part. From time to time it is replaced by a new one with what is still to be kept
(`ClosedFile.keep`). Times are those of CLOCK_MONOTONIC, which holds for one boot, so the header names
it. The file is trusted only if nobody but its owner could have written it.

Nothing here stops the filter: what cannot be read is ignored, what cannot be written is tried again,
and the operator is told once.
"""

from __future__ import annotations

import contextlib
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from struct import Struct
from time import monotonic

from nfinspect.events import Event, InspectionClosed
from nfinspect.live.worker import DecisionAudit
from nfinspect.packet.segment import connection_key
from nfinspect.tcp.limits import Limits

DIRECTORY = Path("/run/nfinspect")

MAGIC = b"nfinspect closed connections 1\n\0"
HEADER = Struct("=32s32sI")
"""Magic, boot, checksum of both."""
RECORD = Struct("=dB36s3xI")
"""When inspection closed it (CLOCK_MONOTONIC), length of the key, the client's key, checksum."""
CHECKSUM = Struct("=I")

MOST = 100_000
"""Records read, at most."""
SPARE = 1024
"""Records beyond twice what was to be kept, at which the file is replaced."""
LONGEST = Limits().closed_longest
RETRY = 1.0
"""Seconds until another attempt after the file could not be written."""


def default_path(queue: int) -> Path:
    """The file of *queue* in this network namespace."""
    return DIRECTORY / f"closed-{Path('/proc/self/ns/net').stat().st_ino}-{queue}"


def boot() -> bytes:
    """What identifies this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()[:32]


class ClosedFile:
    """The file of one queue."""

    def __init__(
        self, path: Path, report: Callable[[str], None], now: Callable[[], float] = monotonic
    ) -> None:
        """*report* prints a message for the operator."""
        self._path = path
        self._report = report
        self._now = now
        self._descriptor = -1
        self._records = 0
        """In the file."""
        self._longest = SPARE
        """With more records than this, the file is replaced."""
        self._has_failed = False
        self._try_at = 0.0
        self.unwritten = 0
        """Connections closed by inspection that are not in the file."""

    def read(self) -> Iterator[tuple[bytes, float]]:
        """The client's key of each connection in the file, and when inspection closed it."""
        try:
            content = self._content()
        except FileNotFoundError:
            return
        except OSError as error:
            self._report(f"{self._path} is ignored: {error.strerror or error}")
            return
        header, records = content[: HEADER.size], content[HEADER.size :]
        if header != _header():
            self._report(
                f"{self._path} is ignored: it is damaged, of another boot or of another version"
            )
            return
        damaged = len(records) % RECORD.size != 0  # kill -9 in the middle of a record
        for at in range(0, len(records) - RECORD.size + 1, RECORD.size):
            record = records[at : at + RECORD.size]
            since, length, key, checksum = RECORD.unpack(record)
            if checksum == zlib.crc32(record[: -CHECKSUM.size]) and length in (12, 36):
                yield key[:length], since
            else:
                damaged = True
        if damaged:
            self._report(f"{self._path} has damaged records, which are ignored")

    def _content(self) -> bytes:
        # O_NONBLOCK: a FIFO in its place must not stop the filter.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is no regular file")
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise OSError("another user could have written it")
            return file.read(HEADER.size + MOST * RECORD.size)

    def restore(self, remember: Callable[[bytes, float, float], bool]) -> None:
        """Hand what the file has to *remember*, with the time; it returns whether there was room.
        What inspection closed longer ago than any connection is kept closed is left out."""
        now = self._now()
        restored = refused = 0
        for key, since in self.read():
            if now - LONGEST < since <= now:
                if remember(key, since, now):
                    restored += 1
                else:
                    refused += 1
        if restored:
            self._report(
                f"connections that an earlier run closed, and that stay closed: {restored}"
            )
        if refused:
            self._report(
                f"connections that an earlier run closed, and that do not fit in the table: {refused}"
            )

    def observe(self, event: Event) -> None:
        """Write a connection that inspection closes."""
        if type(event) is not InspectionClosed:
            return
        client, server = event.connection.client, event.connection.server
        key = connection_key(client.address, client.port, server.address, server.port)
        if self._descriptor >= 0 and not self.unwritten:
            try:
                _write_all(self._descriptor, _record(key, self._now()))
                self._records += 1
                return
            except OSError as error:
                self._failed(error)
        self.unwritten += 1

    def maintain(self, closed: Callable[[], Iterable[tuple[bytes, float]]]) -> None:
        """Replace the file if it has become long, or could not be written for a while."""
        if self._records > self._longest or (self.unwritten and self._now() >= self._try_at):
            self.keep(closed())

    def keep(self, closed: Iterable[tuple[bytes, float]]) -> None:
        """Replace the file by one with these connections and no others."""
        records = [_record(key, since) for key, since in closed]
        temporary = self._path.with_name(self._path.name + ".new")
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o600)
        except OSError as error:
            self._failed(error)
            return
        try:
            _write_all(descriptor, b"".join([_header(), *records]))
            temporary.replace(self._path)
        except OSError as error:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                temporary.unlink()
            self._failed(error)
            return
        self.close()
        self._descriptor = descriptor
        self._records = len(records)
        self._longest = 2 * len(records) + SPARE
        self.unwritten = 0
        if self._has_failed:
            self._has_failed = False
            self._report(f"{self._path} is written again")

    def close(self) -> None:
        """Close the descriptor; the file stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _failed(self, error: OSError) -> None:
        self._try_at = self._now() + RETRY
        if not self._has_failed:
            self._has_failed = True
            self._report(
                f"{self._path} cannot be written ({error.strerror}): connections closed by inspection"
                " would not be remembered after a restart; the filter goes on, and tries again"
            )


def _header() -> bytes:
    start = MAGIC + boot()
    return HEADER.pack(MAGIC, boot(), zlib.crc32(start))


def _record(key: bytes, since: float) -> bytes:
    record = RECORD.pack(since, len(key), key, 0)[: -CHECKSUM.size]
    return record + CHECKSUM.pack(zlib.crc32(record))


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class KeepingAudit:
    """Counts events, and keeps the connections that inspection closes in the file."""

    def __init__(self, audit: DecisionAudit, file: ClosedFile) -> None:
        self._audit = audit
        self._file = file
        self.dropped = audit.dropped

    def observe(self, event: Event) -> None:
        """Count an event, and write it if it closes a connection."""
        self._file.observe(event)
        self._audit.observe(event)
