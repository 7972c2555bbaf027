"""Writes down what a checkout's filter does, as text: one file for each capture, session and attack.

``compare_behaviour.py`` runs this file, as a script, with the interpreter and the modules of the checkout
that is looked at. So it imports nothing of ``bench``, and of the filter only what stays as it is while
its inside is rebuilt: the command line, and an engine that is driven by ``arrive``, ``tick`` and ``flush``.

Sessions and attacks come from ``tests``, which are rebuilt with the filter. So with ``--record`` the old
checkout first acts them by its own tests, and writes down what goes into its engine; then both checkouts
get just that.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import pickle
import random
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TextIO

from click.testing import CliRunner
from scapy.utils import RawPcapNgReader, RawPcapReader

import nfinspect
from nfinspect import engine as engines
from nfinspect import policy as policies
from nfinspect.actions import Accept, Drop, Emit, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.audit import json_lines, syslog
from nfinspect.cli import main as command
from nfinspect.policy import default_policy, parse_policy

Item = tuple[str, Callable[[TextIO], None]]
"""A name, and what writes the text."""

TESTS = ("fuzz.session", "fuzz.replies", "fuzz.segments", "attacks.model")
"""The modules of ``tests`` that make an engine for each session."""
OPTIONS = {"replay": (), "json": ("--json",), "as-live": ("--as-live",)}
"""Ways to replay a capture; one whose option the checkout does not know is left out."""
OUTSIDE, INSIDE = "outside", "inside"
MUTATIONS = 40
"""Seeded forms of each capture in which packets are lost, doubled, late, joined up or damaged."""
MOST_PACKETS = 500
"""A longer capture is not mutated: it would only take long."""


class Taped:
    """An engine, and a text of everything that goes in and comes out."""

    out: TextIO
    steps = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._engine = engines.Engine(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def arrive(self, arrival: Arrival) -> list[Any]:
        facts = [
            *(arrival.ingress, arrival.egress, arrival.link_source.hex()),
            *("gso" * arrival.gso, "" if arrival.checksum_ready else "no checksum yet"),
            "" if arrival.captured_length is None else f"of {arrival.captured_length}",
        ]
        told = " ".join(filter(None, facts))
        step = f"> {arrival.now:.9g} packet {arrival.token} {told} {arrival.datagram.hex()}"
        return self._tell(step, self._engine.arrive(arrival))

    def tick(self, now: float) -> list[Any]:
        return self._tell(f"> {now:.9g} tick", self._engine.tick(now))

    def flush(self, now: float, *reason: Any) -> list[Any]:
        return self._tell(f"> {now:.9g} flush", self._engine.flush(now, *reason))

    def _tell(self, step: str, actions: list[Any]) -> list[Any]:
        Taped.steps += 1
        engine = self._engine
        lines = [step, *map(described, actions)]
        lines.append(f"  {engine.held} held, {engine.connections} connections")
        self.out.write("\n".join(lines) + "\n")
        return actions


def described(action: Any) -> str:
    """One line of text about an action."""
    if isinstance(action, Accept):
        return f"  accept {action.token}"
    if isinstance(action, Replace):
        return f"  replace {action.token} {action.datagram.hex()}"
    if isinstance(action, Drop):
        return f"  drop {action.token} {action.reason.value}"
    if isinstance(action, Inject):
        # Whatever else it says of the way out, by position: such fields may get better names.
        where = [getattr(action, field.name) for field in dataclasses.fields(action)][2:]
        return f"  inject {action.direction.value} {where} {action.datagram.hex()}"
    assert isinstance(action, Emit)
    told = json.dumps(json_lines.to_json(action.event), default=str)
    return f"  emit at {action.token} {told} {syslog.render(action.event) or ''}"


# ---- captures


def replays(captures: list[Path], configurations: list[Path]) -> Iterator[Item]:
    """Each capture, and the two of a pair together, through the command line."""
    groups = [[path] for path in captures]
    groups += [
        [path, other]
        for path in captures
        if ".inside." in path.name
        for other in captures
        if other.name == path.name.replace(".inside.", ".outside.")
    ]
    for group in groups:
        for configuration in (None, *configurations):
            for mode, options in OPTIONS.items():
                if not set(options) <= known_options():
                    continue
                name = f"replay {mode} {'+'.join(path.name for path in group)}"
                arguments = ["replay", *options, *map(str, group)]
                if configuration is not None:
                    name += f" {configuration.name}"
                    arguments += ["--config", str(configuration)]
                yield name, lambda out, arguments=arguments: replay(arguments, out)


def known_options() -> set[str]:
    """The options that ``replay`` has."""
    found = command.get_command(None, "replay")  # type: ignore[arg-type]
    assert found is not None
    return {word for parameter in found.params for word in parameter.opts}


def replay(arguments: list[str], out: TextIO) -> None:
    """What is printed, and, if it is not JSON, the capture that is written."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "out"
        if "--json" not in arguments:
            arguments = [*arguments, "--out", str(file)]
        result = CliRunner().invoke(command, arguments, env={"COLUMNS": "200"})
        out.write(result.output.replace(directory, ""))
        out.write(f"exit status {result.exit_code}\n")
        if result.exc_info and not isinstance(result.exception, SystemExit | None):
            out.writelines(traceback.format_exception_only(result.exception))
        if file.exists():
            out.write(f"capture {hashlib.sha256(file.read_bytes()).hexdigest()}\n")
            for number, (_, data) in enumerate(frames(file), 1):
                out.write(f"packet {number} {data.hex()}\n")


def frames(file: Path) -> Iterator[tuple[float, bytes]]:
    """Time and bytes of each packet of a capture."""
    try:
        reader = RawPcapNgReader(str(file))
    except Exception:
        reader = RawPcapReader(str(file))
    start = None
    with reader:
        for data, facts in reader:
            if hasattr(facts, "tshigh"):
                now = ((facts.tshigh << 32) + facts.tslow) / (facts.tsresol or 1_000_000)
            else:
                now = facts.sec + facts.usec / (1e9 if reader.nano else 1e6)
            start = now if start is None else start
            yield round(now - start, 6), data


def driven(captures: list[Path]) -> Iterator[Item]:
    """Each capture through an engine that takes it for live traffic: as it is, and mutated."""
    for path in captures:
        packets = [(now, at) for now, data in frames(path) if (at := datagram(data))]
        yield f"engine {path.name}", lambda out, packets=packets: drive(packets, None, out)
        if len(packets) <= MOST_PACKETS:
            yield (
                f"mutated {path.name}",
                lambda out, packets=packets: [
                    drive(packets, random.Random(seed), out) for seed in range(MUTATIONS)
                ],
            )


def datagram(frame: bytes) -> bytes:
    """From the first byte that can be an IP header on, behind the usual link headers."""
    for at, kind in ((14, frame[12:14]), (16, frame[14:16]), (18, frame[16:18]), (0, b"")):
        version = frame[at] >> 4 if len(frame) > at else 0
        if (kind, version) in ((b"\x08\x00", 4), (b"\x86\xdd", 6)) or (
            not at and version in (4, 6)
        ):
            return frame[at:]
    return b""


def drive(packets: list[tuple[float, bytes]], chance: random.Random | None, out: TextIO) -> None:
    """Packets, at their times, through an engine; with *chance*, other packets made of them."""
    picks_up = chance is not None and chance.random() < 0.5
    engine = Taped(default_policy(), started=0.0 if picks_up else -1000.0)
    out.write("an engine\n")
    now = 0.0
    for token, (when, data) in enumerate(
        packets if chance is None else mutated(packets, chance), 1
    ):
        now = max(now, when)
        due(engine, now)
        arrival = Arrival(token, data, now)
        if chance is not None:
            arrival.gso = chance.random() < 0.2
            arrival.checksum_ready = chance.random() < 0.9
            if chance.random() < 0.1:
                arrival.ingress, arrival.egress = chance.sample((OUTSIDE, INSIDE), 2)
            if chance.random() < 0.02:
                arrival.captured_length = len(data) + chance.choice((-1, 0, 1, 1000))
        engine.arrive(arrival)
    due(engine, now + 30)
    engine.flush(now + 30)
    due(engine, now + 1_000_000)


def due(engine: Taped, now: float) -> None:
    """Tick whenever it is due until *now*, but not without end."""
    for _ in range(1000):
        deadline = engine.deadline()
        if deadline is None or deadline > now:
            return
        engine.tick(deadline)


def mutated(
    packets: list[tuple[float, bytes]], chance: random.Random
) -> Iterator[tuple[float, bytes]]:
    """Packets lost, doubled, late, with other numbers, flags or bytes, mostly with right checksums."""
    rate = chance.choice((0.01, 0.05, 0.2))
    late: list[tuple[int, bytes]] = []
    stretch = chance.choice((1, 1, 1000))
    for number, (now, data) in enumerate(packets):
        now *= stretch
        if chance.random() < rate:
            kind = chance.choice(
                ("lost", "doubled", "late", "late", "field", "field", "short", "bits")
            )
            if kind == "lost":
                continue
            if kind == "late":
                late.append((number + chance.choice((1, 2, 5, 20)), data))
                continue
            if kind == "doubled":
                yield now, data
            elif kind == "field":
                data = with_other_field(data, chance)
            elif kind == "short":
                data = data[: chance.randrange(len(data))]
            else:
                at = chance.randrange(len(data))
                data = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        yield now, data
        for due_at, kept in list(late):
            if due_at <= number:
                late.remove((due_at, kept))
                yield now, kept
    for _, kept in late:
        yield packets[-1][0] * stretch, kept


def with_other_field(data: bytes, chance: random.Random) -> bytes:
    """Sequence number, acknowledgement, flags, window or a byte of payload is another one."""
    start = (data[0] & 15) * 4 if data[0] >> 4 == 4 else 40
    if len(data) < start + 20:
        return data
    packet = bytearray(data)
    at, size = chance.choice(((4, 4), (8, 4), (13, 1), (14, 2), (0, 0)))
    if size == 0:
        at, size = chance.randrange(20, max(21, len(data) - start)), 1
        if start + at >= len(data):
            return data
    field = slice(start + at, start + at + size)
    old = int.from_bytes(packet[field], "big")
    step = chance.choice((1, -1, 2, 100, -1000, 70_000, chance.getrandbits(32)))
    if at == 13:
        step = old ^ 1 << chance.randrange(6)
        old = 0
    packet[field] = (old + step & (1 << 8 * size) - 1).to_bytes(size, "big")
    packet[start + 16 : start + 18] = b"\0\0"
    addresses = packet[12:20] if start != 40 or data[0] >> 4 == 4 else packet[8:40]
    segment = bytes(packet[start:])
    total = _sum(bytes(addresses) + b"\0\6" + len(segment).to_bytes(2, "big") + segment)
    packet[start + 16 : start + 18] = (0xFFFF ^ total).to_bytes(2, "big")
    return bytes(packet)


def _sum(data: bytes) -> int:
    total = int.from_bytes(data + b"\0" * (len(data) % 2), "big")
    return total % 0xFFFF or (0xFFFF if total else 0)


# ---- the sessions of tests/


@dataclasses.dataclass
class Tape:
    """What went into an engine: how it was made, and its steps in plain types."""

    policy: tuple[str, ...]
    """What `configuration.parse_policy` was called with; empty for the default policy."""
    options: dict[str, Any]
    limits: dict[str, Any]
    started: float
    steps: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)

    def play(self, out: TextIO) -> None:
        """Put the same into another engine."""
        usual = engines.EngineOptions()
        limits = dataclasses.replace(usual.limits, **self.limits)
        options = dataclasses.replace(usual, limits=limits, **self.options)
        policy = parse_policy(*self.policy).policy if self.policy else default_policy()
        engine = Taped(policy, options, started=self.started)
        for step, *facts in self.steps:
            if step == "arrive":
                engine.arrive(Arrival(*facts))
            else:
                getattr(engine, step)(*facts)


class Recorded:
    """An engine, and a tape of what goes in."""

    tapes: ClassVar[list[Tape]] = []

    def __init__(self, policy: Any, options: Any = None, **more: Any) -> None:
        self._engine = engines.Engine(policy, options, **more)
        usual = engines.EngineOptions()
        chosen = _changed(options or usual, usual)
        limits = _changed(chosen.pop("limits", usual.limits), usual.limits)
        self._tape = Tape(PARSED.get(id(policy), ()), chosen, limits, more["started"])
        assert self._tape.policy or policy == default_policy(), "a policy that was not parsed"
        self.tapes.append(self._tape)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def arrive(self, arrival: Arrival) -> Any:
        self._tape.steps.append(("arrive", *_fields(arrival).values()))
        return self._engine.arrive(arrival)

    def tick(self, now: float) -> Any:
        self._tape.steps.append(("tick", now))
        return self._engine.tick(now)

    def flush(self, now: float, *reason: Any) -> Any:
        self._tape.steps.append(("flush", now))
        return self._engine.flush(now, *reason)


PARSED: dict[int, tuple[str, ...]] = {}
"""The text of each policy in use, by its identity: an object of one form of the filter is none of the
other's."""
_KEPT: list[Any] = []
"""So that no other policy gets the identity of one in `PARSED`."""


def _parse(*text: str) -> Any:
    configuration = parse_policy(*text)
    PARSED[id(configuration.policy)] = text
    _KEPT.append(configuration)
    return configuration


def _fields(data: Any) -> dict[str, Any]:
    return {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}


def _changed(data: Any, usual: Any) -> dict[str, Any]:
    """The fields that are not as usual: only these need to have the same names elsewhere."""
    other = _fields(usual)
    return {name: value for name, value in _fields(data).items() if value != other[name]}


def recorded(count: int, only: str) -> Iterator[tuple[str, list[Tape]]]:
    """Act the sessions and attacks of this checkout's tests; yield their names and tapes."""
    policies.parse_policy = policies.configuration.parse_policy = _parse
    for name in TESTS:
        import_module(f"tests.{name}").Engine = Recorded  # type: ignore[attr-defined]
    for name, act in (*attacks(), *sessions(count)):
        if re.search(only, name):
            Recorded.tapes = []
            # What the tests themselves find is their business; what went in until then is on the tape.
            with suppress(Exception):
                act()
            if not any(tape.steps for tape in Recorded.tapes):
                sys.exit(f"{name}: nothing went into an engine")
            yield name, Recorded.tapes


Act = tuple[str, Callable[[], object]]


def sessions(count: int) -> Iterator[Act]:
    """The corpus, *count* hostile sessions, half as many lists of segments and of strange replies."""
    corpus, script = import_module("tests.fuzz.corpus"), import_module("tests.fuzz.script")
    session, segments, replies = (
        import_module(f"tests.fuzz.{name}") for name in ("session", "segments", "replies")
    )
    for seed in dict.fromkeys([*(seed for seed, _ in corpus.SESSIONS), *range(count)]):
        yield f"fuzz {seed}", lambda seed=seed: session.Session(seed).run()
    lists = [data for data, _ in corpus.SEGMENTS]
    lists += [random.Random(seed).randbytes(4 * 40) for seed in range(count // 2)]
    for number, data in enumerate(lists):
        yield f"segments {number}", lambda data=data: segments.check(segments.read(data))
    for seed in range(count // 2):
        yield f"replies {seed}", lambda seed=seed: replies.Session(script.draw(seed)).run()


def attacks() -> Iterator[Act]:
    """Each attack of the table, to servers of the two overlap policies that differ most."""
    model = import_module("tests.attacks.model")
    for name, (script, family) in import_module("tests.attacks.catalogue").CASES.items():
        for policy in ("linux", "last"):
            yield (
                f"attack {name} to {policy}",
                lambda play=(script, policy, family): model.Play(*play).run(),
            )


def replayed(tapes: list[tuple[str, list[Tape]]]) -> Iterator[Item]:
    """Each of the tapes."""
    for name, played in tapes:
        yield name, lambda out, played=played: [tape.play(out) for tape in played]


def grid() -> Iterator[Item]:
    """The table of transfers under loss."""
    yield "grid", lambda out: out.write(import_module("tests.fuzz.grid").table())


# ---- all of it


def record(item: Item, out: TextIO) -> None:
    """Write the text of *item*; what ends it by an exception is part of it."""
    name, write = item
    Taped.out = out
    before = Taped.steps
    try:
        write(out)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        out.write(f"ended by {type(error).__name__}: {error} (in {where.name})\n")
    if not name.startswith(("replay", "grid")) and Taped.steps == before:
        out.write("no engine was driven\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--capture", type=Path, action="append", default=[])
    parser.add_argument("--configuration", type=Path, action="append", default=[])
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--sessions", type=int, default=0)
    parser.add_argument("--tapes", type=Path)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    loaded = Path(nfinspect.__file__)
    if not loaded.is_relative_to(given.checkout):
        sys.exit(f"nfinspect is loaded from {loaded}, not from {given.checkout}")
    if given.record:
        tapes = [
            (name, [list(_fields(tape).values()) for tape in tapes])
            for name, tapes in recorded(given.sessions, given.only)
        ]
        given.out.write_bytes(pickle.dumps(tapes))
        return
    tapes = [
        (name, [Tape(*facts) for facts in tapes])
        for name, tapes in pickle.loads(given.tapes.read_bytes())
    ]
    items = (
        *replays(given.capture, given.configuration),
        *driven(given.capture),
        *replayed(tapes),
        *grid(),
    )
    given.out.mkdir()
    names = []
    for item in items:
        name = item[0]
        if not re.search(given.only, name):
            continue
        with (given.out / str(len(names))).open("w", errors="backslashreplace") as out:
            record(item, out)
        names.append(name)
    (given.out / "names").write_text("\n".join(names) + "\n")


if __name__ == "__main__":
    main()
