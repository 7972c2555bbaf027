"""``python -m tests.fuzz.replies``: servers that answer as they should not, and clients that may not
wait.

A session is two scripts. The server answers too early, late, twice, not at all, with another code,
without a code, in pieces, ignores empty lines or answers them, leaves DATA or AUTH by itself. The
client waits for its replies or does not, sends empty lines, AUTH, STARTTLS, BDAT, unsupported commands
everywhere. TCP delivers in order; whatever of the client's did not pass is sent again.

Three properties:

- *No way in.* While the server takes lines for commands, by its own state and not by the filter's, it
  never reads an unsupported one. (If it leaves DATA by itself, what crosses the reply that says so is
  out of any filter's hands, and does not count.)
- *No standstill.* A client that has read a reply for each of its commands gets its next line through,
  or the connection is closed.
- *Nothing else.* What the server reads is a prefix of what the client said, masked or not.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from random import Random

import click

from nfinspect.events import InspectionClosed, Uninspected
from nfinspect.policy.model import Policy
from tests.fuzz import mail
from tests.model.talk import ACK, START, Talk
from tests.model.wire import SERVER

STEPS = 60
"""Things that happen in a session, at most, before what is left is sent again."""

UNSUPPORTED = (
    b"EXPN all", b"XCLIENT ADDR=192.0.2.9", b"VERB", b"ONEX", b"ATRN", b"BDAT 6 LAST", b"XEXCH50 2 2",
)  # fmt: skip
PERMITTED = frozenset(
    b"DATA HELO MAIL NOOP QUIT RCPT RSET AUTH EHLO ETRN HELP SAML SEND SOML VRFY".split()
)
COMMANDS = (
    b"HELO client.example", b"EHLO client.example", b"EHLO client.example", b"NOOP", b"RSET", b"HELP",
    b"VRFY a", b"MAIL FROM:<a@b.example>", b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>",
    b"RCPT TO:<c@d.example>", b"DATA", b"DATA", b"DATA", b"AUTH LOGIN", b"AUTH LOGIN", b"STARTTLS",
    b"",
)  # fmt: skip
TEXT = (b"Subject: x", b"", b"Dear friend,", *UNSUPPORTED, b"STARTTLS")
RESPONSES = (b"dXNlcg==", b"*", b"XCLIENT", b"STARTTLS")

RIGHT = {
    b"HELO": b"250 s", b"EHLO": b"250-s\r\n250-PIPELINING\r\n250 STARTTLS", b"DATA": b"354 go",
    b"AUTH": b"334 VXNlcm5hbWU6", b"STAR": b"220 go ahead", b"HELP": b"214-a\r\n214 b",
}  # fmt: skip
REFUSALS = (b"500 what", b"503 no", b"451 later", b"550-no\r\n550 really", b"421 closing")
ODD = (b"250 ok", b"220 again", b"235 yes", b"535 no", b"200 x", b"999 y", b"251-a\r\n551 b")
WITHOUT_CODE = (b"4.7.0 not available", b"hm", b"", b"25")


@dataclass(slots=True)
class Server:
    """Its own idea of what it reads: commands, a message, responses to challenges, TLS."""

    random: Random
    tls: bool
    oddity: float
    mode: str = "commands"
    buffer: bytearray = field(default_factory=bytearray)
    said: bytearray = field(default_factory=bytearray)
    """What it says and the network has not yet carried."""
    carried: int = 0
    """Bytes of what it has said that have reached the filter."""
    left: int = 0
    """Where, among all it has said, the reply ends with which it left a message or a challenge."""
    trouble: str = ""
    answers_empty: bool = False

    def say(self, text: bytes) -> None:
        self.said += text + b"\r\n"

    def carry(self, count: int) -> None:
        del self.said[:count]
        self.carried += count

    def read(self, data: bytes) -> None:
        self.buffer += data
        while self.mode != "tls" and b"\r\n" in self.buffer:
            line, _, rest = bytes(self.buffer).partition(b"\r\n")
            self.buffer[:] = rest
            self._line(line)

    def _line(self, line: bytes) -> None:
        if self.mode == "message":
            if line == b".":
                self.mode = "commands"
                self._answer(b"250 queued")
        elif self.mode == "challenge":
            self.mode = "commands"
            self._answer(b"235 yes")
        elif line == b"":
            if self.answers_empty:
                self.say(b"500 what")
        else:
            word = line.split(None, 1)[0].upper() if line.strip() else line
            allowed = word in PERMITTED or (self.tls and word == b"STARTTLS")
            masked = word == b"X" * len(word)
            if not allowed and not masked and self.carried >= self.left:
                self.trouble = self.trouble or f"command mode, and read {line!r}"
            if allowed:
                self._answer(RIGHT.get(word[:4], b"250 ok"))
            else:
                self.say(b"500 what")

    def _answer(self, right: bytes) -> None:
        """The right answer, or another one; what it says determines its own state."""
        random = self.random
        if random.random() >= self.oddity:
            answers = [right]
        else:
            answers = random.choice(
                (
                    [right, right[-3:] and random.choice(REFUSALS)],
                    [right, right] if right[:3] not in (b"354", b"334", b"220") else [right],
                    [random.choice(REFUSALS)],
                    [random.choice(ODD)],
                    [random.choice(WITHOUT_CODE)],
                    [random.choice(WITHOUT_CODE), right],
                    [],
                )
            )
        for answer in answers:
            self.say(answer)
            self._enter(answer, right)

    def _enter(self, answer: bytes, right: bytes) -> None:
        code = answer[:3]
        if code == b"354" and right[:3] == b"354":
            self.mode = "message"
        elif code == b"334" and right[:3] == b"334":
            self.mode = "challenge"
        elif code == b"220" and right[:3] == b"220":
            self.mode = "tls"
        else:
            self._leave()

    def _leave(self) -> None:
        if self.mode in ("message", "challenge"):
            self.mode = "commands"
            self.left = self.carried + len(self.said)

    def act_by_itself(self) -> None:
        """Say something that nobody asked for, and leave what it was in."""
        self.say(self.random.choice((*REFUSALS, *ODD, *WITHOUT_CODE)))
        self._leave()


@dataclass(slots=True)
class Client:
    random: Random
    waits: bool
    said: bytearray = field(default_factory=bytearray)
    """Everything, from the beginning."""
    heard: bytearray = field(default_factory=bytearray)
    """What is no whole reply yet."""
    owed: int = 1
    """Replies that it waits for; the greeting is the first."""
    mode: str = "commands"
    lines: int = 0

    def hear(self, data: bytes) -> None:
        self.heard += data
        while b"\n" in self.heard:
            line, _, rest = bytes(self.heard).partition(b"\n")
            self.heard[:] = rest
            if line[:3].isdigit() and line[3:4] == b"-":
                continue
            self.owed = max(0, self.owed - 1)
            if line.startswith(b"354"):
                self.mode = "message"
            elif line.startswith(b"334"):
                self.mode = "challenge"
            elif self.random.random() < 0.7:
                self.mode = "commands"

    @property
    def ready(self) -> bool:
        return self.owed == 0 or not self.waits

    def speak(self) -> bytes:
        """The next line, or a few."""
        random = self.random
        text = b""
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            if self.mode == "message":
                line = random.choice((*TEXT, b".", b"."))
                if line == b".":
                    self.mode, self.owed = "commands", self.owed + 1
            elif self.mode == "challenge":
                line = random.choice(RESPONSES)
                self.mode, self.owed = "commands", self.owed + 1
            else:
                line = random.choice(COMMANDS if random.random() < 0.85 else UNSUPPORTED)
                self.owed += line != b""
            text += line + b"\r\n"
            if self.waits and self.owed:
                break
        self.lines += 1
        self.said += text
        return text


class Session:
    """One session, by its seed."""

    def __init__(self, seed: int, show: bool = False) -> None:
        random = self.random = Random(seed)
        self.show = show
        tls = random.random() < 0.4
        self.policy: Policy = mail.STREAM_TLS if tls else mail.STREAM
        self.client = Client(random, waits=random.random() < 0.75)
        self.server = Server(random, tls, random.choice((0.0, 0.1, 0.3, 0.6)))
        self.server.answers_empty = random.random() < 0.5
        self.by_itself = random.choice((0.0, 0.0, 0.03, 0.1))
        self.talk = Talk(self.policy)
        self.packets = 0
        self.passed = bytearray()
        """What the server has read."""
        self.answered = 0
        """Bytes of the server that the client has read."""
        self.trouble = ""

    @property
    def over(self) -> bool:
        """Inspection has closed the connection, or does not take part any more."""
        ended = (InspectionClosed, Uninspected)
        return bool(self.trouble) or any(isinstance(event, ended) for event in self.talk.events)

    def run(self) -> str:
        """What went wrong; empty if nothing did."""
        self.talk.open()
        greeting = self.random.choice(
            (b"220 mx", b"220 mx", b"220-mx\r\n220 x", b"220-a\r\n521 no")
        )
        self.server.say(greeting)
        for _ in range(STEPS):
            if self.over:
                break
            self._step()
        for _ in range(8):  # everything on its way arrives, and TCP repeats what did not pass
            while self.server.said and not self.over:
                self._from_server()
            if not self.over:
                self._from_client()
        self.trouble = self.trouble or self.server.trouble
        if not self.trouble and not self.over and self.client.waits and self.client.owed == 0:
            self._stands_still()
        return self.trouble

    def _stands_still(self) -> None:
        """The client has read all replies: its next line must pass."""
        self.client.speak()
        self._from_client()
        if not self.over and len(self.passed) < len(self.client.said):
            self.trouble = f"stands still: {bytes(self.client.said[len(self.passed) :])!r} waits"

    def _step(self) -> None:
        choice = self.random.random()
        if choice < self.by_itself:
            self.server.act_by_itself()
        elif choice < 0.5 and self.server.said:
            self._from_server()
        elif choice < 0.9 and self.client.ready:
            self.client.speak()
            self._from_client()
        else:
            self._from_client()

    def _from_server(self) -> None:
        said = self.server.said
        size = len(said) if self.random.random() < 0.7 else self.random.randint(1, len(said))
        data = bytes(said[:size])
        got = self._send("server", data, self.answered, len(self.passed))
        if isinstance(got, bytes):
            self.server.carry(len(got))
            self.answered += len(got)
            self.client.hear(got)

    def _from_client(self) -> None:
        """All that has not passed, with an acknowledgement of all that was read."""
        at = len(self.passed)
        data = bytes(self.client.said[at:])
        self._send("client", data, at, self.answered)

    def _send(self, side: str, data: bytes, at: int, ack: int) -> object:
        self.packets += 1
        before = len(self.talk.passed)
        got = self.talk.send(side, data, at=at, ack=ack, flags=ACK)
        if self.show:
            print(f"{self.packets:4} {side} {at} {data!r} -> {got!r}")
            print("".join(f"       {event}\n" for event in self.talk.events), end="")
        if self.show and not self.over:
            self.talk.events.clear()
        for packet in self.talk.passed[before:]:
            if packet.destination == SERVER:
                self._read(packet.sequence - START - 1 & 0xFFFF_FFFF, packet.payload)
        return got

    def _read(self, at: int, payload: bytes) -> None:
        fresh = payload[len(self.passed) - at :] if at <= len(self.passed) else b""
        start = len(self.passed)
        self.passed += fresh
        said = self.client.said[start : start + len(fresh)]
        masked = all(a == b or a in b"X " for a, b in zip(fresh, said, strict=True))
        if not masked:
            self.trouble = self.trouble or f"the server read {fresh!r} instead of {bytes(said)!r}"
        if not self.over:
            self.server.read(fresh)


def run_many(seeds: range) -> tuple[int, list[str]]:
    """Packets sent, and what went wrong, with the command that shows it."""
    packets, failures = 0, []
    for seed in seeds:
        session = Session(seed)
        trouble = session.run()
        packets += session.packets
        if trouble:
            failures.append(f"python -m tests.fuzz.replies --seed {seed}\n  {trouble}")
    return packets, failures


BATCH = 500


@click.command()
@click.option("--seed", type=int, default=0, help="The first session; alone, the only one.")
@click.option("--steps", type=int, help="Until so many packets have reached the filter.")
def main(seed: int, steps: int | None) -> None:
    """Play random reply scripts. With a seed alone: show that session packet by packet."""
    if steps is None:
        trouble = Session(seed, show=True).run()
        print(trouble or "nothing went wrong")
        sys.exit(bool(trouble))
    total, failed, first = 0, 0, seed
    while total < steps:
        packets, failures = run_many(range(seed, seed + BATCH))
        seed, total, failed = seed + BATCH, total + packets, failed + len(failures)
        for failure in failures:
            print(failure, flush=True)
    print(f"{seed - first} sessions, {total} packets, {failed} failures")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
