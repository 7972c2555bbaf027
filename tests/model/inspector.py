"""An inspector so simple that a test can predict what it approves.

It swaps the case of every letter. ``!`` shuts the request direction until the server has sent one
more ``+``; ``?`` only makes the server owe one; ``#`` closes the connection.
"""

from __future__ import annotations

from collections.abc import Callable

from nfinspect.events import CloseCause, Connection, UninspectedCause
from nfinspect.tcp.inspection import PreparedInspection, StreamInspector, StreamWatcher


class SwapCase(StreamInspector):
    def __init__(self) -> None:
        super().__init__()
        self.owed = 0
        self.shut = False
        self.requests = bytearray()
        self.replies = bytearray()

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


class Inspections(PreparedInspection):
    """Inspects as a test wishes; itself what an engine calls to prepare it."""

    def __init__(self, make: Callable[[], StreamInspector] = SwapCase) -> None:
        super().__init__()
        self.make = make
        self.made: list[StreamInspector] = []

    def __call__(self, *_: object) -> Inspections:
        return self

    def begin(self, connection: Connection) -> StreamInspector:
        self.made.append(self.make())
        return self.made[-1]

    def watch(
        self, connection: Connection, cause: UninspectedCause, inspector: StreamInspector | None
    ) -> StreamWatcher | None:
        return None
