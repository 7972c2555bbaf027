"""An inspector so simple that a test can predict what it approves.

It swaps the case of every letter. ``!`` shuts the request direction until the server has sent one
more ``+``; ``?`` only makes the server owe one; ``#`` closes the connection.
"""

from __future__ import annotations

from typing import ClassVar

from nfinspect.events import CloseCause, Connection, Event, UninspectedCause
from nfinspect.policy.model import InspectionMap


class SwapCase:
    """The inspector; `instances` lists all that have been made."""

    instances: ClassVar[list[SwapCase]] = []

    def __init__(
        self,
        connection: Connection,
        inspection_map: InspectionMap,
        *,
        transcript: bool = False,
        recorded: bool = False,
    ) -> None:
        self.events: list[Event] = []
        self.closing: CloseCause | None = None
        self.uninspected: UninspectedCause | None = None
        self.refusing = False
        self.owed = 0
        self.shut = False
        self.requests = bytearray()
        self.replies = bytearray()
        SwapCase.instances.append(self)

    def request(self, data: bytes, packet_length: int, acknowledged: int) -> bytes:
        if self.shut:
            return b""
        hash_at, gate = data.find(b"#"), data.find(b"!")
        if hash_at >= 0 and (gate < 0 or hash_at < gate):
            self.closing = CloseCause.CLAUSE
            return data
        if gate >= 0:
            self.shut = True
            data = data[: gate + 1]
        self.owed += data.count(b"!") + data.count(b"?")
        self.requests += data.swapcase()
        return data.swapcase()

    def reply(self, data: bytes) -> bytes:
        if self.closing is not None:
            if not self.owed:
                return b""
            while data.count(b"+") > self.owed:
                data = data[: data.rfind(b"+")]
            if data.count(b"+") == self.owed:
                data = data[: data.rfind(b"+") + 1]
        self.owed = max(0, self.owed - data.count(b"+"))
        self.shut = self.shut and self.owed > 0
        self.replies += data.swapcase()
        return data.swapcase()

    @property
    def replies_owed(self) -> int:
        return self.owed

    @property
    def outstanding(self) -> int:
        return self.owed

    @property
    def awaits(self) -> str:
        return "+" if self.shut else ""

    def waiting_line(self, data: bytes) -> bytes:
        return data

    @property
    def unended(self) -> int:
        return 0

    @property
    def unended_line(self) -> bytes:
        return b""
