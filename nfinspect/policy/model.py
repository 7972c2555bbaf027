"""The policy as data: the meaning of a configuration text.

``resolve.py`` makes it, `classify` decides by it, the engine and the inspector read it, and nothing changes it: a changed
configuration is a new ``Policy``, and a connection keeps the plan it began with.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TypeAlias

from nfinspect.events import ClauseAction
from nfinspect.policy.conditions import Condition, Not
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.lexer import Word
from nfinspect.policy.ranges import ALL_PORTS, Addresses, Range, Ranges, address_text

NEVER = 1e9
"""Seconds, as a timeout: longer than anything lasts, and still a number to calculate with."""


def action_words(action: ClauseAction, *, log: bool, rate: int = 0) -> str:
    """An action as show prints it: ``drop-connection log``, ``log``, ``rate-limit 5``."""
    if action is ClauseAction.RATE_LIMIT:
        return f"{action.value} {rate}"
    return f"{action.value} log" if log and action is not ClauseAction.LOG else action.value


@dataclass(frozen=True, slots=True)
class Clause:
    """One ``match`` of an inspection map with its action."""

    position: int
    """Position in the map, from 1: ``Class N`` in syslog."""
    criterion: Criterion
    condition: Condition
    action: ClauseAction
    log: bool
    rate: int = 0
    """The N of ``rate-limit N``: messages in a second."""

    @property
    def words(self) -> str:
        """The criterion as show prints it, without ``match``."""
        criterion = self.criterion.value
        if isinstance(self.condition, Not):
            criterion = f"not {criterion}"
        return f"{criterion} {self.condition.words}"

    @property
    def action_words(self) -> str:
        return action_words(self.action, log=self.log, rate=self.rate)


@dataclass(frozen=True, slots=True)
class Reaction:
    """What is done about something that a line of the map names."""

    action: ClauseAction
    log: bool = False

    @property
    def words(self) -> str:
        """As show prints it: ``drop-connection log``, ``log``."""
        return action_words(self.action, log=self.log)


@dataclass(frozen=True, slots=True)
class MailRelay:
    """``mail-relay DOMAIN action …``."""

    domain: str
    """A RCPT of any other domain is one that asks for relaying."""
    reaction: Reaction


class IncompleteCommand(enum.Enum):
    """What happens to a verb that does not arrive whole (docs/appliance.md, section 9)."""

    MASK = "mask"
    STREAM = "stream"
    DROP = "drop"


class PipeCharacter(enum.Enum):
    CLOSE = "close"
    BLANK = "blank"


class ServerAnomalyAction(enum.Enum):
    LOG = "log"
    DROP_CONNECTION = "drop-connection"


class UnseenDataAction(enum.Enum):
    DROP_CONNECTION = "drop-connection"
    UNINSPECTED = "uninspected"


@dataclass(frozen=True, slots=True)
class Parameters:
    """The ``parameters`` of an inspection map."""

    mask_banner: bool = False
    allow_tls: bool = False
    allow_tls_log: bool = False
    server_anomaly: ServerAnomalyAction = ServerAnomalyAction.LOG
    incomplete_command: IncompleteCommand = IncompleteCommand.MASK
    pipe_character: PipeCharacter = PipeCharacter.CLOSE
    unseen_data: UnseenDataAction | None = None
    """None: live closes the connection, replay continues uninspected."""
    midstream_pickup: int = 300
    """For so many seconds after the start, connections older than the filter are picked up."""
    mail_relay: MailRelay | None = None
    """For a RCPT of another domain: drop-connection or log."""
    special_character: Reaction | None = None
    """For a pipe, a backquote or a NUL in an address: drop-connection or log."""
    bare_newline: Reaction | None = None
    """For line endings and NULs that a lenient server could take for the end of a mail
    (docs/appliance.md, section 9): mask, drop-connection, reset or log."""
    starttls_injection: ClauseAction = ClauseAction.DROP_CONNECTION
    """For bytes behind STARTTLS before its reply: drop-connection or reset."""
    bdat_chunk: ClauseAction = ClauseAction.MASK
    """For a chunk that follows a masked BDAT at once: mask, drop-connection or reset."""
    closing_reply: bool = False
    """The client of a connection that inspection closes is told so by a reply (554)."""


@dataclass(frozen=True, slots=True)
class InspectionMap:
    """A ``policy-map type inspect esmtp``."""

    name: str
    description: str = ""
    parameters: Parameters = field(default_factory=Parameters)
    clauses: tuple[Clause, ...] = ()
    extended: bool = True
    """False for the inspection of PIX 6 (``fixup protocol smtp``), which permits the seven verbs of
    RFC 821 only."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds; the appliance's defaults (docs/appliance.md, section 5)."""

    embryonic: float = 30.0
    half_closed: float = 600.0
    idle: float = 3600.0


@dataclass(frozen=True, slots=True)
class Inspection:
    """``inspect esmtp MAP`` in a class of a policy-map, under which show prints its counters."""

    service_policy: str
    class_map: str
    map: InspectionMap
    is_global: bool = True


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections; 0 is no limit."""

    connections: int = 0
    embryonic: int = 0
    per_client: int = 0
    per_client_embryonic: int = 0

    def lower(self, other: ConnectionLimits) -> ConnectionLimits:
        """Return the lower limit of each kind."""
        pairs = zip(self.all, other.all, strict=True)
        return ConnectionLimits(*(min(filter(None, pair), default=0) for pair in pairs))

    @property
    def all(self) -> tuple[int, int, int, int]:
        return self.connections, self.embryonic, self.per_client, self.per_client_embryonic


NO_LIMITS = ConnectionLimits()


@dataclass(frozen=True, slots=True)
class DeadConnectionDetection:
    """``dcd``: how a connection that is idle is asked whether it is alive."""

    interval: float = 15.0
    """Seconds between two questions."""
    retries: int = 5


@dataclass(frozen=True, slots=True)
class Settings:
    """What the ``set connection`` lines of a class say; None is nothing."""

    limits: ConnectionLimits = NO_LIMITS
    embryonic: float | None = None
    half_closed: float | None = None
    idle: float | None = None
    """Timeouts, in seconds."""
    idle_reset: bool = False
    """An idle timeout sends RST to both ends."""
    dead_connections: DeadConnectionDetection | None = None
    random_sequence_numbers: bool | None = None
    decrement_ttl: bool = False
    syn_cookie_mss: int | None = None

    def timeouts(self, default: Timeouts) -> Timeouts:
        """Return *default* with the timeouts that are set here."""
        return Timeouts(
            default.embryonic if self.embryonic is None else self.embryonic,
            default.half_closed if self.half_closed is None else self.half_closed,
            default.idle if self.idle is None else self.idle,
        )


Services: TypeAlias = tuple[tuple[int, Ranges, Ranges], ...]
"""Protocol (0 is any), source ports, destination ports."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of an access list, with what its words stand for."""

    permit: bool
    services: Services
    source: Addresses
    destination: Addresses
    certain: bool = True
    """Whether it matches all of this always, and not, say, at some times of day only."""
    word: Word | None = field(default=None, compare=False, repr=False)
    """Its place in the text."""


@dataclass(frozen=True, slots=True)
class Match:
    """Which connections a class holds: those that meet all of this."""

    ports: Ranges = ALL_PORTS
    """Of the server."""
    entries: tuple[Entry, ...] | None = None
    """Of the access list: the first that matches decides, and none is a deny."""


NOTHING = Match(Ranges())
"""A class-map without a match, or with one that is not done."""


@dataclass(frozen=True, slots=True)
class Translation:
    """A static translation of addresses, one to one, or of one port."""

    real_interface: str
    mapped_interface: str
    version: int
    real: Range
    """First and last address."""
    mapped: int | None
    """The address that the first one has on the mapped interface; None: that interface's own."""
    protocol: int = 0
    """6 or 17 if only one port is translated."""
    real_port: int = 0
    mapped_port: int = 0
    limits: ConnectionLimits = NO_LIMITS
    random_sequence_numbers: bool = True
    word: Word | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """As show and events say it: ``static 192.0.2.1``."""
        first, last = self.real
        name = f"static {address_text(self.version, first)}"
        if first != last:
            name += f"-{address_text(self.version, last)}"
        return f"{name}/{self.real_port}" if self.protocol else name

    def mapped_address(self, real: int) -> int | None:
        """Return what *real*, one of the real addresses, becomes."""
        return None if self.mapped is None else self.mapped + real - self.real[0]


@dataclass(frozen=True, slots=True)
class SegmentSizes:
    """Bounds of the MSS that SYN and SYN-ACK announce, in bytes; 0 is none (``sysopt connection
    tcpmss``)."""

    largest: int = 0
    smallest: int = 0

    def bounded(self, size: int) -> int:
        """Return an MSS within the bounds; where they contradict each other, the upper one holds."""
        size = max(size, self.smallest)
        return min(size, self.largest) if self.largest else size


ANY_SIZE = SegmentSizes()


@dataclass(frozen=True, slots=True)
class LimitScope:
    """Connections that are counted together, and their limits; see `nfinspect.tcp.admission`."""

    name: str
    """As show and events say it: ``class mail``, ``static 192.0.2.1``."""
    key: bytes
    """What its counts are kept under: the same after a reload, if the lines are the same."""
    limits: ConnectionLimits
    interface: str = ""
    """Where its policy is enforced; empty: wherever a connection arrives."""
    translation: Translation | None = None
    """The static that has the limits."""
    old_lines: bool = False
    """The text is of PIX 6, whose lines for a static are others."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A named interface."""

    name: str
    level: int
    """Security level; outside is lower than inside."""
    device: str
    """The Linux interface."""
    address: tuple[int, int] | None = None
    """IP version and address."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What applies to a connection, from its SYN to its end."""

    inspection: Inspection | None
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: ConnectionLimits = NO_LIMITS
    """The lower ones of those of the class and those of the translation."""
    decided_by: str = ""
    """The class that decided about inspection, also if it exempts; empty if none did."""
    settings: Settings | None = None
    settings_by: str = ""
    """The class with the ``set connection`` lines."""
    tcp_map: str = ""
    state_bypass: bool = False
    translation: Translation | None = None
    """The static translation of the server's address."""
    scopes: tuple[LimitScope, ...] = ()
    """Where it is counted, and against which limits."""
    segment_sizes: SegmentSizes = ANY_SIZE

    @property
    def largest_intercepted(self) -> int:
        """The largest MSS that TCP intercept may announce; 0: as large as the server's."""
        cookie = self.settings.syn_cookie_mss if self.settings else None
        return min((size for size in (cookie, self.segment_sizes.largest) if size), default=0)


@dataclass(frozen=True, slots=True)
class ClassPolicy:
    """What a policy-map says about a class."""

    name: str
    match: Match
    inspection: Inspection | None = None
    exempts: bool = False
    """``no inspect esmtp``: its connections are not inspected, whatever other classes say."""
    settings: Settings | None = None
    tcp_map: str = ""
    state_bypass: bool = False


@dataclass(frozen=True, slots=True)
class ServicePolicy:
    """A policy-map where it is applied."""

    name: str
    interface: str
    """Empty: all of them."""
    classes: tuple[ClassPolicy, ...]

    @property
    def where(self) -> str:
        """Where it is applied, as a line says it."""
        return f"interface {self.interface}" if self.interface else "global"


@dataclass(frozen=True, slots=True)
class Policy:
    """The meaning of one configuration."""

    plans: dict[int, Plan]
    """By the server's TCP port, for who knows ports alone; `classify` knows more. A port that the
    configuration exempts from inspection has a plan without inspection."""
    inspections: tuple[Inspection, ...]
    """In the order of the configuration, for show."""
    midstream_pickup: int = 300
    """Seconds; the longest of all applied maps."""
    service_policies: tuple[ServicePolicy, ...] = ()
    translations: tuple[Translation, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)
    """Of connections for which no class sets any."""
    old_lines: bool = False
    """The text is of PIX 6."""
    segment_sizes: SegmentSizes = ANY_SIZE

    def concerns(self, source_port: int, destination_port: int) -> bool:
        """Whether the filter handles packets between these ports."""
        return destination_port in self.plans or source_port in self.plans

    def plan(self, server_port: int) -> Plan | None:
        return self.plans.get(server_port)
