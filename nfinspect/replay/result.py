"""The result of a replay, and the JSON object of ``replay --json``.

Everything that grows with the capture is in spools (`spool.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

from nfinspect.replay.records import LISTS
from nfinspect.replay.spool import Spool, SpooledList, SpooledTable, items, texts


@dataclass(slots=True)
class Result:
    """The result of a whole replay. `close` deletes the temporary files."""

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
        """Delete the temporary files."""
        self.finished.close()
        self.spool.close()

    def connections(self) -> Iterator[dict[str, Any]]:
        """The connections in order. Their lists are positions in the spool: see `items`."""
        return iter(self.finished)

    def items(self, places: list[tuple[int, int]]) -> Iterator[Any]:
        """The items of a connection's list."""
        return items(self.spool, places)

    def syslog_lines(self) -> Iterator[str]:
        """The syslog lines in order, from ``%ASA-`` on."""
        self.syslog.settle()
        return items(self.spool, self.syslog.chunks)

    def write_json(self, out: TextIO) -> None:
        """Write the JSON object piece by piece, with each connection and each key on its own
        line."""
        out.write('{"connections": [')
        for position, connection in enumerate(self.connections()):
            out.write(",\n" if position else "\n")
            lists = {name: connection.pop(name) for name in LISTS}
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
