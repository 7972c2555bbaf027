"""The policy as data: the meaning of a configuration text.

``resolve.py`` makes it, the engine and the inspector read it, and nothing changes it: a changed
configuration is a new ``Policy``, and a connection keeps the plan it began with.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from nfinspect.events import ClauseAction


class Criterion(enum.Enum):
    """The kinds of match clause; the value is the configuration's words as show spells them."""

    COMMAND_LINE_LENGTH = "cmd line length"
    RECIPIENT_COUNT = "cmd RCPT count"
    BODY_LINE_LENGTH = "body line length"
    HEADER_LINE_LENGTH = "header line length"
    SENDER_LENGTH = "sender-address length"
    MIME_FILENAME_LENGTH = "MIME filename length"
    EHLO_REPLY_PARAMETER = "ehlo-reply-parameter"


@dataclass(frozen=True, slots=True)
class Clause:
    """One ``match`` of an inspection map with its action."""

    position: int
    """Position in the map, from 1: ``Class N`` in syslog."""
    criterion: Criterion
    action: ClauseAction
    log: bool
    limit: int = 0
    """The N of ``gt N``: anything above it matches."""
    parameters: tuple[str, ...] = ()
    """The arguments of ``ehlo-reply-parameter``, as written."""

    @property
    def words(self) -> str:
        """The criterion as show prints it, without ``match``."""
        if self.parameters:
            return f"{self.criterion.value} {' '.join(self.parameters)}"
        return f"{self.criterion.value} gt {self.limit}"

    @property
    def action_words(self) -> str:
        """The action as show prints it: ``drop-connection log``, ``log``, ``mask``."""
        with_log = self.log and self.action is not ClauseAction.LOG
        return f"{self.action.value} log" if with_log else self.action.value


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


@dataclass(frozen=True, slots=True)
class InspectionMap:
    """A ``policy-map type inspect esmtp``."""

    name: str
    description: str = ""
    parameters: Parameters = field(default_factory=Parameters)
    clauses: tuple[Clause, ...] = ()


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
class Plan:
    """What applies to a connection, from its SYN to its end."""

    inspection: Inspection | None
    timeouts: Timeouts = field(default_factory=Timeouts)


@dataclass(frozen=True, slots=True)
class Policy:
    """The meaning of one configuration."""

    plans: dict[int, Plan]
    """By the server's TCP port, as default-inspection-traffic classifies. A port that the
    configuration exempts from inspection has a plan without inspection."""
    inspections: tuple[Inspection, ...]
    """In the order of the configuration, for show."""
    midstream_pickup: int = 300
    """Seconds; the longest of all applied maps."""

    def concerns(self, source_port: int, destination_port: int) -> bool:
        """Whether the filter handles packets between these ports."""
        return destination_port in self.plans or source_port in self.plans

    def plan(self, server_port: int) -> Plan | None:
        return self.plans.get(server_port)
