"""Scripts of what a client says and how a server answers, lawful or not, and the two that act them.

A script is plain data: it can be printed, and shrunk. The server answers each line that it reads as
the next ``Answer`` of its script says, lawfully when these are used up; it is busy until it has
answered. It keeps its own state from the replies that it has sent itself: a 354 begins a message, a
334 an AUTH exchange, and any other reply ends them, asked for or not.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace
from random import Random

from nfinspect.esmtp.verbs import PERMITTED, STARTTLS, prefixes
from nfinspect.policy.model import Policy
from tests.fuzz import mail

PREFIXES = prefixes(PERMITTED)

POLICIES: dict[str, Policy] = {
    "stream": mail.STREAM,
    "allow-tls": mail.STREAM_TLS,
    "mask": mail.MASK,
    "anomaly": mail.with_parameters("incomplete-command stream\n  server-anomaly drop-connection"),
}


class Mode(enum.Enum):
    """What the server takes the next byte for."""

    COMMANDS = enum.auto()
    MESSAGE = enum.auto()
    AUTH = enum.auto()
    TLS = enum.auto()


class How(enum.Enum):
    """How the server answers a line."""

    LAWFUL = enum.auto()
    NOT = enum.auto()
    TWICE = enum.auto()
    """As is right, and then with ``code``."""
    EARLY = enum.auto()
    """As is right; at once with ``code`` what comes next, and that no more."""
    WRONG = enum.auto()
    """With ``code``."""
    NO_CODE = enum.auto()
    NO_CODE_FIRST = enum.auto()
    """A line without a code, then as is right."""
    MIXED = enum.auto()
    """Its last line has ``code``, the one before it the right one."""
    UNFINISHED = enum.auto()
    """There is no last line."""
    LEAVES = enum.auto()
    """As is right; if that begins a message, an AUTH exchange or TLS, it ends it with ``code``."""


@dataclass(frozen=True, slots=True)
class Answer:
    how: How = How.LAWFUL
    code: bytes = b"250"
    """Empty: a line without a code."""
    delay: float = 0.0
    """Seconds until it begins."""
    piece: int = 0
    """Bytes that it says at once; 0: all."""
    lines: int = 0
    """LEAVES: of the message that it still reads."""
    ending: bytes = b"\r\n"


@dataclass(frozen=True, slots=True)
class Group:
    """What the client says at once."""

    says: bytes
    awaits: int = 1
    """Replies."""
    needs: bytes = b""
    """What the code of the last reply must begin with; else it is left out."""
    patience: float | None = None
    """Seconds that it waits for the replies before it goes on; None: for ever."""


@dataclass(frozen=True, slots=True)
class Script:
    policy: str
    groups: tuple[Group, ...]
    greeting: Answer
    answers: tuple[Answer, ...]
    pipelining: bool = True
    """The server announces it."""
    answers_blank: bool = False
    """The server answers an empty line."""
    line_endings: bytes = b"\r\n"
    """What ends a command for the server: CR LF, or each of these bytes."""
    heeds_no_code: bool = True
    """The client takes a line without a code for a reply."""
    delays: tuple[float, float] = (0.01, 0.01)
    """Seconds from client and server to the filter."""
    largest: int = 1000
    """Bytes of a segment of the client."""
    cut: bool = False
    """Its segments are of random size."""
    lawful: bool = False
    """Both ends are: nothing closes, and everything is said."""

    def __str__(self) -> str:
        lines = [
            f"policy {self.policy}, pipelining {self.pipelining}, answers empty lines "
            f"{self.answers_blank}, lines end at {self.line_endings!r}, heeds lines without a code "
            f"{self.heeds_no_code}, delays {self.delays}, segments {self.largest} cut {self.cut}, "
            f"lawful {self.lawful}",
            f"greeting: {self.greeting}",
            *(f"client: {group}" for group in self.groups),
            *(f"answer: {answer}" for answer in self.answers),
        ]
        return "\n  ".join(lines)


_RIGHT = {
    b"EHLO": b"250",
    b"HELO": b"250",
    b"MAIL": b"250",
    b"RCPT": b"250",
    b"RSET": b"250",
    b"NOOP": b"250",
    b"VRFY": b"252",
    b"DATA": b"354",
    b"AUTH": b"334",
    b"QUIT": b"221",
    b"STARTTLS": b"220",
}
_SPLIT = re.compile(rb"[\0 \t\r\n]")
_MASKED = re.compile(rb"([A-Z]*?)X*")


def harmless(line: bytes, allow_tls: bool) -> bool:
    """Whether a line is one of the permitted commands, or was masked: X, all of it or behind what
    could have become a permitted verb."""
    word = _SPLIT.split(line.strip(b"\r\n"), maxsplit=1)[0].upper()
    if word in PERMITTED or (allow_tls and word == STARTTLS.word):
        return True
    found = _MASKED.fullmatch(word)
    beginning = found[1] if found else b"?"
    return beginning in PREFIXES or (allow_tls and STARTTLS.word.startswith(beginning))


@dataclass(slots=True)
class Due:
    """What the server will say, at the earliest then."""

    when: float
    text: bytes
    code: bytes | None
    """Of the reply that it completes; empty: of a line without a code."""


class Server:
    """Reads lines, one after the other, and answers as the script says."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.answers = list(script.answers)
        self.unread = bytearray()
        self.position = 0
        """Of the first unread byte, in the stream."""
        self.mode = Mode.COMMANDS
        self.said = 0
        self.left_at = 0
        """Bytes that it had said when it last left another mode by itself."""
        self.unanswered = 0
        """Lines that were not empty, and got no reply."""
        self.anticipated = False
        """The next line has got its reply."""
        self.leaving: Answer | None = None
        self.lines = 0
        """Of the message."""
        self.over = False
        self.after_cr = False
        """A CR has ended the last line; an LF would belong to it."""
        self.tls_asked = False
        self.commands: list[tuple[int, int, bytes]] = []
        """Lines read as commands: where they begin, what was said when commands were last begun by
        a reply, and the line."""
        self.agenda: list[Due] = []
        self._answer(0.0, script.greeting, b"220", b"mail.example.org ESMTP")

    @property
    def wakes(self) -> float | None:
        return self.agenda[0].when if self.agenda and not self.over else None

    def hear(self, data: bytes) -> None:
        self.unread += data

    def run(self, now: float) -> bytes:
        """What it says now."""
        said = b""
        while not self.over:
            while self.agenda and self.agenda[0].when <= now:
                due = self.agenda.pop(0)
                said += due.text
                self.said += len(due.text)
                if due.code is not None:
                    self._becomes(due.code)
            if self.agenda:
                break
            line = self._line()
            if line is None:
                break
            self._read(now, line)
        return said

    def _becomes(self, code: bytes) -> None:
        """A reply with this code has been said."""
        mode = Mode.COMMANDS
        if code == b"354":
            mode = Mode.MESSAGE
        elif code == b"334":
            mode = Mode.AUTH
        elif code == b"220" and self.tls_asked:
            mode = Mode.TLS
        if self.mode is not Mode.COMMANDS and mode is not self.mode:
            self.left_at = self.said
            self.leaving = None
        if mode is Mode.MESSAGE is not self.mode:
            self.lines = 0
        self.mode = mode
        if code == b"221":
            self.over = True

    def _line(self) -> bytes | None:
        unread = self.unread
        if self.mode is Mode.TLS:
            return None
        if self.mode is Mode.MESSAGE or self.script.line_endings == b"\r\n":
            end = unread.find(b"\r\n") + 2
            if end == 1:
                return None
        else:
            if self.after_cr and unread[:1] == b"\n":
                del unread[:1]
                self.position += 1
            self.after_cr = False
            found = re.search(rb"[%b]" % self.script.line_endings, unread)
            if found is None:
                return None
            end = found.end()
            self.after_cr = found[0] == b"\r"
        line = bytes(unread[:end])
        del unread[:end]
        self.position += end
        return line

    def _read(self, now: float, line: bytes) -> None:
        begin = self.position - len(line)
        if self.mode is Mode.MESSAGE:
            if line != b".\r\n":
                self.lines += 1
                self._leave(now)
                return
            self.mode, self.leaving = Mode.COMMANDS, None
            right = b"250"
        elif self.mode is Mode.AUTH:
            self.mode, self.leaving = Mode.COMMANDS, None
            right = b"235"
        else:
            if not line.strip(b"\r\n"):
                if self.script.answers_blank:
                    self._say(now, Answer(), b"500", b"empty")
                return
            self.commands.append((begin, self.left_at, line))
            word = _SPLIT.split(line, maxsplit=1)[0].upper()
            right = _RIGHT.get(word, b"500")
            self.tls_asked = self.tls_asked or word == STARTTLS.word
            if word == b"EHLO" and self.script.pipelining:
                right = b"250 PIPELINING"
        if self.anticipated:
            self.anticipated = False
            self.unanswered += 1
            return
        answer = self.answers.pop(0) if self.answers else Answer()
        self._answer(now, answer, right, b"text")

    def _answer(self, now: float, answer: Answer, right: bytes, text: bytes) -> None:
        how = answer.how
        if how in (How.NOT, How.UNFINISHED):
            self.unanswered += 1
        if how is How.NOT:
            return
        if how is How.UNFINISHED:
            self._add(now, answer, b"%b-%b%b" % (right[:3], text, answer.ending), None)
        elif how is How.NO_CODE:
            self._say(now, answer, b"", text)
        elif how is How.WRONG:
            self._say(now, answer, answer.code, text)
        elif how is How.MIXED:
            self._add(now, answer, b"%b-%b%b" % (right[:3], text, answer.ending), None)
            self._say(now, answer, answer.code, text)
        else:
            if how is How.NO_CODE_FIRST:
                self._say(now, answer, b"", text)
            self._say(now, answer, right, text)
        if how in (How.TWICE, How.EARLY):
            self._say(now, replace(answer, delay=0), answer.code, b"again")
            self.anticipated = how is How.EARLY
        elif how is How.LEAVES and right in (b"354", b"334", b"220"):
            self.leaving = answer
            if answer.lines == 0 or right != b"354":
                self._say(now, answer, answer.code, b"no more")

    def _leave(self, now: float) -> None:
        leaving = self.leaving
        if leaving is not None and self.lines == leaving.lines:
            self._say(now, leaving, leaving.code, b"no more")

    def _say(self, now: float, answer: Answer, code: bytes, text: bytes) -> None:
        code, _, keyword = code.partition(b" ")
        if keyword:
            self._add(now, answer, b"%b-%b%b" % (code, text, answer.ending), None)
            text = keyword
        line = b"%b %b%b" % (code or b"4.7.0", text, answer.ending)
        self._add(now, answer, line, code)

    def _add(self, now: float, answer: Answer, text: bytes, code: bytes | None) -> None:
        when = max(now, self.agenda[-1].when if self.agenda else 0.0) + answer.delay
        size = answer.piece or len(text)
        for at in range(0, len(text), size):
            last = at + size >= len(text)
            self.agenda.append(Due(when, text[at : at + size], code if last else None))
            when += 0.1


class Client:
    """Says one group after the other, and hears replies."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.groups = list(script.groups)
        self.awaited = 1
        self.since = 0.0
        """When it began to wait."""
        self.patience: float | None = script.groups[0].patience if script.groups else None
        self.code = b""
        self.rest = b""
        self.over = False

    @property
    def wakes(self) -> float | None:
        if self.over or self.patience is None or self.awaited <= 0:
            return None
        return self.since + self.patience

    def hear(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            coded = line[:3].isdigit()
            if (coded and line[3:4] == b"-") or not (coded or self.script.heeds_no_code):
                continue
            self.code = line[:3]
            self.awaited -= 1

    def run(self, now: float) -> bytes:
        """What it says now."""
        said = b""
        while not self.over:
            wakes = self.wakes
            if self.awaited > 0 and (wakes is None or wakes > now):
                break
            if not self.groups:
                self.over = True
                break
            group = self.groups.pop(0)
            if not self.code.startswith(group.needs):
                continue
            said += group.says
            if group.says.startswith((b"DATA", b"AUTH", b"STARTTLS")):
                self.code = b""
            self.awaited, self.patience, self.since = group.awaits, group.patience, now
            if not group.awaits and group.needs == b"220":  # TLS has begun
                self.over = True
        return said


# ---- drawing

FORBIDDEN = (b"EXPN root", b"XCLIENT ADDR=192.0.2.9", b"TURN", b"STARTTLS", b"XEXCH50 1 2", b"VERB")
_COMMANDS = (
    b"EHLO c.example",
    b"HELO c.example",
    b"MAIL FROM:<a@example.org>",
    b"RCPT TO:<b@example.net>",
    b"RSET",
    b"NOOP",
    b"VRFY a",
)
_STRANGE = (
    b"NO\0OP",
    b"\0",
    b"NOOP \0x",
    b"NOOP\nEXPN root",
    b"NOOP a\rEXPN root",
    b"NOOP a\nXCLIENT A=b",
    b" EXPN root",
    b"\r",
    b"X",
    b"RC",
    b"*",
)
_CODES = (
    b"220",
    b"250",
    b"354",
    b"334",
    b"235",
    b"421",
    b"451",
    b"454",
    b"500",
    b"503",
    b"552",
    b"535",
)
_LEAVING = (b"552", b"451", b"250", b"421", b"535", b"235", b"500", b"")
_PATIENCE = (None, None, None, 0.0, 0.005, 0.05, 1.0)


def draw(seed: int) -> Script:
    """The script of a seed."""
    random = Random(seed)
    lawful = random.random() < 0.15
    policy = random.choice(("stream", "stream", "allow-tls", "allow-tls", "mask", "anomaly"))
    blank = random.random() < 0.5
    pipelining = random.random() < 0.5
    trouble = 0.0 if lawful else random.choice((0.1, 0.3, 0.6))
    hasty = 0.0 if lawful else random.choice((0.0, 0.2, 0.8))
    groups = [_command(random, random.choice(_COMMANDS[:2]))]
    for _ in range(random.randint(1, 7)):
        groups += _draw_groups(random, lawful, pipelining and groups[0].says[:1] == b"E", blank)
    if random.random() < 0.7:
        groups.append(Group(b"QUIT\r\n"))
    groups = [
        replace(group, patience=random.choice(_PATIENCE)) if random.random() < hasty else group
        for group in groups
    ]
    said = b"".join(group.says for group in groups)
    avoided = {b"220"} if policy == "allow-tls" and b"STARTTLS" in said else set()
    if b"AUTH" in said:
        avoided.add(b"334")
    answers = [_answer(random, trouble, avoided) for _ in range(random.randint(0, 12))]
    ends = (b"\r\n",) if lawful else (b"\r\n", b"\r\n", b"\n", b"\n\r")
    return Script(
        policy,
        tuple(groups),
        _answer(random, trouble / 3, avoided),
        tuple(answers),
        pipelining=pipelining,
        answers_blank=blank,
        line_endings=random.choice(ends),
        heeds_no_code=random.random() < 0.7,
        delays=random.choice(((0.01, 0.01), (0.1, 0.001), (0.001, 0.1))),
        largest=1000 if policy == "mask" else random.choice((1000, 1000, 20)),
        cut=policy != "mask" and random.random() < 0.2,
        lawful=lawful,
    )


def _command(random: Random, line: bytes) -> Group:
    return Group(line + b"\r\n")


def _draw_groups(random: Random, lawful: bool, pipelining: bool, blank: bool) -> list[Group]:
    """A few groups that belong together."""
    kind = random.random()
    stubborn = not lawful and random.random() < 0.2
    if kind < 0.2:
        return [Group(random.choice(_COMMANDS) + b"\r\n")]
    if kind < 0.35:
        return [Group(b"\r\n", awaits=int(blank) if lawful else random.choice((0, 0, 1)))]
    if kind < 0.5:
        count = random.randint(2, 5)
        lines = random.choices((*_COMMANDS[2:], b"", b"DATA", *FORBIDDEN[:2]), k=count)
        if lawful and not pipelining:
            return [
                Group(line + b"\r\n", awaits=int(blank or bool(line)))
                for line in lines
                if line != b"DATA"
            ]
        if lawful:
            lines = [line for line in lines if line != b"DATA"]
        awaits = sum(1 for line in lines if line or blank)
        return [Group(b"".join(line + b"\r\n" for line in lines), awaits=awaits)]
    if kind < 0.7:
        body = random.choices((*FORBIDDEN, b"text", b"Subject: x", b"", b"..", b"NOOP", b"\0"), k=4)
        text = b"".join(line + b"\r\n" for line in body)
        begun = Group(b"DATA\r\n")
        if not lawful and random.random() < 0.3:
            cut = random.randint(0, len(text))
            rest = Group(text[cut:] + b".\r\n", needs=b"" if stubborn else b"354")
            return [begun, Group(text[:cut], awaits=1, needs=rest.needs, patience=0.5), rest]
        return [begun, Group(text + b".\r\n", needs=b"" if stubborn else b"354")]
    if kind < 0.8:
        response = b"c2VjcmV0" if lawful else random.choice((b"c2VjcmV0", b"", b"*", *FORBIDDEN))
        return [
            Group(b"AUTH LOGIN\r\n"),
            Group(response + b"\r\n", needs=b"" if stubborn else b"334"),
        ]
    if kind < 0.87:
        line = random.choice(FORBIDDEN[:3])
        return [Group(line + b"\r\n")]
    if kind < 0.93:
        return [
            Group(b"STARTTLS\r\n"),
            Group(b"\x16\x03\x01" + random.randbytes(40), awaits=0, needs=b"220"),
        ]
    if lawful:
        return [Group(b"BDAT 12 LAST\r\n")]
    if kind < 0.97:
        chunk = b"EXPN root\r\n."
        return (
            [Group(b"BDAT 12 LAST\r\n" + chunk)]
            if random.random() < 0.5
            else [
                Group(b"BDAT 12 LAST\r\n"),
                Group(chunk, needs=b"" if stubborn else b"2"),
            ]
        )
    return [Group(random.choice(_STRANGE) + random.choice((b"\r\n", b"\r\n", b"\n")))]


def _answer(random: Random, trouble: float, avoided: set[bytes]) -> Answer:
    how = How.LAWFUL
    if random.random() < trouble:
        how = random.choice(tuple(How))
    codes = _LEAVING if how is How.LEAVES else _CODES
    code = random.choice(codes)
    if code in avoided:
        # One that crosses the STARTTLS or AUTH on its way is that line's, for all but the server.
        code = b"250"
    return Answer(
        how,
        code,
        delay=random.choice((0.0, 0.0, 0.0, 0.005, 0.5, 8.0)),
        piece=random.choice((0, 0, 0, 1, 4)),
        lines=random.randint(0, 3),
        ending=random.choice((b"\r\n", b"\r\n", b"\r\n", b"\n")),
    )
