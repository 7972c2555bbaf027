"""Failures that were found, and are run again by the suite.

``sessions.txt`` has seeds, which mean a session only as long as the generator stays as it is: what they
showed is tested by name elsewhere, too. ``segments.txt`` has lists of segments, as ``segments.read`` takes
them; these stay what they are.
"""

from __future__ import annotations

from pathlib import Path


def _lines(name: str) -> list[tuple[str, str]]:
    text = Path(__file__).with_name(name).read_text()
    entries = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            entry, _, what = line.partition("  ")
            entries.append((entry, what.strip()))
    return entries


SESSIONS = [(int(seed), what) for seed, what in _lines("sessions.txt")]
SEGMENTS = [(bytes.fromhex(pieces), what) for pieces, what in _lines("segments.txt")]
