"""``nfinspect rules``: the iptables rules that divert packets to the filter."""

from __future__ import annotations

import contextlib

import click

from nfinspect.cli.configuration import config_option
from nfinspect.cli.errors import Failure
from nfinspect.cli.queues import queue_options
from nfinspect.live import bridge as bridges
from nfinspect.live import flowtables, iptables, misfits
from nfinspect.policy import Configuration
from nfinspect.rules import bridge as guards
from nfinspect.rules.diversion import (
    TABLES,
    Diversion,
    application,
    describe,
    translating,
    untracking,
)
from nfinspect.rules.of_policy import diversion_of

ONLY = {"4": (iptables.IPV4,), "6": (iptables.IPV6,), None: (iptables.IPV4, iptables.IPV6)}


@click.command()
@config_option
@queue_options
@click.option(
    "--fail-open",
    is_flag=True,
    help="While no filter runs, let everything pass uninspected instead of nothing.",
)
@click.option(
    "--bridge",
    is_flag=True,
    help="For a filter on a bridge: include the br_netfilter settings, and a guard against frames"
    " that iptables cannot see.",
)
@click.option("-4", "only", flag_value="4", default=None, help="Print the IPv4 rules only.")
@click.option("-6", "only", flag_value="6", help="Print the IPv6 rules only.")
@click.option("--apply", is_flag=True, help="Apply the rules, replacing any earlier ones.")
@click.option("--remove", is_flag=True, help="Remove what --apply has applied.")
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

    Without --apply and --remove nothing is changed: the rules are printed, as input for
    iptables-restore --noflush and ip6tables-restore --noflush, and with --bridge also for nft and
    sysctl. --remove removes everything, with or without --bridge, and restores the settings.
    """
    if apply and remove:
        raise click.UsageError("--apply and --remove cannot be used together.")
    if only and (apply or remove):
        raise click.UsageError("-4 and -6 only select what is printed; omit them.")
    if only and bridge:
        raise click.UsageError("-4 and -6 cannot be used with --bridge.")
    if remove:
        remove_rules()
        return
    diversion = diversion_of(configuration.policy, queue_num, queues, fail_open, bridged=bridge)
    if apply:
        put_in_place(diversion, bridge=bridge)
        for name in flowtables.names():
            click.echo(f"nfinspect: {misfits.flowtable(name)}", err=True)
        return
    for family in ONLY[only]:
        click.echo(describe(diversion, family.name), nl=False)
        click.echo(application(diversion, TABLES[0], family.version) + untracking(), nl=False)
        click.echo(translating(diversion.nat.get(family.version, ())), nl=False)
    if bridge and not only:
        click.echo("# For nft -f: bridges pass only frames that iptables sees, or without IP.")
        click.echo(guards.guard(), nl=False)
        click.echo("# For sysctl -p: let iptables see bridged frames.")
        click.echo(guards.settings(), nl=False)


def put_in_place(diversion: Diversion, *, bridge: bool = False) -> None:
    """Apply the rules, those for a *bridge* first, and warn of what they could not do.

    If there is nothing to divert, earlier rules are removed: they would block what the policy lets
    pass. Raises Failure.
    """
    if not diversion.ports:
        click.echo("nfinspect: notice: there is nothing to divert: no rules applied", err=True)
        remove_rules()
        return
    fresh = False
    try:
        fresh = bridge and bridges.apply()
        warnings = iptables.apply(diversion)
    except iptables.RulesError as error:
        if fresh:
            with contextlib.suppress(iptables.RulesError):
                bridges.remove()
        raise Failure(f"cannot apply the rules: {error}") from error
    for warning in warnings:
        click.echo(f"nfinspect: warning: {warning}", err=True)
    for note in diversion.notes:
        click.echo(f"nfinspect: notice: {note}", err=True)


def remove_rules() -> None:
    """Remove the rules.

    Raises Failure.
    """
    try:
        removed = iptables.remove() | bridges.remove()
    except iptables.RulesError as error:
        raise Failure(f"cannot remove the rules: {error}") from error
    if not removed:
        click.echo("nfinspect: there are no rules to remove", err=True)
