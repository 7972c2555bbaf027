"""The result of a replay, and the JSON object of ``replay --json``.

Everything that grows with the capture is in spools (`spool.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

from nfinspect.lab.comparison import LinePair
from nfinspect.replay import dialogue, findings
from nfinspect.replay.records import LISTS
from nfinspect.replay.redact import Redactor
from nfinspect.replay.selection import Selection
from nfinspect.replay.spool import Spool, SpooledList, SpooledTable, items, texts


@dataclass(slots=True)
class Result:
    """The result of a whole replay. `close` deletes the temporary files."""

    counters: dict[str, Any] = field(default_factory=dict)
    show: str = ""
    """The text of show service-policy inspect esmtp."""
    summary: dict[str, Any] = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)
    """Which connections, findings and syslog lines are in the report; counters and summary are those
    of the whole replay."""
    redactor: Redactor | None = None
    """What makes the pseudonyms in the lines of dialogues; everything else has them already."""
    spool: Spool = field(default_factory=Spool)
    syslog: SpooledList = field(init=False)
    """Pairs of a connection's number, 0 if none, and a line."""
    finished: SpooledTable = field(init=False)

    def __post_init__(self) -> None:
        self.syslog = SpooledList(self.spool)
        self.finished = SpooledTable(self.spool)

    def close(self) -> None:
        """Delete the temporary files."""
        self.finished.close()
        self.spool.close()

    def connections(self) -> Iterator[dict[str, Any]]:
        """The selected connections in order. Their lists are positions in the spool: see
        `items`."""
        if self.selection.everything:
            return iter(self.finished)
        return filter(self.selection.admits, self.finished)

    def items(self, places: list[tuple[int, int]]) -> Iterator[Any]:
        """The items of a connection's list."""
        return items(self.spool, places)

    def findings(self) -> list[dict[str, Any]]:
        """What was found on the selected connections, by cause (`findings.counted`)."""
        return findings.counted(self.connections())

    def rows(self, connection: dict[str, Any]) -> list[LinePair | str]:
        """The lines of a connection as its two ends saw them, if its segments were kept."""
        return dialogue.rows(
            self.items(connection.get("wire", [])),
            self.items(connection["commands"]),
            known=not any(
                finding["cause"] in dialogue.BEGINNING_UNKNOWN for finding in connection["findings"]
            ),
            redactor=self.redactor,
        )

    def syslog_lines(self) -> Iterator[str]:
        """The lines about the selected connections in order, from ``%ASA-`` on."""
        self.syslog.settle()
        selected = None
        if not self.selection.everything:
            selected = bytearray(self.summary["connections"] + 1)
            for connection in self.connections():
                selected[connection["number"]] = True
        for number, line in items(self.spool, self.syslog.chunks):
            if selected is None or selected[number]:
                yield line

    def write_json(self, out: TextIO) -> None:
        """Write the JSON object piece by piece, with each connection and each key on its own
        line."""
        out.write('{"connections": [')
        for position, connection in enumerate(self.connections()):
            out.write(",\n" if position else "\n")
            lists = {name: connection.pop(name) for name in LISTS}
            del connection["command_count"]
            connection.pop("wire", None)
            connection.pop("wire_complete", None)
            out.write(json.dumps(connection)[:-1])
            for name, places in lists.items():
                out.write(f', "{name}": [')
                out.writelines(texts(self.spool, places))
                out.write("]")
            out.write("}")
        out.write('],\n"counters": ')
        out.write(json.dumps(self.counters))
        out.write(',\n"syslog": [')
        for position, line in enumerate(self.syslog_lines()):
            out.write(f"{',' if position else ''}{json.dumps(line)}")
        out.write('],\n"summary": ')
        out.write(json.dumps(self.summary | {"findings": self.findings()}))
        out.write("}\n")
