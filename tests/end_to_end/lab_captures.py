"""Captures with known causes, made in the lab: what breaks mail at the firewall, and what does not.

Each is recorded by tcpdump on the path, without the filter, while real mail software talks; what a
program would not do by itself (an injection, a keyboard) a client of a few lines does.
``python -m tests.end_to_end.lab_captures DIR KEY SEED`` makes them all, numbered in random order, for
somebody who is to name their causes, and writes the causes to KEY.
"""

from __future__ import annotations

import random
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from scapy.data import DLT_EN10MB
from scapy.utils import RawPcapReader, RawPcapWriter

from nfinspect.lab.cases import ALLOW_TLS
from nfinspect.lab.dialogue import Script
from nfinspect.lab.lab import orderly_end
from nfinspect.lab.link import Impairments, Link
from nfinspect.lab.stage import MESSAGE, RECIPIENT, SENDER
from nfinspect.lab.topology import CLIENT, FILTER
from nfinspect.policy import default_text
from tests.end_to_end.lab_bench import (
    EXIM,
    HASTY,
    INTERNATIONAL,
    MAIL,
    MAIL6,
    NEEDS_TLS,
    PASSWORD,
    PROXIED,
    SCRIPT,
    Bench,
)

EHLO, MAIL_FROM, RCPT_TO = (
    "EHLO client.example",
    f"MAIL FROM:<{SENDER}>",
    f"RCPT TO:<{RECIPIENT}>",
)

CLEAN = "nothing is wrong"


@dataclass(frozen=True, slots=True)
class LabCapture:
    """A capture, how it is made, and what a replay must say."""

    name: str
    cause: str
    """What is wrong, for who made the capture."""
    act: Callable[[Bench], object]
    """What happens; if *late*, a generator, which the capture joins at its first yield."""
    lead: tuple[str, ...] = ()
    """What the report must say before its lists."""
    at: bytes = b""
    """What the packet holds that the lead must name."""
    count: int = 1
    """Which of the packets with these bytes it is."""
    says: tuple[str, ...] = ()
    """What it must say anywhere."""
    config: str | None = None
    """The map to judge by, if not the default one."""
    interface: str = "outside"
    where: str = FILTER
    expression: str = "tcp port 25"
    offloads: bool = False
    late: bool = False
    doubled: bool = False
    """Each packet is recorded twice, as by a mirror port that copies both ways."""

    def record(self, bench: Bench, file: Path) -> None:
        """Make it; *bench* must have the offloads that it wants."""
        bench.end_connections()
        acting = self.act(bench) if self.late else None
        if isinstance(acting, Iterator):
            next(acting)
        running = bench.tcpdump(file, self.interface, self.where, expression=self.expression)
        try:
            if isinstance(acting, Iterator):
                next(acting, None)
            else:
                self.act(bench)
        finally:
            running.stop()
        if self.doubled:
            double(file)


def double(file: Path) -> None:
    """Repeat each packet of a capture."""
    with RawPcapReader(str(file)) as reader:
        packets = [(data, meta) for data, meta in reader]
    with RawPcapWriter(str(file), linktype=DLT_EN10MB) as writer:
        writer.write_header(None)
        for data, meta in packets:
            for microsecond in range(2):
                writer.write_packet(data, sec=meta.sec, usec=meta.usec + microsecond)


# What happens in a capture: each of these is, or returns, a function for the table.


def swaks(*arguments: str, to: str = MAIL, header: str = "") -> Callable[[Bench], None]:
    """One mail by swaks; *header* on top."""
    return lambda bench: bench.swaks(*arguments, to=to, message=header + MESSAGE)


def typed(
    *lines: str | bytes, to: str = MAIL, script: Script | None = None, patience: float = 5.0
) -> Callable[[Bench], None]:
    """A client that sends each line once the one before is answered, up to an end."""

    def act(bench: Bench) -> None:
        with ExitStack() as stack:
            if script is not None:
                stack.enter_context(bench.server(script))
            client = stack.enter_context(bench.dialogue(to, patience=patience))
            try:
                for line in lines:
                    client.command(line)
            except (TimeoutError, ConnectionError):
                pass

    return act


def in_pieces(
    *lines: str, pieces: tuple[bytes, ...], to: str = MAIL, script: Script | None = None
) -> Callable[[Bench], None]:
    """A client that sends *lines* like `typed`, and then *pieces* without waiting for replies."""

    def act(bench: Bench) -> None:
        with ExitStack() as stack:
            if script is not None:
                stack.enter_context(bench.server(script))
            client = stack.enter_context(bench.dialogue(to))
            for line in lines:
                client.command(line)
            for piece in pieces:
                client.send(piece)
                time.sleep(0.02)
            time.sleep(0.2)

    return act


def postfix(to: str = MAIL, message: str = MESSAGE, **settings: str) -> Callable[[Bench], None]:
    """One mail by Postfix."""
    return lambda bench: bench.postfix(to=to, message=message, **settings)


def behind_a_firewall(
    act: Callable[[Bench], None], config: str | None = None
) -> Callable[[Bench], None]:
    """The same with another inspecting firewall in the path."""

    def both(bench: Bench) -> None:
        with bench.firewall(config):
            act(bench)
            bench.end_connections()

    return both


def reset_in_mail(bench: Bench) -> None:
    """A client that resets the connection in the middle of a mail."""
    with bench.dialogue(MAIL) as client:
        for line in (EHLO, MAIL_FROM, RCPT_TO, "DATA"):
            client.command(line)
        client.send(b"Subject: the half\r\n\r\nThe first half of it,\r\n")
        time.sleep(0.1)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent_in_mail(bench: Bench) -> None:
    """A client that stops in the middle of a mail; the server waits for 5 seconds."""
    with bench.dialogue(HASTY, patience=20) as client:
        for line in (EHLO, MAIL_FROM, RCPT_TO, "DATA"):
            client.command(line)
        client.send(b"Subject: the half\r\n\r\nThe first half of it,\r\n")
        client.rest()


def silent_server(bench: Bench) -> None:
    """A server that does not answer MAIL, and a client that waits for it."""
    with bench.server(Script(replies={b"MAIL": b""})):
        bench.swaks("--timeout", "6", to=SCRIPT)


def joined_in_mail(bench: Bench) -> Iterator[None]:
    """The capture begins in the middle of a mail."""
    with bench.dialogue(MAIL) as client:
        for line in (EHLO, MAIL_FROM, RCPT_TO, "DATA"):
            client.command(line)
        client.send(b"Subject: two halves\r\n\r\nThe first half.\r\n")
        yield
        client.send(b"MAIL has come today.\r\nDATA too.\r\n.\r\n")
        client.reply()
        client.command("QUIT")


def cyrillic_name(bench: Bench) -> None:
    """A mail with an attachment whose name is a whole sentence."""
    bench.library(
        """
mail = EmailMessage(SMTP)
mail["From"], mail["To"], mail["Subject"] = sys.argv[2:4] + ["report"]
mail.set_content("attached")
mail.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename=sys.argv[4])
mail.set_boundary("half")
with smtplib.SMTP(sys.argv[1], local_hostname="client.example") as client:
    client.send_message(mail)
""",
        MAIL, SENDER, RECIPIENT, FILE_NAME,
    )  # fmt: skip


def in_utf8(bench: Bench) -> None:
    """A mail that uses SMTPUTF8, which the server offers."""
    bench.library(
        """
mail = EmailMessage(SMTP.clone(utf8=True))
mail["From"], mail["To"], mail["Subject"] = sys.argv[2:4] + ["привет"]
mail.set_content("hello")
with smtplib.SMTP(sys.argv[1], local_hostname="client.example") as client:
    client.send_message(mail, mail_options=["SMTPUTF8", "BODY=8BITMIME"])
""",
        INTERNATIONAL, "отправитель@client.example", RECIPIENT,
    )  # fmt: skip


def lossy(bench: Bench) -> Iterator[None]:
    """A path that loses a packet in a hundred."""
    link = Link(bench.lab, CLIENT, Impairments(delay=0.005, loss=0.01, seed=3))
    try:
        yield
        bench.smtp_source("-l", "300000")
    finally:
        link.stop()


def black_hole(bench: Bench) -> None:
    """Behind the place of the capture, large packets are lost."""
    rule = "FORWARD -i outside -m length --length 1000: -j DROP".split()
    bench.lab.run(FILTER, ["iptables", "-w", "-A", *rule])
    try:
        bench.swaks("--timeout", "2", message=MESSAGE + "A longer mail.\n" * 200)
    finally:
        bench.lab.run(FILTER, ["iptables", "-w", "-D", *rule])


PIPE = '"|/usr/bin/vacation"@inside.example'
FILE_NAME = "отчёт " * 30 + ".pdf"

PROXY = (
    "--proxy-version 1 --proxy-family TCP4 --proxy-source 203.0.113.9 --proxy-source-port 4000"
    " --proxy-dest 198.51.100.25 --proxy-dest-port 25"
).split()

MANY = [f"r{number}@inside.example" for number in range(1, 102)]
LONG_LIST = "X-Long: " + "a" * 1192 + "\n"
ARC = "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=client.example; b=" + "Q" * 1100 + "\n"
LONG_SENDER = f"{'s' * 300}@{'client.' * 3}example"
EXCHANGE = Script(
    greeting=b"220 mail.example Microsoft ESMTP MAIL Service ready\r\n",
    replies={
        b"EHLO": b"250-mail.example Hello\r\n250-SIZE\r\n250-X-EXPS GSSAPI\r\n250 XEXCH50\r\n",
        b"XEXCH50": b"354 Send binary data\r\n",
    },
    after_data=b"250 2.0.0 taken\r\n",
)

STRICTER = default_text().replace("cmd RCPT count gt 100", "cmd RCPT count gt 10")

CLOSED, MASKED, HELD = "closed by inspection", "commands masked", "waited, or waits still"
WOULD_CLOSE = "would have been closed by inspection"
UNINSPECTED, NOTED = "not inspected, or not to the end", "noticed"
NOTHING = "nothing was closed or held, nothing masked but greetings and EHLO replies"

LONG_FIELD = "match header line length gt 998"

CAPTURES = (
    LabCapture(
        "recipients",
        "a mail to 101 recipients",
        lambda bench: bench.smtp_source("-r", "101"),
        lead=(
            CLOSED,
            "match cmd RCPT count gt 100",
            f"recipient TO:<{RECIPIENT}> (101 recipients, 100 allowed)",
            f"mail: {MAIL_FROM}, {RCPT_TO}, the 101st, and 100 before it",
        ),
        at=b"RCPT TO:",
        count=101,
    ),
    LabCapture(
        "header-line",
        "a header line of 1,200 bytes",
        swaks(header=LONG_LIST),
        lead=(
            CLOSED,
            LONG_FIELD,
            "header field X-Long (1,200 bytes, 998 allowed)",
            "Message-ID <harbour@client.example>",
        ),
        at=b"X-Long: ",
    ),
    LabCapture(
        "arc-line",
        "a line of more than 998 bytes in an ARC-Seal field, sent by Exim",
        lambda bench: bench.exim("  hosts_try_chunking =", message=ARC + MESSAGE),
        lead=(CLOSED, LONG_FIELD, f"header field ARC-Seal ({len(ARC) - 1:,} bytes, 998 allowed)"),
        at=b"ARC-Seal: ",
    ),
    LabCapture(
        "auth-token",
        "AUTH PLAIN with a token so long that its line exceeds 512 bytes",
        swaks("--auth", "plain", "--auth-user", "user", "--auth-password", "p" * 600, to=EXIM),
        lead=(CLOSED, "match cmd line length gt 512", "command AUTH PLAIN ***", "512 allowed)"),
        at=b"AUTH PLAIN ",
    ),
    LabCapture(
        "sender-address",
        "a sender's address of more than 320 bytes",
        typed(EHLO, f"MAIL FROM:<{LONG_SENDER}>", RCPT_TO, "QUIT"),
        lead=(
            CLOSED,
            "match sender-address length gt 320",
            "sender FROM:<ssss",
            "(329 bytes, 320 allowed)",
        ),
        at=b"MAIL FROM:",
    ),
    LabCapture(
        "file-name",
        "an attachment whose name exceeds 255 bytes, sent by a program of Python's smtplib",
        cyrillic_name,
        lead=(
            CLOSED,
            "match MIME filename length gt 255",
            f"({len(FILE_NAME.encode())} bytes, 255 allowed)",
        ),
        at=b" filename*16*=",  # where the name ends
    ),
    LabCapture(
        "tls-used",
        "a client that requires TLS, and finds STARTTLS; behind the filter it would not",
        postfix(smtp_tls_security_level="encrypt"),
        lead=(
            MASKED,
            "unknown command",
            "command STARTTLS",
            "see 'used, although hidden: STARTTLS' below",
            UNINSPECTED,
            "used, although hidden: STARTTLS",
            "behind the filter: the mail goes unencrypted; a client that requires TLS sends none",
            "'allow-tls'",
        ),
        at=b"STARTTLS\r\n",
    ),
    LabCapture(
        "tls-required",
        "the server accepts mail only over TLS",
        swaks(to=NEEDS_TLS),
        lead=(
            NOTED,
            "the server requires TLS",
            f"command {MAIL_FROM}",
            "the server's answer: 530 5.7.0 Must issue a STARTTLS command first",
            "'allow-tls'",
        ),
        at=b"530 5.7.0",
    ),
    LabCapture(
        "chunking",
        "Exim sends the mail by BDAT",
        lambda bench: bench.exim(),
        lead=(
            MASKED,
            "unknown command",
            "command BDAT ",
            "chunk",
            "bytes of mail after BDAT were masked too",
            UNINSPECTED,
            "used, although hidden: CHUNKING",
        ),
        at=b"BDAT ",
    ),
    LabCapture(
        "xclient",
        "a client that says XCLIENT, a private verb",
        swaks("--xclient", "NAME=real.example ADDR=192.0.2.77", to=INTERNATIONAL),
        lead=(MASKED, "unknown command", "command XCLIENT NAME=real.example ADDR=192.0.2.77"),
        at=b"XCLIENT NAME",
    ),
    LabCapture(
        "pipe",
        "a pipe in a recipient's address",
        swaks("--to", PIPE),
        lead=(CLOSED, "pipe", f"address TO:<{PIPE}>", f"mail: {MAIL_FROM}"),
        at=b"RCPT TO:",
    ),
    LabCapture(
        "bare-line-feeds",
        "a client that ends its commands with LF alone",
        in_pieces(pieces=(b"HELO client.example\n", f"{MAIL_FROM}\n".encode(), b"QUIT\n")),
        lead=(
            MASKED,
            "wrong command termination",
            "command HELO client.example",
            "the client ends its lines with CR LF",
            "recorded without the filter: bare LF answered",
        ),
        at=b"HELO ",
    ),
    LabCapture(
        "unasked-354",
        "a server that says 354 to NOOP",
        typed(
            EHLO,
            "NOOP",
            "QUIT",
            to=SCRIPT,
            script=Script(replies={b"NOOP": b"354 send me anything\r\n"}),
            patience=1.0,
        ),
        lead=(CLOSED, "unasked-354", "reply 354 send me anything", "repair the server"),
        at=b"354 send",
    ),
    LabCapture(
        "pipelined",
        "a client that pipelines although it said HELO",
        in_pieces(
            "HELO client.example",
            pieces=(
                f"{MAIL_FROM}\r\n{RCPT_TO}\r\nDATA\r\n".encode(),
                MESSAGE.replace("\n", "\r\n").encode() + b".\r\nQUIT\r\n",
            ),
        ),
        lead=(NOTED, "sent early", "the client waits for it, unless it was offered PIPELINING"),
    ),
    LabCapture(
        "keyboard",
        "telnet that sends each keystroke by itself",
        in_pieces(pieces=tuple(bytes([each]) for each in b"HELO me\r\n")),
        lead=(MASKED, "incomplete command", "command HELO me", "type in line mode"),
        at=b"H",  # the first keystroke
    ),
    LabCapture(
        "masked-greeting",
        "another inspecting firewall is on the server's side: the greeting is already masked",
        behind_a_firewall(swaks()),
        lead=(NOTED, "already masked on the server's side", "look at the other firewall"),
        at=b"220 *",
    ),
    LabCapture(
        "masked-command",
        "another inspecting firewall is on the client's side: it has masked a verb",
        behind_a_firewall(typed(EHLO, "XCLIENT NAME=a", "QUIT", to=INTERNATIONAL)),
        interface="inside",
        lead=(NOTED, "already masked on the client's side", "look at the other firewall"),
        says=("already masked: another inspecting firewall on the client's side",),
        at=b"XXXXXXXXXXXXXX\r\n",
    ),
    LabCapture(
        "tls-not-offered",
        "a client that requires TLS, to which a firewall does not offer it; seen on the server's side",
        behind_a_firewall(postfix(smtp_tls_security_level="encrypt", smtp_pix_workarounds="")),
        interface="inside",
        lead=(NOTED, "STARTTLS hidden, and no mail followed", "if the client requires TLS"),
        at=b"250-STARTTLS",
    ),
    LabCapture(
        "exchange",
        "XEXCH50 between two Exchange servers",
        in_pieces(
            EHLO,
            MAIL_FROM,
            RCPT_TO,
            "XEXCH50 12 2",
            pieces=(b"\x01\x02\0\0abcdefgh",),
            to=SCRIPT,
            script=EXCHANGE,
        ),
        lead=(
            MASKED,
            "unknown command",
            "command XEXCH50 12 2",
            UNINSPECTED,
            "used, although hidden: XEXCH50",
            "no line of the map lets XEXCH50 pass",
        ),
        at=b"XEXCH50 12 2",
    ),
    LabCapture(
        "utf8",
        "a mail that uses SMTPUTF8, which the filter hides",
        in_utf8,
        lead=(
            NOTED,
            "used, although hidden: SMTPUTF8",
            "command mail FROM:<",
            "behind the filter: ",
        ),
        at=b"mail FROM:",
    ),
    LabCapture(
        "server-silent",
        "the server never answers MAIL",
        silent_server,
        lead=(HELD, "no reply to MAIL", f"command {MAIL_FROM}", "after 6.0 s the client said QUIT"),
        at=b"MAIL FROM:",
    ),
    LabCapture(
        "client-silent",
        "the client stops in the middle of a mail",
        silent_in_mail,
        lead=(
            HELD,
            "the client is silent in the middle of a message",
            f"mail: {MAIL_FROM}, {RCPT_TO}",
            "after 5.0 s the server ended the connection",
            "the server's answer: 421 4.4.2 ",
        ),
        at=b"The first half",
    ),
    LabCapture(
        "client-reset",
        "the client resets the connection in the middle of a mail",
        reset_in_mail,
        lead=(
            NOTED,
            "the client leaves in the middle of a message",
            f"mail: {MAIL_FROM}, {RCPT_TO}",
            "the client reset the connection (packet ",
        ),
        at=b"The first half",
    ),
    LabCapture(
        "black-hole",
        "large packets are lost between the place of the capture and the server",
        black_hole,
        lead=(
            HELD,
            "the client's data is not acknowledged",
            "bytes of the packets that are not acknowledged: ",
            "cure: look at the path MTU",
        ),
    ),
    LabCapture(
        "stricter-firewall",
        "another inspecting firewall, on the server's side, closes the session at the 11th recipient",
        behind_a_firewall(
            typed(EHLO, MAIL_FROM, *(f"RCPT TO:<{each}>" for each in MANY[:20]), patience=2.5),
            STRICTER,
        ),
        lead=(
            HELD,
            "the client's data is not acknowledged",
            "command RCPT TO:<r11@inside.example>",
            "sent ",
            "look for a firewall",
            NOTED,
            "already masked on the server's side",
        ),
        at=b"RCPT TO:<r11@",
    ),
    LabCapture(
        "no-server",
        "no server listens",
        swaks(to=SCRIPT),
        lead=(NOTED, "the server refuses the connection", "(packet 2)"),
    ),
    LabCapture(
        "one-sided",
        "a header line of 1,200 bytes; only the client's packets were captured",
        swaks(header=LONG_LIST),
        expression="tcp dst port 25",
        lead=(WOULD_CLOSE, LONG_FIELD, "header field X-Long", UNINSPECTED, "one-sided capture"),
        at=b"X-Long: ",
    ),
    LabCapture(
        "joined-late",
        "the capture begins in the middle of a mail",
        joined_in_mail,
        late=True,
        lead=(UNINSPECTED, "older than the filter"),
    ),
    LabCapture(
        "offloaded",
        "101 recipients; captured on the client, whose card fills in the checksums",
        swaks("--to", ",".join(MANY)),
        interface="eth0",
        where=CLIENT,
        offloads=True,
        lead=(CLOSED, "match cmd RCPT count gt 100", "recipient TO:<r101@inside.example>"),
        at=b"RCPT TO:<r101@",
    ),
    LabCapture(
        "hole",
        "the capture lacks packets",
        lambda bench: bench.smtp_source("-l", "40000"),
        expression="tcp port 25 and (less 1000 or ip[4:2] & 3 != 1)",
        lead=(UNINSPECTED, "unseen data", "capture without losses"),
    ),
    LabCapture(
        "doubled",
        "a pipe in an address; captured on all interfaces of a router, which shows each packet twice",
        swaks("--to", PIPE),
        interface="any",
        lead=(CLOSED, "pipe", f"address TO:<{PIPE}>", NOTED, "captured twice: on two sides"),
        says=("the same connection, seen on two sides; judged is the first copy",),
        at=b"RCPT TO:",
    ),
    LabCapture(
        "mirrored",
        "a header line of 1,200 bytes; a mirror port doubles each packet",
        swaks(header=LONG_LIST),
        doubled=True,
        lead=(CLOSED, LONG_FIELD, NOTED, "captured twice: the same packets, on one side"),
        at=b"X-Long: ",
    ),
    LabCapture(
        "wrong-password",
        "the server refuses the password",
        swaks("--auth", "login", "--auth-user", "user", "--auth-password", "wrong", to=EXIM),
        lead=(
            NOTED,
            "refused by the server: AUTH",
            "command AUTH LOGIN",
            "the server's answer: 535 Incorrect authentication data",
        ),
        at=b"535 ",
    ),
    LabCapture(
        "refused-recipient",
        "the server refuses the recipient",
        swaks("--to", "nobody@elsewhere.example", to=HASTY),
        lead=(
            NOTED,
            "refused by the server: RCPT",
            "command RCPT TO:<nobody@elsewhere.example>",
            "the server's answer: 554 5.7.1 ",
        ),
        at=b"554 5.7.1",
    ),
    LabCapture(
        "injected",
        "commands behind STARTTLS in the same packet",
        in_pieces(EHLO, pieces=(b"STARTTLS\r\nRSET\r\nNOOP\r\n",)),
        lead=(
            MASKED,
            "command STARTTLS",
            "see 'injection behind STARTTLS' below",
            f"{NOTED}\n  injection behind STARTTLS",
            "command RSET",
        ),
        at=b"STARTTLS\r\n",
    ),
    LabCapture(
        "proxy",
        "a load balancer that speaks the PROXY protocol before the greeting",
        swaks(*PROXY, to=PROXIED),
        lead=(
            MASKED,
            "unknown command",
            "command PROXY TCP4 203.0.113.9 198.51.100.25 4000 25",
            "see 'sent before the greeting' below",
            "sent before the greeting",
            "a server that waits for a PROXY line",
        ),
        at=b"PROXY TCP4",
    ),
    LabCapture(
        "bracket",
        "a > too many in an address",
        typed(EHLO, MAIL_FROM, f"{RCPT_TO}>", "QUIT"),
        lead=(MASKED, "angle-bracket", f"command {RCPT_TO}>"),
        at=b"RCPT TO:",
    ),
    # ---- nothing is wrong
    LabCapture("postfix", CLEAN, postfix()),
    LabCapture("exim", CLEAN, lambda bench: bench.exim("  hosts_try_chunking =")),
    LabCapture(
        "password",
        CLEAN,
        swaks("--auth", "login", "--auth-user", "user", "--auth-password", PASSWORD, to=EXIM),
    ),
    LabCapture("many-mails", CLEAN, lambda bench: bench.smtp_source("-m", "20", "-d")),
    LabCapture(
        "list",
        CLEAN,
        lambda bench: bench.postfix(recipients=MANY[:100], smtp_destination_recipient_limit="100"),
    ),
    LabCapture("large", CLEAN, lambda bench: bench.smtp_source("-l", "2000000")),
    LabCapture(
        "large-packets", CLEAN, lambda bench: bench.smtp_source("-l", "400000"), offloads=True
    ),
    LabCapture("many-clients", CLEAN, lambda bench: bench.smtp_source("-s", "10", "-m", "50")),
    LabCapture("ipv6", CLEAN, postfix(to=MAIL6)),
    LabCapture("lossy", CLEAN, lossy, interface="outside-link", late=True),
    LabCapture(
        "tls-allowed",
        CLEAN,
        lambda bench: bench.curl("--ssl-reqd", "--insecure"),
        config=ALLOW_TLS,
        lead=(UNINSPECTED, "TLS started"),
    ),
    LabCapture(
        "questions",
        CLEAN,
        typed(EHLO, "NOOP", f"VRFY {RECIPIENT}", "HELP", "RSET", "QUIT", to=EXIM),
    ),
)
"""Those with the cause `CLEAN` have nothing that a replay could name."""


def main(directory: Path, key: Path, seed: int) -> None:
    """Make all captures in *directory*, numbered in random order, and the *key*. A capture that is to
    be judged by a map of its own has it beside it."""
    order = list(CAPTURES)
    random.Random(seed).shuffle(order)
    directory.mkdir(parents=True, exist_ok=True)
    for offloads in (False, True):
        with Bench(offloads=offloads) as bench:
            for number, capture in enumerate(order, 1):
                if capture.offloads is offloads:
                    capture.record(bench, directory / f"{number:02}.pcap")
    lines = []
    for number, capture in enumerate(order, 1):
        if capture.config is not None:
            (directory / f"{number:02}.cfg").write_text(capture.config)
        lines.append(f"{number:02} {capture.name}: {capture.cause}\n")
    key.write_text("".join(lines))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python -m tests.end_to_end.lab_captures DIR KEY SEED")
    with orderly_end():
        main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
