"""What another inspecting firewall has done to a connection, by the lines that arrived masked."""

from __future__ import annotations

import re
from typing import Any

from nfinspect.events import REPLY, REQUEST, Direction

GREETING, KEYWORD, COMMAND = "greeting masked", "EHLO keyword hidden", "command overwritten with X"

MOST_PACKETS = 8
"""Packets named of each kind; all are counted."""

_MASKED_REPLY = re.compile(r"220[ -](?P<greeting>[20*]*\*[20*]*)|250[ -]X+[A-Z]?")
_MASKED_COMMAND = re.compile(r"X{4,}")


class OtherFirewall:
    """The masked lines of one connection."""

    __slots__ = ("_greeted", "_reply", "_request")

    def __init__(self) -> None:
        self._reply: dict[str, dict[str, Any]] = {}
        self._request: dict[str, dict[str, Any]] = {}
        self._greeted = False

    def reply_seen(self, line: str, packet: int | None) -> None:
        """The server has sent this line."""
        if line[4:5] in ("*", "X", "2", "0"):
            found = _MASKED_REPLY.fullmatch(line)
            if found is not None and not (found["greeting"] and self._greeted):
                _count(self._reply, GREETING if found["greeting"] else KEYWORD, packet)
        self._greeted = self._greeted or line[3:4] != "-"

    def command_seen(self, line: str, packet: int | None) -> None:
        """The client has sent this command line."""
        if line.startswith("X") and _MASKED_COMMAND.fullmatch(line):
            _count(self._request, COMMAND, packet)

    def did(self, direction: Direction) -> list[dict[str, Any]]:
        """What was done to the lines of this direction: ``what``, ``count``, and the first
        ``packets``."""
        return list({REPLY: self._reply, REQUEST: self._request}[direction].values())


def _count(found: dict[str, dict[str, Any]], what: str, packet: int | None) -> None:
    entry = found.setdefault(what, {"what": what, "count": 0, "packets": []})
    entry["count"] += 1
    packets = entry["packets"]
    if packet is not None and packet not in packets and len(packets) < MOST_PACKETS:
        packets.append(packet)
