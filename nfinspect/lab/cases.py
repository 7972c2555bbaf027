"""The table of test cases, preceded by the functions it uses.

The demo runs some of them; ``pcaps/record.py`` and the end-to-end tests run all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import pairwise

from nfinspect.lab import expected_lines
from nfinspect.lab.case import EHLO_MASK, Case, Expectation, Outcome
from nfinspect.lab.conversation import REQUEST
from nfinspect.lab.dialogue import Script
from nfinspect.lab.stage import MESSAGE, RECIPIENT, SENDER, MailStage
from nfinspect.lab.topology import CLIENT
from nfinspect.policy import default_text

TYPING = 0.02
"""Seconds between two keystrokes."""

ENVELOPE = ("EHLO client.example", f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>")

EHLO_MASK_CLAUSE = f" {EHLO_MASK}\n  mask\n"

ALLOW_TLS = (
    "! The appliance's default map (docs/appliance.md, section 3), but STARTTLS passes.\n!\n"
    + default_text().partition("\n!\n")[2].replace("  no allow-tls\n", "  allow-tls action log\n")
)

CHUNKING_OFFERED = (
    "! The appliance's default map (docs/appliance.md, section 3), but no EHLO keyword is hidden.\n!\n"
    + default_text().partition("\n!\n")[2].replace(EHLO_MASK_CLAUSE, "")
)


# What a case does: each of these is, or returns, a function for the table.


def swaks(*arguments: str, header: str = "", message: str = MESSAGE) -> Callable[[MailStage], None]:
    """Send one mail with swaks; *header* is added on top."""
    return lambda stage: stage.swaks(*arguments, message=header + message)


def postfix(
    *,
    message: str = MESSAGE,
    recipients: Sequence[str] = (RECIPIENT,),
    lossy: int = 0,
    **settings: str,
) -> Callable[[MailStage], None]:
    """Send one mail with Postfix with *settings*; every *lossy*-th packet with data is dropped."""

    def act(stage: MailStage) -> None:
        with stage.loss(lossy) if lossy else nullcontext():
            stage.send_by_postfix(settings, message=message, recipients=recipients)

    return act


def exim(*, header: str = "", transport: str = "") -> Callable[[MailStage], None]:
    """Send one mail with Exim; *header* is added on top, *transport* is for its smtp transport."""
    return lambda stage: stage.send_by_exim(message=header + MESSAGE, transport=transport)


def signed_by_exim(stage: MailStage) -> None:
    """Send one mail with Exim, which signs it."""
    key = stage.lab.directory / "dkim.key"
    stage.lab.run(CLIENT, ["openssl", "genrsa", "-out", key, "2048"])
    key.chmod(0o644)
    stage.send_by_exim(transport=DKIM.format(key=key))


def greeted_by_two_lines(stage: MailStage) -> None:
    """Send one mail with Postfix to an Exim that greets with two lines."""
    with stage.exim.greeting("mail.example ESMTP Exim", "No unsolicited mail since 2002"):
        stage.send_by_postfix()


def typed(
    *lines: str | bytes, greeting: str = "220", script: Script | None = None
) -> Callable[[MailStage], None]:
    """Send each line once the previous one has been answered; stop if there is no reply."""

    def converse(stage: MailStage) -> None:
        with stage.dialogue(greeting) as client:
            try:
                for line in lines:
                    client.command(line)
            except TimeoutError:
                stage.said.append("the server no longer answers")
            except ConnectionError:
                stage.said.append("the connection has ended")

    def act(stage: MailStage) -> None:
        if script is None:
            converse(stage)
            return
        with stage.script(script):
            converse(stage)

    return act


def in_segments(
    lines: tuple[str, ...], *segments: bytes, replies: int = 1
) -> Callable[[MailStage], None]:
    """Send *lines* one by one, then each of *segments* separately; await *replies*, and QUIT."""

    def act(stage: MailStage) -> None:
        with stage.dialogue() as client:
            for line in lines:
                client.command(line)
            for segment in segments:
                client.send(segment)
                time.sleep(TYPING)
            for _ in range(replies):
                client.reply()
            client.command("QUIT")

    return act


def over_tls(stage: MailStage) -> None:
    """Send one mail after STARTTLS."""
    with stage.dialogue() as client:
        client.command(ENVELOPE[0])
        client.command("STARTTLS")
        client.start_tls()
        for line in (*ENVELOPE, "DATA", "Subject: secret\r\n\r\nhush\r\n.", "QUIT"):
            client.command(line)
        client.rest()


# What a case expects.


def delivered(outcome: Outcome) -> bool:
    """Whether exactly one mail, the ordinary one, has been delivered."""
    return [mail.endswith(MESSAGE.encode()) for mail in outcome.mails] == [True]


def server_received(data: bytes) -> Callable[[Outcome], bool]:
    """Whether these bytes reached the server."""
    return lambda outcome: data in outcome.server_received


def client_received(data: bytes) -> Callable[[Outcome], bool]:
    """Whether these bytes reached the client."""
    return lambda outcome: data in outcome.client_received


def client_said(text: str) -> Callable[[Outcome], bool]:
    """Whether the client's program reported this."""
    return lambda outcome: any(text in line for line in outcome.said)


def kept_from_server(data: bytes) -> Callable[[Outcome], bool]:
    """Whether the client sent these bytes and the server did not receive them."""
    return lambda outcome: data in outcome.client_sent and data not in outcome.server_received


def unchanged(outcome: Outcome) -> bool:
    """Whether the server received exactly what the client sent."""
    return outcome.client_sent == outcome.server_received != b""


def repeated_in_vain(outcome: Outcome) -> bool:
    """Whether a line was sent several times and never arrived."""
    return any(row.verdict == "dropped" and row.tries > 1 for each in outcome.rows for row in each)


def dot_alone(outcome: Outcome) -> bool:
    """Whether the client sent the dot that ends the mail in a packet of its own."""
    return any(
        line.sent == b"." and line.packet > before.packet
        for each in outcome.rows
        for before, line in pairwise(row for row in each if row.direction == REQUEST)
    )


def dot_at_the_edge(outcome: Outcome) -> bool:
    """Whether the client sent the dot that ends the mail and the CR LF behind it in two packets."""
    return any(row.sent == b"." and row.cuts == (1,) for each in outcome.rows for row in each)


def greeting_masked(outcome: Outcome) -> bool:
    """Whether the first line that the client received is a masked greeting."""
    greeting = outcome.client_received.partition(b"\r\n")[0]
    return greeting[:4] == b"220 " and not set(greeting[4:]) - set(b"*20")


ARRIVED = Expectation("the mail arrives, byte for byte", delivered)
NOTHING_ARRIVED = Expectation("no mail arrives", lambda outcome: not outcome.mails)
BANNER = Expectation("the greeting is asterisks except for 2 and 0", greeting_masked)
UNCHANGED = Expectation("the server receives exactly what the client sent", unchanged)
REPEATED = Expectation("the client retransmits it, in vain", repeated_in_vain)

LONG_HEADER = "X-Long: " + "a" * 1192 + "\n"
ARC_SEAL = "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=client.example; b=" + "Q" * 1100 + "\n"
DKIM = """\
  dkim_domain = client.example
  dkim_selector = lab
  dkim_private_key = {key}
"""
LONG_BODY = MESSAGE + "b" * 1200 + "\n"
LONG_SENDER = f"{'s' * 300}@{'client.' * 3}example"
LONG_NAME = MESSAGE.replace(
    "Message-Id",
    f'Content-Disposition: attachment;\n filename="{"f" * 252}.txt"\nMessage-Id',
)
LIST = [f"r{number}@inside.example" for number in range(1, 102)]
MANY = ",".join(LIST)
EDGE = 2 * 1448 - 1
"""Bytes of a mail on the wire whose final dot is the last byte of its second full segment."""
BULK = MESSAGE + "".join(f"{number:5} bottles of beer on the wall\n" for number in range(600))

MULTI_LINE = b"220-mail.example ESMTP\r\n220-Be brief.\r\n220 Since 2002\r\n"
UNASKED_354 = {b"NOOP": b"354 send me anything\r\n"}


def filled(size: int) -> str:
    """`MESSAGE` with further lines, so that it has this many bytes on the wire, dots stuffed."""
    missing = size - len(MESSAGE.replace("\n.", "\n..").replace("\n", "\r\n"))
    lines, rest = divmod(missing - 22, 42)
    return MESSAGE + ("x" * 40 + "\n") * lines + "y" * (rest + 20) + "\n"


CASES = (
    Case(
        "ordinary",
        "An ordinary mail from swaks: the greeting and the extensions that the appliance does not"
        " know are masked; the mail passes unchanged.",
        swaks(),
        expected_lines.ORDINARY,
        (
            BANNER,
            Expectation(
                "STARTTLS and CHUNKING are masked in the reply to EHLO",
                lambda o: (
                    b"-STARTTLS\r\n" in o.server_sent
                    and b"250-XXXXXXXA\r\n" in o.client_received
                    and b"250 XXXXXXXB\r\n" in o.client_received
                ),
            ),
            Expectation(
                "greeting and EHLO reply are counted, once each",
                lambda o: o.counters.get("mask-banner") == o.counters.get(EHLO_MASK) == 1,
            ),
            UNCHANGED,
            ARRIVED,
        ),
    ),
    Case(
        "starttls-wanted",
        "A client that insists on TLS is not offered it, and gives up.",
        swaks("--tls"),
        expected_lines.ORDINARY,
        (
            Expectation("the server offers STARTTLS", lambda o: b"STARTTLS" in o.server_sent),
            Expectation(
                "the client receives XXXXXXXA instead", client_received(b"250-XXXXXXXA\r\n")
            ),
            Expectation("the client gives up", client_said("did not advertise STARTTLS")),
            NOTHING_ARRIVED,
        ),
    ),
    Case(
        "unknown-verb",
        "Verbs that are not among the 15: every character becomes X, blanks too; the refusal is"
        " the server's own, and the session continues.",
        typed("EHLO client.example", "ATRN inside.example", "STARTTLS", "NOOP", "QUIT"),
        expected_lines.ORDINARY,
        (
            Expectation(
                "the server receives an X for every character",
                server_received(b"\r\n" + b"X" * 19 + b"\r\n" + b"X" * 8 + b"\r\nNOOP\r\n"),
            ),
            Expectation("the server's refusal passes", client_received(b"\r\n500 5.5.2 ")),
            Expectation("the next command passes", client_received(b"\r\n250 2.0.0 Ok\r\n")),
        ),
        client="typed",
    ),
    Case(
        "telnet-typing",
        "HELO typed letter by letter, as telnet sends it: no packet holds a whole verb, so each"
        " is masked. The same line sent at once passes.",
        in_segments((), b"H", b"E", b"L", b"O", b" ", b"me", b"\r\n"),
        expected_lines.ORDINARY,
        (
            Expectation("HELO, typed, reaches the server as X", server_received(b"XXXXXXX\r\n")),
            Expectation("the server refuses it", client_received(b"\r\n500 5.5.2 ")),
            Expectation("QUIT, sent at once, passes", server_received(b"QUIT\r\n")),
        ),
        client="typed",
    ),
    Case(
        "recipients-101",
        "A list of 101 recipients: the 101st closes the connection, and nothing tells the client.",
        swaks("--to", MANY),
        expected_lines.dropped("2: cmd RCPT count gt 100"),
        (
            Expectation("the 100th passes", server_received(b"RCPT TO:<r100@inside.example>\r\n")),
            Expectation(
                "the 101st does not reach the server",
                kept_from_server(b"RCPT TO:<r101@inside.example>\r\n"),
            ),
            REPEATED,
            Expectation("the client waits until it gives up", client_said("Timeout")),
            NOTHING_ARRIVED,
        ),
        counts={"match cmd RCPT count gt 100": 1},
    ),
    Case(
        "header-line-1200",
        "A header line of 1,200 characters: the packet is dropped and the connection closed;"
        " nothing of the mail reaches the server.",
        swaks(header=LONG_HEADER),
        expected_lines.dropped("4: header line length gt 998"),
        (
            Expectation("the server accepts DATA", client_received(b"354 ")),
            Expectation("the header line does not reach the server", kept_from_server(b"X-Long")),
            REPEATED,
            NOTHING_ARRIVED,
        ),
        counts={"match header line length gt 998": 1},
    ),
    Case(
        "postfix",
        "Postfix with its default settings: it takes the filter for the appliance, enables its"
        " workarounds, and says HELO.",
        postfix(),
        expected_lines.BY_POSTFIX,
        (
            Expectation(
                "Postfix logs that it enables PIX workarounds",
                client_said("enabling PIX workarounds: disable_esmtp"),
            ),
            Expectation("it says HELO, not EHLO", server_received(b"HELO client.example\r\n")),
            ARRIVED,
        ),
        client="Postfix",
    ),
    Case(
        "postfix-delayed-dot",
        "Postfix with a mail that has waited: it enables its second workaround, too, and sends the"
        " final dot after a pause, in a packet of its own.",
        postfix(smtp_pix_workaround_threshold_time="0s", smtp_pix_workaround_delay_time="1s"),
        expected_lines.BY_POSTFIX,
        (
            Expectation(
                "Postfix logs that it enables both workarounds",
                client_said("enabling PIX workarounds: disable_esmtp delay_dotcrlf"),
            ),
            Expectation("the dot comes alone", dot_alone),
            UNCHANGED,
            ARRIVED,
        ),
        client="Postfix",
    ),
    Case(
        "greeting-of-two-lines",
        "Postfix and a server that greets with two lines: masked, they do not look like the appliance,"
        " since each but the last has a -; so Postfix enables no workaround.",
        greeted_by_two_lines,
        expected_lines.BY_POSTFIX,
        (
            Expectation(
                "both lines are masked",
                client_received(b"220-" + b"*" * 23 + b"\r\n220 " + b"*" * 26 + b"2002\r\n"),
            ),
            Expectation(
                "Postfix enables no workaround", lambda o: not client_said("workarounds")(o)
            ),
            Expectation("it says EHLO", server_received(b"EHLO client.example\r\n")),
            UNCHANGED,
            ARRIVED,
        ),
        server="exim",
        client="Postfix",
    ),
    Case(
        "nmap",
        "nmap takes the masked greeting for the appliance's.",
        MailStage.nmap,
        (
            expected_lines.BUILT,
            expected_lines.RESET_BY_CLIENT,
            *expected_lines.BY_POSTFIX,
        ),
        (
            BANNER,
            Expectation(
                "nmap reports Cisco PIX sanitized smtpd", client_said("Cisco PIX sanitized smtpd")
            ),
        ),
        client="nmap",
    ),
    Case(
        "mta-sts",
        "Postfix with the policy that MTA-STS or DANE give it for a domain: mail goes over TLS only. It is"
        " not offered, and the mail stays in the queue.",
        postfix(smtp_tls_policy_maps="static:{secure match=mail.example}"),
        expected_lines.BY_POSTFIX,
        (
            Expectation(
                "Postfix logs that TLS was not offered",
                client_said("TLS is required, but was not offered by host"),
            ),
            Expectation("the mail waits", client_said("status=deferred")),
            NOTHING_ARRIVED,
        ),
        client="Postfix",
    ),
    Case(
        "postfix-pipelining",
        "Postfix with smtp_pix_workarounds empty: it says EHLO and pipelines.",
        postfix(smtp_pix_workarounds=""),
        expected_lines.BY_POSTFIX,
        (
            Expectation("it says EHLO", server_received(b"EHLO client.example\r\n")),
            Expectation("PIPELINING stays in the reply", client_received(b"250-PIPELINING\r\n")),
            UNCHANGED,
            ARRIVED,
        ),
        client="Postfix",
    ),
    Case(
        "postfix-ipv6",
        "The same over IPv6.",
        postfix(smtp_pix_workarounds=""),
        expected_lines.BY_POSTFIX,
        (BANNER, UNCHANGED, ARRIVED),
        version=6,
        client="Postfix",
    ),
    Case(
        "starttls-allowed",
        "With allow-tls: STARTTLS stays in the reply to EHLO, and the command passes; after the"
        " server's 220 nothing is inspected.",
        over_tls,
        (expected_lines.BUILT, expected_lines.TLS_STARTED, expected_lines.FINISHED),
        (
            Expectation("STARTTLS stays", client_received(b"250-STARTTLS\r\n")),
            Expectation("it passes", server_received(b"\r\nSTARTTLS\r\n")),
            UNCHANGED,
            Expectation("it arrives", lambda o: len(o.mails) == 1),
        ),
        client="typed",
        config=ALLOW_TLS,
    ),
    Case(
        "auth",
        "AUTH LOGIN with Exim: the challenges and the responses to them are not commands, and"
        " pass.",
        swaks("--auth", "login", "--auth-user", "user", "--auth-password", "secret"),
        expected_lines.ORDINARY,
        (
            Expectation("the challenges pass", client_received(b"334 VXNlcm5hbWU6\r\n")),
            Expectation("the answers pass", server_received(b"dXNlcg==\r\nc2VjcmV0\r\n")),
            UNCHANGED,
            ARRIVED,
        ),
        server="exim",
    ),
    Case(
        "verify",
        "VRFY, ETRN, HELP and NOOP are permitted, EXPN is not.",
        typed(
            "EHLO client.example",
            f"VRFY {RECIPIENT}",
            f"EXPN {RECIPIENT}",
            "ETRN inside.example",
            "HELP",
            "NOOP",
            "QUIT",
        ),
        expected_lines.ORDINARY,
        (
            Expectation("VRFY passes", server_received(f"VRFY {RECIPIENT}\r\n".encode())),
            Expectation("EXPN is masked", server_received(b"\r\n" + b"X" * 23 + b"\r\nETRN")),
            Expectation("HELP passes", server_received(b"\r\nHELP\r\n")),
        ),
        server="exim",
        client="typed",
    ),
    Case(
        "two-mails",
        "Two mails in one session, with one aborted by RSET between them.",
        typed(
            *ENVELOPE,
            "DATA",
            "Subject: one\r\n\r\n1\r\n.",
            *ENVELOPE[1:],
            "RSET",
            *ENVELOPE[1:],
            "DATA",
            "Subject: two\r\n\r\n2\r\n.",
            "QUIT",
        ),
        expected_lines.ORDINARY,
        (
            UNCHANGED,
            Expectation("both arrive", lambda o: len(o.mails) == 2),
        ),
        client="typed",
    ),
    Case(
        "end-of-data-cut",
        "The CR LF . CR LF that ends a mail, one packet per character: it passes, and the server"
        " answers once.",
        in_segments(
            (*ENVELOPE, "DATA"), b"Subject: cut\r\n\r\nhello", b"\r", b"\n", b".", b"\r", b"\n"
        ),
        expected_lines.ORDINARY,
        (UNCHANGED, Expectation("it arrives", lambda o: len(o.mails) == 1)),
        client="typed",
    ),
    Case(
        "greeting-of-three-lines",
        "A multi-line greeting: all its lines are masked; codes and separators stay.",
        typed("EHLO client.example", "QUIT", greeting="220-", script=Script(greeting=MULTI_LINE)),
        expected_lines.ORDINARY,
        (
            Expectation(
                "all three lines are masked",
                client_received(b"220-******************\r\n220-*********\r\n220 ******2002\r\n"),
            ),
        ),
        server="script",
        client="typed",
    ),
    Case(
        "end-of-data-at-the-edge",
        "A mail whose final dot is the last byte of a full segment: the CR LF behind it comes in the next"
        " packet, and the mail arrives. (An appliance of 8.4(1) let such mail hang.)",
        swaks(message=filled(EDGE)),
        expected_lines.ORDINARY,
        (
            Expectation("the dot and its CR LF are in two packets", dot_at_the_edge),
            UNCHANGED,
            Expectation(
                "the mail arrives, byte for byte",
                lambda o: [mail.endswith(filled(EDGE).encode()) for mail in o.mails] == [True],
            ),
        ),
    ),
    Case(
        "dkim",
        "A mail that Exim has signed: the names of header fields within the signature are text. (A PIX"
        " before 7.2(3) cut off such mail.)",
        signed_by_exim,
        expected_lines.BY_POSTFIX,
        (
            Expectation(
                "fields are named in the signature",
                server_received(b"\r\n\tContent-Description:Resent-Date:"),
            ),
            UNCHANGED,
            ARRIVED,
        ),
        client="Exim",
    ),
    Case(
        "arc-seal",
        "A mail with a long ARC-Seal, which a forwarder has written into one line, sent by Exim: the"
        " connection is closed.",
        exim(header=ARC_SEAL),
        expected_lines.dropped("4: header line length gt 998"),
        (
            Expectation("the seal does not reach the server", kept_from_server(b"ARC-Seal")),
            Expectation("Exim waits in vain", client_said("Connection timed out")),
            NOTHING_ARRIVED,
        ),
        counts={"match header line length gt 998": 1},
        client="Exim",
    ),
    Case(
        "folded-by-postfix",
        "The same mail sent by Postfix, which breaks lines of more than 998 characters: it passes.",
        postfix(message=ARC_SEAL + MESSAGE),
        expected_lines.BY_POSTFIX,
        (
            Expectation("Postfix breaks the line", server_received(b"Q\r\n Q")),
            UNCHANGED,
            ARRIVED,
        ),
        client="Postfix",
    ),
    Case(
        "recipients-pipelined",
        "A list of 101 recipients sent by Postfix, which pipelines them: the packet with the 101st is"
        " dropped, and with it all recipients in it.",
        postfix(
            recipients=LIST,
            smtp_pix_workarounds="",
            smtp_destination_recipient_limit="200",
            smtp_rcpt_timeout="2s",
        ),
        expected_lines.dropped("2: cmd RCPT count gt 100"),
        (
            Expectation(
                "the 101st does not reach the server",
                kept_from_server(b"RCPT TO:<r9@inside.example>"),
            ),
            REPEATED,
            Expectation("Postfix waits in vain", client_said("timed out while sending RCPT TO")),
            NOTHING_ARRIVED,
        ),
        counts={"match cmd RCPT count gt 100": 1},
        client="Postfix",
    ),
    Case(
        "chunking-offered",
        "A map that hides no EHLO keyword: Exim is offered CHUNKING and uses BDAT, which is masked, and so is"
        " the mail that follows it. It does not arrive.",
        exim(),
        expected_lines.BY_POSTFIX,
        (
            Expectation("CHUNKING stays", client_received(b"CHUNKING\r\n")),
            Expectation("BDAT does not reach the server", kept_from_server(b"BDAT ")),
            Expectation("the refusal is the server's", client_received(b"\r\n500 5.5.2 ")),
            NOTHING_ARRIVED,
        ),
        client="Exim",
        config=CHUNKING_OFFERED,
    ),
    Case(
        "lost-packets",
        "A longer mail, with packets lost on both sides of the filter and in both directions:"
        " retransmissions pass with the same bytes as before, and the mail arrives.",
        postfix(message=BULK, lossy=6, smtp_pix_workarounds=""),
        expected_lines.BY_POSTFIX,
        (
            UNCHANGED,
            Expectation(
                "the mail arrives, byte for byte",
                lambda o: [mail.endswith(BULK.encode()) for mail in o.mails] == [True],
            ),
        ),
        client="Postfix",
    ),
    Case(
        "command-line-600",
        "A command line of more than 512 bytes closes the connection.",
        typed("EHLO client.example", "NOOP " + "n" * 593),
        expected_lines.dropped("1: cmd line length gt 512"),
        (
            Expectation("it does not reach the server", kept_from_server(b"NOOP ")),
            Expectation("the client waits in vain", client_said("no longer answers")),
        ),
        counts={"match cmd line length gt 512": 1},
        client="typed",
    ),
    Case(
        "body-line-1200",
        "A body line of 1,200 characters is logged, and passes.",
        swaks(message=LONG_BODY),
        (
            expected_lines.BUILT,
            expected_lines.logged("3: body line length gt 998"),
            expected_lines.FINISHED,
        ),
        (
            UNCHANGED,
            Expectation(
                "the mail arrives, byte for byte",
                lambda o: [mail.endswith(LONG_BODY.encode()) for mail in o.mails] == [True],
            ),
        ),
        counts={"match body line length gt 998": 1},
    ),
    Case(
        "sender-address-329",
        "A sender address of more than 320 characters closes the connection.",
        typed("EHLO client.example", f"MAIL FROM:<{LONG_SENDER}>"),
        expected_lines.dropped("5: sender-address length gt 320"),
        (Expectation("it does not reach the server", kept_from_server(b"MAIL")),),
        counts={"match sender-address length gt 320": 1},
        client="typed",
    ),
    Case(
        "mime-filename-256",
        "An attachment name of 256 characters, in a folded header: the connection is closed.",
        swaks(message=LONG_NAME),
        expected_lines.dropped("6: MIME filename length gt 255"),
        (
            Expectation("the name does not reach the server", kept_from_server(b"filename=")),
            NOTHING_ARRIVED,
        ),
        counts={"match MIME filename length gt 255": 1},
    ),
    Case(
        "pipe-character",
        "A pipe in a recipient closes the connection.",
        typed("EHLO client.example", ENVELOPE[1], "RCPT TO:<|/bin/sh@inside.example>"),
        (
            expected_lines.BUILT,
            expected_lines.malicious("TO:<|/bin/sh@inside.example>"),
            expected_lines.TERMINATED,
            expected_lines.CLOSED,
        ),
        (Expectation("it does not reach the server", kept_from_server(b"/bin/sh")),),
        client="typed",
    ),
    Case(
        "stray-bracket",
        "An angle bracket without its partner becomes a blank.",
        typed("EHLO client.example", ENVELOPE[1], "RCPT TO:<box@inside.example>>", "QUIT"),
        (
            expected_lines.BUILT,
            expected_lines.replaced(">", "RCPT TO:<box@inside.example>>"),
            expected_lines.FINISHED,
        ),
        (
            Expectation(
                "it reaches the server as a blank",
                server_received(b"RCPT TO:<box@inside.example> \r\n"),
            ),
        ),
        client="typed",
    ),
    Case(
        "chunk",
        "BDAT and the chunk that follows at once are masked: no part of the chunk is taken for a"
        " command.",
        in_segments(ENVELOPE, b"BDAT 10 LAST\r\nRSET\r\nhi\r\n", replies=3),
        expected_lines.ORDINARY,
        (
            Expectation(
                "BDAT and its chunk are masked",
                server_received(b"X" * 12 + b"\r\nXXXX\r\nXX\r\nQUIT"),
            ),
            NOTHING_ARRIVED,
        ),
        client="typed",
    ),
    Case(
        "unasked-354",
        "A server that says 354 without DATA: what the client sends next could be anything, so the"
        " connection is closed.",
        typed("EHLO client.example", "NOOP", script=Script(replies=UNASKED_354)),
        (expected_lines.BUILT, expected_lines.TERMINATED_AT_REPLY, expected_lines.CLOSED),
        (
            Expectation(
                "the client does not see it",
                lambda o: b"354" in o.server_sent and b"354" not in o.client_received,
            ),
        ),
        server="script",
        client="typed",
    ),
)
DEMO = (
    "ordinary starttls-wanted unknown-verb telnet-typing recipients-101 header-line-1200 postfix"
).split()
"""The names of the demo's cases, in order."""


def named(name: str) -> Case:
    """Return the case of that name; raises KeyError if there is none."""
    return _BY_NAME[name]


_BY_NAME = {case.name: case for case in CASES}
