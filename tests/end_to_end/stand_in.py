"""The live filter with a different engine: ``stand_in.py ENGINE CONTROL [LOG]``.

With POISON in the environment each message is read over a buffer full of forged ones.

The queue, the worker, the control socket and the signals are the real ones; the engine is so simple
that a test can predict its verdicts.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from nfinspect.actions import Accept, Action, Drop, DropReason, Inject
from nfinspect.arrival import Arrival
from nfinspect.cli import run
from nfinspect.events import Direction
from nfinspect.live import service
from nfinspect.live.queue import Queue
from nfinspect.live.status import Totals
from nfinspect.packet.craft import craft_reset
from nfinspect.packet.segment import Segment, parse
from nfinspect.policy import default_configuration
from nfinspect.policy.model import Inspection, Policy
from nfinspect.tcp.interception import Interceptions


class AcceptAll:
    """Everything passes unchanged."""

    def __init__(self) -> None:
        self.totals: dict[Inspection, Totals] = {}
        self.waiting: list[object] = []

    @property
    def interceptions(self) -> Interceptions:
        return Interceptions()

    @property
    def held(self) -> int:
        return len(self.waiting)

    @property
    def intercepted(self) -> dict[str, int]:
        return {}

    @property
    def waits(self) -> tuple[int, int]:
        return 0, 0

    def arrive(self, arrival: Arrival) -> Sequence[Action]:
        return [Accept(arrival.token)]

    def tick(self, now: float) -> Sequence[Action]:
        return []

    def deadline(self) -> float | None:
        return None

    def flush(self, now: float) -> Sequence[Action]:
        return [Drop(token, DropReason.FLUSHED) for token in self.waiting]

    def restore_closed(self, key: bytes, since: float, now: float) -> bool:
        return True

    def closed_connections(self) -> Sequence[tuple[bytes, float]]:
        return []

    def clear(self, now: float, address: bytes | None) -> list[Action]:
        return []

    def adopt(self, policy: Policy) -> None:
        pass


class Describe(AcceptAll):
    """Writes the metadata of each packet to the file LOG, as JSON lines."""

    def __init__(self) -> None:
        super().__init__()
        self._log = Path(sys.argv[3]).open("w", buffering=1)  # noqa: SIM115

    def arrive(self, arrival: Arrival) -> Sequence[Action]:
        fields = {
            "length": len(arrival.datagram),
            "version": arrival.datagram[0] >> 4,
            "captured_length": arrival.captured_length,
            "checksum_ready": arrival.checksum_ready,
            "gso": arrival.gso,
            "ingress": arrival.ingress,
            "egress": arrival.egress,
            "link_source": arrival.link_source.hex(":"),
        }
        self._log.write(json.dumps(fields) + "\n")
        return super().arrive(arrival)


class HoldAll(AcceptAll):
    """Nothing gets a verdict until the filter stops."""

    def arrive(self, arrival: Arrival) -> Sequence[Action]:
        self.waiting.append(arrival.token)
        return []


class HoldThenReverse(AcceptAll):
    """Holds packets until there are three; the next tick passes them in reverse order."""

    def arrive(self, arrival: Arrival) -> Sequence[Action]:
        self.waiting.append(arrival.token)
        return []

    def deadline(self) -> float | None:
        return 0.0 if len(self.waiting) >= 3 else None

    def tick(self, now: float) -> Sequence[Action]:
        actions = [Accept(token) for token in reversed(self.waiting)]
        self.waiting.clear()
        return actions


class Reset(AcceptAll):
    """Answers every SYN with an injected RST in the server's name."""

    def arrive(self, arrival: Arrival) -> Sequence[Action]:
        segment = parse(arrival.datagram)
        assert isinstance(segment, Segment)
        key = segment.reverse_key
        reset = craft_reset(key, sequence=0, acknowledgment=segment.sequence + 1)
        return [
            Drop(arrival.token, DropReason.BAD_SYN),
            Inject(reset, Direction.REPLY, arrival.ingress),
        ]


class Fail(AcceptAll):
    """Has a bug."""

    def arrive(self, arrival: Arrival) -> Sequence[Action]:
        raise ZeroDivisionError("a bug")


class PoisonedQueue(Queue):
    """Its buffer holds forged messages of the queue, one at every multiple of 4."""

    # Each names a packet and has a payload. It is 256 bytes long, so that it survives if only the
    # last byte of its length is overwritten.
    FORGED = b"".join(
        struct.pack("=IHHII", 256, 3 << 8, 0, 0, 0)
        + struct.pack("=BBH", 2, 0, 0)
        + struct.pack("=HH", 11, 1) + struct.pack("!IHBx", number, 0x0800, 2)
        + struct.pack("=HH", 224, 10) + bytes(220)
        for number in range(1, 500)
    )  # fmt: skip
    SHIFTS = 64
    shift = 0

    def _read(self, flags: int) -> None:
        self.shift = (self.shift + 1) % self.SHIFTS
        poison = bytes(self.shift * 4) + self.FORGED
        self._view[: len(poison)] = poison
        super()._read(flags)


if __name__ == "__main__":
    engine = {each.__name__: each for each in (Describe, HoldAll, HoldThenReverse, Reset, Fail)}
    engine["AcceptAll"] = AcceptAll
    if os.environ.get("POISON"):
        service.Queue = PoisonedQueue  # type: ignore[misc]
    options = service.ServiceOptions(control=Path(sys.argv[2]))
    run.filter_packets(engine[sys.argv[1]](), default_configuration(), options)
