"""Sessions of lawful and unlawful servers and clients through the engine: ``python -m tests.fuzz.replies``.

What must hold, whatever they say and when:

- **Commands.** No command but a permitted one reaches the server unmasked while it is in command mode.
  The server itself decides what it takes for commands, from the replies that it has sent. If it has left
  a message, an AUTH exchange or TLS by itself, this holds for what passes behind that reply.
- **Liveness.** No session stands still while both ends want to go on: what the client has said gets to
  the server, unless the server owes a reply to a line that was not empty. A reply in advance is none.
- **Bytes.** What passes is what was sent, or X, blank, asterisk or letter in its place; after a close
  nothing new gets to the server.
- **Lawful ends.** If both are, nothing closes, and everything is said.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from random import Random

import click

from nfinspect.actions import Accept, Action, Drop, Emit, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.events import CloseCause, Direction, InspectionClosed, ServerAnomaly, Uninspected
from tests.fuzz import script as scripts
from tests.fuzz import showing
from tests.fuzz.guard import DifferenceError
from tests.fuzz.network import TO_END, TO_FILTER, Link, Network
from tests.fuzz.packets import Packet, Path
from tests.fuzz.script import Answer, Client, Mode, Script, Server
from tests.model.stack import Habits, Stack, near

ENDS = ((bytes([192, 0, 2, 1]), 40000), (bytes([198, 51, 100, 25]), 25))
INITIAL = 2**32 - 40
"""Of both sides, so that the numbers wrap."""
QUIET = 100.0
"""Seconds without anything new, longer than TCP waits: nothing more will come."""
MOST_PACKETS = 5000
_IN_PLACE = (frozenset(b"X "), frozenset(b"X*ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
"""What may stand for a byte of the client, and of the server."""


class CommandError(DifferenceError):
    """A command that is not permitted has reached the server."""


class StandstillError(DifferenceError):
    """The filter keeps what both ends wait for."""


class ByteError(DifferenceError):
    """Bytes that nobody sent, or that follow a close."""


class LawfulError(DifferenceError):
    """The filter gets in the way of lawful ends."""


@dataclass(slots=True)
class Tally:
    """What came about, for the summary of many sessions."""

    sessions: int = 0
    steps: int = 0
    """Segments that have reached the filter."""
    closed: int = 0
    uninspected: int = 0
    anomalies: int = 0
    left: int = 0
    """Servers that have left a message, an AUTH exchange or TLS by themselves."""
    owed: int = 0
    """Sessions that stand still since the server does not answer."""
    finished: int = 0
    commands: int = 0


class Session:
    """One script, acted through a filter in virtual time."""

    def __init__(self, script: Script, say: Callable[[str], None] | None = None) -> None:
        self.script, self.say = script, say
        random = Random(0)
        self.engine = Engine(scripts.POLICIES[script.policy], started=-1000.0)
        links = {
            place + way: Link(delay=script.delays[(way if place == TO_FILTER else 1 - way)])
            for place in (TO_FILTER, TO_END)
            for way in (0, 1)
        }
        self.network = Network(random, links)
        self.paths = (Path(*ENDS), Path(*ENDS[::-1]))
        self.client, self.server = Client(script), Server(script)
        self.stacks = (
            Stack(Habits(initial=INITIAL, largest=script.largest, cut=script.cut), random),
            Stack(Habits(initial=INITIAL), random),
        )
        """Of client and server."""
        self.actors: tuple[Client, Server] = (self.client, self.server)
        for stack, actor in zip(self.stacks, self.actors, strict=True):
            stack.application = self._hears(actor)
        self.waiting: dict[object, tuple[int, bytes]] = {}
        self.tokens = 0
        self.now = self.progress = 0.0
        self.passed = [0, 0]
        """Bytes of each stream that have passed."""
        self.left: list[int] = []
        """How many bytes of the replies had passed when each byte of the requests first did."""
        self.checked = 0
        """Commands of the server's that have been looked at."""
        self.closed = False
        self.by_clause = False
        """A clause of the map has closed it, which may happen to anybody."""
        self.uninspected = False
        self.anomalies = 0
        self.end = ""
        """How it ended."""

    @staticmethod
    def _hears(actor: Client | Server) -> Callable[[bytes], bytes]:
        def hears(data: bytes) -> bytes:
            actor.hear(data)
            return b""

        return hears

    def run(self) -> Session:
        """To its end; DifferenceError if something does not hold."""
        self.stacks[0].connect(0.0)
        self._depart(0)
        queue = self.network.queue
        while self.tokens < MOST_PACKETS:
            now = min(
                (
                    when
                    for when in (
                        queue[0][0] if queue else None,
                        *(stack.timer for stack in self.stacks),
                        *(
                            actor.wakes
                            for actor, stack in zip(self.actors, self.stacks, strict=True)
                            if stack.peer_initial is not None and not stack.closing
                        ),
                    )
                    if when is not None
                ),
                default=None,
            )
            if now is None or now > self.progress + QUIET:
                break
            self.now = now = max(now, self.now)
            deadline = self.engine.deadline()
            if deadline is not None and deadline <= now:
                self._act(self.engine.tick(now))
            if queue and queue[0][0] <= now:
                _, _, place, packet, _ = self.network.pop()
                if place < TO_END:
                    self._arrive(place, packet)
                else:
                    self._receive(place - TO_END, packet)
            for side in (0, 1):
                timer = self.stacks[side].timer
                if timer is not None and timer <= now:
                    self.stacks[side].wake(now)
                self._speak(side)
        else:
            raise StandstillError("it does not come to an end")
        self._judge()
        return self

    def _speak(self, side: int) -> None:
        stack, actor = self.stacks[side], self.actors[side]
        if stack.peer_initial is None:
            return
        said = actor.run(self.now)
        if stack.closing:
            return  # the other end has closed
        if said:
            self.progress = self.now
            if self.say:
                self.say(f"{self.now:9.3f} {('client', 'server')[side]} says {said!r}")
            stack.write(said)
        if side == 1 and actor.over:
            stack.closing = True  # the client closes when it reads this
            self.progress = self.now
        stack.pump(self.now)
        self._depart(side)
        if side == 1:
            self._check_commands()

    def _depart(self, side: int) -> None:
        stack = self.stacks[side]
        packets, stack.out = stack.out, []
        self.network.send(self.now, TO_FILTER + side, packets)

    def _arrive(self, way: int, packet: Packet) -> None:
        self.tokens += 1
        datagram = self.paths[way].build(packet)
        self.waiting[self.tokens] = (way, datagram)
        if self.say:
            shown = showing.offsets(packet, self.stacks[way], self.stacks[1 - way])
            self.say(f"{self.now:9.3f} from {('client', 'server')[way]}: {shown}")
        self._act(self.engine.arrive(Arrival(self.tokens, datagram, self.now)))
        if self.say and self.tokens in self.waiting:
            self.say("          held")

    def _act(self, actions: list[Action]) -> None:
        closes = False
        for action in actions:
            if isinstance(action, Emit):
                if isinstance(action.event, InspectionClosed):
                    closes = True
                    self.by_clause = action.event.cause is CloseCause.CLAUSE
                self.uninspected = self.uninspected or isinstance(action.event, Uninspected)
                self.anomalies += isinstance(action.event, ServerAnomaly)
                if self.say:
                    self.say(f"          {action.event}")
            elif isinstance(action, Inject):
                way = 0 if action.direction is Direction.REQUEST else 1
                self._pass(way, action.datagram)
            else:
                way, datagram = self.waiting.pop(action.token)
                if isinstance(action, Drop):
                    if self.say:
                        self.say(f"          drops {action.token}: {action.reason.value}")
                elif isinstance(action, Accept):
                    self._pass(way, datagram)
                else:
                    assert isinstance(action, Replace)
                    self._pass(way, action.datagram)
        self.closed = self.closed or closes

    def _pass(self, way: int, datagram: bytes) -> None:
        packet = self.paths[way].read(datagram)
        sender = self.stacks[way]
        if packet.payload:
            at = near(packet.sequence, sender.base) - sender.base
            sent = sender.stream[at : at + len(packet.payload)]
            if sent != packet.payload and (
                len(sent) != len(packet.payload)
                or any(
                    got != byte and got not in _IN_PLACE[way]
                    for got, byte in zip(packet.payload, sent, strict=True)
                )
            ):
                raise ByteError(f"{packet.payload!r} passes for {bytes(sent)!r}")
            end = at + len(packet.payload)
            if end > self.passed[way]:
                self.progress = self.now
                if way == 0:
                    if self.closed:
                        raise ByteError(f"{packet.payload!r} passes after a close")
                    self.left += [self.passed[1]] * (end - len(self.left))
                self.passed[way] = end
        if self.say:
            shown = showing.offsets(packet, sender, self.stacks[1 - way])
            self.say(f"          passes: {shown}")
        self.network.send(self.now, TO_END + way, [packet])

    def _receive(self, way: int, packet: Packet) -> None:
        self.stacks[1 - way].receive(packet, self.now)

    def _check_commands(self) -> None:
        """What the server has read as commands since the last time."""
        allow_tls = self.script.policy == "allow-tls"
        commands = self.server.commands
        while self.checked < len(commands):
            begin, since, line = commands[self.checked]
            self.checked += 1
            if not scripts.harmless(line, allow_tls) and self.left[begin] >= since:
                raise CommandError(f"the server reads the command {line!r}")

    def _judge(self) -> None:
        client, server = self.stacks
        script = self.script
        kept = len(client.stream) > self.passed[0]
        self.end = "finished" if self.client.over else "the client waits"
        if self.closed or self.uninspected:
            self.end = "closed" if self.closed else "uninspected"
        elif self.passed[1] < len(server.stream):
            raise StandstillError(
                f"of the replies {len(server.stream)} bytes, {self.passed[1]} passed"
            )
        elif kept and (
            self.server.unanswered
            or self.server.over
            or self.server.mode is Mode.TLS  # to the server alone
            or b"\r" in script.line_endings != b"\r\n"  # it may answer before the LF, in advance
        ):
            self.end = "a reply is owed"
        elif kept:
            raise StandstillError(
                f"{bytes(client.stream[self.passed[0] :])!r} does not pass, no reply is owed"
            )
        lawful = self.end in ("finished", "uninspected") or self.by_clause
        if self.script.lawful and not lawful:
            raise LawfulError(f"lawful ends: {self.end}")

    def add_to(self, tally: Tally) -> None:
        tally.sessions += 1
        tally.steps += self.tokens
        tally.closed += self.closed
        tally.uninspected += self.uninspected
        tally.anomalies += self.anomalies
        tally.left += self.server.left_at > 0
        tally.owed += self.end == "a reply is owed"
        tally.finished += self.end == "finished"
        tally.commands += len(self.server.commands)


def failure(script: Script) -> DifferenceError | None:
    """What does not hold in this session; None if all does."""
    try:
        Session(script).run()
    except DifferenceError as error:
        return error
    except Exception as error:
        return DifferenceError(repr(error))
    return None


def shrink(script: Script) -> Script:
    """A smaller script that fails in the same way."""
    error = failure(script)
    again = True
    while again:
        again = False
        for smaller in _smaller(script):
            if type(failure(smaller)) is type(error):
                script, again = smaller, True
                break
    return script


def _smaller(script: Script) -> Iterator[Script]:
    for at in range(len(script.groups)):
        yield replace(script, groups=script.groups[:at] + script.groups[at + 1 :])
    for at in range(len(script.answers)):
        yield replace(script, answers=script.answers[:at] + script.answers[at + 1 :])
    ordinary = Script("stream", (), Answer(), ())
    for field in fields(script):
        value = getattr(ordinary, field.name)
        if field.name not in ("groups", "answers", "lawful") and value != getattr(
            script, field.name
        ):
            yield replace(script, **{field.name: value})
    for at, answer in enumerate(script.answers):
        for field in fields(answer):
            value = getattr(Answer(), field.name)
            if value != getattr(answer, field.name):
                simpler = replace(answer, **{field.name: value})
                yield replace(
                    script, answers=(*script.answers[:at], simpler, *script.answers[at + 1 :])
                )
    for at, group in enumerate(script.groups):
        if group.patience is not None:
            simple = replace(group, patience=None)
            yield replace(script, groups=(*script.groups[:at], simple, *script.groups[at + 1 :]))


def run_many(seeds: range, tally: Tally, *, most: int = 10) -> list[str]:
    """What does not hold in these sessions, each as text that begins with what to call; ``most`` of
    them."""
    found = []
    for seed in seeds:
        text = _run(seed, tally)
        if text:
            found.append(text)
            if len(found) == most:
                break
    return found


def _run(seed: int, tally: Tally) -> str:
    script = scripts.draw(seed)
    session = Session(script)
    try:
        session.run()
    except Exception as error:
        kind = type(error).__name__
        return f"python -m tests.fuzz.replies --seed {seed}\n{kind}: {error}\n  {script}"
    finally:
        session.add_to(tally)
    return ""


@click.command()
@click.option("--seed", type=int, default=0, help="The first session; alone, the only one.")
@click.option("--sessions", type=int, help="How many sessions.")
@click.option("--steps", type=int, help="Until so many segments have reached the filter.")
@click.option("--most", type=int, default=20, help="Until so many have failed.")
@click.option("--smaller", is_flag=True, help="With a seed alone: shrink the script first.")
def main(seed: int, sessions: int | None, steps: int | None, most: int, smaller: bool) -> None:
    """Have servers and clients talk through the filter that keep to no rules.

    With a seed alone: show that session packet by packet. Exit status 1 if something does not hold.
    """
    if sessions is steps is None:
        sys.exit(show(seed, smaller=smaller))
    tally = Tally()
    failures = 0
    started = time.process_time()
    while (
        (sessions is None or tally.sessions < sessions)
        and (steps is None or tally.steps < steps)
        and failures < most
    ):
        text = _run(seed, tally)
        if text:
            failures += 1
            print(text + "\n", flush=True)
        seed += 1
    print(
        f"{tally}, {failures} failures, {time.process_time() - started:.0f} s of CPU, "
        f"the next seed is {seed}"
    )
    sys.exit(1 if failures else 0)


def show(seed: int, *, smaller: bool) -> int:
    """One session, packet by packet."""
    script = scripts.draw(seed)
    if smaller and failure(script):
        script = shrink(script)
    print(f"seed {seed}: {script}")
    session = Session(script, print)
    try:
        session.run()
    except DifferenceError as error:
        print(f"\n{type(error).__name__}: {error}")
        return 1
    print(session.end)
    return 0


if __name__ == "__main__":
    main()
