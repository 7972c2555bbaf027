"""A notation for tests of the inspector: they read as the transcript of a session.

    Transcript().greeted() \\
        .client(b"STARTTLS\\r\\n", masked(), server_gets=b"XXXXXXXX\\r\\n") \\
        .server(b"500 what?\\r\\n")

``client`` and ``server`` give the payload of one packet; without ``server_gets`` or ``client_gets`` it
must pass unchanged, as the same object. The list of events is exact: an unexpected event fails the
test like a missing one. ``closes`` says that inspection closes the connection there. Evidence is left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nfinspect.esmtp.clauses import compile_map
from nfinspect.esmtp.inspector import Inspector
from nfinspect.events import (
    AlreadyMasked,
    AnomalyKind,
    BannerMasked,
    CharacterReplaced,
    ChunkMasked,
    ClauseAction,
    ClauseMatched,
    CloseCause,
    CommandMasked,
    CommandMaskReason,
    CommandSeen,
    Connection,
    Direction,
    Endpoint,
    Event,
    KeywordsHidden,
    MailAnswered,
    MaliciousAddress,
    MessageSeen,
    ReplySeen,
    ServerAnomaly,
    StartTlsInjection,
    TlsStarted,
    UninspectedCause,
)
from nfinspect.policy.conditions import Above, Condition, OneOf
from nfinspect.policy.criteria import CRITERIA, Criterion, Scope
from nfinspect.policy.model import Clause, InspectionMap, Parameters

CONNECTION = Connection(
    1,
    Endpoint("outside", bytes([192, 0, 2, 1]), 40000),
    Endpoint("inside", bytes([198, 51, 100, 25]), 25),
)

DROP = ClauseAction.DROP_CONNECTION
LOG = ClauseAction.LOG
MASK = ClauseAction.MASK


def without_evidence(events: list[Event]) -> list[Event]:
    """The events without what they say besides about a finding; ``test_evidence.py`` is about
    that."""
    return [
        replace(event, **{name: None for name in ("evidence", "mail") if hasattr(event, name)})
        for event in events
        if not isinstance(event, KeywordsHidden | MailAnswered)
    ]


def condition(value: int | tuple[str, ...]) -> Condition:
    return Above(value) if isinstance(value, int) else OneOf(value)


def clauses(*rows: tuple[Any, ...]) -> tuple[Clause, ...]:
    """Clauses from rows of criterion, action, whether it logs, and a limit, words, or a whole
    condition."""
    return tuple(
        Clause(
            position,
            criterion,
            condition(value) if isinstance(value, int | tuple) else value,
            action,
            log,
        )
        for position, (criterion, action, log, value) in enumerate(rows, 1)
    )


DEFAULT = InspectionMap(
    "_default_esmtp_map",
    parameters=Parameters(mask_banner=True),
    clauses=clauses(
        (Criterion.COMMAND_LINE_LENGTH, DROP, True, 512),
        (Criterion.RECIPIENT_COUNT, DROP, True, 100),
        (Criterion.BODY_LINE_LENGTH, LOG, True, 998),
        (Criterion.HEADER_LINE_LENGTH, DROP, True, 998),
        (Criterion.SENDER_LENGTH, DROP, True, 320),
        (Criterion.MIME_FILENAME_LENGTH, DROP, True, 255),
        (Criterion.EHLO_REPLY_PARAMETER, MASK, False, ("others",)),
    ),
)


def map_with(*rows: tuple[Any, ...], **parameters: Any) -> InspectionMap:
    return InspectionMap("m", parameters=Parameters(**parameters), clauses=clauses(*rows))


def default_with(**parameters: Any) -> InspectionMap:
    return replace(DEFAULT, parameters=replace(DEFAULT.parameters, **parameters))


class Transcript:
    def __init__(self, inspection_map: InspectionMap = DEFAULT, **options: bool) -> None:
        self.map = inspection_map
        self.inspector = Inspector(CONNECTION, compile_map(inspection_map), **options)
        self.replied = 0

    def client(
        self,
        says: bytes,
        *events: Event,
        server_gets: bytes | None = None,
        closes: CloseCause | None = None,
        uninspected: UninspectedCause | None = None,
        acknowledged: int | None = None,
        packet_length: int | None = None,
        refused: bool = False,
    ) -> Transcript:
        """The client has acknowledged everything from the server unless ``acknowledged`` is given."""
        got = self.inspector.request(
            says,
            len(says) if packet_length is None else packet_length,
            self.replied if acknowledged is None else acknowledged,
        )
        self._check(says, got, server_gets, events, closes)
        assert self.inspector.refusing == refused
        assert self.inspector.uninspected == uninspected
        return self

    def server(
        self,
        says: bytes,
        *events: Event,
        client_gets: bytes | None = None,
        closes: CloseCause | None = None,
        uninspected: UninspectedCause | None = None,
    ) -> Transcript:
        got = self.inspector.reply(says)
        self.replied += len(got)
        self._check(says, got, client_gets, events, closes)
        assert self.inspector.uninspected == uninspected
        return self

    def _check(
        self,
        says: bytes,
        got: bytes,
        wanted: bytes | None,
        events: tuple[Event, ...],
        closes: CloseCause | None,
    ) -> None:
        self.seen = list(self.inspector.events)
        self.inspector.events.clear()
        seen = without_evidence(self.seen)
        wanted_events = [
            replace(event, map_name=self.map.name) if hasattr(event, "map_name") else event
            for event in events
        ]
        assert seen == wanted_events
        if self.inspector.closing != closes and not hasattr(self, "was_closed"):
            raise AssertionError(f"closing is {self.inspector.closing}, not {closes}")
        if closes is not None:
            self.was_closed = True
            assert got == b""
        elif wanted is None:
            assert got is says, got
        else:
            assert got == wanted

    def owes(self, count: int) -> Transcript:
        assert self.inspector.replies_owed == count
        return self

    def greeted(self, pipelining: bool = True) -> Transcript:
        """The server has greeted, and the client has sent EHLO (or HELO, without pipelining)."""
        self._lead(self.inspector.reply(b"220 \r\n"))
        if pipelining:
            self.inspector.request(b"EHLO c\r\n", 8, self.replied)
            self._lead(self.inspector.reply(b"250-s\r\n250 PIPELINING\r\n"))
        else:
            self.inspector.request(b"HELO c\r\n", 8, self.replied)
            self._lead(self.inspector.reply(b"250 s\r\n"))
        self.inspector.events.clear()
        return self

    def in_message(self, pipelining: bool = True) -> Transcript:
        """The server has answered DATA with 354."""
        self.greeted(pipelining)
        for command in (b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n", b"DATA\r\n"):
            self.inspector.request(command, len(command), self.replied)
            self._lead(self.inspector.reply(b"354 \r\n" if command[0] == 68 else b"250 \r\n"))
        self.inspector.events.clear()
        return self

    def in_body(self, pipelining: bool = True) -> Transcript:
        self.in_message(pipelining)
        self.inspector.request(b"Subject: s\r\n\r\n", 14, self.replied)
        return self

    def _lead(self, passed: bytes) -> None:
        assert passed
        self.replied += len(passed)


def banner() -> Event:
    return BannerMasked(CONNECTION, "")


def already_masked(direction: Direction) -> Event:
    return AlreadyMasked(CONNECTION, direction)


def masked(reason: CommandMaskReason = CommandMaskReason.UNKNOWN_VERB) -> Event:
    return CommandMasked(CONNECTION, reason)


def fragment() -> Event:
    return masked(CommandMaskReason.FRAGMENT)


def short() -> Event:
    return masked(CommandMaskReason.SHORT_VERB)


def bare() -> Event:
    return masked(CommandMaskReason.BARE_LINE_ENDING)


def matched(
    position: int,
    log: bool = True,
    inspection_map: InspectionMap = DEFAULT,
) -> Event:
    """The event of the clause at *position* of the map, counted from 1."""
    clause = inspection_map.clauses[position - 1]
    is_reply = CRITERIA[clause.criterion].scope is Scope.REPLY
    return ClauseMatched(
        CONNECTION,
        Direction.REPLY if is_reply else Direction.REQUEST,
        inspection_map.name,
        position,
        clause.words,
        clause.action,
        log,
    )


LINE_LENGTH, RECIPIENTS, BODY_LINE, HEADER_LINE, SENDER, FILENAME, EHLO = range(1, 8)
"""The clauses of the default map."""


def ehlo_masked() -> Event:
    return matched(EHLO, log=False)


def replaced(character: str, line: bytes) -> Event:
    return CharacterReplaced(CONNECTION, character, line)


def malicious(argument: bytes) -> Event:
    return MaliciousAddress(CONNECTION, argument)


def anomaly(kind: AnomalyKind, line: bytes) -> Event:
    return ServerAnomaly(CONNECTION, kind, line)


def tls(log: bool = False) -> Event:
    return TlsStarted(CONNECTION, log)


def injection() -> Event:
    return StartTlsInjection(CONNECTION)


def chunk(announced: int) -> Event:
    return ChunkMasked(CONNECTION, announced)


def command(line: bytes) -> Event:
    return CommandSeen(CONNECTION, line)


def message() -> Event:
    return MessageSeen(CONNECTION)


def reply(line: bytes) -> Event:
    return ReplySeen(CONNECTION, line)
