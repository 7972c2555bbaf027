"""The record of each connection, and which packets belong to it.

A packet belongs to the connection with its addresses and ports, from the SYN until the connection
has ended and been quiet for as long as the filter itself remembers it. Then the record goes to the
spool; memory holds the open ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Any

from nfinspect import events
from nfinspect.audit.json_lines import iso, to_json
from nfinspect.audit.text import ip_port
from nfinspect.events import Connection, Event, TeardownReason
from nfinspect.packet.segment import reverse_key
from nfinspect.replay.capture import CaptureInterface
from nfinspect.replay.checksums import Sender
from nfinspect.replay.dialogue import Wire
from nfinspect.replay.findings import BY_THE_MAP, Findings, action_of, evidence_in
from nfinspect.replay.redact import MailText
from nfinspect.replay.sides import Sides
from nfinspect.replay.spool import Spool, SpooledList, SpooledTable
from nfinspect.replay.turns import Turns

FINISHED_QUIET = 60.0
CLOSED_QUIET = 600.0
"""Seconds for which packets still belong to a connection that has ended, or that inspection closed
(docs/appliance.md, section 9)."""

MAX_ENDED = 1024
"""Ended connections kept in memory for this; beyond that the oldest goes to the spool."""

CERTAIN = 3
"""Second copies from which on a connection is said to be seen on two sides."""

FOUND_BY_REPLAY = ("two-sides", "translated", "refused", "left-off")
"""Notes about the capture and its dialogues, for which there is no event."""

_PORTS = Struct("!HH")

LISTS = ("commands", "replies", "actions", "notes")
"""The lists that a record keeps in the spool."""

NOTED = (
    events.AlreadyMasked,
    events.CharacterReplaced,
    events.ChunkMasked,
    events.CommandMasked,
    events.ConflictingBytes,
    events.DuplicateSyn,
    events.InspectionClosed,
    events.KeywordsHidden,
    events.LineUnended,
    events.MailAnswered,
    events.MaliciousAddress,
    events.ReplyAwaited,
    events.SentEarly,
    events.ServerAnomaly,
    events.SizeExceeded,
    events.StartTlsInjection,
    events.TlsStarted,
    events.Uninspected,
    events.UnseenData,
    events.WouldClose,
)
"""Events that go to a connection's ``notes``, as audit renders them."""


CLOSES = (events.InspectionClosed, events.WouldClose)


def line_text(line: bytes) -> str:
    r"""A command or reply line as text: UTF-8, with invalid bytes as ``\xHH``."""
    return line.decode("utf-8", "backslashreplace")


class PacketCounts:
    """Packets by verdict."""

    __slots__ = ("accepted", "dropped", "held", "injected", "rewritten", "rewritten_headers")

    def __init__(self) -> None:
        self.accepted = self.rewritten = self.dropped = self.held = self.injected = 0
        self.rewritten_headers = 0
        """Those of the rewritten that leave with the data that they came with."""

    def add(self, other: PacketCounts) -> None:
        """Add the counts of *other*."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def seen(self) -> int:
        """Packets with a verdict."""
        return self.accepted + self.rewritten + self.dropped

    def to_json(self) -> dict[str, int]:
        """Held packets have got a verdict since, so they are counted under that too."""
        return {
            "seen": self.seen,
            "accepted": self.accepted,
            "rewritten": self.rewritten,
            "rewritten_headers": self.rewritten_headers,
            "dropped": self.dropped,
            "held": self.held,
            "injected": self.injected,
        }


class ConnectionRecord:
    """A connection whose packets may still arrive."""

    __slots__ = (
        "_last_command",
        "_last_request",
        "actions",
        "after",
        "began",
        "bytes",
        "close_reason",
        "commands",
        "connection",
        "duration",
        "findings",
        "heads",
        "key",
        "last_seen",
        "notes",
        "packets",
        "replies",
        "senders",
        "sides",
        "text",
        "turns",
        "wire",
    )

    def __init__(
        self, connection: Connection, key: bytes, now: float, spool: Spool, start: float = 0.0
    ) -> None:
        """*now*: in seconds from the first packet of the captures, *start*: its time."""
        self.connection = connection
        """As the report names it."""
        self.key = key
        """The key of packets from the client."""
        self.after = self.last_seen = now
        self.began = start + now
        """In seconds since 1970."""
        self.commands = SpooledList(spool)
        self.replies = SpooledList(spool)
        self.actions = SpooledList(spool)
        self.notes = SpooledList(spool)
        self.findings = Findings()
        self.packets = PacketCounts()
        self.senders: dict[bytes, Sender] = {}
        """What is known of the checksums of both ends, by packet key."""
        self.sides = Sides()
        self.text = MailText()
        self.turns = Turns(self.began)
        self._last_command: tuple[int | None, str] = (None, "")
        """Packet number and text."""
        self._last_request: int | None = None
        """The packet that ended the last command or message."""
        self.bytes = 0
        self.duration: float | None = None
        self.close_reason: str | None = None
        self.heads: dict[bytes, tuple[CaptureInterface, bytes]] = {}
        """The last link header in each direction, by packet key."""
        self.wire: Wire | None = None
        """Its segments, if the report is to show them."""

    @property
    def quiet(self) -> float:
        """Seconds without a packet after which the record of an ended connection is put away."""
        closed = self.close_reason == TeardownReason.CLOSED_BY_INSPECTION.value
        return CLOSED_QUIET if closed else FINISHED_QUIET

    def observe(self, event: Event, packet: int | None, time: float) -> None:
        """Record *event*, which belongs to this connection; *time*: in seconds since 1970."""
        kind = type(event)
        if kind is events.CommandSeen:
            text = line_text(event.line)  # type: ignore[union-attr]
            self.commands.append(text)
            self.findings.command_seen(text, packet, time)
            self.turns.command(text, packet, time)
            self._last_command = packet, text
            self._last_request = packet
        elif kind is events.MessageSeen:
            self.turns.message(packet, time)
            self._last_request = packet
        elif kind is events.ReplySeen:
            text = line_text(event.line)  # type: ignore[union-attr]
            self.replies.append(text)
            self.findings.reply_seen(text, packet, time)
            self.findings.greeted = True
            refused = self.turns.reply(text, packet, time)
            if refused is not None:
                self._noted("refused", refused, time)
        elif isinstance(event, events.ConnectionTornDown):
            self.close_reason = event.reason.value
            self.duration = event.duration
            self.bytes = event.bytes_passed
            self.conclude(time)
        else:
            if isinstance(event, events.Uninspected):
                self.turns.uninspected(event.cause)
            command = self._last_command[1] if self._last_command[0] == packet else ""
            self.findings.observe(event, packet, time, command)
            action = action_of(event)
            if action is not None:
                clause, does = action
                entry = {"clause": clause, "action": does, "packet": packet}
                self.actions.append(entry | evidence_in(event))
            if isinstance(event, NOTED):
                facts = _facts(event)
                if kind is events.CommandMasked and command:
                    facts["command"] = command
                elif kind is events.ReplyAwaited:
                    facts["reply_to"] = self._last_request
                elif isinstance(event, CLOSES) and event.cause in BY_THE_MAP:
                    facts["clause"] = self.findings.clause
                self.notes.append({**facts, "packet": packet})

    def conclude(self, time: float) -> None:
        """The connection has ended, or the captures have: did somebody leave its dialogue?"""
        found = self.turns.conclusion(time, self.close_reason)
        if found is not None:
            self._noted("left-off", found, time)
        seen = self.packets.seen
        if self.sides.repeated >= CERTAIN and 2 * self.sides.repeated >= seen - CERTAIN:
            self._captured_twice(None, "the same packets, on one side")

    def _captured_twice(self, packet: int | None, how: str) -> None:
        cause = f"captured twice: {how}"
        self.findings.add({"cause": cause, "packet": packet}, self.began)

    def _noted(self, event: str, found: dict[str, Any], time: float) -> None:
        """Note a finding about the dialogue."""
        self.findings.add(found, time)
        facts = {name: found[name] for name in ("cause", "answer", "ending") if name in found}
        self.notes.append({"event": event, **facts, "packet": found["packet"]})

    def copied(self, packet: int, now: float) -> None:
        """The packet is a second copy, seen on another side. That is said once it is certain."""
        self.last_seen = now
        if self.sides.copies == CERTAIN:
            judged = "client's side" if self.sides.renumbered else "first copy"
            self.notes.append({"event": "two-sides", "judged": judged, "packet": packet})
            self._captured_twice(packet, "on two sides")

    def same_as(self, number: int, packet: int) -> None:
        """It is connection *number*, seen on the other side of an address translation."""
        self.notes.append({"event": "translated", "same_as": number, "packet": packet})

    def facts(self) -> dict[str, Any]:
        """What is known without its lists and without the time of the first packet."""
        return {
            "number": self.connection.number,
            "client": ip_port(self.connection.client),
            "server": ip_port(self.connection.server),
            "after": round(self.after, 9),
            "duration": round(
                self.last_seen - self.after if self.duration is None else self.duration, 9
            ),
            "packets": self.packets.to_json() | {"copies": self.sides.copies},
            "bytes": self.bytes,
            "close_reason": self.close_reason,
            "findings": self.findings.to_json(),
            "command_count": self.commands.count,
        }

    def to_json(self, start: float) -> dict[str, Any]:
        """The record; in place of its lists, their positions in the spool.

        *start* is the time of the very first packet, in seconds since 1970.
        """
        result = {**self.facts(), "began": iso(start + self.after)}
        for name in LISTS:
            spooled: SpooledList = getattr(self, name)
            spooled.settle()
            result[name] = spooled.chunks
        if self.wire is not None:
            self.wire.items.settle()
            result["wire"] = self.wire.items.chunks
            result["wire_complete"] = self.wire.complete
        return result


def _facts(event: Event) -> dict[str, Any]:
    """The event without the fields that identify the connection."""
    known = {"connection", "client", "server", "client_interface", "server_interface"}
    return {key: value for key, value in to_json(event).items() if key not in known}


class Records:
    """The records of all connections to which packets may still belong."""

    def __init__(
        self,
        spool: Spool,
        finished: SpooledTable,
        pictured: Callable[[int], bool] | None = None,
        ended: Callable[[ConnectionRecord], None] | None = None,
    ) -> None:
        """*pictured*: whether to keep the segments of a connection; *ended* is called with each that
        has ended."""
        self._pictured = pictured
        self._on_end = ended
        self._spool = spool
        self._finished = finished
        self._by_number: dict[int, ConnectionRecord] = {}
        self._by_key: dict[bytes, ConnectionRecord] = {}
        """By the packet keys of both directions."""
        self._ended: deque[ConnectionRecord] = deque()
        """Ended, in the order in which they did."""
        self._followed: list[ConnectionRecord] = []
        """Those with an event at the packet being decided."""
        self.total = PacketCounts()
        """Packets of the records that have been put away."""
        self.start = 0.0
        """Time of the very first packet, in seconds since 1970."""

    def find(self, key: bytes) -> ConnectionRecord | None:
        """The record to which a packet with this key belongs."""
        return self._by_key.get(key)

    def open(self) -> list[ConnectionRecord]:
        """The records of connections that have not ended."""
        return [record for record in self._by_number.values() if record.close_reason is None]

    def build(self, connection: Connection, key: bytes, now: float) -> ConnectionRecord:
        """Start the record of a new connection, to which packets with its addresses now belong:
        those from the client have this *key*."""
        record = ConnectionRecord(connection, key, now, self._spool, self.start)
        if self._pictured is not None and self._pictured(connection.number):
            record.wire = Wire(self._spool, key)
        self._by_number[connection.number] = record
        self._by_key[key] = self._by_key[reverse_key(key)] = record
        return record

    def observe(self, event: Event, connection: Connection, packet: int | None, now: float) -> None:
        """Record an event of a connection, at a packet if any."""
        record = self._by_number.get(connection.number)
        if record is None:
            return
        ends = isinstance(event, events.ConnectionTornDown) and record.close_reason is None
        record.observe(event, packet, self.start + now)
        if ends:
            self._ended.append(record)
            if self._on_end is not None:
                self._on_end(record)
        ended = self._ended
        while ended and (len(ended) > MAX_ENDED or ended[0].last_seen + ended[0].quiet <= now):
            self._put_away(ended.popleft())

    def follow_text(self, event: Event, number: int) -> None:
        """Follow where the messages of a connection begin and end, for a capture without them."""
        record = self._by_number.get(number)
        if record is not None:
            record.text.observe(event)
            self._followed.append(record)

    def settle_text(self) -> None:
        """All that followed from a packet is decided."""
        for record in self._followed:
            record.text.settle()
        self._followed.clear()

    def put_all_away(self, now: float) -> None:
        """Put all records away: there are no more packets."""
        self._ended.clear()
        for record in self.open():
            record.conclude(self.start + now)
        for record in list(self._by_number.values()):
            self._put_away(record)

    def _put_away(self, record: ConnectionRecord) -> None:
        number = record.connection.number
        del self._by_number[number]
        for direction in (record.key, reverse_key(record.key)):
            if self._by_key.get(direction) is record:  # else a new connection has these addresses
                del self._by_key[direction]
        self.total.add(record.packets)
        self._finished.put(number, record.to_json(self.start))


def connection_key(connection: Connection) -> bytes:
    """The key of packets from the client (see ``Segment.key``)."""
    client, server = connection.client, connection.server
    return client.address + server.address + _PORTS.pack(client.port, server.port)


def packet_key(datagram: bytes, ports: tuple[int, int]) -> bytes:
    """The key of a packet between these ports."""
    addresses = datagram[12:20] if datagram[0] >> 4 == 4 else datagram[8:40]
    return addresses + _PORTS.pack(*ports)
