"""Checks with tshark that frames are as they would be on a wire."""

from __future__ import annotations

import subprocess
from pathlib import Path

from nfinspect.lab.topology import MTU, LabError, require_programs


def faulty_frames(file: Path) -> list[str]:
    """Return the frames of a capture with a wrong checksum or longer than the MTU allows.

    One line from tshark each: number, length, status of the IP and of the TCP checksum.
    """
    require_programs("tshark")
    # For a sum of 0, Linux's software checksum writes 0xffff (skb_checksum_help): the other zero of
    # one's complement, valid for every receiver, but bad for Wireshark.
    wrong = '(tcp.checksum.status == "Bad" and not tcp.checksum.ffff)'
    faults = f'ip.checksum.status == "Bad" or {wrong} or frame.len > {MTU + 14}'
    fields = ["frame.number", "frame.len", "ip.checksum.status", "tcp.checksum.status"]
    done = subprocess.run(
        [
            *("tshark", "-n", "-r", file, "-Y", faults, "-T", "fields"),
            *("-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"),
            *(word for field in fields for word in ("-e", field)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode != 0:
        raise LabError(f"tshark: {done.stderr}")
    return done.stdout.splitlines()
