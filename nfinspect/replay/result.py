"""What a replay tells: of each connection, and in all. The JSON object of ``replay --json``.

Everything that grows with the capture lies in spools (`spool.py`); memory holds open connections.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

from nfinspect import events
from nfinspect.audit.json_lines import to_json
from nfinspect.audit.text import ip_port
from nfinspect.events import CloseCause, Connection, Event
from nfinspect.replay.capture import Interface
from nfinspect.replay.spool import Spool, SpooledList, SpooledTable, items, texts

_LISTS = ("commands", "replies", "actions", "notes")

NOTED = (
    events.CharacterReplaced,
    events.ChunkMasked,
    events.ConflictingBytes,
    events.DuplicateSyn,
    events.InspectionClosed,
    events.MaliciousAddress,
    events.ServerAnomaly,
    events.StartTlsInjection,
    events.TlsStarted,
    events.Uninspected,
    events.UnseenData,
)
"""Events of a connection that stand in its ``notes``, as audit renders them."""


def _action(event: Event) -> tuple[str, str] | None:
    """Which rule acted, in show's words where show has some, and what it did."""
    match event:
        case events.ClauseMatched():
            return f"match {event.criterion}", event.action.value
        case events.BannerMasked():
            return "mask-banner", "mask"
        case events.CommandMasked():
            return event.reason.value, "mask"
        case events.CharacterReplaced():
            return ("pipe-character" if event.character == "|" else "angle-bracket"), "blank"
        case events.InspectionClosed() if event.cause is not CloseCause.CLAUSE:
            return event.cause.value, "drop-connection"
        case _:
            return None


def line_text(line: bytes) -> str:
    r"""A command or reply line as text: UTF-8, and what is none as ``\xHH``."""
    return line.decode("utf-8", "backslashreplace")


class PacketCounts:
    """Packets by their verdicts."""

    __slots__ = ("accepted", "dropped", "held", "injected", "rewritten")

    def __init__(self) -> None:
        self.accepted = self.rewritten = self.dropped = self.held = self.injected = 0

    def add(self, other: PacketCounts) -> None:
        """Count those of *other* in."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def to_json(self) -> dict[str, int]:
        """Held ones have their verdict too by now, and so count twice."""
        return {
            "seen": self.accepted + self.rewritten + self.dropped,
            "accepted": self.accepted,
            "rewritten": self.rewritten,
            "dropped": self.dropped,
            "held": self.held,
            "injected": self.injected,
        }


class ConnectionRecord:
    """One connection while its packets still come."""

    __slots__ = (
        "actions",
        "began",
        "bytes",
        "close_reason",
        "commands",
        "connection",
        "duration",
        "heads",
        "last_seen",
        "notes",
        "packets",
        "replies",
    )

    def __init__(self, connection: Connection, now: float, spool: Spool) -> None:
        self.connection = connection
        self.began = self.last_seen = now
        self.commands = SpooledList(spool)
        self.replies = SpooledList(spool)
        self.actions = SpooledList(spool)
        self.notes = SpooledList(spool)
        self.packets = PacketCounts()
        self.bytes = 0
        self.duration: float | None = None
        self.close_reason: str | None = None
        self.heads: dict[bytes, tuple[Interface, bytes]] = {}
        """The last link header in each direction, by the key of its packets."""

    def observe(self, event: Event, packet: int | None) -> None:
        """Take what *event* tells of this connection."""
        kind = type(event)
        if kind is events.CommandSeen:
            self.commands.append(line_text(event.line))  # type: ignore[union-attr]
        elif kind is events.ReplySeen:
            self.replies.append(line_text(event.line))  # type: ignore[union-attr]
        elif isinstance(event, events.ConnectionTornDown):
            self.close_reason = event.reason.value
            self.duration = event.duration
            self.bytes = event.bytes_passed
        else:
            action = _action(event)
            if action is not None:
                clause, does = action
                self.actions.append({"clause": clause, "action": does, "packet": packet})
            if isinstance(event, NOTED):
                self.notes.append({**_facts(event), "packet": packet})

    def to_json(self) -> dict[str, Any]:
        """Everything but the lists, of which the places in the spool stand here."""
        result: dict[str, Any] = {
            "number": self.connection.number,
            "client": ip_port(self.connection.client),
            "server": ip_port(self.connection.server),
            "began": round(self.began, 9),
            "duration": round(
                self.last_seen - self.began if self.duration is None else self.duration, 9
            ),
            "packets": self.packets.to_json(),
            "bytes": self.bytes,
            "close_reason": self.close_reason,
            "command_count": self.commands.count,
        }
        for name in _LISTS:
            spooled: SpooledList = getattr(self, name)
            spooled.settle()
            result[name] = spooled.chunks
        return result


def _facts(event: Event) -> dict[str, Any]:
    """The event without the connection's own name."""
    known = {"connection", "client", "server", "client_interface", "server_interface"}
    return {key: value for key, value in to_json(event).items() if key not in known}


@dataclass(slots=True)
class Result:
    """Of a whole replay. `close` gives the temporary files back."""

    counters: dict[str, Any] = field(default_factory=dict)
    show: str = ""
    """The text of show service-policy inspect esmtp."""
    summary: dict[str, Any] = field(default_factory=dict)
    spool: Spool = field(default_factory=Spool)
    syslog: SpooledList = field(init=False)
    finished: SpooledTable = field(init=False)

    def __post_init__(self) -> None:
        self.syslog = SpooledList(self.spool)
        self.finished = SpooledTable(self.spool)

    def close(self) -> None:
        """Give the temporary files back."""
        self.finished.close()
        self.spool.close()

    def connections(self) -> Iterator[dict[str, Any]]:
        """By their numbers. The lists are places in the spool: see `items`."""
        return iter(self.finished)

    def items(self, places: list[tuple[int, int]]) -> Iterator[Any]:
        """The items of a connection's list."""
        return items(self.spool, places)

    def syslog_lines(self) -> Iterator[str]:
        """From ``%ASA-`` on, in their order."""
        self.syslog.settle()
        return items(self.spool, self.syslog.chunks)

    def write_json(self, out: TextIO) -> None:
        """Write the object piece by piece, one connection and one key a line."""
        out.write('{"connections": [')
        for position, connection in enumerate(self.connections()):
            out.write(",\n" if position else "\n")
            lists = {name: connection.pop(name) for name in _LISTS}
            del connection["command_count"]
            out.write(json.dumps(connection)[:-1])
            for name, places in lists.items():
                out.write(f', "{name}": [')
                out.writelines(texts(self.spool, places))
                out.write("]")
            out.write("}")
        out.write('],\n"counters": ')
        out.write(json.dumps(self.counters))
        out.write(',\n"syslog": [')
        self.syslog.settle()
        out.writelines(texts(self.spool, self.syslog.chunks))
        out.write('],\n"summary": ')
        out.write(json.dumps(self.summary))
        out.write("}\n")
