"""What the engine knows of an inspection: that it reads the two streams of a connection, and that a
policy prepares it once for all its connections. ``esmtp`` is the one that exists; tests bring others, in
pure Python, which a compiled class must allow."""

from __future__ import annotations

from dataclasses import dataclass

from mypy_extensions import mypyc_attr

from nfinspect.events import CloseCause, Connection, Event, UninspectedCause


class Clock:
    """The time of the packet that is inspected, in seconds."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0


@dataclass(slots=True)
class InspectionTotals:
    """The top line of show service-policy (docs/appliance.md, section 10), in packets."""

    packet: int = 0
    """Packets given to inspection: those with new payload."""
    drop: int = 0
    """Packets at which a rule closed the connection, and both ends heard nothing of it."""
    reset_drop: int = 0
    """Packets at which a rule closed it, and both ends got an RST."""

    def clear(self) -> None:
        """Count anew."""
        self.packet = self.drop = self.reset_drop = 0

    def count_closing(self, *, reset: bool) -> None:
        """A rule has closed a connection."""
        if reset:
            self.reset_drop += 1
        else:
            self.drop += 1


@mypyc_attr(allow_interpreted_subclasses=True)
class StreamObserver:
    """Reads the two streams of a connection, each byte once and in order.

    ``events``: the events of the last call, in order; the engine takes and clears them.
    """

    __slots__ = ("events",)

    def __init__(self, events: list[Event] | None = None) -> None:
        """``events``: a list that several observers share, as it is empty between two calls."""
        self.events = [] if events is None else events

    def request(self, data: bytes, packet_length: int, acknowledged: int) -> bytes:
        """Read the client's next bytes; returns what may pass in their place.

        ``packet_length``: payload bytes of the whole packet that brought ``data``.
        ``acknowledged``: how many bytes of the reply stream, from its beginning, it acknowledges.
        """
        raise NotImplementedError

    def reply(self, data: bytes) -> bytes:
        """Read the server's next bytes; returns what may pass in their place."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class StreamWatcher(StreamObserver):
    """Reads them without deciding: what it returns is of no account."""

    __slots__ = ()

    def missed(self) -> None:
        """Bytes of the client are missing, and the server has not answered them."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class StreamInspector(StreamObserver):
    """Decides them. If ``request`` or ``reply`` return fewer bytes than they were given, the rest
    has not been inspected: it is offered again when it is retransmitted, or when the other
    direction has advanced.

    ``closing``: if set after a call, inspection closes the connection: the whole packet is dropped,
    whatever was returned.

    ``resetting``: and both ends get an RST.

    ``uninspected``: if set after a call, inspection has ended and both directions pass from here
    on. The call has returned what it inspected, followed by the rest of ``data`` unchanged.

    ``refusing``: the last call to ``request`` passed nothing, and the packet must be dropped rather
    than held. ``slowing``: because there is too much mail, so that TCP shall send it again later.

    ``kept``: bytes of the client that it keeps, as it cannot judge them yet. ``frugal``: it is to keep
    few, as all together keep too many.
    """

    __slots__ = ("closing", "frugal", "kept", "refusing", "resetting", "slowing", "uninspected")

    def __init__(self, events: list[Event] | None = None) -> None:
        super().__init__(events)
        self.closing: CloseCause | None = None
        self.uninspected: UninspectedCause | None = None
        self.kept = 0
        # Side by side, here and in what inherits, as eight bool take 8 bytes in the compiled form, and
        # one between others as many.
        self.refusing = False
        self.frugal = False
        self.resetting = False
        self.slowing = False

    @property
    def replies_owed(self) -> int:
        """Replies to what has passed that are outstanding. After a close the engine keeps calling
        ``reply``, which then returns the bytes up to the end of the last outstanding reply and
        nothing after it."""
        raise NotImplementedError

    @property
    def outstanding(self) -> int:
        """All replies that the server owes, also one that nothing has asked for."""
        raise NotImplementedError

    @property
    def awaits(self) -> str:
        """What must come before the client's next byte may pass; empty if nothing must."""
        raise NotImplementedError

    @property
    def closing_reply(self) -> bytes:
        """What the client may be told of a close, with its CR LF; empty if nothing."""
        return b""

    def waiting_line(self, data: bytes) -> bytes:
        """The beginning of ``data``, bytes that must wait, as far as it may be shown."""
        raise NotImplementedError

    @property
    def unended(self) -> int:
        """The length of a line that the client takes for finished but the server does not; 0 if
        there is none."""
        raise NotImplementedError

    @property
    def unended_line(self) -> bytes:
        """The beginning of that line, as far as it may be shown."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class PreparedInspection:
    """One ``inspect`` of a policy, prepared for all connections that it applies to.

    ``totals``: where their packets are counted. ``clock``: set to the time of each packet that an inspector
    of it is given.
    """

    __slots__ = ("clock", "totals")

    def __init__(self) -> None:
        self.totals = InspectionTotals()
        self.clock = Clock()

    def begin(self, connection: Connection) -> StreamInspector:
        """The inspector of a new connection."""
        raise NotImplementedError

    def watch(
        self, connection: Connection, cause: UninspectedCause, inspector: StreamInspector | None
    ) -> StreamWatcher | None:
        """Who reads on where ``inspector``, if there was one, has ended; None if nobody needs to."""
        raise NotImplementedError
