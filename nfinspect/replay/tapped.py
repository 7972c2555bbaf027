"""Frames as they were seen on the wires, read for a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from nfinspect.lab.player import Played
from nfinspect.lab.tap import TappedFrame
from nfinspect.lab.topology import INSIDE, OUTSIDE
from nfinspect.replay.capture import Frame
from nfinspect.replay.comparison import Difference, described
from nfinspect.replay.fragments import Reassembler, is_fragment
from nfinspect.replay.output import CaptureWriter
from nfinspect.replay.playable import WIRE, Playable

ETHERNET_HEADER = 14
_IGMP, _ICMP_6 = 2, 58
_DISCOVERY = frozenset({130, 131, 132, 133, 134, 135, 136, 143})
"""Types of ICMPv6: multicast listeners, routers, neighbours."""


def arrived(source: Playable, played: Played) -> tuple[list[int], list[int], list[Difference]]:
    """The order of the packets as they came to the filter, by position, and the times; and what came
    otherwise than it was sent."""
    differences = []
    merged: list[tuple[int, int]] = []
    for from_client, tapped in zip((True, False), played.arrived, strict=True):
        positions = [n for n, each in enumerate(source.packets) if each.from_client is from_client]
        frames = [
            frame
            for frame in tapped
            if _is_ip(frame) and not _is_neighbourly(frame.data[ETHERNET_HEADER:])
        ]
        for position, frame in zip(positions, frames, strict=False):
            packet = source.packets[position]
            merged.append((frame.time, position))
            came = frame.data[ETHERNET_HEADER:]
            if came != packet.datagram:
                text = (
                    f"sent {described(packet.datagram)}\nbut to the filter came {described(came)}"
                )
                sent = (packet.datagram.hex(),)
                differences.append(
                    Difference("input", "", (packet.number,), sent, (came.hex(),), text)
                )
                break
        if len(positions) != len(frames):
            where = OUTSIDE.name if from_client else INSIDE.name
            text = f"{len(frames)} packets came to the filter's {where}, of {len(positions)} sent"
            differences.append(Difference("input", "", (), (), (), text))
    merged.sort()
    start = merged[0][0] if merged else 0
    first = source.packets[0].time  # the year does not matter
    times = [first + time - start for time, _ in merged]
    return [position for _, position in merged], times, differences


def datagrams(frames: Iterable[TappedFrame]) -> Iterator[bytes]:
    """The datagrams in *frames*, with fragments joined again, without what a kernel tells its
    neighbours of itself."""
    joining = Reassembler()
    for number, tapped in enumerate(frames, 1):
        if not _is_ip(tapped):
            continue
        data = tapped.data
        datagram = _trimmed(data[ETHERNET_HEADER:])
        if is_fragment(datagram):
            frame = Frame(number, tapped.time, WIRE, data, len(data))
            frame.offset, frame.end = ETHERNET_HEADER, ETHERNET_HEADER + len(datagram)
            decided = joining.add(frame, tapped.time / 1e9)
            if decided is not None and decided.datagram is not None:
                yield decided.datagram
        elif not _is_neighbourly(datagram):
            yield datagram


def _trimmed(datagram: bytes) -> bytes:
    if datagram[0] >> 4 == 4:
        return datagram[: int.from_bytes(datagram[2:4], "big")]
    return datagram[: 40 + int.from_bytes(datagram[4:6], "big")]


def _is_neighbourly(datagram: bytes) -> bool:
    """Multicast groups, and IPv6 neighbour discovery."""
    if datagram[0] >> 4 == 4:
        return datagram[9] == _IGMP
    if datagram[6] == 0:  # hop-by-hop options, before a listener report
        return datagram[40] == _ICMP_6
    return datagram[6] == _ICMP_6 and datagram[40] in _DISCOVERY


def _is_ip(frame: TappedFrame) -> bool:
    return frame.data[12:14] in (b"\x08\x00", b"\x86\xdd")


def keep(directory: Path, played: Played) -> None:
    """Write what passed each side."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, came, left in zip(
        (OUTSIDE.name, INSIDE.name), played.arrived, played.came_out, strict=True
    ):
        with CaptureWriter(directory / f"{name}.pcap") as writer:
            for frame in sorted(came + left, key=lambda each: each.time):
                writer.write(WIRE, frame.time, frame.data, len(frame.data))
