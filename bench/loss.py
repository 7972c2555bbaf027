"""One large mail over a long path that loses or reorders, with and without the filter in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import process
from bench.loads import KIB, MB, mail, on_the_wire
from bench.paths import in_path
from bench.report import facts_table, table
from bench.summary import FILTER, GB, PLAIN, Spread, spread
from nfinspect.lab import topology
from nfinspect.lab.lab import Lab
from nfinspect.lab.link import Impairments, Link

SIZE, QUICK_SIZE = 50 * MB, 5 * MB

DELAY = 0.010
RATE = 100_000_000.0
QUEUE = 1_000_000
"""The long path: seconds in each direction, bits per second, bytes that fit in the queue."""
LATENESS = 0.003
"""Seconds by which a reordered packet is delayed: 25 others overtake it."""

SENDER, RECEIVER = "the sender's", "the receiver's"
NEIGHBOURS = {SENDER: topology.CLIENT, RECEIVER: topology.SERVER}
PATHS = (PLAIN, FILTER)

AIM = 1.15
"""Bound for the duration with the filter divided by that without it, for losses on the sender's
side."""

TRANSFER_TIMEOUT = 400.0
"""Seconds that one transfer may take; a longer one fails and yields no figure."""


@dataclass(frozen=True, slots=True)
class Condition:
    """The impairment of the path, and on which side of the filter it is."""

    side: str
    loss: float = 0.0
    """The fraction of packets lost in each direction."""
    late: float = 0.0
    control: str = "cubic"
    far: bool = False
    """The other side is equally far from the filter, and loses nothing."""

    @property
    def is_slow(self) -> bool:
        """The sender mostly waits, so several such transfers do not disturb each other."""
        return self.control == "cubic" and self.loss >= 0.01

    def describe(self) -> str:
        """What happens to packets on the path."""
        if self.late:
            return f"{self.late:.0%} delayed by {LATENESS * 1000:.0f} ms"
        return f"{self.loss:.1%} lost" + (", both sides far" if self.far else "")


RATES = (0.0, 0.001, 0.01, 0.03)
CONDITIONS = tuple(
    Condition(side, loss=loss, late=late, control=control)
    for control in ("cubic", "bbr")
    for side in (SENDER, RECEIVER)
    for loss, late in (*((rate, 0.0) for rate in RATES), (0.0, 0.01))
) + tuple(Condition(SENDER, loss=0.01, control=control, far=True) for control in ("cubic", "bbr"))
QUICK_CONDITIONS = tuple(
    each for each in CONDITIONS if each.loss in (0.0, 0.01) and each.control == "bbr"
)


@dataclass(frozen=True, slots=True)
class Transfer:
    """One mail, sent once."""

    condition: Condition
    path: str
    round: int
    octets: int
    seconds: float
    retransmitted: int
    """Segments that the sender retransmitted."""
    timeouts: int
    """Expirations of the sender's retransmission timer."""
    cpu_seconds: float | None = None
    """CPU time of the filter."""


def rounds(
    count: int, conditions: Sequence[Condition], size: int, *, report: Callable[[str], None]
) -> Iterator[list[Transfer]]:
    """Send the mail in each condition over each path, *count* times; yield the samples of each round.

    The losses differ between rounds, but are the same for both paths. Raises LabError if anything
    fails.
    """
    for number in range(1, count + 1):
        found = []
        for batch in batches(conditions, number):
            for transfer in _send_together(batch, number, size):
                report(
                    f"round {number}, {transfer.condition.side} side,"
                    f" {transfer.condition.describe()}, {transfer.condition.control},"
                    f" {transfer.path}: {transfer.seconds:.2f} s"
                )
                found.append(transfer)
        yield found


Task = tuple[Condition, str]


def batches(conditions: Sequence[Condition], number: int) -> Iterator[list[Task]]:
    """What is sent together: slow transfers of one kind together, any other alone. The path that is
    first alternates from round to round."""
    turn = PATHS if number % 2 else PATHS[::-1]
    slow: dict[tuple[float, bool], list[Task]] = {}
    for each in conditions:
        tasks = [(each, path) for path in turn]
        if each.is_slow:
            slow.setdefault((each.loss, each.far), []).extend(tasks)
        else:
            yield from ([task] for task in tasks)
    yield from slow.values()


def _send_together(tasks: Sequence[Task], number: int, size: int) -> list[Transfer]:
    with ExitStack() as stack:
        ready = [_prepare(stack, condition, path, number, size) for condition, path in tasks]
        with ThreadPoolExecutor(len(ready)) as pool:
            return list(pool.map(lambda send: send(), ready))


def _prepare(
    stack: ExitStack, condition: Condition, path: str, number: int, size: int
) -> Callable[[], Transfer]:
    """Set up a lab for one transfer, everything but the mail itself."""
    lab = stack.enter_context(Lab())
    sink = lab.popen(topology.SERVER, [*TRANSFER, "sink", topology.SERVER_ADDRESS])
    lab.at_close(sink.terminate)
    if sink.stdout is None or sink.stdout.readline() != "ready\n":
        raise topology.LabError(f"the sink does not start: {sink.communicate()[1]}")
    worker = stack.enter_context(in_path(lab, path))
    send(lab, 20 * KIB, condition.control)  # warm up
    impairments = Impairments(
        delay=DELAY,
        rate=RATE,
        queue=QUEUE,
        loss=condition.loss,
        late=condition.late,
        lateness=LATENESS,
        seed=number,
    )
    Link(lab, NEIGHBOURS[condition.side], impairments)
    if condition.far:
        (other,) = set(NEIGHBOURS.values()) - {NEIGHBOURS[condition.side]}
        Link(lab, other, Impairments(delay=DELAY, seed=number))

    def transfer() -> Transfer:
        before = process.cpu_seconds(worker.pid) if worker else 0.0
        seen = send(lab, size, condition.control)
        return Transfer(
            condition,
            path,
            number,
            size,
            seen["seconds"],
            int(seen["RetransSegs"]),
            int(seen["TCPTimeouts"]),
            process.cpu_seconds(worker.pid) - before if worker else None,
        )

    return transfer


TRANSFER = [sys.executable, "-m", "bench.transfer"]


def send(lab: Lab, size: int, control: str) -> dict[str, float]:
    """Send a mail of *size* bytes from the client to the server, by congestion control *control*; returns what
    `bench.transfer` reports."""
    file = lab.directory / f"mail-{size}"
    if not file.exists():
        file.write_bytes(on_the_wire(mail(size)).encode())
    argv: list[str | Path] = [*TRANSFER, "send", topology.SERVER_ADDRESS, file, control]
    seen: dict[str, float] = json.loads(
        lab.run(topology.CLIENT, argv, timeout=TRANSFER_TIMEOUT).stdout
    )
    return seen


# ---- the report --------------------------------------------------------------------------------


def ratios(transfers: Iterable[Transfer], condition: Condition) -> list[float]:
    """The duration with the filter divided by that with plain forwarding, in each round that has
    both."""
    seconds = {
        (each.path, each.round): each.seconds for each in transfers if each.condition == condition
    }
    return [
        value / seconds[PLAIN, round_]
        for (path, round_), value in seconds.items()
        if path == FILTER and (PLAIN, round_) in seconds
    ]


def results(
    transfers: Sequence[Transfer], facts: Mapping[str, str], command: str, size: int
) -> str:
    """The complete text."""
    count = len({each.round for each in transfers})
    return "\n".join(
        [
            "# A large mail over a lossy path",
            "",
            f"Written by `{command}`; [README.md](README.md) explains what is measured and how.",
            f"A mail of {size // MB} MB over {RATE / 1e6:.0f} Mbit/s with a round trip of"
            f" {DELAY * 2000:.0f} ms; {count} round{'s' if count > 1 else ''}. Seconds, and the ratios",
            "within each round, as median (least to greatest).",
            "",
            *facts_table(facts),
            "",
            *_judgement(transfers),
            "",
            *_figures(transfers),
            "",
        ]
    )


def _judgement(transfers: Sequence[Transfer]) -> Iterator[str]:
    wanted = [c for c in dict.fromkeys(each.condition for each in transfers) if c.side == SENDER]
    missed = [c for c in wanted if (found := spread(ratios(transfers, c))) and found.median > AIM]
    yield f"Aim: at most {AIM} times plain forwarding wherever the sender's side loses."
    if missed:
        yield "Missed: " + "; ".join(f"{each.describe()}, {each.control}" for each in missed) + "."
    else:
        yield "Met in every row."


def _figures(transfers: Sequence[Transfer]) -> list[str]:
    rows = []
    measured = {each.condition for each in transfers}
    for condition in (each for each in CONDITIONS if each in measured):
        by_path = {
            path: [e for e in transfers if e.condition == condition and e.path == path]
            for path in PATHS
        }
        rows.append(
            [
                condition.side,
                condition.describe(),
                condition.control,
                *(spread_text(spread(e.seconds for e in by_path[path]), 1) for path in PATHS),
                spread_text(spread(ratios(transfers, condition)), 2),
                _both(by_path, lambda e: e.retransmitted),
                _both(by_path, lambda e: e.timeouts),
                _cpu(by_path[FILTER]),
            ]
        )
    head = ["lossy side", "packets", "sender", PLAIN, FILTER, "ratio"]
    return table([*head, "retransmitted", "timeouts", "CPU s per GB"], rows)


def _both(by_path: Mapping[str, Iterable[Transfer]], figure: Callable[[Transfer], float]) -> str:
    medians = (spread(figure(each) for each in by_path[path]) for path in PATHS)
    return " / ".join("–" if each is None else f"{each.median:.0f}" for each in medians)


def _cpu(transfers: Iterable[Transfer]) -> str:
    found = spread(e.cpu_seconds / e.octets * GB for e in transfers if e.cpu_seconds is not None)
    return spread_text(found, 0)


def spread_text(found: Spread | None, digits: int) -> str:
    """The median, with the least and the greatest if they differ."""
    if found is None:
        return "–"
    least, middle, greatest = (
        f"{figure:.{digits}f}" for figure in (found.least, found.median, found.greatest)
    )
    return middle if least == greatest else f"{middle} ({least} to {greatest})"
