"""What of a capture could not be used, so that its replay's answer is incomplete."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nfinspect.actions import DropReason

SNAP_LENGTH = "cut short by the capture's snap length"
LINK_TYPE = "link type {}, which replay cannot read"
"""Notes about packets that are not whole, or not read."""


def incomplete(
    captures: Iterable[dict[str, Any]],
    notes: Iterable[dict[str, Any]],
    dropped: dict[str, int],
    discarded: int,
) -> list[str]:
    """What is missing, a sentence for each: from the captures' damage, the *notes*, the packets
    *dropped* by reason, and the fragments *discarded*."""
    found = [capture["damage"] for capture in captures if capture["damage"]]
    unread = LINK_TYPE.partition("{")[0]
    for note in notes:
        first = f"{_packets(note['packets'])} (first {note['first']})"
        if note["note"] == SNAP_LENGTH:
            found.append(f"{first}: {SNAP_LENGTH}; record with 'tcpdump -s 0'")
        elif note["note"].startswith(unread):
            found.append(f"{first}: {note['note']}")
    if discarded:
        found.append(
            f"{discarded:,} IP fragment{'s' * (discarded != 1)} of datagrams that are not whole"
        )
    flushed = dropped.get(DropReason.FLUSHED.value, 0)
    if flushed:
        found.append(
            f"{_packets(flushed)} still held at the end: what should come before is not in the capture"
        )
    return found


def _packets(count: int) -> str:
    return f"{count:,} packet{'s' * (count != 1)}"
