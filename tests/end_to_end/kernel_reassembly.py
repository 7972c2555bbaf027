"""Sends random fragments over loopback in a network namespace of its own and prints, as JSON lines,
the fragments of each datagram and what the kernel delivered. Run by test_reassembly.py in
``unshare``.

Connection tracking is on, so that IPv6 is reassembled by the code that precedes the filter's queue
(nf_conntrack_reasm.c). Protocol 253 is for experiments (RFC 3692).
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys
from struct import pack

from nfinspect.packet.checksum import ipv4_header_checksum

PROTOCOL = 253
LOCAL_4 = socket.inet_aton("127.0.0.1")
LOCAL_6 = socket.inet_pton(socket.AF_INET6, "::1")


def fragments(chance: random.Random) -> list[tuple[int, bytes, bool, int, bool]]:
    """(start, payload, more, traffic class, don't fragment) of a datagram's fragments, in random
    order, with overlaps and duplicates."""
    blocks = chance.randint(1, 6)
    last = blocks - 1

    def letters(alphabet: bytes, count: int) -> bytes:
        return bytes(chance.choices(alphabet, k=count))

    whole = [
        (block * 8, letters(b"ABCDEFGH", 8), block != last, 0, chance.random() < 0.3)
        for block in range(blocks)
    ]
    others = []
    for _ in range(chance.randint(1, 8)):
        block = chance.randrange(blocks)
        count = 1 if chance.random() < 0.6 else chance.randint(1, blocks - block)
        size = 8 * count - (chance.randint(1, 7) if chance.random() < 0.05 else 0)
        if chance.random() < 0.02:
            size = 0
        more = block + count != blocks if chance.random() < 0.95 else chance.random() < 0.5
        congestion = chance.choice((0, 1, 2, 3)) if chance.random() < 0.1 else 0
        others.append((block * 8, letters(b"abcdefgh", size), more, congestion, False))
    found = whole + others[: chance.randint(0, 3)] if chance.random() < 0.8 else others
    chance.shuffle(found)
    # A TCP filter never meets an IPv6 "atomic" fragment without a payload.
    return [f for f in found if f[0] or f[1] or f[2]]


def ipv4(number: int, piece: tuple[int, bytes, bool, int, bool]) -> bytes:
    start, payload, more, congestion, whole = piece
    control = more << 13 | whole << 14 | start // 8
    header = pack(
        "!BBHHHBBH", 0x45, congestion, 20 + len(payload), number, control, 64, PROTOCOL, 0
    ) + 2 * LOCAL_4  # fmt: skip
    checksum = pack("!H", ipv4_header_checksum(header))
    return header[:10] + checksum + header[12:] + payload


def ipv6(number: int, piece: tuple[int, bytes, bool, int, bool]) -> bytes:
    start, payload, more, congestion, _ = piece
    header = pack("!IHBB", 6 << 28 | congestion << 20, 8 + len(payload), 44, 64) + 2 * LOCAL_6
    return header + pack("!BBHI", PROTOCOL, 0, start | more, number) + payload


def main(cases: int, seed: int) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    tracked = ["-A", "INPUT", "-m", "conntrack", "--ctstate", "NEW"]
    subprocess.run(["ip6tables", *tracked], check=True)
    chance = random.Random(seed)
    for family, make, to in (
        (socket.AF_INET, ipv4, "127.0.0.1"),
        (socket.AF_INET6, ipv6, "::1"),
    ):
        sender = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        receiver = socket.socket(family, socket.SOCK_RAW, PROTOCOL)
        receiver.setblocking(False)
        for number in range(1, cases + 1):
            sent = [make(number, piece) for piece in fragments(chance)]
            for packet in sent:
                with contextlib.suppress(PermissionError):  # raised for what is dropped at once
                    sender.sendto(packet, (to, 0))
            received = []
            while True:  # loopback delivers before sendto returns
                try:
                    received.append(receiver.recv(65_535))
                except BlockingIOError:
                    break
            line = {"sent": [p.hex() for p in sent], "received": [p.hex() for p in received]}
            print(json.dumps(line))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
