"""Replay's reassembly compared with the kernel's, with random order, duplicates and overlaps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from nfinspect.replay.capture import CaptureInterface, Frame
from nfinspect.replay.fragments import Reassembler

CASES = 1_500
"""Per IP version."""

ROOT = Path(__file__).parents[2]


def reassembled(packets: list[bytes]) -> list[bytes]:
    """The datagrams that replay makes of *packets*; for IPv6 only the payload, as a raw socket
    delivers it."""
    reassembler = Reassembler()
    found = []
    for packet in packets:
        if packet[0] >> 4 == 4 and not (packet[6] & 0x3F or packet[7]):
            found.append(packet)  # offset 0 and no more fragments: a whole datagram
            continue
        frame = Frame(1, 0, CaptureInterface(101, False), packet, len(packet))
        frame.end = len(packet)
        decided = reassembler.add(frame, 0.0)
        if decided is not None and decided.datagram is not None:
            six = packet[0] >> 4 == 6
            found.append(decided.datagram[40:] if six else decided.datagram)
    return found


def comparable(datagram: bytes, six: bool) -> bytes:
    """The datagram without the IPv4 length and checksum, which a raw socket changes."""
    return datagram if six else datagram[:2] + datagram[4:10] + datagram[12:]


def test_replay_reassembles_random_fragments_as_the_kernel_does() -> None:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.end_to_end.kernel_reassembly",
         str(CASES), "1"],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 2 * CASES
    datagrams = 0
    for line in lines:
        sent = [bytes.fromhex(packet) for packet in line["sent"]]
        six = bool(sent) and sent[0][0] >> 4 == 6
        kernel = [comparable(bytes.fromhex(packet), six) for packet in line["received"]]
        assert [comparable(packet, six) for packet in reassembled(sent)] == kernel, line
        datagrams += len(kernel)
    assert datagrams > CASES  # the comparison was not of nothing with nothing
