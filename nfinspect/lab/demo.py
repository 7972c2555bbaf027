"""The demo: real mail through the real filter, and what both sides see of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nfinspect.lab import topology
from nfinspect.lab.cases import DEMO, named
from nfinspect.lab.lab import Lab, orderly_end
from nfinspect.lab.performance import Case, Outcome, perform
from nfinspect.lab.stage import Stage

PROGRAMS = "ip sysctl ethtool iptables tcpdump swaks postfix openssl".split()


@dataclass(frozen=True, slots=True)
class Ending:
    """What the filter says at the end."""

    service_policy: str
    """``show service-policy inspect esmtp``."""
    queue: str
    """``show queue``."""


def demo(
    names: Sequence[str] = DEMO, captures: Path | None = None, *, bridge: bool = False
) -> Iterator[tuple[Case, Outcome] | Ending]:
    """Perform the cases *names* in a lab of their own, and yield each as it is done; at last, `Ending`.

    The captures stay if a directory is given for them. *bridge*: the filter bridges. Raises LabError if the lab or a case cannot
    be performed, and if packets waited for a verdict at the end or the filter complained.
    """
    topology.require_root()
    topology.require_programs(*PROGRAMS, *(["nft"] if bridge else []))
    with ExitStack() as stack:
        stack.enter_context(orderly_end())
        if captures is None:
            captures = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nfinspect-")))
        lab = stack.enter_context(Lab(offloads=False, bridge=bridge))
        running = lab.filter()
        stage = Stage(lab)
        for name in names:
            case = named(name)
            yield case, perform(case, stage, running, captures)
        ending = Ending(running.show("service-policy", "inspect", "esmtp"), running.show("queue"))
        running.stop()
        yield ending
