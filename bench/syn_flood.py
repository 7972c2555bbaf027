"""A flood of SYNs from forged addresses: ``python -m bench.syn_flood ADDRESS RATE SECONDS``.

It sends from the namespace that it is in, as root, and prints as JSON how many SYNs it has sent, in how
many seconds, and the CPU time that this took, the forwarding included. Each SYN has another source; port 25,
options as Linux has them. It ends after SECONDS, whatever RATE (a second) it has reached.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import socket
import struct
import sys
from ipaddress import IPv4Network
from time import monotonic, process_time, sleep

SOURCES = IPv4Network("198.18.0.0/15")
"""For benchmarks (RFC 2544)."""
DISTINCT = 1 << 15
"""Packets that are prepared; each time around, all of them come from other ports."""
PACKET = struct.Struct("!BBHHHBBH4s4sHHHHHHBBHHH20s")
LENGTH = PACKET.size
assert LENGTH == 60
PORT_LOW, SEQUENCE_LOW = 21, 27
"""Offsets of bytes: one grows by as much as the other falls, which no checksum sees."""
OPTIONS = bytes.fromhex("020405b4 0402 080a 00000001 00000000 01 030307")
BATCH = 64
"""Packets in one system call, at most; at low rates a thousandth of a second's."""


class Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Message(ctypes.Structure):
    """struct mmsghdr, of which a connected socket needs no more than the data."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(Vector)),
        ("count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )


def syn(source: bytes, destination: bytes, port: int, sequence: int) -> bytes:
    """Return an IPv4 datagram."""
    words = (port, 25, sequence >> 16, sequence & 0xFFFF, 0, 0, 0xA002, 64240, 0, 0)
    tcp = struct.pack("!10H", *words) + OPTIONS
    pseudo = source + destination + struct.pack("!HH", 6, len(tcp))
    checksum = total = sum(struct.unpack(f"!{(len(pseudo) + len(tcp)) // 2}H", pseudo + tcp))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    checksum = ~total & 0xFFFF
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, LENGTH, 0, 0x4000, 64, 6, 0, source, destination)
    return header + tcp[:16] + struct.pack("!H", checksum) + tcp[18:]


def prepared(destination: str, count: int = DISTINCT) -> bytearray:
    """Return *count* SYNs."""
    chance = random.Random(os.getpid())  # several senders have different ones
    to = socket.inet_aton(destination)
    first = int(SOURCES.network_address)
    return bytearray(
        b"".join(
            syn(
                (first + chance.randrange(SOURCES.num_addresses)).to_bytes(4, "big"),
                to,
                chance.randrange(4, 250) << 8,
                chance.getrandbits(24) << 8 | 0xFF,
            )
            for _ in range(count)
        )
    )


def go_round(packets: bytearray, turn: int) -> None:
    """Let all packets come from other ports."""
    count = len(packets) // LENGTH
    packets[PORT_LOW::LENGTH] = bytes([turn & 0xFF]) * count
    packets[SEQUENCE_LOW::LENGTH] = bytes([0xFF - (turn & 0xFF)]) * count


def send(destination: str, rate: int, seconds: float) -> dict[str, float]:
    """Send; return what was reached."""
    packets = prepared(destination)
    room = (ctypes.c_char * len(packets)).from_buffer(packets)
    at = ctypes.addressof(room)
    vectors = (Vector * DISTINCT)(*((at + n * LENGTH, LENGTH) for n in range(DISTINCT)))
    messages = (Message * DISTINCT)()
    for number, message in enumerate(messages):
        message.vectors = ctypes.pointer(vectors[number])
        message.count = 1
    sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sending:
        sending.connect((destination, 25))
        number = sending.fileno()
        sent = position = turn = 0
        began, used = monotonic(), process_time()
        while (now := monotonic()) < began + seconds:
            wanted = min(int((now - began) * rate) - sent, BATCH, DISTINCT - position)
            if wanted <= 0:
                sleep(0.001)
                continue
            done = sendmmsg(number, ctypes.byref(messages[position]), wanted, 0)
            if done < 0:
                sleep(0.001)  # a full buffer on the way
                continue
            sent += done
            position += done
            if position == DISTINCT:
                position, turn = 0, turn + 1
                go_round(packets, turn)
        return {"sent": sent, "seconds": monotonic() - began, "cpu": process_time() - used}


if __name__ == "__main__":
    print(json.dumps(send(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))), flush=True)
