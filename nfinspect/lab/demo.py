"""The demo: real mail through the real filter, and what both sides see of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
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

    A case with a policy of its own has a lab and an ending of its own, too. The captures stay if a directory is given for them. *bridge*: the filter bridges. Raises LabError if the lab or a case cannot
    be performed, and if packets waited for a verdict at the end or the filter complained.
    """
    topology.require_root()
    topology.require_programs(*PROGRAMS, *(["nft"] if bridge else []))
    with ExitStack() as stack:
        stack.enter_context(orderly_end())
        if captures is None:
            captures = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nfinspect-")))
        for config, cases in groupby(map(named, names), lambda case: case.config):
            yield from _performed(cases, config, captures, bridge)


def _performed(
    cases: Iterable[Case], config: str | None, captures: Path, bridge: bool
) -> Iterator[tuple[Case, Outcome] | Ending]:
    """Perform the *cases* that share a policy, the default one without *config*."""
    with Lab(offloads=False, bridge=bridge) as lab:
        file = None
        if config is not None:
            file = lab.directory / "policy.cfg"
            file.write_text(config)
        running = lab.filter(file)
        stage = Stage(lab)
        for case in cases:
            yield case, perform(case, stage, running, captures)
        ending = Ending(running.show("service-policy", "inspect", "esmtp"), running.show("queue"))
        running.stop()
        yield ending
