"""hardened.cfg at work: an ordinary mail passes, and what docs/hardened.md names is closed or masked."""

from __future__ import annotations

from importlib import resources

import pytest

from nfinspect.esmtp.clauses import compile_map
from nfinspect.esmtp.inspector import Inspector
from nfinspect.events import ClauseMatched, CloseCause, CommandMasked, Event, ParameterMatched
from nfinspect.policy import parse_policy
from nfinspect.policy.model import InspectionMap
from tests.unit.esmtp.transcript import CONNECTION

TEXT = resources.files("nfinspect.policy").joinpath("hardened.cfg").read_text("utf-8")
(APPLIED,) = parse_policy(TEXT, "hardened.cfg").policy.inspections
MAP: InspectionMap = APPLIED.map


class Session:
    """A client and a server that answer each other, packet by packet."""

    def __init__(self) -> None:
        self.inspector = Inspector(CONNECTION, compile_map(MAP))
        self.events: list[Event] = []
        self.replied = 0
        self.reply(b"220 mx ready\r\n")
        self.say(b"EHLO client.example\r\n")
        self.offered = self.reply(b"250-mx\r\n250-SIZE 1000000\r\n250-CHUNKING\r\n250 STARTTLS\r\n")

    def say(self, data: bytes) -> bytes:
        passed = self.inspector.request(data, len(data), self.replied)
        self._note()
        return passed

    def reply(self, data: bytes) -> bytes:
        passed = self.inspector.reply(data)
        self.replied += len(passed)
        self._note()
        return passed

    def _note(self) -> None:
        self.events += self.inspector.events
        self.inspector.events.clear()

    def ask(self, line: bytes, answer: bytes = b"250 ok\r\n") -> bytes:
        passed = self.say(line)
        if self.inspector.closing is None:
            self.reply(answer)
        return passed

    def in_data(self) -> Session:
        self.ask(b"MAIL FROM:<sender@client.example>\r\n")
        self.ask(b"RCPT TO:<somebody@example.org>\r\n")
        self.ask(b"DATA\r\n", b"354 go ahead\r\n")
        self.events.clear()
        return self

    def told(self) -> list[str]:
        return [
            event.criterion if isinstance(event, ClauseMatched) else event.parameter
            for event in self.events
            if isinstance(event, ClauseMatched | ParameterMatched)
        ]


MAIL = b"""From: sender@client.example
To: somebody@example.org, "Else, Somebody" <else@example.org>
Subject: a mail
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b"

--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Hello, this is a picture.
--b
Content-Type: image/png; name="picture.png"
Content-Disposition: attachment; filename="picture.png"
Content-Transfer-Encoding: base64

iVBORw0KGgo=
--b--
""".replace(b"\n", b"\r\n")


def test_ordinary_mail_passes_unchanged_and_nothing_is_told() -> None:
    session = Session().in_data()
    assert session.say(MAIL + b".\r\n") == MAIL + b".\r\n"
    session.reply(b"250 queued\r\n")
    assert session.say(b"QUIT\r\n") == b"QUIT\r\n"
    assert (session.told(), session.inspector.closing) == ([], None)


def test_server_offers_neither_chunks_nor_tls() -> None:
    session = Session()
    assert b"SIZE" in session.offered
    assert b"CHUNKING" not in session.offered
    assert b"STARTTLS" not in session.offered


@pytest.mark.parametrize("line", [b"VRFY root\r\n", b"ETRN example.org\r\n", b"HELP\r\n"])
def test_commands_that_ask_about_the_server_are_masked(line: bytes) -> None:
    session = Session()
    session.events.clear()
    assert session.ask(line, b"500 what\r\n") == b"X" * (len(line) - 2) + b"\r\n"
    assert session.told() == ["cmd verb ETRN HELP VRFY"]


@pytest.mark.parametrize(
    "end",
    [
        b"\n.\n",
        b"\n.\r",
        b"\r.\n",
        b"\r.\r",
        b"\n.\r\n",
        b"\r.\r\n",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
    ],
)
@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_false_end_of_a_mail_closes_before_what_follows(end: bytes, cut: int) -> None:
    session = Session().in_data()
    smuggled = b"MAIL FROM:<admin@client.example>\r\nRCPT TO:<somebody@example.org>\r\nDATA\r\n"
    data = MAIL + end + smuggled
    place = len(MAIL) + cut
    passed = b""
    for part in (data[:place], data[place:]):
        passed += session.say(part)
        if session.inspector.closing is not None:
            break
    assert session.inspector.closing is CloseCause.PARAMETER
    assert b"admin" not in passed
    assert session.told() == ["bare-newline"]


@pytest.mark.parametrize(
    "part",
    [
        b'Content-Disposition: attachment; filename="invoice.pdf.exe"',
        b"Content-Disposition: attachment; filename*=utf-8''invoice%2ESCR",
        b"Content-Disposition: attachment; filename==?utf-8?B?cnVuLmpz?=",
        b"Content-Type: Application/X-MSDownload",
        b'Content-Type: application/octet-stream; name="a.lnk"',
    ],
)
def test_program_as_an_attachment_closes(part: bytes) -> None:
    session = Session().in_data()
    mail = MAIL.replace(b"--b--\r\n", b"--b\r\n" + part + b"\r\n\r\nx\r\n--b--\r\n")
    session.say(mail + b".\r\n")
    assert session.inspector.closing is CloseCause.CLAUSE
    assert session.told() == ["MIME filetype regex class programs"]


@pytest.mark.parametrize(
    "line",
    [b"MAIL FROM:<`id`@client.example>\r\n", b"MAIL FROM:<a\0b@client.example>\r\n"],
)
def test_address_for_a_shell_closes(line: bytes) -> None:
    session = Session()
    session.events.clear()
    session.say(line)
    assert session.inspector.closing is CloseCause.PARAMETER
    assert session.told() == ["special-character"]


def test_guessing_addresses_closes_at_the_eleventh_refusal() -> None:
    session = Session()
    session.ask(b"MAIL FROM:<sender@client.example>\r\n")
    session.events.clear()
    for number in range(10):
        session.ask(b"RCPT TO:<guess%d@example.org>\r\n" % number, b"550 no such user\r\n")
    assert (session.told(), session.inspector.closing) == ([], None)
    session.ask(b"RCPT TO:<guess10@example.org>\r\n", b"550 no such user\r\n")
    assert session.told() == ["invalid-recipients count gt 10"]
    assert session.inspector.closing is CloseCause.CLAUSE


def test_chunk_behind_its_bdat_closes() -> None:
    session = Session()
    session.ask(b"MAIL FROM:<sender@client.example>\r\n")
    session.ask(b"RCPT TO:<somebody@example.org>\r\n")
    session.events.clear()
    chunk = b"MAIL FROM:<admin@client.example>\r\n"
    passed = session.say(b"BDAT %d LAST\r\n" % len(chunk) + chunk)
    assert session.inspector.closing is not None
    assert passed == b""
    assert not any(isinstance(event, CommandMasked) for event in session.events[1:])
