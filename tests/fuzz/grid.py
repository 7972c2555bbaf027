"""How long a transfer takes over a lossy path, without the filter and with it, in virtual time.

``grid.txt`` keeps the table, so that a change in performance under loss is seen in review like any
other change. ``python -m tests.fuzz.grid`` writes it anew. The losses are seeded: each transfer loses
the same packets of the same places in the order in which they come, with and without the filter, until
the two take different ways. Where the filter is one packet away from another course the table says
little, so each figure is a median.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from random import Random

from nfinspect.actions import Accept, Action, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.cli.configuration import default_configuration
from nfinspect.engine import Engine
from nfinspect.events import Direction
from tests.fuzz import packets
from tests.fuzz.network import TO_END, TO_FILTER, Link, Network
from tests.fuzz.packets import Packet
from tests.model.inspector import Inspections
from tests.model.stack import Habits, Stack

SNAPSHOT = Path(__file__).with_name("grid.txt")
SIZE = 1_000_000
"""Bytes from the client to the server."""
RATE = 10_000_000.0
"""Bytes a second, on every link."""
TRANSFERS = 3
ROUND_TRIPS = (0.002, 0.02, 0.08)
LOSSES = (0.0, 0.001, 0.01, 0.03)
SENDER, RECEIVER = "sender's", "receiver's"
ENDS = ((bytes([192, 0, 2, 1]), 40000), (bytes([198, 51, 100, 25]), 25))


class Transfer:
    """A client sends, a server reads, the filter (if any) stands in the middle of the path."""

    def __init__(
        self,
        seed: int,
        *,
        filtered: bool,
        round_trip: float,
        loss: float,
        side: str,
        sack: bool = True,
        jitter: float = 0.0,
    ) -> None:
        way = round_trip / 4
        self.network = Network(
            Random(seed), {place: Link(delay=way, rate=RATE) for place in range(TO_END + 2)}
        )
        bad = self.network.links[TO_FILTER if side == SENDER else TO_END]
        bad.trouble, bad.weights, bad.jitter = loss, (1, 0, 0, 0, 0, 0), jitter
        habits = Habits(window=1 << 18, scale=7, sack=sack, delayed=True, initial=2**32 - 5000)
        self.client = Stack(habits, Random(seed))
        self.server = Stack(habits, Random(seed + 1))
        self.client.write(bytes(range(97, 123)) * (SIZE // 26))
        self.client.closing = True
        policy = default_configuration().policy
        self.engine = Engine(policy, started=-1000.0, prepare=Inspections()) if filtered else None
        self.paths = (packets.Path(*ENDS), packets.Path(*ENDS[::-1]))
        self.waiting: dict[int, tuple[int, Packet]] = {}
        self.now = 0.0

    def run(self) -> float:
        """Seconds until the server has got everything."""
        self._run()
        expected = bytes(self.client.stream)
        assert self.server.received == (expected.swapcase() if self.engine else expected)
        return self.now

    def _run(self) -> None:
        client, server, queue = self.client, self.server, self.network.queue
        self.client.connect(0.0)
        self._depart()
        while server.peer_fin is None or server.rcv <= server.peer_fin:
            timers = [(end.timer, end) for end in (client, server) if end.timer is not None]
            timer = min(timers, key=lambda pair: pair[0], default=None)
            if queue and (timer is None or queue[0][0] <= timer[0]):
                self.now, _, place, packet, _ = self.network.pop()
                if place >= TO_END:
                    (server, client)[place - TO_END].receive(packet, self.now)
                elif self.engine is None:
                    self.network.send(self.now, TO_END + place, [packet])
                else:
                    self._inspect(place, packet)
            else:
                assert timer is not None, "it does not come to an end"
                self.now = timer[0]
                timer[1].wake(self.now)
            self._depart()

    def _depart(self) -> None:
        for direction, end in enumerate((self.client, self.server)):
            if end.out:
                sent, end.out = end.out, []
                self.network.send(self.now, TO_FILTER + direction, sent)

    def _inspect(self, direction: int, packet: Packet) -> None:
        assert self.engine is not None
        token = len(self.waiting)
        self.waiting[token] = (direction, packet)
        datagram = self.paths[direction].build(packet)
        actions: list[Action] = self.engine.arrive(Arrival(token, datagram, self.now))
        for action in actions:
            if isinstance(action, Accept):
                direction, packet = self.waiting[action.token]  # type: ignore[index]
            elif isinstance(action, Replace):
                direction, _ = self.waiting[action.token]  # type: ignore[index]
                packet = self.paths[direction].read(action.datagram)
            elif isinstance(action, Inject):
                direction = 0 if action.direction is Direction.REQUEST else 1
                packet = self.paths[direction].read(action.datagram)
            else:
                continue
            self.network.send(self.now, TO_END + direction, [packet])


def table() -> str:
    """The text of the snapshot."""
    lines = [
        f"Seconds of virtual time for {SIZE} bytes, without the filter, with it, and the ratio;",
        f"each the median of {TRANSFERS} seeded transfers. The columns are round trips.",
        "",
        f"{'':32}" + "".join(f"{round(1000 * trip):>18} ms" for trip in ROUND_TRIPS),
    ]
    cases = [
        (sack, loss, side, 0.0)
        for sack in (True, False)
        for loss in LOSSES[1:]
        for side in (SENDER, RECEIVER)
    ]
    cases += [(True, 0.0, side, 0.005) for side in (SENDER, RECEIVER)]
    cases.insert(0, (True, 0.0, SENDER, 0.0))
    for sack, loss, side, jitter in cases:
        name = "SACK, " if sack else "no SACK, "
        name += (
            f"{100 * loss:g} % lost on" if loss else "reordered on" if jitter else "nothing lost"
        )
        if loss or jitter:
            name += f" {side}"
        row = f"{name:32}"
        for trip in ROUND_TRIPS:
            plain, filtered = (
                statistics.median(
                    Transfer(
                        seed,
                        filtered=filtered,
                        round_trip=trip,
                        loss=loss,
                        side=side,
                        sack=sack,
                        jitter=jitter,
                    ).run()
                    for seed in range(TRANSFERS)
                )
                for filtered in (False, True)
            )
            row += f"{plain:8.3f}{filtered:8.3f}{filtered / plain:5.2f}"
        lines.append(row)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(table())
