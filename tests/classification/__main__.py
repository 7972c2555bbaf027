"""``python -m tests.classification`` as root: random policies, as many as wanted, or one in detail."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("NFINSPECT_FORM", "pure")

import click

from nfinspect.lab.lab import orderly_end
from tests.classification.ground import Ground
from tests.classification.judge import Tally, Verdict, try_policy

SHOWN = 30
"""Differences printed one by one."""


@click.command()
@click.option("--seed", type=int, default=0, help="The first policy; alone, the only one.")
@click.option("--policies", type=int, help="How many policies.")
@click.option("--connections", type=int, default=80, help="How many connections to each.")
@click.option("--bridge/--route", "bridge", default=None, help="Only such a filter.")
def main(seed: int, policies: int | None, connections: int, bridge: bool | None) -> None:
    """Compare what the rules of random policies do to packets with the classification.

    With a seed alone: show that policy, and what became of each connection. Exit status 1 if there
    is a fault.
    """
    tally = Tally()
    told = 0
    with orderly_end():
        for bridging in (False, True) if bridge is None else (bridge,):
            with Ground(bridge=bridging) as ground:
                for each in range(seed, seed + (policies or 1)):
                    setting, judged = try_policy(ground, each, connections, tally)
                    if policies is None:
                        print(setting.text, *setting.options)
                    for passed, verdict in judged:
                        if policies is None:
                            print(passed, verdict.value)
                        elif (verdict.is_fault or verdict is Verdict.NEEDLESS) and told < SHOWN:
                            told += 1
                            how = "--bridge" if bridging else "--route"
                            print(f"--seed {each} {how}: {passed}: {verdict.value}", flush=True)
    print(f"{tally.policies} policies")
    for verdict, count in tally.verdicts.most_common():
        print(f"{count:7d} {verdict.value}")
    sys.exit(any(verdict.is_fault for verdict in tally.verdicts))


if __name__ == "__main__":
    main()
