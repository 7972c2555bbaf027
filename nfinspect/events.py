"""Typed events, which the engine emits; syslog lines, JSON, counters and show text render them.

Events carry facts, never the text of one rendering. A number in brackets is the appliance's syslog
message for the event (docs/appliance.md, section 7).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final


class Direction(enum.Enum):
    """Where a packet goes: requests to the server, replies to the client."""

    REQUEST = "Request"
    REPLY = "Response"

    @property
    def opposite(self) -> Direction:
        return Direction.REPLY if self is Direction.REQUEST else Direction.REQUEST


REQUEST: Final = Direction.REQUEST
REPLY: Final = Direction.REPLY


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a connection: the interface that leads to it, its address (4 or 16 bytes), its
    port."""

    interface: str
    address: bytes
    port: int


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection as events identify it: its number (from 1) and its two ends."""

    number: int
    client: Endpoint
    server: Endpoint
    outbound: bool = False
    """It was begun from the side of higher security."""

    @property
    def sides(self) -> tuple[Endpoint, Endpoint]:
        """The ends on the sides of lower and of higher security."""
        return (self.server, self.client) if self.outbound else (self.client, self.server)

    def sender(self, direction: Direction) -> Endpoint:
        return self.client if direction is Direction.REQUEST else self.server


class ClauseAction(enum.Enum):
    """What a match clause does; the value is the configuration's word."""

    DROP_CONNECTION = "drop-connection"
    LOG = "log"
    MASK = "mask"
    RESET = "reset"
    RATE_LIMIT = "rate-limit"

    @property
    def closes(self) -> bool:
        """Whether it ends the connection."""
        return self is ClauseAction.DROP_CONNECTION or self is ClauseAction.RESET


class LimitKind(enum.Enum):
    """The kinds of connection limits; the value is the configuration's word."""

    CONNECTIONS = "conn-max"
    EMBRYONIC = "embryonic-conn-max"
    PER_CLIENT = "per-client-max"
    PER_CLIENT_EMBRYONIC = "per-client-embryonic-max"


class TeardownReason(enum.Enum):
    """REASON of 302014, as the appliance writes it. What each means is in
    `nfinspect.audit.catalogue`."""

    TCP_FINS = "TCP FINs"
    TCP_RESET_INSIDE = "TCP Reset-I"
    TCP_RESET_OUTSIDE = "TCP Reset-O"
    SYN_TIMEOUT = "SYN Timeout"
    FIN_TIMEOUT = "FIN Timeout"
    CONNECTION_TIMEOUT = "Conn-timeout"
    INTERCEPTED = "Flow terminated by TCP Intercept"
    TIMED_OUT_WITH_RESET = "Flow timed out with reset"
    CLOSED_BY_INSPECTION = "Flow closed by inspection"
    CLEARED = "Cleared"
    """``clear conn`` ended it; the word is ours [U]."""
    UNKNOWN = "Unknown"


class CloseCause(enum.Enum):
    """Why inspection ended a connection; see `nfinspect.audit.catalogue`."""

    CLAUSE = "clause"
    PARAMETER = "parameter"
    PIPE = "pipe"
    UNCLOSED_BRACKET = "unclosed-bracket"
    STARTTLS_INJECTION = "starttls-injection"
    BDAT_CHUNK = "bdat-chunk"
    UNASKED_354 = "unasked-354"
    ABANDONED_BY_SERVER = "abandoned-by-server"
    SERVER_ANOMALY = "server-anomaly"
    UNSEEN_DATA = "unseen-data"


class CommandMaskReason(enum.Enum):
    """Why a command line was overwritten with X."""

    UNKNOWN_VERB = "unknown command"
    SHORT_VERB = "command shorter than four characters"
    FRAGMENT = "incomplete command"
    BARE_LINE_ENDING = "wrong command termination"


class AnomalyKind(enum.Enum):
    """Unexpected transitions by the server."""

    UNASKED_REPLY = "an unsolicited reply"
    UNASKED_354 = "354 without DATA"
    UNASKED_220 = "220 in mid-session"
    NOT_NUMERIC = "a reply without a numeric code"
    ABANDONED = "a reply in the middle of a message, an AUTH exchange or STARTTLS"
    MASKED_ACCEPTED = "a positive reply to a masked line"
    MISMATCHED_CODE = "a multi-line reply that changes its code"


class UninspectedCause(enum.Enum):
    """Why a connection passes without inspection from here on; see `nfinspect.audit.catalogue`."""

    TLS = "TLS started"
    MIDSTREAM = "older than the filter"
    UNSEEN_DATA = "unseen data"
    RECORDED_WITHOUT_FILTER = "recorded without the filter"
    BARE_LF_ANSWERED = "recorded without the filter: bare LF answered"
    ONE_SIDED = "one-sided capture"
    WOULD_CLOSE = "would have been closed"
    MASKED_ACCEPTED = "only watched: masked line accepted"
    BARE_LF_ACCEPTED = "only watched: bare LF answered"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a clause matched: the thing, its beginning, and its length or number."""

    what: str
    """``header field``, ``sender``, ``command``, ``recipient``, ``body line``, ``file name``,
    ``EHLO keyword``."""
    text: bytes
    """The field's name, the address, the line's beginning; empty if it is not known, ``***`` if it
    may be a credential."""
    measured: int = 0
    """In bytes, as far as it has arrived; or the number of recipients. 0 if nothing is measured."""
    allowed: int = 0
    """The clause's limit."""


@dataclass(frozen=True, slots=True)
class Mail:
    """The mail to which a finding belongs, as far as it is known at the finding."""

    sender: bytes
    """The MAIL command."""
    recipient: bytes
    """The latest RCPT command."""
    recipients: int
    """RCPT commands."""
    message_id: bytes
    """The value of its Message-ID field. Live it is known only if it is in the same packet."""


@dataclass(frozen=True, slots=True)
class Translated:
    """The static translation of a server, as far as lines about its limits say it."""

    address: bytes
    """The mapped one, of 4 or 16 bytes; empty if it is that of an interface."""
    embryonic: int
    """The embryonic limit; 0 is none."""
    old_lines: bool
    """The configuration is of PIX 6, whose lines are others."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What one end of a connection is beyond a static translation."""

    address: bytes
    """4 or 16 bytes."""
    port: int


@dataclass(frozen=True, slots=True)
class ConnectionBuilt:
    """A new connection's SYN was accepted, or a connection older than the filter picked up
    [302013]."""

    connection: Connection
    client_mapped: Mapped | None = None
    """None if no static of the configuration translates that end."""
    server_mapped: Mapped | None = None


@dataclass(frozen=True, slots=True)
class ConnectionTornDown:
    """The connection is over [302014]."""

    connection: Connection
    reason: TeardownReason
    duration: float
    """Seconds since its SYN."""
    bytes_passed: int
    """Payload passed in both directions, each byte counted once."""


@dataclass(frozen=True, slots=True)
class IdleProbe:
    """Dead connection detection asked an end of an idle connection whether it is alive."""

    connection: Connection
    direction: Direction
    """Where the question went."""


@dataclass(frozen=True, slots=True)
class DeniedNoConnection:
    """A segment other than a SYN that belongs to no connection was dropped [106015]."""

    source: Endpoint
    destination: Endpoint
    flags: int
    """The TCP flags byte (RFC 9293 section 3.1)."""


@dataclass(frozen=True, slots=True)
class DuplicateSyn:
    """A SYN with a different initial sequence number on an existing connection [419002]."""

    connection: Connection


@dataclass(frozen=True, slots=True)
class TableFull:
    """A SYN was refused because the connection table is full [201008]."""

    source: Endpoint
    destination: Endpoint


@dataclass(frozen=True, slots=True)
class LimitReached:
    """A SYN found a connection limit reached, and was dropped [201011, 201013; of a static of PIX 6
    201002, 201009]; or an embryonic limit, and was dropped, or answered, if TCP intercept is possible, else passed
    [201010, 201012; of a static 201003, 407002]."""

    source: Endpoint
    destination: Endpoint
    limit: LimitKind
    count: int
    """Connections so far, without this one."""
    allowed: int
    scope: str
    """Who has the limit: ``class mail``, ``static 192.0.2.1``."""
    refused: bool
    outbound: bool
    """From the side of higher security."""
    interface: str
    """Where the policy is enforced."""
    begins: bool
    """At an embryonic limit: the first SYN since the count was last below it."""
    log: bool
    """Whether to log it: 201012 is written once in 10 seconds."""
    translated: Translated | None = None
    """Of a static: what it is in its lines."""


@dataclass(frozen=True, slots=True)
class BannerMasked:
    """A greeting was overwritten with asterisks; one event per greeting, at its first packet."""

    connection: Connection
    map_name: str


@dataclass(frozen=True, slots=True)
class AlreadyMasked:
    """What would have been masked arrived masked: another inspecting firewall is on the sender's
    side. Once per direction; nothing was rewritten, so nothing is counted as masked."""

    connection: Connection
    direction: Direction


@dataclass(frozen=True, slots=True)
class ClauseMatched:
    """A packet met the criterion of a match clause; at most one event per clause and packet
    [108004 for an action with log, 108005 for the bare log action]."""

    connection: Connection
    direction: Direction
    map_name: str
    position: int
    """The clause's position in its map, from 1."""
    criterion: str
    """As show prints it, without ``match``: ``header line length gt 998``."""
    action: ClauseAction
    log: bool
    """Whether to log it. A bare log clause logs once per message, but counts every packet."""
    evidence: Evidence | None = None
    mail: Mail | None = None
    """None outside a mail transaction."""


@dataclass(frozen=True, slots=True)
class ParameterMatched:
    """A packet met what one of the map's parameters names; one event for each line, or mail
    [108004 for an action with log, 108005 for the bare log action]."""

    connection: Connection
    direction: Direction
    map_name: str
    parameter: str
    """Its word: ``mail-relay``, ``special-character``, ``bare-newline``."""
    action: ClauseAction
    log: bool
    evidence: Evidence | None = None
    mail: Mail | None = None
    """None outside a mail transaction."""


@dataclass(frozen=True, slots=True)
class SizeExceeded:
    """A message has outgrown the SIZE that its MAIL declared (RFC 1870) [108006]."""

    connection: Connection
    declared: int
    """In bytes."""
    actual: int
    """As far as it has arrived."""
    mail: Mail | None = None


@dataclass(frozen=True, slots=True)
class MailAnswered:
    """The server has answered a message in which a clause matched; its line mostly names the mail as
    the server's log does."""

    connection: Connection
    line: bytes
    """The last line of the reply, without CR LF."""


@dataclass(frozen=True, slots=True)
class KeywordsHidden:
    """An EHLO reply has passed in which keywords were masked."""

    connection: Connection
    keywords: tuple[bytes, ...]
    """The first of them, in capitals; a keyword that arrived in pieces as far as it is known."""


@dataclass(frozen=True, slots=True)
class CommandMasked:
    """A command line (or the part that has arrived) was overwritten with X; one event per line."""

    connection: Connection
    reason: CommandMaskReason


@dataclass(frozen=True, slots=True)
class CharacterReplaced:
    """A stray angle bracket or a pipe in a mail address was replaced by a blank [108002]."""

    connection: Connection
    character: str
    line: bytes
    """The command line as it arrived, without CR LF."""


@dataclass(frozen=True, slots=True)
class MaliciousAddress:
    """A pipe in the parameter of MAIL or RCPT [108003]."""

    connection: Connection
    address: bytes
    """The argument of the command."""
    mail: Mail | None = None


@dataclass(frozen=True, slots=True)
class TlsStarted:
    """The server accepted STARTTLS [108007 if ``log``]."""

    connection: Connection
    log: bool


@dataclass(frozen=True, slots=True)
class InspectionClosed:
    """Inspection ended the connection at a packet of this direction [507003]."""

    connection: Connection
    direction: Direction
    cause: CloseCause
    reset: bool = False
    """Both ends get an RST; otherwise they hear nothing."""
    told: bool = False
    """The client gets a reply of the filter's own, that says so, and a FIN."""


@dataclass(frozen=True, slots=True)
class WouldClose:
    """Inspection would have ended the connection here, but only measures it."""

    connection: Connection
    direction: Direction
    cause: CloseCause
    reset: bool = False
    """Both ends would have got an RST."""


@dataclass(frozen=True, slots=True)
class Uninspected:
    """From here on the connection passes without inspection."""

    connection: Connection
    cause: UninspectedCause


@dataclass(frozen=True, slots=True)
class UnseenData:
    """The receiver acknowledged bytes that the filter never passed."""

    connection: Connection
    direction: Direction
    """The direction of the data."""
    count: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class SentEarly:
    """In a capture: the receiver acknowledged bytes that wait for a reply here, so they were sent
    before it. Once per direction."""

    connection: Connection
    direction: Direction
    """The direction of the bytes."""
    count: int
    """Bytes that waited."""


@dataclass(frozen=True, slots=True)
class ConflictingBytes:
    """A retransmission differed from the original; it was answered from memory."""

    connection: Connection
    direction: Direction


@dataclass(frozen=True, slots=True)
class ServerAnomaly:
    connection: Connection
    kind: AnomalyKind
    line: bytes
    """The reply line as far as it has arrived, without CR LF."""


@dataclass(frozen=True, slots=True)
class StartTlsInjection:
    """Bytes followed STARTTLS without waiting for its reply (CVE-2011-0411); if it was masked, in the
    same packet. Only a STARTTLS that is not masked closes the connection then."""

    connection: Connection


@dataclass(frozen=True, slots=True)
class ChunkMasked:
    """The client sent a masked BDAT's chunk without waiting for the reply; the chunk is masked
    too."""

    connection: Connection
    announced: int
    """The chunk's length in bytes as the client announced it."""


@dataclass(frozen=True, slots=True)
class ReplyAwaited:
    """The client's next bytes have waited for several seconds, because a reply must come first;
    one event per wait."""

    connection: Connection
    line: bytes
    """The beginning of the line that waits, without CR LF; ``***`` if it may be no command."""
    count: int
    """Bytes that wait, up to the last that has arrived."""
    awaits: str
    """What they wait for: ``greeting``, ``reply to MAIL``, ``reply to the message``."""
    outstanding: int
    """Replies that the server owes, up to and including that one."""
    duration: float
    """Seconds so far."""


@dataclass(frozen=True, slots=True)
class LineUnended:
    """A command line with a bare CR or LF has stood unfinished for several seconds: the server waits
    for its CR LF, and the client probably for the reply; one event per line."""

    connection: Connection
    line: bytes
    """The line as it arrived."""
    duration: float
    """Seconds so far."""


@dataclass(frozen=True, slots=True)
class CommandSeen:
    """A command line as it arrived, without CR LF; only if a transcript is requested."""

    connection: Connection
    line: bytes


@dataclass(frozen=True, slots=True)
class ReplySeen:
    """A reply line as it arrived, without CR LF; only if a transcript is requested."""

    connection: Connection
    line: bytes


@dataclass(frozen=True, slots=True)
class MessageSeen:
    """The end of a message has passed; only if a transcript is requested."""

    connection: Connection


Event = (
    ConnectionBuilt
    | ConnectionTornDown
    | IdleProbe
    | DeniedNoConnection
    | DuplicateSyn
    | TableFull
    | LimitReached
    | BannerMasked
    | AlreadyMasked
    | ClauseMatched
    | ParameterMatched
    | SizeExceeded
    | MailAnswered
    | KeywordsHidden
    | CommandMasked
    | CharacterReplaced
    | MaliciousAddress
    | TlsStarted
    | InspectionClosed
    | WouldClose
    | Uninspected
    | UnseenData
    | SentEarly
    | ConflictingBytes
    | ServerAnomaly
    | StartTlsInjection
    | ChunkMasked
    | ReplyAwaited
    | LineUnended
    | CommandSeen
    | ReplySeen
    | MessageSeen
)
