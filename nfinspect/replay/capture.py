"""Reading captures: pcap and pcapng, plain or gzip, either byte order, from files and pipes.

The two formats are simple, and scapy's readers do not suit untrusted files of any size: they trust
lengths, raise arbitrary exceptions, and take several times as long as the filter itself. Here, a
record larger than `LARGEST_RECORD`, or one that extends beyond the end of the file, is reported as
`Damage` with its position; everything before it is used.

Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, BinaryIO, Protocol, cast

MEBIBYTE = 1024 * 1024
LARGEST_RECORD = 16 * MEBIBYTE
"""Bytes of a pcap record or pcapng block; tcpdump writes at most 256 KiB of a packet."""

MAX_INTERFACES = 65_536
"""Interfaces per pcapng section."""

SECOND = 10**9
LATEST = 2**32 * SECOND - 1
"""The last nanosecond that a pcap file can represent, in 2106. Later times are set to it."""

_CHUNK = 256 * 1024
_GZIP = b"\x1f\x8b"
_SECTION = b"\x0a\x0d\x0d\x0a"  # the same in either byte order
_SECTION_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_PCAP_ORDERS = {  # magic number: byte order, nanoseconds in the fraction's unit
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
_OTHERS = {  # other common formats, for a helpful message
    b"\x28\xb5\x2f\xfd": "compressed with zstd; replay reads plain and gzip captures",
    b"\xfd7zX": "compressed with xz; replay reads plain and gzip captures",
    b"BZh9": "compressed with bzip2; replay reads plain and gzip captures",
    b"\x04\x22\x4d\x18": "compressed with lz4; replay reads plain and gzip captures",
}


class NotACaptureError(Exception):
    """The file is not a capture; the message says what is known about it."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Where and why the rest of a file could not be used."""

    file: str
    offset: int
    """Byte offset of the faulty record in the (uncompressed) file."""
    packet: int
    """The last packet read; 0 if none."""
    text: str

    def __str__(self) -> str:
        where = f"after packet {self.packet}" if self.packet else "before the first packet"
        return f"{self.file}: {where}, byte {self.offset}: {self.text}"


@dataclass(frozen=True, slots=True)
class CaptureInterface:
    """Where a packet was captured; equal interfaces count as the same."""

    link_type: int
    """LINKTYPE_ value."""
    nanoseconds: bool
    """The time resolution is finer than a microsecond."""


class Frame:
    """A captured packet, and what the driver finds out about it."""

    __slots__ = (
        "data",
        "decided",
        "end",
        "interface",
        "key",
        "length",
        "number",
        "offset",
        "parts",
        "record",
        "time",
    )

    def __init__(
        self, number: int, time: int, interface: CaptureInterface, data: bytes, length: int
    ) -> None:
        self.number = number
        """From 1, counted through all captures."""
        self.time = time
        """Nanoseconds since 1970, 0 to `LATEST`."""
        self.interface = interface
        self.data = data
        self.length = length
        """Length on the wire; more than len(data) if the capture truncated the packet."""
        self.offset = 0
        """Where the datagram begins, after the link header."""
        self.end = 0
        """Where the datagram ends; link padding may follow."""
        self.parts: Sequence[Frame] = ()
        """The fragments that it was made of, if it was."""
        self.key = b""
        """See ``Segment.key``."""
        self.record: Any = None
        """What the driver keeps of its connection (a `records.ConnectionRecord`); None if nothing."""
        self.decided = False
        """Whether it has a verdict."""


PAUSE = Frame(0, 0, CaptureInterface(0, False), b"", 0)
"""Stands between the frames of a capture that is still being made: there are no more for now."""


class Awaited(Protocol):
    """Tells what to do before a read that may have to wait (`live.Pipe`)."""

    ended: bool
    """No more is to be read, although the file has not ended."""

    def wait(self) -> bool:
        """Return whether there is something to read; if not, the reader pauses."""


class Capture:
    """A capture, read from start to end. Afterwards, `damage` says why it ended early, if it
    did."""

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        packets_before: int = 0,
        awaited: Awaited | None = None,
    ) -> None:
        """Read the start of *file*, unbuffered and binary; *name* is for messages.

        Packets are numbered from *packets_before* + 1. With *awaited*, the iterator yields `PAUSE`
        where the next packet is still to be captured. Raises NotACaptureError.
        """
        self.name = name
        self.before = packets_before
        self.packets = packets_before
        """The number of the last packet read."""
        self.damage: Damage | None = None
        self._file = file
        self._awaited = awaited
        self._offset = 0  # of _data[0], in the uncompressed file
        self._ended = False
        self._data = b""
        self._read = file.read
        self._fill(0, 4)
        if self._data.startswith(_GZIP):
            packed = cast(BinaryIO, _Rewound(self._data, file))  # all that GzipFile needs
            self._read = gzip.GzipFile(fileobj=packed, mode="rb").read1
            self._data = b""
            self._ended = False
            self._fill(0, 4)
        self._begin()

    @property
    def position(self) -> int | None:
        """Bytes of the file read so far, before decompression; None for a pipe."""
        try:
            return self._file.tell()
        except OSError:
            return None

    def __iter__(self) -> Iterator[Frame]:
        return self._pcapng() if self._data.startswith(_SECTION) else self._pcap()

    def _begin(self) -> None:
        magic = self._data[:4]
        if magic == _SECTION or (magic in _PCAP_ORDERS and self._fill(0, 24)):
            return
        if magic in _PCAP_ORDERS:
            raise NotACaptureError("ends within its file header")
        if self.damage:
            raise NotACaptureError(f"neither pcap nor pcapng: {self.damage.text}")
        if not self._data:
            raise NotACaptureError("empty file; a capture has at least a header")
        raise NotACaptureError(_OTHERS.get(magic, "neither pcap nor pcapng"))

    def _pcap(self) -> Iterator[Frame]:
        order, unit = _PCAP_ORDERS[self._data[:4]]
        record = Struct(order + "IIII")
        # The upper half describes a frame check sequence, which counts as link padding here.
        link_type = Struct(order + "I").unpack_from(self._data, 20)[0] & 0xFFFF
        interface = CaptureInterface(link_type, unit == 1)
        at = 24
        number = self.packets
        while True:
            if at + 16 > len(self._data):
                yield from self._pauses()
                if not self._fill(at, 16):
                    return self._ends()
                at = 0
            seconds, fraction, size, length = record.unpack_from(self._data, at)
            if size > LARGEST_RECORD:
                return self._damaged(at, f"impossible record length {size}")
            end = at + 16 + size
            if end > len(self._data):
                if not self._fill(at, 16 + size):
                    return self._ends()
                at, end = 0, 16 + size
            number += 1
            self.packets = number
            time = seconds * SECOND + fraction * unit
            if time > LATEST:
                time = LATEST
            data = self._data[at + 16 : end]
            yield Frame(number, time, interface, data, length if length > size else size)
            at = end

    def _pcapng(self) -> Iterator[Frame]:
        section = _Section("<")
        at = 0
        time = 0
        while True:
            if at + 12 > len(self._data):
                yield from self._pauses()
                if not self._fill(at, 12):
                    return self._ends()
                at = 0
            if self._data[at : at + 4] == _SECTION:
                order = _SECTION_ORDERS.get(self._data[at + 8 : at + 12])
                if order is None:
                    return self._damaged(at, "section without a byte-order magic")
                section = _Section(order)
            kind, size = section.two_words.unpack_from(self._data, at)
            if not 12 <= size <= LARGEST_RECORD:
                return self._damaged(at, f"impossible block length {size}")
            size = size + 3 & ~3
            if at + size > len(self._data):
                if not self._fill(at, size):
                    return self._ends()
                at = 0
            body = at + 8
            end = at + size - 4
            if kind in (_ENHANCED_PACKET, _OLD_PACKET):
                if end - body < 20:
                    return self._damaged(at, "packet block too short")
                source, high, low, captured, length = section.packet.unpack_from(self._data, body)
                if kind == _OLD_PACKET:  # two half words: interface, drop count
                    source = section.two_halves.unpack_from(self._data, body)[0]
                data_at = body + 20
            elif kind == _SIMPLE_PACKET:
                if end - body < 4:
                    return self._damaged(at, "packet block too short")
                (length,) = section.word.unpack_from(self._data, body)
                source, data_at = 0, body + 4
                captured = min(length, end - data_at)
                if section.interfaces and section.interfaces[0].snap_length:
                    captured = min(captured, section.interfaces[0].snap_length)
            else:
                if kind == _INTERFACE and not section.describe(self._data[body:end]):
                    return self._damaged(at, "invalid interface description")
                at = end + 4
                continue
            if captured > end - data_at:
                return self._damaged(at, f"packet of {captured} bytes in a block of {size}")
            if source >= len(section.interfaces):
                return self._damaged(at, f"packet from undefined interface {source}")
            described = section.interfaces[source]
            if kind != _SIMPLE_PACKET:  # which has no time, so the last packet's is used
                time = described.nanoseconds(high << 32 | low)
            self.packets += 1
            data = self._data[data_at : data_at + captured]
            yield Frame(self.packets, time, described.interface, data, max(length, captured))
            at = end + 4

    def _pauses(self) -> Iterator[Frame]:
        """Before a read: pause as long as there is nothing to read."""
        awaited = self._awaited
        while awaited is not None and not awaited.wait() and not awaited.ended:
            yield PAUSE

    def _ends(self) -> None:
        """The end of the file: nothing more, or a truncated record."""
        if self._data and not (self._awaited is not None and self._awaited.ended):
            self._damaged(0, "the file ends in the middle of a record")

    def _damaged(self, at: int, text: str) -> None:
        if self.damage is None:
            self.damage = Damage(self.name, self._offset + at, self.packets, text)

    def _fill(self, at: int, need: int) -> bool:
        """Make the data begin at *at* and hold *need* bytes; False if the file ends before that."""
        pieces = [self._data[at:]]
        have = len(pieces[0])
        self._offset += at
        while have < need and not self._ended:
            if self._awaited is not None and self._awaited.ended:
                break
            try:
                piece = self._read(_CHUNK)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                piece = b""
                early = isinstance(error, EOFError)
                self._data = b"".join(pieces)
                self._damaged(
                    have, "the gzip data ends early" if early else "the gzip data is corrupt"
                )
            except OSError as error:
                piece = b""
                self._damaged(have, f"read error: {error.strerror}")
            self._ended = not piece
            pieces.append(piece)
            have += len(piece)
        self._data = b"".join(pieces)
        return have >= need


class _Rewound:
    """A file whose first bytes have already been read."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start = start
        self._rest = rest

    def read(self, size: int) -> bytes:
        if self._start:
            data, self._start = self._start[:size], self._start[size:]
            return data
        return self._rest.read(size)


_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 1, 2, 3, 6
_TIME_RESOLUTION, _TIME_OFFSET = 9, 14


class _Section:
    """The byte order and the interfaces of one pcapng section."""

    def __init__(self, order: str) -> None:
        self.word = Struct(order + "I")
        self.two_words = Struct(order + "II")
        self.two_halves = Struct(order + "HH")
        self.packet = Struct(order + "IIIII")  # interface, time high and low, captured, length
        self.interfaces: list[_Described] = []
        self._offset = Struct(order + "q")

    def describe(self, body: bytes) -> bool:
        """Read an interface description block; False if it is invalid."""
        if len(body) < 8 or len(self.interfaces) >= MAX_INTERFACES:
            return False
        link_type = self.two_halves.unpack_from(body)[0]
        snap_length = self.word.unpack_from(body, 4)[0]
        resolution, offset = 6, 0
        at = 8
        while at + 4 <= len(body):
            code, size = self.two_halves.unpack_from(body, at)
            value = body[at + 4 : at + 4 + size]
            if code == 0 or len(value) < size:
                break
            if code == _TIME_RESOLUTION and size == 1:
                resolution = value[0]
            elif code == _TIME_OFFSET and size == 8:
                offset = self._offset.unpack(value)[0]
            at += 4 + (size + 3 & ~3)
        if resolution & 0x80:
            units = 1 << (resolution & 0x7F)
        else:
            units = 10**resolution
        interface = CaptureInterface(link_type, units > 10**6)
        self.interfaces.append(_Described(interface, snap_length, units, offset))
        return True


@dataclass(frozen=True, slots=True)
class _Described:
    """An interface description block."""

    interface: CaptureInterface
    snap_length: int
    """0: unlimited."""
    units: int
    """Time units per second."""
    offset: int
    """Seconds to add to every time."""

    def nanoseconds(self, units: int) -> int:
        return max(0, min(self.offset * SECOND + units * SECOND // self.units, LATEST))
