"""Writing a capture of what leaves the filter.

The file is pcap with the link type and time resolution (microseconds or nanoseconds) of the input.
If the input mixes these, only pcapng can hold it: at the first packet that does not fit, the file
is converted. A pipe cannot be converted, so it is pcapng from the start, and so is stdout.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import BinaryIO, Self

from nfinspect.replay.capture import SECOND, Capture, CaptureInterface, Frame
from nfinspect.replay.link import ETHERNET

_BUFFER = 256 * 1024
_SNAP_LENGTH = 262_144  # tcpdump's default

_PCAP_HEADER = Struct("<IHHiIII")
_PCAP_RECORD = Struct("<IIII")
_PCAP_MAGIC = {False: 0xA1B2C3D4, True: 0xA1B23C4D}  # by nanoseconds

_WORD = Struct("<I")
_SECTION_BLOCK = Struct("<IIIHHqI")  # type, length, byte order, version, unknown length, length
_INTERFACE_BLOCK = Struct("<IIHHIHHB3xII")  # …, link type, snap length, if_tsresol, end, length
_PACKET_BLOCK = Struct("<IIIIIII")  # type, length, interface, time high, low, captured, length


class CaptureWriter:
    """Writes one capture. Errors are raised as OSError with the file name."""

    def __init__(self, path: Path, stdout: BinaryIO | None = None) -> None:
        """Write to *path*, or to *stdout* if given; then *path* is only its name in messages."""
        self._path = path
        self._turnable = stdout is None
        self._file = path.open("wb", buffering=_BUFFER) if stdout is None else stdout
        self._first: CaptureInterface | None = None
        self._numbers: dict[CaptureInterface, int] | None = None
        """Interface numbers in a pcapng file; None while it is pcap."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish the file. Without packets, it is an empty Ethernet capture."""
        try:
            if self._first is None:
                self._begin(CaptureInterface(ETHERNET, False))
        finally:
            try:
                self._file.close()
            except OSError as error:
                raise self._named(error) from error

    def copy(self, frame: Frame, time: int) -> None:
        """Write the packet as it was read, with the time *time* (nanoseconds since 1970)."""
        self.write(frame.interface, time, frame.data, frame.length)

    def write(self, interface: CaptureInterface, time: int, data: bytes, length: int) -> None:
        """Write a packet; *length* is its length on the wire."""
        if interface is not self._first:
            if self._first is None:
                self._begin(interface)
            elif self._numbers is None and interface != self._first:
                self._become_pcapng()
        if self._numbers is not None:
            record = self._pcapng_packet(interface, time, data, length)
        else:
            seconds, rest = divmod(time, SECOND)
            fraction = rest if interface.nanoseconds else rest // 1000
            record = _PCAP_RECORD.pack(seconds, fraction, len(data), length) + data
        try:
            self._file.write(record)
        except OSError as error:
            raise self._named(error) from error

    def _begin(self, interface: CaptureInterface) -> None:
        self._first = interface
        if self._turnable and self._file.seekable():
            magic = _PCAP_MAGIC[interface.nanoseconds]
            header = _PCAP_HEADER.pack(magic, 2, 4, 0, 0, _SNAP_LENGTH, interface.link_type)
        else:
            self._numbers = {}
            header = _section_block()
        try:
            self._file.write(header)
        except OSError as error:
            raise self._named(error) from error

    def _become_pcapng(self) -> None:
        """Convert the file written so far from pcap to pcapng."""
        with tempfile.TemporaryFile(buffering=0) as copy:
            try:
                self._file.flush()
                with self._path.open("rb") as written:
                    shutil.copyfileobj(written, copy, _BUFFER)
                copy.seek(0)
                self._file.seek(0)
                self._file.truncate()
                self._file.write(_section_block())
            except OSError as error:
                raise self._named(error) from error
            self._numbers = {}
            for frame in Capture(copy, str(self._path)):
                self.copy(frame, frame.time)

    def _pcapng_packet(
        self, interface: CaptureInterface, time: int, data: bytes, length: int
    ) -> bytes:
        assert self._numbers is not None
        description = b""
        number = self._numbers.get(interface)
        if number is None:
            number = self._numbers[interface] = len(self._numbers)
            description = _interface_block(interface)
        units = time if interface.nanoseconds else time // 1000
        padding = bytes(-len(data) & 3)
        size = _PACKET_BLOCK.size + len(data) + len(padding) + 4
        head = _PACKET_BLOCK.pack(
            6, size, number, units >> 32, units & 0xFFFFFFFF, len(data), length
        )
        return b"".join((description, head, data, padding, _WORD.pack(size)))

    def _named(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror, str(self._path))


def _section_block() -> bytes:
    size = _SECTION_BLOCK.size
    return _SECTION_BLOCK.pack(0x0A0D0D0A, size, 0x1A2B3C4D, 1, 0, -1, size)


def _interface_block(interface: CaptureInterface) -> bytes:
    size = _INTERFACE_BLOCK.size
    exponent = 9 if interface.nanoseconds else 6
    return _INTERFACE_BLOCK.pack(
        1, size, interface.link_type, 0, _SNAP_LENGTH, 9, 1, exponent, 0, size
    )
