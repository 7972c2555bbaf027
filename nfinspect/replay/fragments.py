"""Reassembly of IP fragments, as connection tracking does it before a live filter's queue.

The rules are those of Linux (net/ipv4/inet_fragment.c, ip_fragment.c,
net/ipv6/netfilter/nf_conntrack_reasm.c), which follow RFC 5722 for both families: an exact
duplicate, or a fragment inside a run of neighbours that arrived in order, is ignored; any other
overlap discards the datagram. A datagram that is incomplete after `TIMEOUTS` is discarded, and so
are fragments beyond `MEMORY_BOUND`.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from struct import Struct

from nfinspect.packet.checksum import ipv4_header_checksum, ones_complement_sum
from nfinspect.packet.segment import TCP_PROTOCOL
from nfinspect.replay.capture import Frame

TIMEOUTS = {4: 30.0, 6: 60.0}
"""Seconds from a datagram's first fragment (ipfrag_time, nf_conntrack_frag6_timeout)."""

MEMORY_BOUND = 4 * 1024 * 1024
"""Bytes of waiting frames per family (ipfrag_high_thresh), each with `FRAME_OVERHEAD`."""

FRAME_OVERHEAD = 768
"""Bytes that the kernel, too, counts for each frame: its socket buffer."""

LARGEST_DATAGRAM = 65_535

_WORD = Struct("!H")
_MORE, _DO_NOT = 0x2000, 0x4000  # flags of IPv4, RFC 791 section 3.1
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION_OPTIONS = 0, 43, 44, 51, 60
_UNFRAGMENTABLE = frozenset({_HOP_BY_HOP, _ROUTING, _DESTINATION_OPTIONS})
"""IPv6 extension headers that may precede a fragment header (RFC 8200 section 4.5)."""
_BEFORE_TCP = _UNFRAGMENTABLE | {TCP_PROTOCOL, _AUTHENTICATION}
_NOT_ECT, _CONGESTION_EXPERIENCED = 0, 3  # RFC 3168 section 5


@dataclass(slots=True)
class Decided:
    """Fragments that are no longer waiting."""

    frames: list[Frame]
    datagram: bytes | None = None
    """The reassembled datagram; None: the fragments are discarded."""
    first: bytes | None = None
    """The fragment with the ports, if it was among them."""


@dataclass(slots=True)
class IpFragment:
    """The fields of one fragment."""

    key: bytes
    """Addresses and identification."""
    start: int
    """Offset of its payload in the datagram's payload."""
    payload: bytes
    more: bool
    head: bytes
    """The headers before the payload, without the IPv6 fragment header."""
    traffic_class: int
    version: int
    frame: Frame

    @property
    def end(self) -> int:
        return self.start + len(self.payload)


def is_fragment(datagram: bytes) -> bool:
    """Whether *datagram* is a fragment, and of TCP as far as one can tell."""
    version = datagram[0] >> 4
    if version == 4:
        return len(datagram) >= 20 and bool(
            datagram[9] == TCP_PROTOCOL and int.from_bytes(datagram[6:8], "big") & 0x3FFF
        )
    if version == 6 and len(datagram) >= 40:
        at = _fragment_header(datagram)
        return at > 0 and datagram[at] in _BEFORE_TCP
    return False


def read(frame: Frame) -> IpFragment | None:
    """The fragment in *frame*; None if the kernel would not accept it."""
    datagram = frame.data[frame.offset : frame.end]
    if datagram[0] >> 4 == 4:
        return _read_4(frame, datagram)
    return _read_6(frame, datagram)


def _read_4(frame: Frame, datagram: bytes) -> IpFragment | None:
    length = int.from_bytes(datagram[2:4], "big")
    header = (datagram[0] & 15) << 2
    control = int.from_bytes(datagram[6:8], "big")
    if header < 20 or not header <= length <= len(datagram):
        return None
    if ones_complement_sum(datagram[:header]) != 0xFFFF and datagram[10:12] != bytes(2):
        return None
    return IpFragment(
        key=datagram[12:20] + datagram[4:6],
        start=(control & 0x1FFF) << 3,
        payload=datagram[header:length],
        more=bool(control & _MORE),
        head=datagram[:header],
        traffic_class=datagram[1],
        version=4,
        frame=frame,
    )


def _read_6(frame: Frame, datagram: bytes) -> IpFragment | None:
    at = _fragment_header(datagram)
    end = 40 + int.from_bytes(datagram[4:6], "big")
    if not at + 8 <= end <= len(datagram):
        return None
    control = int.from_bytes(datagram[at + 2 : at + 4], "big")
    head = bytearray(datagram[:at])
    head[_next_header_field(datagram, at)] = datagram[at]
    if control & 0xFFF8 == 0 and datagram[at] == TCP_PROTOCOL and end - at - 8 < 20:
        return None  # a first fragment without all headers, RFC 8200 section 4.5
    return IpFragment(
        key=datagram[8:40] + datagram[at + 4 : at + 8],
        start=control & 0xFFF8,
        payload=datagram[at + 8 : end],
        more=bool(control & 1),
        head=bytes(head),
        traffic_class=int.from_bytes(datagram[:2], "big") >> 4 & 0xFF,
        version=6,
        frame=frame,
    )


def _fragment_header(datagram: bytes) -> int:
    """Offset of the fragment header in an IPv6 *datagram*; 0 if there is none."""
    header, at = datagram[6], 40
    while at + 8 <= len(datagram):
        if header == _FRAGMENT:
            return at
        if header not in _UNFRAGMENTABLE:
            return 0
        header = datagram[at]
        at += (datagram[at + 1] + 1) * 8
    return 0


def _next_header_field(datagram: bytes, at: int) -> int:
    """Offset of the field with the type of the header at *at*."""
    field_at, header = 6, 40
    while header < at:
        field_at = header
        header += (datagram[header + 1] + 1) * 8
    return field_at


@dataclass(slots=True)
class _Gathering:
    """The fragments of one datagram."""

    since: float
    frames: list[Frame] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """Starts of the runs, in order. A run is a series of fragments that arrived in order at the
    datagram's far end, or a single fragment: this is how the kernel tells duplicates from
    overlaps."""
    ends: list[int] = field(default_factory=list)
    pieces: dict[int, bytes] = field(default_factory=dict)
    have: int = 0
    length: int = 0
    """Length of the payload, as far as it is known."""
    complete_length: bool = False
    """Whether the last fragment has arrived."""
    first: IpFragment | None = None
    codepoints: set[int] = field(default_factory=set)
    """ECN codepoints of the fragments."""
    largest: int = 0
    """Size of the largest fragment."""
    largest_unfragmentable: int = 0
    """Size of the largest fragment with the flag Don't Fragment."""
    memory: int = 0


class Reassembler:
    """Reassembles datagrams from captured frames."""

    def __init__(self) -> None:
        self._gatherings: dict[int, dict[bytes, _Gathering]] = {4: {}, 6: {}}
        self._memory = {4: 0, 6: 0}

    def __len__(self) -> int:
        return sum(map(len, self._gatherings.values()))

    def add(self, frame: Frame, now: float) -> Decided | None:
        """Add the fragment in *frame*; returns what that decides, None if it waits for others."""
        fragment = read(frame)
        if fragment is None:
            return Decided([frame], first=frame.data[frame.offset :])
        if self._memory[fragment.version] > MEMORY_BOUND:
            return Decided([frame], first=frame.data[frame.offset :])
        gathering = self._gatherings[fragment.version].get(fragment.key)
        if gathering is None:
            gathering = _Gathering(now)
            self._gatherings[fragment.version][fragment.key] = gathering
        cost = len(frame.data) + FRAME_OVERHEAD
        gathering.memory += cost
        self._memory[fragment.version] += cost
        gathering.frames.append(frame)
        have = gathering.have
        if not _fits(gathering, fragment):
            return self._discard(fragment.version, fragment.key)
        if gathering.have == have:
            return None  # ignored, as in the kernel
        if gathering.complete_length and gathering.have == gathering.length:
            decided = self._discard(fragment.version, fragment.key)
            decided.datagram = _whole(gathering, fragment.version)
            return decided
        return None

    def expire(self, now: float) -> list[Decided]:
        """Discard datagrams whose time is up."""
        decided = []
        for version, gatherings in self._gatherings.items():
            while gatherings:  # the oldest is the first
                key, gathering = next(iter(gatherings.items()))
                if gathering.since + TIMEOUTS[version] > now:
                    break
                decided.append(self._discard(version, key))
        return decided

    def flush(self) -> list[Decided]:
        """Discard everything that is incomplete."""
        return [
            self._discard(version, key)
            for version, gatherings in self._gatherings.items()
            for key in list(gatherings)
        ]

    def _discard(self, version: int, key: bytes) -> Decided:
        gathering = self._gatherings[version].pop(key)
        self._memory[version] -= gathering.memory
        first = gathering.first
        return Decided(gathering.frames, first=first.head + first.payload if first else None)


def _fits(gathering: _Gathering, fragment: IpFragment) -> bool:
    """Insert the fragment, or ignore it; False if it makes the datagram invalid."""
    merely_ignored = fragment.version == 6  # IPv4 discards the datagram, IPv6 only the fragment
    start, payload = fragment.start, fragment.payload
    if fragment.more and len(payload) & 7:
        if fragment.version == 6:
            return False
        payload = payload[: len(payload) & ~7]
    end = start + len(payload)
    if end > LARGEST_DATAGRAM:
        return merely_ignored
    if fragment.more:
        if end > gathering.length and gathering.complete_length:
            return merely_ignored
    elif end < gathering.length or (gathering.complete_length and end != gathering.length):
        return merely_ignored
    else:
        gathering.complete_length = True
    gathering.length = max(gathering.length, end)
    if end == start:
        return merely_ignored

    starts, ends = gathering.starts, gathering.ends
    if not starts or start > ends[-1]:
        starts.append(start)
        ends.append(end)
    elif start == ends[-1]:
        ends[-1] = end
    else:
        at = bisect_left(ends, start + 1)  # the first run that ends after the start
        if starts[at] < end:
            return starts[at] <= start and end <= ends[at]  # a duplicate, else an overlap
        starts.insert(at, start)
        ends.insert(at, end)

    gathering.pieces[start] = payload
    gathering.have += len(payload)
    gathering.codepoints.add(fragment.traffic_class & 3)
    if start == 0:
        gathering.first = fragment
    size = len(fragment.head) + len(payload)
    gathering.largest = max(gathering.largest, size)
    if fragment.version == 4 and fragment.head[6] & _DO_NOT >> 8:
        gathering.largest_unfragmentable = max(gathering.largest_unfragmentable, size)
    return True


def _whole(gathering: _Gathering, version: int) -> bytes | None:
    """The datagram; None if it must not be reassembled."""
    first = gathering.first
    assert first is not None  # it has all bytes from 0 on
    codepoints = gathering.codepoints
    if _NOT_ECT in codepoints and len(codepoints) > 1:  # RFC 3168 section 5.3
        return None
    congestion = _CONGESTION_EXPERIENCED if _CONGESTION_EXPERIENCED in codepoints else 0
    head = bytearray(first.head)
    payload = b"".join(piece for _, piece in sorted(gathering.pieces.items()))
    counted = len(payload) + len(head) - (40 if version == 6 else 0)
    if counted > LARGEST_DATAGRAM:
        return None
    if version == 4:
        _WORD.pack_into(head, 2, counted)
        keeps = gathering.largest_unfragmentable == gathering.largest
        _WORD.pack_into(head, 6, _DO_NOT if keeps else 0)
        head[1] |= congestion
        _WORD.pack_into(head, 10, ipv4_header_checksum(head))
    else:
        _WORD.pack_into(head, 4, counted)
        head[1] |= congestion << 4
    return bytes(head) + payload
