"""Connections of which one direction is visible: measured as if the other had been as expected."""

from __future__ import annotations

import pytest

from nfinspect.esmtp.clauses import compile_map
from nfinspect.esmtp.one_sided import OneSided
from nfinspect.events import (
    REPLY,
    REQUEST,
    BannerMasked,
    ClauseAction,
    CloseCause,
    Event,
    MessageSeen,
    WouldClose,
)
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.model import InspectionMap
from tests.unit.esmtp.transcript import (
    CONNECTION,
    DEFAULT,
    HEADER_LINE,
    LINE_LENGTH,
    RECIPIENTS,
    already_masked,
    command,
    default_with,
    ehlo_masked,
    malicious,
    map_with,
    masked,
    matched,
    reply,
    without_evidence,
)

BANNER = BannerMasked(CONNECTION, DEFAULT.name)
ENVELOPE = (b"EHLO a", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA")


class Visible:
    """Checks that what is visible passes unchanged, and which events it adds."""

    def __init__(self, inspection_map: InspectionMap = DEFAULT) -> None:
        self.measured = OneSided(CONNECTION, compile_map(inspection_map))

    def client(self, says: bytes, *events: Event) -> Visible:
        assert self.measured.request(says, len(says), 0) is says
        return self._check(events)

    def server(self, says: bytes, *events: Event) -> Visible:
        assert self.measured.reply(says) is says
        return self._check(events)

    def _check(self, events: tuple[Event, ...]) -> Visible:
        assert without_evidence(self.measured.events) == list(events)
        self.measured.events.clear()
        return self

    def in_message(self) -> Visible:
        lines = b"\r\n".join(ENVELOPE) + b"\r\n"
        return self.client(lines, *(command(line) for line in ENVELOPE))


def closes(cause: CloseCause = CloseCause.CLAUSE) -> Event:
    return WouldClose(CONNECTION, REQUEST, cause)


def test_long_header_line_is_measured_and_the_rest_of_the_mail_is_not_listed() -> None:
    talk = Visible().in_message()
    talk.client(b"X: " + b"x" * 1000 + b"\r\n\r\nQUIT\r\n", matched(HEADER_LINE), closes())
    talk.client(b"RSET\r\n.\r\nQUIT\r\n", command(b"QUIT"))


def test_long_command_line_too_many_recipients_and_a_pipe_are_measured() -> None:
    long = b"NOOP " + b"x" * 600
    Visible().client(long + b"\r\n", command(long), matched(LINE_LENGTH), closes())
    talk = Visible().client(b"HELO a\r\nMAIL FROM:<a@b>\r\n", command(b"HELO a"),
                         command(b"MAIL FROM:<a@b>"))  # fmt: skip
    for _ in range(100):
        talk.client(b"RCPT TO:<c@d>\r\n", command(b"RCPT TO:<c@d>"))
    talk.client(b"RCPT TO:<c@d>\r\n", command(b"RCPT TO:<c@d>"), matched(RECIPIENTS), closes())
    Visible().client(
        b"MAIL FROM:<|a>\r\n", command(b"MAIL FROM:<|a>"), malicious(b"FROM:<|a>"),
        closes(CloseCause.PIPE),
    )  # fmt: skip


def test_unknown_command_is_masked_and_what_was_masked_before_is_said() -> None:
    Visible().client(b"XFOO a\r\nQUIT\r\n", command(b"XFOO a"), masked(), command(b"QUIT"))
    Visible().client(b"XXXXXX\r\n", command(b"XXXXXX"), already_masked(REQUEST))


def test_responses_to_auth_are_not_listed_and_end_at_a_command() -> None:
    talk = Visible().client(b"EHLO a\r\nAUTH LOGIN\r\n", command(b"EHLO a"), command(b"AUTH LOGIN"))
    talk.client(b"dXNlcg==\r\n", command(b"***")).client(b"c2VjcmV0\r\n", command(b"***"))
    talk.client(b"MAIL FROM:<a@b>\r\n", command(b"MAIL FROM:<a@b>"))
    talk = Visible().client(b"AUTH LOGIN\r\n", command(b"AUTH LOGIN"))
    talk.client(b"AUTH PLAIN AGEAYg==\r\nQUIT\r\n", command(b"AUTH PLAIN ***"), command(b"QUIT"))


def test_data_that_is_followed_by_a_command_was_refused() -> None:
    talk = Visible().in_message().client(b"RSET\r\n", command(b"RSET"))
    talk.client(b"MAIL FROM:<a@b>\r\n", command(b"MAIL FROM:<a@b>"))


def test_message_ends_at_its_dot_in_any_packets() -> None:
    talk = Visible().in_message()
    for byte in b"QUIT: x\r\n\r\nDATA\r\n..\r\n.\r":
        talk.client(bytes([byte]))
    talk.client(b"\nQUIT\r\n", MessageSeen(CONNECTION), command(b"QUIT"))


def test_chunk_of_bdat_is_no_command() -> None:
    events = Visible().measured
    events.request(b"EHLO a\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", 34, 0)
    listed = [event.line for event in events.events if hasattr(event, "line")]
    assert listed == [b"EHLO a", b"BDAT 6 LAST", b"NOOP"]


def test_tls_ends_the_measurement() -> None:
    talk = Visible(default_with(allow_tls=True))
    talk.client(b"STARTTLS\r\n", command(b"STARTTLS")).client(b"\x16\x03\x01\x02\0QUIT\r\n")
    talk.client(b"QUIT\r\n")
    talk = Visible(default_with(allow_tls=True))
    talk.client(b"STARTTLS\r\nQUIT\r\n", command(b"STARTTLS"), command(b"QUIT"))


def test_after_missing_bytes_commands_are_only_listed() -> None:
    talk = Visible().client(b"EHLO a\r\n", command(b"EHLO a"))
    talk.measured.missed()
    talk.client(b"XFOO\r\n.\r\nNOOP\r\nXFOO\r\n", command(b"NOOP"), command(b"***"))
    talk = Visible().in_message()
    talk.measured.missed()
    talk.client(b"X: " + b"x" * 1000 + b"\r\n.\r\nNOOP\r\n", command(b"NOOP"))


def test_greeting_and_ehlo_reply_alone_are_measured() -> None:
    talk = Visible().server(b"220 mail\r\n", BANNER, reply(b"220 mail"))
    talk.server(
        b"250-s\r\n250-SIZE\r\n250 STARTTLS\r\n", reply(b"250-s"), reply(b"250-SIZE"),
        ehlo_masked(), reply(b"250 STARTTLS"),
    )  # fmt: skip
    for line in (b"250 ok", b"354 go", b"250 ok", b"334 x", b"235 ok", b"221 bye"):
        talk.server(line + b"\r\n", reply(line))


def test_greeting_that_was_masked_before_is_said() -> None:
    Visible().server(b"220 ***\r\n", already_masked(REPLY), reply(b"220 ***"))


@pytest.mark.parametrize("first", ["client", "server"])
def test_measurement_ends_when_the_other_direction_appears(first: str) -> None:
    talk = Visible()
    if first == "client":
        talk.client(b"XFOO\r\n", command(b"XFOO"), masked()).server(b"250 a\r\n", reply(b"250 a"))
    else:
        talk.server(b"220 a\r\n", BANNER, reply(b"220 a"))
    talk.client(b"XFOO\r\n", command(b"XFOO"))


def test_would_reset_is_told_apart() -> None:
    resets = map_with((Criterion.COMMAND_LINE_LENGTH, ClauseAction.RESET, False, 20))
    talk = Visible(resets)
    talk.measured.request(b"EHLO a\r\nNOOP 9012345678901234567\r\n", 34, 0)
    (event,) = [each for each in talk.measured.events if isinstance(each, WouldClose)]
    assert event.reset
