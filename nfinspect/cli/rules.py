"""``nfinspect rules``: the iptables rules that bring packets to the filter."""

from __future__ import annotations

import contextlib

import click

from nfinspect.cli.configuration import config_option
from nfinspect.cli.errors import Failure
from nfinspect.cli.queues import queue_options
from nfinspect.live import bridge as bridges
from nfinspect.live import flowtables, iptables
from nfinspect.policy import Configuration
from nfinspect.policy.model import Policy
from nfinspect.rules import bridge as guards
from nfinspect.rules.diversion import TABLES, Diversion, application, describe, untracking

ONLY = {"4": (iptables.IPV4,), "6": (iptables.IPV6,), None: (iptables.IPV4, iptables.IPV6)}


@click.command()
@config_option
@queue_options
@click.option(
    "--fail-open",
    is_flag=True,
    help="While no filter runs, let everything pass uninspected. Without it nothing passes then.",
)
@click.option(
    "--bridge",
    is_flag=True,
    help="For a filter that bridges: what br_netfilter needs, and a guard against frames that"
    " iptables cannot see.",
)
@click.option("-4", "only", flag_value="4", default=None, help="Print those for IPv4 only.")
@click.option("-6", "only", flag_value="6", help="Print those for IPv6 only.")
@click.option("--apply", is_flag=True, help="Put them in place, instead of those that are there.")
@click.option("--remove", is_flag=True, help="Take out what --apply has put in place.")
def rules(
    configuration: Configuration,
    queues: int,
    queue_num: int,
    fail_open: bool,
    bridge: bool,
    only: str | None,
    apply: bool,
    remove: bool,
) -> None:
    """Print, apply or remove the rules that divert the inspected ports to NFQUEUE.

    Without --apply and --remove nothing is changed: the rules are printed, for iptables-restore
    --noflush and ip6tables-restore --noflush; with --bridge also what is for nft and sysctl.
    --remove takes out everything, with or without --bridge, and puts settings back.
    """
    if apply and remove:
        raise click.UsageError("--apply and --remove exclude each other.")
    if only and (apply or remove):
        raise click.UsageError("-4 and -6 are for printing; rules are applied in both families.")
    if only and bridge:
        raise click.UsageError("--bridge is of no family: print its part without -4 and -6.")
    if remove:
        take_out()
        return
    diversion = Diversion(diverted_ports(configuration.policy), queue_num, queues, fail_open)
    if apply:
        put_in_place(diversion, bridge=bridge)
        return
    for family in ONLY[only]:
        click.echo(describe(diversion, family.name), nl=False)
        click.echo(application(diversion, TABLES[0]) + untracking(), nl=False)
    if bridge and not only:
        click.echo("# For nft -f: a bridge passes only what iptables sees, or carries no IP.")
        click.echo(guards.guard(), nl=False)
        click.echo("# For sysctl -p: let iptables see what a bridge passes.")
        click.echo(guards.settings(), nl=False)


def diverted_ports(policy: Policy) -> tuple[int, ...]:
    """Return the servers' ports that are the filter's business, inspected or not."""
    return tuple(sorted(policy.plans))


def put_in_place(diversion: Diversion, *, bridge: bool = False) -> None:
    """Apply the rules, those of a *bridge* first, and warn of what goes past them.

    Where nothing is to be diverted, rules of an earlier time are taken out: they would stop what
    the policy lets pass. Raises Failure.
    """
    if not diversion.ports:
        click.echo("nfinspect: notice: there is nothing to divert: no rules are applied", err=True)
        take_out()
        return
    fresh = False
    try:
        fresh = bridge and bridges.apply()
        warnings = iptables.apply(diversion)
    except iptables.RulesError as error:
        if fresh:
            with contextlib.suppress(iptables.RulesError):
                bridges.remove()
        raise Failure(f"the rules cannot be applied: {error}") from error
    warnings += [
        f"the flowtable '{name}' takes connections past the filter: exempt the inspected ports"
        for name in flowtables.names()
    ]
    for warning in warnings:
        click.echo(f"nfinspect: warning: {warning}", err=True)


def take_out() -> None:
    """Remove the rules.

    Raises Failure.
    """
    try:
        removed = iptables.remove() | bridges.remove()
    except iptables.RulesError as error:
        raise Failure(f"the rules cannot be removed: {error}") from error
    if not removed:
        click.echo("nfinspect: there are no rules of nfinspect's", err=True)
