"""CONTRACT of the inspector with the engine (the implementation replaces this file's bodies)."""

from __future__ import annotations

from nfinspect.events import CloseCause, Connection, Event, UninspectedCause
from nfinspect.policy.model import InspectionMap


class Inspector:
    """Inspects the two byte streams of one ESMTP connection, in order, each byte once.

    The engine calls ``request`` and ``reply`` with the next in-order bytes of a direction, one call
    for what one packet brings. What is returned may pass, in place of the same number of first
    bytes of ``data`` (the very same object if nothing changed). A shorter answer is a cut: the rest
    has not been looked at, and is offered again when it arrives again or when the other direction
    has moved on (the request direction is shut until the reply to DATA, AUTH, STARTTLS; without
    pipelining after each command; before the greeting).

    When ``closing`` is set after a call, inspection has ended the connection: the whole packet is
    dropped, whatever was returned. Commands of that packet are not owed a reply.
    """

    __slots__ = ("closing", "events", "uninspected")

    def __init__(
        self,
        connection: Connection,
        inspection_map: InspectionMap,
        *,
        transcript: bool = False,
        recorded: bool = False,
    ) -> None:
        """``transcript``: emit CommandSeen and ReplySeen. ``recorded``: the traffic was captured
        without the filter, so a positive reply to a masked line is no anomaly but the end of the
        inspection (docs/appliance.md, section 9)."""
        self.events: list[Event] = []
        """What happened during the last call, in order; the engine takes and clears it."""
        self.closing: CloseCause | None = None
        self.uninspected: UninspectedCause | None = None
        """Set when inspection has ended and both directions pass from here on. Bytes returned by
        the same call have been decided; the rest of ``data`` is returned unchanged with them."""

    def request(self, data: bytes, packet_length: int, acknowledged: int) -> bytes:
        """``packet_length``: payload bytes of the whole packet that brought ``data`` (section 9's
        500 byte rule). ``acknowledged``: bytes of the reply stream (counted from its beginning,
        as returned by ``reply``) that this packet's sender says it has received."""
        raise RuntimeError

    def reply(self, data: bytes) -> bytes:
        raise RuntimeError

    @property
    def replies_owed(self) -> int:
        """Replies to commands that have passed and whose last line has not. After a close the
        engine goes on calling ``reply``, which then returns the bytes up to the end of the last
        owed reply and nothing behind it."""
        raise RuntimeError
