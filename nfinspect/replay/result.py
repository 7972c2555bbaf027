"""The result of a replay, and the JSON object of ``replay --json``.

Everything that grows with the capture lies in spools (`spool.py`).
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
