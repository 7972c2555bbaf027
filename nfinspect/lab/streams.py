"""The TCP connections to port 25 in a capture, as byte streams and as lines in order.

This reader uses scapy and none of the filter's own code, so that it can be used to judge the
filter. It expects complete captures; a stream ends at the first gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet
from scapy.utils import PcapReader

PORT = 25
REQUEST, REPLY = "request", "reply"

_WRAP = 1 << 32


@dataclass(slots=True)
class Segment:
    """One TCP segment of a connection, as captured."""

    number: int
    """Packet number in the capture, from 1."""
    time: float
    direction: str
    offset: int
    """Offset of its first byte in the stream."""
    payload: bytes
    flags: str
    """As scapy writes them: ``SA``, ``PA``, ``R``."""


@dataclass(slots=True)
class Stream:
    """The bytes of one direction, each once, up to the first gap."""

    data: bytes = b""
    ends: list[int] = field(default_factory=list)
    """End offsets of the segments that brought new bytes."""
    times: list[float] = field(default_factory=list)
    """When the bytes up to each of these offsets were complete."""


@dataclass(slots=True)
class Conversation:
    """One TCP connection in a capture."""

    client: str
    """``ip:port``, for IPv6 ``[ip]:port``."""
    server: str
    segments: list[Segment] = field(default_factory=list)
    request: Stream = field(default_factory=Stream)
    reply: Stream = field(default_factory=Stream)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a stream, or the unfinished rest at its end."""

    time: float
    direction: str
    offset: int
    text: bytes
    """Without CR LF."""
    complete: bool
    """Whether it ended in CR LF."""
    cuts: tuple[int, ...]
    """Segment boundaries within the text."""


def conversations(file: Path) -> list[Conversation]:
    """Return the connections of a capture, in the order of their SYNs."""
    found: dict[tuple[str, str], Conversation] = {}
    starts: dict[tuple[str, str, str], int] = {}
    with PcapReader(str(file)) as packets:
        for number, packet in enumerate(packets, 1):
            if TCP not in packet or PORT not in (packet[TCP].sport, packet[TCP].dport):
                continue
            tcp = packet[TCP]
            direction = REQUEST if tcp.dport == PORT else REPLY
            source, destination = _ends(packet)
            ends = (source, destination) if direction == REQUEST else (destination, source)
            if tcp.flags.S and not tcp.flags.A and (ends not in found or _over(found[ends])):
                found[ends] = Conversation(*ends)
                starts.pop((*ends, REPLY), None)
                starts.pop((*ends, REQUEST), None)
            if ends not in found:
                continue  # its SYN is not in the capture
            if tcp.flags.S:
                starts.setdefault((*ends, direction), tcp.seq + 1)
            start = starts.get((*ends, direction), tcp.seq)
            found[ends].segments.append(
                Segment(
                    number,
                    float(packet.time),
                    direction,
                    (tcp.seq + bool(tcp.flags.S) - start + _WRAP // 2) % _WRAP - _WRAP // 2,
                    _payload(packet),
                    str(tcp.flags),
                )
            )
    for each in found.values():
        each.request = _reassemble(each.segments, REQUEST)
        each.reply = _reassemble(each.segments, REPLY)
    return list(found.values())


def lines(conversation: Conversation) -> list[Line]:
    """Return the lines of both directions, in the order in which they were completed."""
    both = [*_split(conversation.request, REQUEST), *_split(conversation.reply, REPLY)]
    return sorted(both, key=lambda line: line.time)


def _over(conversation: Conversation) -> bool:
    return any("F" in each.flags or "R" in each.flags for each in conversation.segments)


def _ends(packet: Packet) -> tuple[str, str]:
    tcp = packet[TCP]
    if IP in packet:
        return f"{packet[IP].src}:{tcp.sport}", f"{packet[IP].dst}:{tcp.dport}"
    return f"[{packet[IPv6].src}]:{tcp.sport}", f"[{packet[IPv6].dst}]:{tcp.dport}"


def _payload(packet: Packet) -> bytes:
    # By the lengths in the headers, as a short frame is padded.
    tcp = packet[TCP]
    if IP in packet:
        length = packet[IP].len - packet[IP].ihl * 4 - tcp.dataofs * 4
    else:
        length = packet[IPv6].plen - tcp.dataofs * 4
    return bytes(tcp.payload)[:length] if length > 0 else b""


def _reassemble(segments: list[Segment], direction: str) -> Stream:
    stream = Stream()
    data = bytearray()
    waiting: list[Segment] = []
    for segment in segments:
        if segment.direction != direction or not segment.payload:
            continue
        waiting.append(segment)
        # Like a receiver: in order, and the first copy of a byte counts.
        for each in sorted(waiting, key=lambda each: each.offset):
            if each.offset > len(data):
                break
            fresh = each.payload[len(data) - each.offset :]
            if fresh:
                data += fresh
                stream.ends.append(len(data))
                stream.times.append(segment.time)
            waiting.remove(each)
    stream.data = bytes(data)
    return stream


def _split(stream: Stream, direction: str) -> Iterator[Line]:
    position = 0
    while position < len(stream.data):
        found = stream.data.find(b"\r\n", position)
        end = found if found >= 0 else len(stream.data)
        after = min(end + 2, len(stream.data))
        time = next(
            time
            for time, arrived in zip(stream.times, stream.ends, strict=True)
            if arrived >= after
        )
        cuts = tuple(each - position for each in stream.ends if position < each <= end)
        text = stream.data[position:end]
        yield Line(time, direction, position, text, found >= 0, cuts)
        position = after
