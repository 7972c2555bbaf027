"""CONTRACT of the observer with the engine (the implementation replaces this file's bodies)."""

from __future__ import annotations

from nfinspect.events import Connection, Event


class Observer:
    """Lists the visible commands and replies of a connection that is not inspected."""

    __slots__ = ("connection", "events")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.events: list[Event] = []

    def request(self, data: bytes, packet_length: int, acknowledged: int) -> bytes:
        return data

    def reply(self, data: bytes) -> bytes:
        return data
