"""Every message exactly as the appliance writes it (section 7)."""

import dataclasses
from timeit import repeat
from typing import get_args

import pytest

from nfinspect.audit.syslog import MESSAGES, render
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
    ConflictingBytes,
    Connection,
    ConnectionBuilt,
    ConnectionTornDown,
    DeniedNoConnection,
    Direction,
    DuplicateSyn,
    Endpoint,
    Event,
    IdleProbe,
    InspectionClosed,
    KeywordsHidden,
    LimitKind,
    LimitReached,
    LineUnended,
    MailAnswered,
    MaliciousAddress,
    Mapped,
    MessageSeen,
    ParameterMatched,
    ReplyAwaited,
    ReplySeen,
    SentEarly,
    ServerAnomaly,
    SizeExceeded,
    StartTlsInjection,
    TableFull,
    TeardownReason,
    TlsStarted,
    Translated,
    Uninspected,
    UninspectedCause,
    UnseenData,
    WouldClose,
)

CLIENT = Endpoint("outside", bytes([192, 0, 2, 1]), 4321)
SERVER = Endpoint("inside", bytes([198, 51, 100, 1]), 25)
FOUR = Connection(1, CLIENT, SERVER)
SIX = Connection(
    77,
    Endpoint("outside", bytes.fromhex("20010db8000000000000000000000001"), 4321),
    Endpoint("inside", bytes.fromhex("20010db8000100000000000000000025"), 25),
)
HEADER = ClauseMatched(
    FOUR,
    Direction.REQUEST,
    "m",
    4,
    "header line length gt 998",
    ClauseAction.DROP_CONNECTION,
    True,
)
BODY = dataclasses.replace(
    HEADER, position=3, criterion="body line length gt 998", action=ClauseAction.LOG
)
EHLO = dataclasses.replace(
    HEADER,
    direction=Direction.REPLY,
    position=7,
    criterion="ehlo-reply-parameter others",
    action=ClauseAction.MASK,
)

REFUSED = LimitReached(
    CLIENT, SERVER, LimitKind.CONNECTIONS, 50, 50, "class mail", True, False, "outside", False, True
)
RELAY = ParameterMatched(
    FOUR, Direction.REQUEST, "m", "mail-relay", ClauseAction.DROP_CONNECTION, log=True
)

LINES: list[tuple[Event, str]] = [
    (
        ConnectionBuilt(FOUR),
        "%ASA-6-302013: Built inbound TCP connection 1 for outside:192.0.2.1/4321"
        " (192.0.2.1/4321) to inside:198.51.100.1/25 (198.51.100.1/25)",
    ),
    (
        ConnectionBuilt(SIX),
        "%ASA-6-302013: Built inbound TCP connection 77 for outside:2001:db8::1/4321"
        " (2001:db8::1/4321) to inside:2001:db8:1::25/25 (2001:db8:1::25/25)",
    ),
    (
        ConnectionBuilt(dataclasses.replace(FOUR, outbound=True)),
        "%ASA-6-302013: Built outbound TCP connection 1 for inside:198.51.100.1/25"
        " (198.51.100.1/25) to outside:192.0.2.1/4321 (192.0.2.1/4321)",
    ),
    (
        ConnectionBuilt(FOUR, server_mapped=Mapped(bytes((203, 0, 113, 5)), 2525)),
        "%ASA-6-302013: Built inbound TCP connection 1 for outside:192.0.2.1/4321"
        " (192.0.2.1/4321) to inside:198.51.100.1/25 (203.0.113.5/2525)",
    ),
    (
        ConnectionBuilt(
            dataclasses.replace(FOUR, outbound=True), Mapped(bytes((203, 0, 113, 5)), 4321)
        ),
        "%ASA-6-302013: Built outbound TCP connection 1 for inside:198.51.100.1/25"
        " (198.51.100.1/25) to outside:192.0.2.1/4321 (203.0.113.5/4321)",
    ),
    (
        ConnectionTornDown(
            dataclasses.replace(FOUR, outbound=True), TeardownReason.TCP_RESET_INSIDE, 1, 0
        ),
        "%ASA-6-302014: Teardown TCP connection 1 for inside:198.51.100.1/25"
        " to outside:192.0.2.1/4321 duration 0:00:01 bytes 0 TCP Reset-I",
    ),
    (
        ConnectionTornDown(FOUR, TeardownReason.TCP_FINS, 11.999, 5223),
        "%ASA-6-302014: Teardown TCP connection 1 for outside:192.0.2.1/4321"
        " to inside:198.51.100.1/25 duration 0:00:11 bytes 5223 TCP FINs",
    ),
    (
        ConnectionTornDown(SIX, TeardownReason.CLOSED_BY_INSPECTION, 3 * 3600 + 62, 0),
        "%ASA-6-302014: Teardown TCP connection 77 for outside:2001:db8::1/4321"
        " to inside:2001:db8:1::25/25 duration 3:01:02 bytes 0 Flow closed by inspection",
    ),
    (
        ConnectionTornDown(FOUR, TeardownReason.CONNECTION_TIMEOUT, 1193 * 3600, 1),
        "%ASA-6-302014: Teardown TCP connection 1 for outside:192.0.2.1/4321"
        " to inside:198.51.100.1/25 duration 1193:00:00 bytes 1 Conn-timeout",
    ),
    (
        DeniedNoConnection(CLIENT, SERVER, 0x10),
        "%ASA-6-106015: Deny TCP (no connection) from 192.0.2.1/4321 to 198.51.100.1/25"
        " flags ACK  on interface outside",
    ),
    (
        DeniedNoConnection(SERVER, CLIENT, 0x12),
        "%ASA-6-106015: Deny TCP (no connection) from 198.51.100.1/25 to 192.0.2.1/4321"
        " flags SYN ACK  on interface inside",
    ),
    (
        DeniedNoConnection(SIX.client, SIX.server, 0x11),
        "%ASA-6-106015: Deny TCP (no connection) from 2001:db8::1/4321 to 2001:db8:1::25/25"
        " flags FIN ACK  on interface outside",
    ),
    (
        DuplicateSyn(FOUR),
        "%ASA-4-419002: Duplicate TCP SYN from outside:192.0.2.1/4321 to inside:198.51.100.1/25"
        " with different initial sequence number",
    ),
    (TableFull(CLIENT, SERVER), "%ASA-3-201008: Disallowing new connections."),
    (
        REFUSED,
        "%ASA-3-201011: Connection limit exceeded 50/50 for inbound packet from 192.0.2.1/4321 to"
        " 198.51.100.1/25 on interface outside",
    ),
    (
        dataclasses.replace(REFUSED, translated=Translated(b"\xcb\0\x71\x09", 100, False)),
        "%ASA-3-201011: Connection limit exceeded 50/50 for inbound packet from 192.0.2.1/4321 to"
        " 198.51.100.1/25 on interface outside",
    ),
    (
        dataclasses.replace(REFUSED, translated=Translated(b"\xcb\0\x71\x09", 100, True)),
        "%ASA-3-201002: Too many TCP connections on static 203.0.113.9! 100 50",
    ),
    (
        dataclasses.replace(REFUSED, outbound=True, limit=LimitKind.PER_CLIENT, interface="inside"),
        "%ASA-3-201013: Per-client connection limit exceeded 50/50 for output packet from"
        " 192.0.2.1/4321 to 198.51.100.1/25 on interface inside",
    ),
    (
        HEADER,
        "%ASA-4-108004: ESMTP Classification: Dropped connection for ESMTP Request from"
        " outside:192.0.2.1/4321 to inside:198.51.100.1/25;"
        " matched Class 4: header line length gt 998",
    ),
    (
        EHLO,
        "%ASA-4-108004: ESMTP Classification: Masked header flags for ESMTP Response from"
        " inside:198.51.100.1/25 to outside:192.0.2.1/4321;"
        " matched Class 7: ehlo-reply-parameter others",
    ),
    (
        BODY,
        "%ASA-6-108005: ESMTP Classification: Received ESMTP Request from"
        " outside:192.0.2.1/4321 to inside:198.51.100.1/25;"
        " matched Class 3: body line length gt 998",
    ),
    (
        dataclasses.replace(HEADER, action=ClauseAction.RESET),
        "%ASA-4-108004: ESMTP Classification: Reset connection for ESMTP Request from"
        " outside:192.0.2.1/4321 to inside:198.51.100.1/25;"
        " matched Class 4: header line length gt 998",
    ),
    (
        RELAY,
        "%ASA-4-108004: ESMTP Parameter: Dropped connection for ESMTP Request from"
        " outside:192.0.2.1/4321 to inside:198.51.100.1/25; mail-relay: No Mail Relay allowed",
    ),
    (
        dataclasses.replace(RELAY, action=ClauseAction.LOG),
        "%ASA-6-108005: ESMTP Parameter: Received ESMTP Request from"
        " outside:192.0.2.1/4321 to inside:198.51.100.1/25; mail-relay: No Mail Relay allowed",
    ),
    (
        SizeExceeded(FOUR, 100, 120),
        "%ASA-7-108006: Detected ESMTP size violation from outside:192.0.2.1/4321 to"
        " inside:198.51.100.1/25; declared size is: 100, actual size is 120",
    ),
    (
        CharacterReplaced(FOUR, "<", b"MAIL FROM:<<a@example.org>"),
        "%ASA-2-108002: SMTP replaced <: out 192.0.2.1 in 198.51.100.1"
        " data: MAIL FROM:<<a@example.org>",
    ),
    (
        MaliciousAddress(FOUR, b"TO:<|/bin/sh>"),
        "%ASA-2-108003: Terminating ESMTP connection; malicious pattern detected in the mail"
        " address from outside:192.0.2.1/4321 to inside:198.51.100.1/25."
        " Mail Address:TO:<|/bin/sh>",
    ),
    (
        TlsStarted(FOUR, True),
        "%ASA-6-108007: TLS started on ESMTP session between client outside:192.0.2.1/4321"
        " and server inside:198.51.100.1/25",
    ),
    (
        InspectionClosed(FOUR, Direction.REQUEST, CloseCause.CLAUSE),
        "%ASA-4-507003: tcp flow from outside:192.0.2.1/4321 to inside:198.51.100.1/25"
        " terminated by inspection engine, reason - inspector disconnected, dropped packet.",
    ),
    (
        InspectionClosed(FOUR, Direction.REQUEST, CloseCause.CLAUSE, reset=True),
        "%ASA-4-507003: tcp flow from outside:192.0.2.1/4321 to inside:198.51.100.1/25"
        " terminated by inspection engine, reason - inspector drop reset.",
    ),
    (
        InspectionClosed(SIX, Direction.REPLY, CloseCause.UNASKED_354),
        "%ASA-4-507003: tcp flow from inside:2001:db8:1::25/25 to outside:2001:db8::1/4321"
        " terminated by inspection engine, reason - inspector disconnected, dropped packet.",
    ),
]

SILENT: list[Event] = [
    dataclasses.replace(HEADER, log=False),
    dataclasses.replace(EHLO, log=False),
    dataclasses.replace(RELAY, log=False),
    dataclasses.replace(BODY, log=False),
    TlsStarted(FOUR, False),
    dataclasses.replace(REFUSED, limit=LimitKind.PER_CLIENT_EMBRYONIC, refused=False, log=False),
    BannerMasked(FOUR, "m"),
    CommandMasked(FOUR, CommandMaskReason.UNKNOWN_VERB),
    Uninspected(FOUR, UninspectedCause.TLS),
    UnseenData(FOUR, Direction.REQUEST, 5),
    IdleProbe(FOUR, Direction.REQUEST),
    KeywordsHidden(FOUR, (b"STARTTLS",)),
    MailAnswered(FOUR, b"250 ok"),
    SentEarly(FOUR, Direction.REQUEST, 5),
    AlreadyMasked(FOUR, Direction.REPLY),
    WouldClose(FOUR, Direction.REQUEST, CloseCause.CLAUSE),
    ConflictingBytes(FOUR, Direction.REQUEST),
    ServerAnomaly(FOUR, AnomalyKind.UNASKED_REPLY, b"250 Ok"),
    StartTlsInjection(FOUR),
    ChunkMasked(FOUR, 5),
    CommandSeen(FOUR, b"QUIT"),
    ReplySeen(FOUR, b"221 Bye"),
    MessageSeen(FOUR),
    ReplyAwaited(FOUR, b"QUIT", 6, "reply to MAIL", 1, 5.0),
    LineUnended(FOUR, b"HELO me", 5.0),
]


@pytest.mark.parametrize(("event", "line"), LINES)
def test_event_is_rendered_as_the_appliances_line(event: Event, line: str) -> None:
    assert render(event) == line


@pytest.mark.parametrize("event", SILENT, ids=lambda event: type(event).__name__)
def test_event_without_a_message_number_has_no_line(event: Event) -> None:
    assert render(event) is None


def test_every_event_is_tested_here() -> None:
    assert {type(e) for e, _ in LINES} | {type(e) for e in SILENT} == set(get_args(Event))
    assert {m.event for m in MESSAGES} == {type(event) for event, _ in LINES}


def test_line_seen_on_a_real_appliance_is_reproduced() -> None:
    client = Endpoint("outside", bytes([75, 75, 75, 75]), 35314)
    server = Endpoint("DMZ", bytes([10, 0, 25, 101]), 25)
    event = dataclasses.replace(HEADER, connection=Connection(9, client, server))
    assert render(event) == (
        "%ASA-4-108004: ESMTP Classification: Dropped connection for ESMTP Request from "
        "outside:75.75.75.75/35314 to DMZ:10.0.25.101/25; "
        "matched Class 4: header line length gt 998"
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (0x04, "RST"),
        (0x14, "RST ACK"),
        (0x18, "PSH ACK"),
        (0x19, "FIN PSH ACK"),
        (0x3F, "FIN SYN RST PSH ACK URG"),
        (0xD0, "ACK"),
        (0x00, ""),
    ],
)
def test_flags_are_named_as_by_the_appliance(flags: int, words: str) -> None:
    line = render(DeniedNoConnection(CLIENT, SERVER, flags))
    assert line is not None
    assert line.endswith(f" flags {words}  on interface outside")


@pytest.mark.parametrize("reason", TeardownReason)
def test_teardown_ends_with_its_reason(reason: TeardownReason) -> None:
    line = render(ConnectionTornDown(FOUR, reason, 0.0, 0))
    assert line is not None
    assert line.endswith(f" duration 0:00:00 bytes 0 {reason.value}")


@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        (b"FROM:<a>\r\n%ASA-6-302013: Built", r"FROM:<a>\x0d\x0a%ASA-6-302013: Built"),
        (b"\x1b[2J\x07\x00", r"\x1b[2J\x07\x00"),
        (b"J\xc3\xb6rg\x7f\x9b", r"J\xc3\xb6rg\x7f\x9b"),
        (rb"a\x0ab", r"a\\x0ab"),
        (b"a" * 513, "a" * 512 + "..."),
    ],
)
def test_client_cannot_forge_a_line_or_send_control_characters(sent: bytes, logged: str) -> None:
    for event in (CharacterReplaced(FOUR, "<", sent), MaliciousAddress(FOUR, sent)):
        line = render(event)
        assert line is not None
        assert line.endswith(":" + " " * isinstance(event, CharacterReplaced) + logged)


def test_lines_of_every_session_are_rendered_quickly() -> None:
    # About 2 microseconds each; the bound allows for a busy machine.
    for event in (ConnectionBuilt(SIX), ConnectionTornDown(SIX, TeardownReason.TCP_FINS, 3.0, 9)):
        best = min(repeat(lambda event=event: render(event), number=1000, repeat=20)) / 1000
        assert best < 20e-6
