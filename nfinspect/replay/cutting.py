"""Cutting what segmentation offload left whole into the packets that a network card puts on the wire.

Captures made on a sending or receiving host show datagrams of up to 64 KiB and more. What filters
them in the path sees each as several packets, and decides these one by one.
"""

from __future__ import annotations

from nfinspect.packet.segment import Segment
from nfinspect.packet.split import split
from nfinspect.replay.capture import Frame
from nfinspect.replay.link import framed

MTU = 1500
"""Bytes of a datagram."""


def cut(frame: Frame, segment: Segment) -> list[tuple[Frame, bytes]]:
    """The packets that *segment*, which is in *frame*, leaves as, each in a frame with the same number,
    time and link header; their checksums are correct."""
    head = frame.data[: frame.offset]
    pieces = []
    for datagram in split(segment, MTU - segment.payload):
        data = framed(head, datagram)
        piece = Frame(frame.number, frame.time, frame.interface, data, len(data))
        piece.offset, piece.end = frame.offset, len(data)
        pieces.append((piece, datagram))
    return pieces
