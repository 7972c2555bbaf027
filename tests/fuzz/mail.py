"""Mail sessions: what a client wants to say, a server that answers, and their ideal course.

Client and server are plain functions of the bytes that they read, so both streams are the same
however TCP cuts them. ``ideal`` lets the two talk through an inspector of their own, each line (or
each byte) whole and in dialogue order, with no TCP at all: the oracle.

Which equality holds
- What inspection passes of a line may depend on where packets cut it, and only so: bytes that
  can still become a permitted verb (or an EHLO keyword that is shown) pass before it is known that they
  do not. So the oracle is asked twice, with whole lines and byte by byte. Where the two agree, the
  server (and the client) must get exactly that. Where they do not, it is X, the letter at the end of a
  masked EHLO line, or the byte as it was sent.
- A verb that a short packet cuts is masked by ``incomplete-command mask``, which is the default and
  is meant for people who type. Scripts under that map therefore keep their verbs in one segment;
  all others say ``incomplete-command stream`` and are cut anywhere.
- Without a violation everything arrives, both ways. With one, the server gets a prefix of the ideal
  stream that ends before the byte that violates (``fatal``), and no line that it has not got whole is
  answered; the client gets all that the server answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from nfinspect.esmtp.clauses import compile_map
from nfinspect.esmtp.inspector import Inspector
from nfinspect.events import Connection, Endpoint
from nfinspect.policy import parse_policy
from nfinspect.policy.model import InspectionMap, Policy

CONNECTION = Connection(1, Endpoint("outside", b"\1", 1), Endpoint("inside", b"\2", 25))

_TEXT = """
policy-map type inspect esmtp fuzz
 parameters
  mask-banner
  {parameters}
 match cmd line length gt 90
  drop-connection log
 match cmd RCPT count gt 5
  drop-connection log
 match body line length gt 78
  {body}
 match header line length gt 78
  drop-connection log
 match sender-address length gt 40
  drop-connection log
 match MIME filename length gt 20
  drop-connection log
 match ehlo-reply-parameter others
  mask
class-map inspection_default
 match default-inspection-traffic
policy-map global_policy
 class inspection_default
  inspect esmtp fuzz
service-policy global_policy global
"""


def with_parameters(parameters: str, body: str = "log") -> Policy:
    return parse_policy(_TEXT.format(parameters=parameters, body=body), "fuzz.cfg").policy


STREAM = with_parameters("incomplete-command stream")
STREAM_TLS = with_parameters("incomplete-command stream\n  allow-tls")
STRICT_BODY = with_parameters("incomplete-command stream", "drop-connection log")
MASK = with_parameters("no special-character")


def inspection_map(policy: Policy) -> InspectionMap:
    (inspection,) = policy.inspections
    return inspection.map


@dataclass(slots=True)
class Script:
    """What a client says: groups of lines, each sent when all before is answered."""

    policy: Policy
    groups: list[tuple[bytes, int, bytes]]
    """The bytes, how many replies they are owed, and the first digit that the reply before must
    have (or the group is left out)."""
    keywords: tuple[bytes, ...] = (b"PIPELINING", b"SIZE 100000", b"8BITMIME")
    refuses: bytes = b""
    """The server refuses recipients that contain this."""
    fatal: bytes = b""
    """What violates: the connection closes at its last byte, at the latest."""
    verbs_whole: bool = False
    features: list[str] = field(default_factory=list)


class Client:
    """Reads replies, says the next group when the last one is answered."""

    __slots__ = ("awaited", "code", "groups", "over", "rest", "said", "tls")

    def __init__(self, script: Script) -> None:
        self.groups = list(script.groups)
        self.awaited = 1
        self.code = b""
        self.rest = b""
        self.over = False
        self.tls = False

    def feed(self, data: bytes) -> bytes:
        if self.tls:
            return b""
        out = b""
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            if line[3:4] == b"-":
                continue
            self.code = line[:1]
            self.awaited -= 1
            while self.awaited == 0 and self.groups:
                said, self.awaited, needs = self.groups.pop(0)
                if needs and needs != self.code:
                    self.awaited = 0
                    continue
                out += said
                self.tls = not self.awaited
            if self.awaited == 0 and not self.groups:
                self.over = True
        return out


class Server:
    """Reads commands and answers them."""

    __slots__ = ("auth", "body", "out", "over", "rest", "script", "tls")

    def __init__(self, script: Script) -> None:
        self.script = script
        self.rest = b""
        self.body = self.over = self.tls = False
        self.auth = 0

    def greet(self) -> bytes:
        return b"220 mail.example.org ESMTP 2002\r\n"

    def feed(self, data: bytes) -> bytes:
        out = b""
        if self.tls:
            return out
        *lines, self.rest = (self.rest + data).split(b"\r\n")
        for line in lines:
            if self.body:
                if line == b".":
                    self.body = False
                    out += b"250 2.0.0 queued\r\n"
            elif self.auth:
                self.auth -= 1
                out += b"334 UGFzc3dvcmQ6\r\n" if self.auth else b"235 2.7.0 welcome\r\n"
            else:
                out += self._command(line)
            if self.tls:
                break
        return out

    def _command(self, line: bytes) -> bytes:
        verb = line.partition(b" ")[0].upper()
        if verb == b"EHLO":
            names = (b"mail.example.org at your service", *self.script.keywords)
            last = len(names) - 1
            return b"".join(
                b"250%c%b\r\n" % (b" -"[number < last], name) for number, name in enumerate(names)
            )
        if verb == b"DATA":
            self.body = True
            return b"354 go ahead\r\n"
        if verb == b"AUTH":
            self.auth = 2 if b"LOGIN" in line else 1
            return b"334 VXNlcm5hbWU6\r\n"
        if line.upper() == b"STARTTLS":
            self.tls = True
            return b"220 ready\r\n"
        if verb == b"QUIT":
            self.over = True
            return b"221 2.0.0 bye\r\n"
        if verb == b"RCPT" and self.script.refuses and self.script.refuses in line:
            return b"550 5.1.1 not here\r\n"
        if verb == b"HELP":
            return b"214-this is\r\n214-a long\r\n214 help\r\n"
        if verb in (b"HELO", b"MAIL", b"RCPT", b"RSET", b"NOOP", b"VRFY"):
            return b"250 2.1.0 ok\r\n"
        return b"500 5.5.1 what?\r\n"


@dataclass(slots=True)
class Ideal:
    """What may arrive at the other side, in full."""

    requests: bytearray
    replies: bytearray
    said: bytearray
    """What the client said to make it so."""
    answered: bytearray
    closed: bool


def ideal(script: Script, *, by_byte: bool = False) -> Ideal:
    """The course of the script without TCP, inspected line by line; or ``by_byte``, as far as that
    makes a difference."""
    inspector = Inspector(CONNECTION, compile_map(inspection_map(script.policy)))
    client, server = Client(script), Server(script)
    course = Ideal(bytearray(), bytearray(), bytearray(), bytearray(), False)
    requests, replies = b"", server.greet()
    course.answered += replies
    while True:
        if replies:
            piece = replies[: 1 if by_byte else _line(replies)]
            passed = inspector.reply(piece)
            assert len(passed) == len(piece), "a reply that does not pass"
            replies = replies[len(piece) :]
            course.replies += passed
            more = client.feed(passed)
            course.said += more
            requests += more
            continue
        if not requests:
            return course
        whole = not by_byte or script.verbs_whole or server.body
        piece = requests[: _line(requests) if whole else 1]
        passed = inspector.request(piece, len(piece), len(course.replies))
        if inspector.closing is not None:
            course.closed = True
            return course
        assert passed, "the script waits for a reply that nobody owes it"
        requests = requests[len(passed) :]
        course.requests += passed
        more = server.feed(passed)
        course.answered += more
        replies += more


def _line(data: bytes) -> int:
    return data.find(b"\n") + 1 or len(data)


def agrees(got: bytes, whole: bytes, by_byte: bytes, sent: bytes) -> str:
    """Why ``got`` is not a beginning of the ideal stream; empty if it is one."""
    if whole.startswith(got):
        return ""
    if len(got) > len(whole):
        return f"{len(got) - len(whole)} bytes too many: {got[len(whole) :][:60]!r}"
    for at, byte in enumerate(got):
        if byte == whole[at]:
            continue
        free = whole[at] != by_byte[at] and (byte == sent[at] or 65 <= byte <= 90)
        if not free:
            window = slice(max(0, at - 20), at + 20)
            return f"at {at}: {got[window]!r}, ideal is {whole[window]!r}"
    return ""


# ---- scripts

_WORDS = (
    b"meeting",
    b"tomorrow",
    b"at",
    b"the",
    b"usual",
    b"place",
    b"bring",
    b".",
    b"cake",
    b"--",
)
_UNKNOWN = (b"XYZZY\r\n", b"BDAT 0\r\n", b"JUMP high\r\n", b"TURN\r\n", b"X\r\n", b"EXPN all\r\n")
_CUTTABLE = (b"RSETT\r\n", b"HELPME now\r\n", b"NOO\r\n", b"VRFYX a\r\n")
_OTHER_KEYWORDS = (b"XEXCH50", b"CHUNKING", b"SIZEABLE", b"STARTTLS", b"AUTH LOGIN PLAIN", b"X 1")


def _message(random: Random, most: int) -> bytes:
    lines = [b"Subject: " + random.choice(_WORDS), b"From: <a@example.org>"]
    if random.random() < 0.3:
        lines += [b"Content-Type: multipart/mixed; boundary=b"]
    lines.append(b"")
    size = random.randint(0, most)
    while size > 0:
        line = b" ".join(random.choices(_WORDS, k=random.randint(0, 8)))
        if line.startswith(b"."):
            line = b"." + line
        lines.append(line)
        size -= len(line) + 2
    return b"\r\n".join(lines) + b"\r\n.\r\n"


def _transaction(random: Random, most: int, pipelined: bool) -> list[tuple[bytes, int, bytes]]:
    commands = [b"MAIL FROM:<%b@example.org>\r\n" % random.choice(_WORDS[:4])]
    for _ in range(random.randint(1, 4)):
        name = random.choice((b"anna", b"bert", b"refused"))
        commands.append(b"RCPT TO:<%b@example.net>\r\n" % name)
    if random.random() < 0.2:
        commands.append(b"NOOP\r\n")
    abandoned = random.random() < 0.15
    commands.append(b"RSET\r\n" if abandoned else b"DATA\r\n")
    message = b"" if abandoned else _message(random, most)
    if message and pipelined and random.random() < 0.15:
        # It does not wait for the 354.
        return [(b"".join(commands) + message, len(commands) + 1, b"")]
    groups = [(command, 1, b"") for command in commands]
    if pipelined:
        groups = [(b"".join(commands), len(commands), b"")]
    if message:
        groups.append((message, 1, b"3"))
    return groups


def make(random: Random, *, violation: bool) -> Script:
    """A script of a few hundred to a few thousand bytes."""
    kind = random.random()
    policy = STREAM if kind < 0.55 else STREAM_TLS if kind < 0.7 else MASK
    script = Script(policy, [], verbs_whole=policy is MASK)
    if random.random() < 0.4:
        script.keywords = tuple(
            random.sample((*script.keywords, b"DSN", *_OTHER_KEYWORDS), random.randint(1, 6))
        )
    if random.random() < 0.3:
        script.refuses = b"refused"
    groups = script.groups
    hello = b"HELO" if random.random() < 0.2 else b"EHLO"
    groups.append((hello + b" client.example.net\r\n", 1, b""))
    pipelined = hello == b"EHLO" and b"PIPELINING" in script.keywords and random.random() < 0.7
    most = random.choice((0, 100, 300, 900))
    for _ in range(random.choice((1, 1, 2))):
        if random.random() < 0.2:
            groups += [(b"AUTH LOGIN\r\n", 1, b""), (b"YW5uYQ==\r\n", 1, b"3")]
            groups.append((b"c2VjcmV0\r\n", 1, b"3"))
        if random.random() < 0.3:
            words = _UNKNOWN if policy is MASK else _UNKNOWN + _CUTTABLE
            groups.append((random.choice(words), 1, b""))
        if random.random() < 0.1:
            groups.append((b"HELP\r\n", 1, b""))
        groups += _transaction(random, most, pipelined)
    if violation:
        _violate(random, script, pipelined)
    if policy is STREAM_TLS and random.random() < 0.6:
        groups.append((b"STARTTLS\r\n", 1, b""))
        groups.append((random.randbytes(random.randint(1, 300)), 0, b"2"))
    else:
        groups.append((b"QUIT\r\n", 1, b""))
    return script


_SENDER, _RECIPIENT = b"MAIL FROM:<a@example.org>\r\n", b"RCPT TO:<a@example.net>\r\n"
_RECIPIENTS = [b"RCPT TO:<%d@example.net>\r\n" % number for number in range(6)]
_VIOLATING_COMMANDS: tuple[tuple[list[bytes], bytes], ...] = (
    ([_SENDER, *_RECIPIENTS], _RECIPIENTS[-1]),
    ([_SENDER, b"RCPT TO:<a|b@example.net>\r\n"], b"RCPT TO:<a|"),
    ([b"NOOP " + b"n" * 90 + b"\r\n"], b"NOOP " + b"n" * 90),
    ([b"RSET\r\n", b"MAIL FROM:<%b@example.org>\r\n" % (b"m" * 41)], b"MAIL FROM:<" + b"m" * 41),
)
"""Lines, and up to where one of them may have come before it is seen to violate."""
_LONG = b"Subject: " + b"h" * 70 + b"\r\n"
_NAMED = b"Content-Disposition: attachment; filename=" + b"f" * 21 + b"\r\n"
_WIDE = b"b" * 79 + b"\r\n"
_VIOLATING_MESSAGES: tuple[tuple[bytes, bytes, Policy | None], ...] = (
    (b"From: a\r\n" + _LONG + b"\r\nbody\r\n.\r\n", _LONG, None),
    # A field is judged where the next line does not go on with it.
    (b"From: a\r\n" + _NAMED + b"\r\nbody\r\n.\r\n", _NAMED + b"\r", None),
    (b"From: a\r\n\r\nbody\r\n" + _WIDE + b".\r\n", _WIDE, STRICT_BODY),
)
"""Messages, the same, and the only policy that minds."""


def _violate(random: Random, script: Script, pipelined: bool) -> None:
    if random.random() < 0.5:
        lines, script.fatal = random.choice(_VIOLATING_COMMANDS)
        if pipelined:
            script.groups.append((b"".join(lines), len(lines), b""))
        else:
            script.groups += [(line, 1, b"") for line in lines]
        return
    message, script.fatal, policy = random.choice(_VIOLATING_MESSAGES)
    if policy is not None:
        script.policy, script.verbs_whole = policy, False
    script.groups += [(line, 1, b"") for line in (_SENDER, _RECIPIENT, b"DATA\r\n")]
    script.groups.append((message, 1, b"3"))
