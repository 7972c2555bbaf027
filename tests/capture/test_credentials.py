"""No credential is in any output: not in a report, in no event and no line of the log, and in no redacted
capture, in whatever form a client authenticates, and however little of it was recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nfinspect.actions import Emit
from nfinspect.arrival import Arrival
from nfinspect.audit import syslog
from nfinspect.audit.json_lines import to_json
from nfinspect.engine import LIVE, RECORDED, Engine, EngineOptions
from tests.capture.recorded import ENVELOPE, MAIL, conversation, from_client, replayed
from tests.unit.replay.stand_in import POLICY, frames, pcap

Dialogue = tuple[tuple[str, bytes], ...]

USER, PASSWORD = b"YW5uYUBwcml2YXRlLmV4YW1wbGU=", b"c2VjcmV0aGFyYm91cg=="
BOTH = b"AGFubmFAcHJpdmF0ZQBzZWNyZXRoYXJib3Vy"
TOKEN = b"dXNlcj1hbm5hAWF1dGg9QmVhcmVyIHlhMjkuYm91cmhhcmJvdXI="
DIGEST = b"YW5uYSA5MWFmMmJjNmQzNGU3YzIxMDk4NzY1NDMyMTBmZWRjYmE="
NTLM = b"TlRMTVNTUAADAAAAGAAYAHYAAAAYABgAjgAAAAAAhar"
PLAINLY = b"harbourmaster"
SECRETS = (USER, PASSWORD, BOTH, TOKEN, DIGEST, NTLM, PLAINLY)

WINDOW = 6
"""Bytes of a secret that no output may have."""

ASKS_USER, ASKS_PASSWORD = b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n"
OK, NO, REFUSED = b"235 ok\r\n", b"535 no\r\n", b"504 5.5.4 mechanism\r\n"
WHAT = b"500 5.5.1 what\r\n"


def talk(*lines: bytes) -> Dialogue:
    """Lines by turns: of the client, of the server."""
    return tuple((">" if at % 2 == 0 else "<", line) for at, line in enumerate(lines))


FORMS: dict[str, Dialogue] = {
    "PLAIN": talk(b"AUTH PLAIN " + BOTH + b"\r\n", OK),
    "PLAIN, asked": talk(b"AUTH PLAIN\r\n", b"334 \r\n", BOTH + b"\r\n", OK),
    "PLAIN, empty initial": talk(b"AUTH PLAIN =\r\n", b"334 \r\n", BOTH + b"\r\n", OK),
    "PLAIN, lower case": talk(b"auth plain " + BOTH + b"\r\n", OK),
    "PLAIN with =": talk(b"AUTH=PLAIN " + BOTH + b"\r\n", OK),
    "PLAIN, blanks": talk(b"AUTH \t PLAIN\t " + BOTH + b" \r\n", OK),
    "PLAIN behind a blank": talk(b" AUTH PLAIN " + BOTH + b"\r\n", WHAT),
    "PLAIN, refused": talk(b"AUTH PLAIN " + BOTH + b"\r\n", NO, b"AUTH PLAIN " + BOTH + b"\r\n", NO),
    "PLAIN, refused, then bare": talk(b"AUTH PLAIN\r\n", REFUSED, BOTH + b"\r\n", WHAT),
    "PLAIN, bare LF": talk(b"AUTH PLAIN " + BOTH + b"\n", OK),
    "PLAIN, asked, bare LF": talk(b"AUTH PLAIN\r\n", b"334 \r\n", BOTH + b"\n", OK),
    "PLAIN, bare CR": talk(b"AUTH PLAIN\r" + BOTH + b"\r\n", WHAT),
    "PLAIN, not in base64": talk(b"AUTH PLAIN\r\n", b"334 \r\n", b"anna " + PLAINLY + b"\r\n", NO),
    "PLAIN, too long": talk(b"AUTH PLAIN " + BOTH * 20 + b"\r\n", OK),
    "PLAIN, pipelined": (
        (">", b"AUTH PLAIN " + BOTH + b"\r\nMAIL FROM:<a@example.net>\r\n"),
        ("<", OK + b"250 Ok\r\n"),
    ),
    "LOGIN": talk(
        b"AUTH LOGIN\r\n", ASKS_USER, USER + b"\r\n", ASKS_PASSWORD, PASSWORD + b"\r\n", OK
    ),
    "LOGIN, user at once": talk(
        b"AUTH LOGIN " + USER + b"\r\n", ASKS_PASSWORD, PASSWORD + b"\r\n", NO
    ),
    "LOGIN, mixed case": talk(
        b"Auth Login\r\n", ASKS_USER, USER + b"\r\n", ASKS_PASSWORD, PASSWORD + b"\r\n", OK
    ),
    "LOGIN, not waiting": (
        (">", b"AUTH LOGIN\r\n" + USER + b"\r\n" + PASSWORD + b"\r\n"),
        ("<", NO),
    ),
    "LOGIN, refused": talk(b"AUTH LOGIN\r\n", REFUSED, USER + b"\r\n", WHAT, PASSWORD + b"\r\n", WHAT),
    "LOGIN, refused, after NOOP": talk(
        b"AUTH LOGIN\r\n", REFUSED, b"NOOP\r\n", b"250 Ok\r\n", PASSWORD + b"\r\n", WHAT
    ),
    "LOGIN, cancelled": talk(b"AUTH LOGIN\r\n", ASKS_USER, USER + b"\r\n", ASKS_PASSWORD, b"*\r\n", NO),
    "LOGIN, cancelled, then sent": talk(
        b"AUTH LOGIN\r\n", ASKS_USER, b"*\r\n", b"501 cancelled\r\n", PASSWORD + b"\r\n", WHAT
    ),
    "LOGIN, with a plain password": talk(
        b"AUTH LOGIN\r\n", ASKS_USER, USER + b"\r\n", ASKS_PASSWORD, PLAINLY + b"\r\n", NO
    ),
    "CRAM-MD5": talk(b"AUTH CRAM-MD5\r\n", b"334 PDE4OTYuNjk3QG14Pg==\r\n", DIGEST + b"\r\n", OK),
    "DIGEST-MD5": talk(
        b"AUTH DIGEST-MD5\r\n", b"334 cmVhbG09Im14Ig==\r\n", DIGEST + b"\r\n", b"334 cnNwYXV0aD0x\r\n",
        b"\r\n", OK,
    ),
    "SCRAM-SHA-256": talk(
        b"AUTH SCRAM-SHA-256 " + TOKEN + b"\r\n", b"334 cj1mRHlk\r\n", DIGEST + b"\r\n",
        b"334 dj1yd\r\n", b"\r\n", OK,
    ),
    "XOAUTH2": talk(b"AUTH XOAUTH2 " + TOKEN + b"\r\n", OK),
    "XOAUTH2, asked": talk(b"AUTH XOAUTH2\r\n", b"334 \r\n", TOKEN + b"\r\n", OK),
    "XOAUTH2, error": talk(b"AUTH XOAUTH2 " + TOKEN + b"\r\n", b"334 eyJzdGF0\r\n", b"\r\n", NO),
    "OAUTHBEARER": talk(b"AUTH OAUTHBEARER " + TOKEN + b"\r\n", b"334 eyJz\r\n", b"AQ==\r\n", NO),
    "NTLM": talk(b"AUTH NTLM\r\n", b"334 NTLM supported\r\n", NTLM + b"\r\n", b"334 TlRM\r\n", NTLM + b"\r\n", OK),
    "NTLM, initial": talk(b"AUTH NTLM " + NTLM + b"\r\n", b"334 TlRM\r\n", NTLM + b"\r\n", OK),
    "GSSAPI": talk(b"AUTH GSSAPI " + TOKEN + b"\r\n", b"334 \r\n", DIGEST + b"\r\n", b"334 YA==\r\n", BOTH + b"\r\n", OK),
    "X-EXPS LOGIN": talk(
        b"X-EXPS LOGIN\r\n", ASKS_USER, USER + b"\r\n", ASKS_PASSWORD, PASSWORD + b"\r\n", OK
    ),
    "X-EXPS NTLM": talk(b"X-EXPS NTLM " + NTLM + b"\r\n", b"334 TlRM\r\n", NTLM + b"\r\n", OK),
    "X-EXPS GSSAPI, lower case": talk(b"x-exps gssapi " + TOKEN + b"\r\n", OK),
    "X-EXPS, refused": talk(b"X-EXPS LOGIN\r\n", WHAT, USER + b"\r\n", WHAT, PASSWORD + b"\r\n", WHAT),
    "XAUTH LOGIN": talk(
        b"XAUTH LOGIN\r\n", ASKS_USER, USER + b"\r\n", ASKS_PASSWORD, PASSWORD + b"\r\n", OK
    ),
    "XAUTH PLAIN": talk(b"XAUTH PLAIN " + BOTH + b"\r\n", OK),
    "XAUTH, refused": talk(b"XAUTH LOGIN\r\n", WHAT, PASSWORD + b"\r\n", WHAT),
    "AUTH alone": talk(b"AUTH\r\n", b"501 mechanism?\r\n", BOTH + b"\r\n", WHAT),
    "typed": ((">", b"AU"), (">", b"TH PLAIN " + BOTH[:9]), (">", BOTH[9:] + b"\r\n"), ("<", WHAT)),
    "two in one packet": (
        (">", b"AUTH PLAIN " + BOTH + b"\r\nAUTH LOGIN " + USER + b"\r\n"),
        ("<", NO + NO),
    ),
    "never answered": ((">", b"AUTH PLAIN " + BOTH + b"\r\n" + PASSWORD + b"\r\n"),),
    "behind an unknown command": (
        (">", b"XFOO\r\nAUTH LOGIN\r\n" + USER + b"\r\n"),
        ("<", WHAT + NO),
    ),
    "after TLS was refused": talk(
        b"STARTTLS\r\n", b"454 no\r\n", b"AUTH PLAIN " + BOTH + b"\r\n", OK
    ),
}  # fmt: skip

BEFORE: Dialogue = (
    ("<", b"220 mail.example.net ESMTP\r\n"),
    (">", b"EHLO client.example.net\r\n"),
    (
        "<",
        b"250-mail.example.net\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN NTLM\r\n",
    ),
)
AFTER: Dialogue = (*ENVELOPE, *MAIL)


def cut(dialogue: Dialogue, size: int) -> Dialogue:
    """The same in small segments."""
    return tuple(
        (side, line[at : at + size]) for side, line in dialogue for at in range(0, len(line), size)
    )


def recorded(form: str, way: str) -> list[bytes]:
    whole = (*BEFORE, *FORMS[form], *AFTER)
    match way:
        case "client":
            return [packet for packet in conversation(whole) if from_client(packet)]
        case "server":
            return [packet for packet in conversation(whole) if not from_client(packet)]
        case "from AUTH on":
            return conversation(whole)[3 + 2 * len(BEFORE) :]
        case "from the response on":
            return conversation(whole)[3 + 2 * len(BEFORE) + 4 :]
        case "in pieces":
            return conversation((*BEFORE, *cut(FORMS[form], 7), *AFTER))
        case "without EHLO":
            return conversation((*BEFORE[:1], *FORMS[form], *AFTER))
        case "before the greeting":
            first = next((n for n, (side, _) in enumerate(FORMS[form]) if side == "<"), None)
            return conversation((*FORMS[form][:first], *BEFORE, *FORMS[form][first:], *AFTER))
        case "with a hole":
            packets = conversation(whole)
            return packets[: 3 + 2 * len(BEFORE) + 1] + packets[3 + 2 * len(BEFORE) + 3 :]
        case _:
            return conversation(whole)


WAYS = (
    "both", "client", "server", "from AUTH on", "from the response on", "in pieces", "without EHLO",
    "before the greeting", "with a hole",
)  # fmt: skip


def leaked(text: bytes, window: int = WINDOW) -> list[bytes]:
    """The parts of secrets that are in the text."""
    parts = (s[at : at + window] for s in SECRETS for at in range(len(s) - window + 1))
    return [part for part in parts if part in text]


def events_of(packets: list[bytes], options: EngineOptions) -> bytes:
    """The lines of ``run --json`` and of the log."""
    engine = Engine(POLICY, options, started=0.0)
    lines = []
    now = 0.0
    for number, packet in enumerate(packets):
        now = number * 3.0  # so that what waits is reported
        for action in (*engine.tick(now), *engine.arrive(Arrival(number, packet, now))):
            if isinstance(action, Emit):
                lines.append(action.event)
    lines += [each.event for each in engine.flush(now) if isinstance(each, Emit)]
    return b"\n".join(
        json.dumps(to_json(event, 0.0)).encode() + (syslog.render(event) or "").encode()
        for event in lines
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", FORMS)
def test_no_credential_is_in_any_output(form: str, way: str, tmp_path: Path) -> None:
    packets = recorded(form, way)
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap(packets, 101))
    for options in (["--dialogue"], ["--json"], ["--monitor", "--json"]):
        assert leaked(replayed(path, *options).encode()) == []
    for engine in (EngineOptions(LIVE), EngineOptions(RECORDED, transcript=True)):
        assert leaked(events_of(packets, engine)) == []
    shown = replayed(path, "--redact", "--dialogue", "--out", tmp_path / "out.pcap")
    assert leaked(shown.encode(), 8) == []
    written = b"".join(frame.data for frame in frames(tmp_path / "out.pcap"))
    assert leaked(written, 8) == []


def test_every_form_is_in_its_capture() -> None:
    for form in FORMS:
        packets = b"".join(packet[40:] for packet in recorded(form, "both"))
        assert leaked(packets), form
