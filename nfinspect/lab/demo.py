"""The demo: real mail through the real filter, and what both sides see of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from nfinspect.lab import topology
from nfinspect.lab.case import Case, Outcome, run_case
from nfinspect.lab.cases import DEMO, named
from nfinspect.lab.lab import Lab, orderly_end
from nfinspect.lab.stage import MailStage

PROGRAMS = "ip sysctl ethtool iptables tcpdump swaks postfix openssl".split()


@dataclass(frozen=True, slots=True)
class Ending:
    """The filter's counters at the end."""

    service_policy: str
    """``show service-policy inspect esmtp``."""
    queue: str
    """``show queue``."""


def demo(
    names: Sequence[str] = DEMO, captures: Path | None = None, *, bridge: bool = False
) -> Iterator[tuple[Case, Outcome] | Ending]:
    """Run the cases *names* in a new lab; yields each case with its outcome, and finally an
    `Ending`.

    Cases with a policy of their own get their own lab and their own `Ending`. *captures* is a
    directory in which to keep the captures. With *bridge* the filter is a bridge. Raises LabError
    if the lab cannot be built, if a case cannot be run, if packets still waited for a verdict at
    the end, or if the filter printed errors.
    """
    topology.require_root()
    topology.require_programs(*PROGRAMS, *(["nft"] if bridge else []))
    with ExitStack() as stack:
        stack.enter_context(orderly_end())
        for config, cases in groupby(map(named, names), lambda case: case.config):
            yield from _run(cases, config, captures, bridge)


def _run(
    cases: Iterable[Case], config: str | None, captures: Path | None, bridge: bool
) -> Iterator[tuple[Case, Outcome] | Ending]:
    """Run the *cases* that share the policy *config*; None is the default policy."""
    with Lab(offloads=False, bridge=bridge) as lab:
        file = None
        if config is not None:
            file = lab.directory / "policy.cfg"
            file.write_text(config)
        running = lab.filter(file)
        stage = MailStage(lab)
        for case in cases:
            yield case, run_case(case, stage, running, captures or lab.directory)
        ending = Ending(running.show("service-policy", "inspect", "esmtp"), running.show("queue"))
        running.stop()
        yield ending
