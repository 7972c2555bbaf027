"""Reports can be shared: no credential is in any, and with ``--redact`` nothing private."""

from __future__ import annotations

import re
from collections import Counter
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner

from nfinspect import cli
from nfinspect.packet.checksum import ip_header_valid, tcp_checksum_valid
from nfinspect.packet.segment import Segment, parse
from nfinspect.replay.redact import Redactor
from tests.capture.recorded import HELO, LONG_HEADER, QUIT, conversation
from tests.capture.test_recorded import EHLO, one_side
from tests.unit.replay.stand_in import frames, pcap

GREETING = ("<", b"220 mail.example.net ESMTP\r\n")
SECRETS = (b"YW5uYQ", b"c2VjcmV0", b"YmFy", b"AGFubmEAYmFy")
ASKED = (b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same keys in each run of a test: a pseudonym may be a short word by chance."""
    numbers = count()
    monkeypatch.setattr(
        "nfinspect.replay.redact.secrets.token_bytes",
        lambda size: next(numbers).to_bytes(size, "big"),
    )


def exchange(first: bytes, *replies: bytes) -> tuple[tuple[str, bytes], ...]:
    """A command, and a response to whatever the server says."""
    lines = [(">", first)]
    for reply, secret in zip(replies, (*SECRETS[:3], b""), strict=False):
        lines.append(("<", reply))
        if secret and reply != replies[-1]:
            lines.append((">", secret + b"\r\n"))
    return tuple(lines)


OK, NO = b"235 ok\r\n", b"535 no\r\n"
FORMS = {
    "LOGIN": exchange(b"AUTH LOGIN\r\n", *ASKED, OK),
    "PLAIN": exchange(b"AUTH PLAIN AGFubmEAYmFy\r\n", OK),
    "PLAIN, lower case": exchange(b"auth plain AGFubmEAYmFy\r\n", OK),
    "PLAIN with =": exchange(b"AUTH=PLAIN AGFubmEAYmFy\r\n", OK),
    "X-EXPS": exchange(b"X-EXPS LOGIN\r\n", *ASKED, OK),
    "X-EXPS initial": exchange(b"X-EXPS GSSAPI AGFubmEAYmFy\r\n", OK),
    "XAUTH": exchange(b"XAUTH LOGIN\r\n", *ASKED, OK),
    "XAUTH initial": exchange(b"XAUTH PLAIN AGFubmEAYmFy\r\n", OK),
    "after a refusal": (
        (">", b"AUTH LOGIN\r\n"), ("<", b"504 no\r\n"),
        (">", b"YW5uYQ==\r\n"), ("<", b"500 what\r\n"),
        (">", b"YmFy\r\n"), ("<", b"500 what\r\n"),
    ),
    "after a refused XAUTH": (
        (">", b"XAUTH LOGIN\r\n"), ("<", b"500 no\r\n"),
        (">", b"c2VjcmV0\r\n"), ("<", b"500 what\r\n"),
    ),
    "without waiting": ((">", b"AUTH LOGIN\r\nYW5uYQ==\r\nYmFy\r\n"), ("<", NO)),
}  # fmt: skip
MAIL = (
    (">", b"MAIL FROM:<anna@private.example>\r\n"), ("<", b"250 2.1.0 Ok\r\n"),
    (">", b"RCPT TO:<bert@inner.example>\r\n"), ("<", b"250 2.1.5 Ok\r\n"),
    (">", b"DATA\r\n"), ("<", b"354 go\r\n"),
)  # fmt: skip


def report(packets: list[bytes], tmp_path: Path, *options: object) -> bytes:
    path = tmp_path / "in.pcap"
    path.write_bytes(pcap(packets, 101))
    words = ["replay", str(path), *map(str, options)]
    done = CliRunner().invoke(cli.main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout_bytes


@pytest.mark.parametrize("side", ["both", ">"])
@pytest.mark.parametrize("output", ["", "--json", "--dialogue"])
@pytest.mark.parametrize("form", FORMS)
def test_no_credential_is_in_a_report(form: str, output: str, side: str, tmp_path: Path) -> None:
    talk = (GREETING, *EHLO, *FORMS[form], *MAIL[:4], *QUIT)
    packets = conversation(talk) if side == "both" else one_side(talk, side)
    text = report(packets, tmp_path, *filter(None, [output]))
    for secret in SECRETS:
        assert secret not in text
    assert b"RCPT TO:<bert@inner.example>" in text or not output


PRIVATE = (
    b"anna", b"private", b"bert", b"inner.example", b"harbour", b"night", b"Lamps", b"client.example",
    b"192.0.2.1", b"198.51.100.25", b"203.0.113.77", b"queue4711", b"mail.example",
)  # fmt: skip
TEXT = (
    LONG_HEADER[:-2] + b" harbour\r\nSubject: The harbour at night\r\n"
    b"Received: from [203.0.113.77] by mail.example.net\r\n\r\nLamps for anna.\r\n.\r\n"
)
SHORT = TEXT.replace(b"X-Long", b"X-Short").replace(b"a" * 1200, b"")
QUEUED = ("<", b"250 2.0.0 Ok: queued as queue4711\r\n")


@pytest.mark.parametrize("output", ["", "--json", "--dialogue"])
@pytest.mark.parametrize("text", [TEXT, SHORT], ids=["closed", "passed"])
def test_redacted_report_has_nothing_private(text: bytes, output: str, tmp_path: Path) -> None:
    odd = ((">", b"XFOO anna harbour\r\n"), ("<", b"500 5.5.1 no anna\r\n"))
    packets = conversation((GREETING, *HELO, *odd, *MAIL, (">", text), QUEUED, *QUIT))
    out = tmp_path / "out.pcap"
    shown = report(packets, tmp_path, "--redact", "--out", out, *filter(None, [output]))
    written = [frame.data for frame in frames(out)]
    for private in PRIVATE:
        assert private.lower() not in shown.lower()
        assert not any(private.lower() in packet.lower() for packet in written)
    for address in (bytes([192, 0, 2, 1]), bytes([198, 51, 100, 25])):
        assert not any(address in packet for packet in written)
    assert b"unknown command" in shown
    assert (b"header line length gt 998" in shown.partition(b"syslog")[0]) or text is SHORT


def test_redacted_capture_is_valid_and_gets_the_same_verdict(tmp_path: Path) -> None:
    packets = conversation((GREETING, *HELO, *MAIL, (">", SHORT), QUEUED, *QUIT))
    report(packets, tmp_path, "--redact", "--out", tmp_path / "out.pcap")
    written = [frame.data for frame in frames(tmp_path / "out.pcap")]
    assert [len(packet) for packet in written] == [len(packet) for packet in packets]
    for packet in written:
        segment = parse(packet)
        assert isinstance(segment, Segment)
        assert ip_header_valid(packet)
        assert tcp_checksum_valid(segment)
    assert b"MAIL FROM:<" in b"".join(written)
    assert b"closed by inspection" not in report(written, tmp_path).partition(b"syslog")[0]


def test_packets_that_are_not_the_filters_are_not_in_a_redacted_capture(tmp_path: Path) -> None:
    web = [packet.replace(b"\x00\x19", b"\x00\x50", 1) for packet in conversation((GREETING,))]
    report(web, tmp_path, "--redact", "--out", tmp_path / "out.pcap")
    assert frames(tmp_path / "out.pcap") == []


def test_pseudonyms_of_a_run_are_consistent_and_those_of_another_are_not() -> None:
    one, other = Redactor(), Redactor()
    line = b"MAIL FROM:<Anna.Example@private.example> SIZE=12345"
    assert one.request(line) == one.request(line) != other.request(line)
    assert len(one.request(line)) == len(line)
    assert one.request(line).startswith(b"MAIL FROM:<")
    assert one.text(b"anna") == one.text(b"ANNA").lower()


def test_ipv4_pseudonyms_have_the_texts_length_and_differ() -> None:
    redactor = Redactor()
    made = {redactor.address(bytes([192, 0, 2, n])) for n in range(256)}
    assert len(made) == 256
    text = redactor.text(b"HELO [192.0.2.7]")
    assert len(text) == 16
    assert bytes(map(int, text[6:-1].split(b"."))) == redactor.address(bytes([192, 0, 2, 7]))


def test_address_cut_by_a_packet_leaves_no_part_of_it() -> None:
    redactor = Redactor()
    for cut in range(1, len(b"anna@private.example 192.0.2.1")):
        whole = b"anna@private.example 192.0.2.1"
        parts = redactor.request(b"x" + whole[:cut]) + redactor.request(whole[cut:])
        assert b"anna@" not in parts
        assert b"private" not in parts
        assert b"192.0.2.1" not in parts


def test_redact_with_a_selection_by_address_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "a.pcap").write_bytes(pcap([]))
    words = ["replay", str(tmp_path / "a.pcap"), "--redact", "--client", "192.0.2.1"]
    assert CliRunner().invoke(cli.main, words).exit_code == 2


# --- Words of the protocol in other places

WORDS = (
    b"login",
    b"data",
    b"quit",
    b"size",
    b"mail",
    b"helo",
    b"start",
    b"plain",
    b"from",
    b"to",
    b"help",
    b"ok",
)
LETTER = (
    b"Subject: Login data: help from size to start\r\n"
    b"X-Mail-Size: plain\r\nContent-Type: application/pdf; name=\"login data.pdf\"\r\n\r\n"
    b"Data shows the size. Start here.\r\nQuit\r\nMail from: plain to help\r\n"
    b"QUIT\r\nDATA\r\nHELO login\r\nMAIL FROM:<size@start.example>\r\n250 ok data\r\n.\r\n"
)  # fmt: skip
PLACES: dict[str, tuple[tuple[str, bytes], ...]] = {
    "subject and text": (*MAIL, (">", LETTER), QUEUED),
    "text in pieces": (
        *MAIL, *((">", LETTER[at : at + 11]) for at in range(0, len(LETTER), 11)), QUEUED,
    ),
    "text not waited for": (*MAIL[:4], (">", b"DATA\r\n" + LETTER), ("<", b"354 go\r\n"), QUEUED),
    "text with QUIT in its packet": (*MAIL, (">", LETTER + b"QUIT\r\n"), QUEUED),
    "text of a closed connection": (*MAIL, (">", LETTER.replace(b"pdf", b"data" * 300)), QUEUED),
    "a long file name": (*MAIL, (">", LETTER.replace(b"login data.", b"login data " * 26)), QUEUED),
    "a long header": (*MAIL, (">", LETTER.replace(b"plain\r\n", b"data " * 250 + b"\r\n")), QUEUED),
    "a chunk": (
        (">", b"BDAT %d LAST\r\n" % len(LETTER)), (">", LETTER), ("<", b"250 ok\r\n"),
    ),
    "a chunk at once": ((">", b"BDAT %d LAST\r\n" % len(LETTER) + LETTER), ("<", b"250 ok\r\n")),
    "addresses": (
        (">", b"MAIL FROM:<data@login.example> SIZE=9 BODY=8BITMIME\r\n"), ("<", b"250 go\r\n"),
        (">", b"RCPT TO:<start.quit@help.size.example>\r\n"), ("<", b"250 go\r\n"),
    ),
    "a long address": (
        (">", b"MAIL FROM:<data@" + b"login." * 60 + b"example>\r\n"), ("<", b"250 go\r\n"),
    ),
    "a host's name": ((">", b"HELO mail.login.example\r\n"), ("<", b"250 mail.data.example size\r\n")),
    "an unknown command": ((">", b"XFOO login data\r\n"), ("<", b"500 what is data\r\n")),
    "a refusal": ((">", b"RSET\r\n"), ("<", b"550 5.7.1 the login of data is plain\r\n")),
}  # fmt: skip
ENVELOPE = b"mail from ok to ok data ok"
PROTOCOL = {
    # what may be left of them
    "text with QUIT in its packet": ENVELOPE + b" quit",
    "a chunk": b"ok",
    "a chunk at once": b"ok",
    "addresses": b"mail from size to",
    "a long address": b"mail from",
    "a host's name": b"helo",
    "an unknown command": b"",
    "a refusal": b"",
}


@pytest.mark.parametrize("side", ["both", ">", "from the middle"])
@pytest.mark.parametrize("place", PLACES)
def test_words_of_the_protocol_do_not_survive_in_other_places(
    place: str, side: str, tmp_path: Path
) -> None:
    talk = (GREETING, *EHLO, *PLACES[place])
    packets = conversation(talk) if side != ">" else one_side(talk, side)
    if side == "from the middle":
        packets = packets[3 + 2 * len((GREETING, *EHLO)) :]
    out = tmp_path / "out.pcap"
    text = report(packets, tmp_path, "--redact", "--dialogue", "--out", out)
    told = report(packets, tmp_path, "--redact", "--json")
    for private in (
        b"login data", b"Login data", b"shows", b"size@start", b"login.example", b"data.pdf",
        b"the login of", b"mail.login", b"what is data",
    ):  # fmt: skip
        assert private not in text + told
    written = b" ".join(frame.data[40:] for frame in frames(out)).lower()
    left = Counter(word for word in re.findall(rb"[a-z0-9]+", written) if word in WORDS)
    assert left <= Counter(PROTOCOL.get(place, ENVELOPE).split()), written


def test_header_fields_names_that_are_not_common_do_not_survive(tmp_path: Path) -> None:
    for name, survives in ((b"X-Acme-Corporation", False), (b"References", True)):
        header = name + b": " + b"a" * 1200 + b"\r\n\r\nx\r\n.\r\n"
        packets = conversation((GREETING, *HELO, *MAIL, (">", header), QUEUED))
        for output in ("--json", "--dialogue"):
            assert (name in report(packets, tmp_path, "--redact", output)) is survives
