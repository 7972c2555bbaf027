"""One large mail through a connection that TCP intercept has opened, and through one that it has not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import process
from bench.loads import KIB, MB
from bench.loss import DELAY, QUEUE, RATE, TRANSFER, send, spread_text
from bench.report import facts_table, table
from bench.summary import GB, Spread, spread
from nfinspect.lab import topology
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.link import Impairments, Link

DIRECT, INTERCEPTED = WAYS = ("not intercepted", "intercepted")

CONFIGURATION = """\
policy-map global_policy
 class class-default
  set connection embryonic-conn-max 1
  set connection timeout embryonic 1:00:00
"""
"""One half-open connection is enough, and it lasts."""
HALF_OPEN_PORT = 9
NO_ANSWERS = ["iptables", "-A", "INPUT", "-p", "tcp", "--dport", str(HALF_OPEN_PORT), "-j", "DROP"]


@dataclass(frozen=True, slots=True)
class Condition:
    """The path between client and filter, and the mail."""

    path: str
    size: int
    """Bytes."""
    long: bool = False
    """`loss`'s long path; otherwise the lab's cable, with offloads."""
    loss: float = 0.0
    """The fraction of packets lost in each direction."""
    control: str = "cubic"


LONG = f"{RATE / 1e6:.0f} Mbit/s, round trip {DELAY * 2000:.0f} ms"
CONDITIONS = (
    Condition("cable, packets of up to 64 KiB", 200 * MB),
    Condition(LONG, 20 * MB, long=True),
    Condition(f"{LONG}, 1 % lost", 20 * MB, long=True, loss=0.01),
    Condition(f"{LONG}, 1 % lost", 20 * MB, long=True, loss=0.01, control="bbr"),
)


@dataclass(frozen=True, slots=True)
class Transfer:
    """One mail, sent once; its digest was compared."""

    condition: Condition
    way: str
    round: int
    seconds: float
    retransmitted: int
    """Segments that the sender retransmitted."""
    cpu_seconds: float
    """CPU time of the filter."""


def rounds(
    count: int, conditions: Sequence[Condition], *, report: Callable[[str], None]
) -> Iterator[list[Transfer]]:
    """Send each mail both ways, *count* times; yield the samples of each round. The order alternates,
    and both ways lose the same bytes.

    Raises LabError if anything fails.
    """
    for number in range(1, count + 1):
        found = []
        for condition in conditions:
            for way in WAYS if number % 2 else WAYS[::-1]:
                transfer = _transfer(condition, way, number)
                report(f"round {number}, {condition.path}, {way}: {transfer.seconds:.2f} s")
                found.append(transfer)
        yield found


def _transfer(condition: Condition, way: str, number: int) -> Transfer:
    with ExitStack() as stack:
        lab = stack.enter_context(Lab())
        sink = lab.popen(topology.SERVER, [*TRANSFER, "sink", topology.SERVER_ADDRESS])
        lab.at_close(sink.terminate)
        if sink.stdout is None or sink.stdout.readline() != "ready\n":
            raise topology.LabError(f"the sink does not start: {sink.communicate()[1]}")
        file = lab.directory / "firewall.cfg"
        file.write_text(CONFIGURATION)
        running = lab.filter(file)
        send(lab, 20 * KIB, condition.control)  # the filter sees how the server answers
        if way == INTERCEPTED:
            _half_open(lab, running, stack)
        if condition.long:
            impairments = Impairments(
                delay=DELAY, rate=RATE, queue=QUEUE, loss=condition.loss, seed=number
            )
            Link(lab, topology.CLIENT, impairments)
        send(lab, 20 * KIB, condition.control)  # here intercept begins
        before, cpu = proxied(running), process.cpu_seconds(running.pid)
        seen = send(lab, condition.size, condition.control)
        cpu = process.cpu_seconds(running.pid) - cpu
        if proxied(running) - before != (way == INTERCEPTED):
            raise topology.LabError(f"not what was to be measured: {way}")
        running.stop()
    return Transfer(condition, way, number, seen["seconds"], int(seen["RetransSegs"]), cpu)


def _half_open(lab: Lab, running: RunningFilter, stack: ExitStack) -> None:
    """Leave a connection half open."""
    lab.run(topology.CLIENT, NO_ANSWERS)
    client = stack.enter_context(lab.socket(topology.CLIENT))
    client.bind(("", HALF_OPEN_PORT))
    client.setblocking(False)
    client.connect_ex((topology.SERVER_ADDRESS, 25))
    text = "embryonic conns 1,"
    if not running.wait(lambda: text in running.show("service-policy", "set", "connection"), 10):
        raise topology.LabError("no connection is half open")


def proxied(running: RunningFilter) -> int:
    """Clients that have completed the handshake with the kernel's proxy."""
    file = Path(f"/proc/{running.pid}/net/stat/synproxy")
    if not file.exists():
        return 0
    names, *lines = (line.split() for line in file.read_text().splitlines())
    column = names.index("cookie_valid")
    return sum(int(line[column], 16) for line in lines)


# ---- the report --------------------------------------------------------------------------------


def ratios(transfers: Iterable[Transfer], condition: Condition) -> list[float]:
    """The duration of the intercepted transfer divided by that of the other, in each round that has
    both."""
    seconds = {
        (each.way, each.round): each.seconds for each in transfers if each.condition == condition
    }
    return [
        value / seconds[DIRECT, round_]
        for (way, round_), value in seconds.items()
        if way == INTERCEPTED and (DIRECT, round_) in seconds
    ]


def results(transfers: Sequence[Transfer], facts: Mapping[str, str], command: str) -> str:
    """The complete text."""
    count = len({each.round for each in transfers})
    return "\n".join(
        [
            "# A large mail through TCP intercept",
            "",
            f"Written by `{command}`; [README.md](README.md) explains what is measured and how.",
            f"{count} round{'s' if count > 1 else ''}. Seconds, and the ratios within each round, as"
            " median (least to greatest).",
            "Every mail arrived byte for byte.",
            "",
            *facts_table(facts),
            "",
            *_figures(transfers),
            "",
        ]
    )


def _figures(transfers: Sequence[Transfer]) -> list[str]:
    rows = []
    for condition in dict.fromkeys(each.condition for each in transfers):
        ways = {
            way: [e for e in transfers if e.condition == condition and e.way == way] for way in WAYS
        }
        rows.append(
            [
                condition.path,
                f"{condition.size // MB} MB",
                condition.control,
                *(spread_text(spread(e.seconds for e in ways[way]), 2) for way in WAYS),
                spread_text(spread(ratios(transfers, condition)), 2),
                _both((spread(e.retransmitted for e in ways[way]) for way in WAYS), 0),
                _both(
                    (
                        spread(e.cpu_seconds / condition.size * GB for e in ways[way])
                        for way in WAYS
                    ),
                    1,
                ),
            ]
        )
    head = ["path", "mail", "sender", *WAYS, "ratio", "retransmitted", "CPU s per GB"]
    return table(head, rows)


def _both(found: Iterable[Spread | None], digits: int) -> str:
    return " / ".join("–" if each is None else f"{each.median:.{digits}f}" for each in found)
