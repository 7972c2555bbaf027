"""``nfinspect rules``: the iptables rules that divert packets to the filter."""

from __future__ import annotations

from collections.abc import Mapping

import click

from nfinspect.cli.configuration import config_option
from nfinspect.cli.errors import Failure
from nfinspect.cli.queues import queue_options
from nfinspect.live import flowtables, iptables, misfits, rollback
from nfinspect.live.iptables import AddressFamily
from nfinspect.live.obstacles import CAP_NET_ADMIN, has_capability
from nfinspect.policy import Configuration
from nfinspect.rules import bridge as guards
from nfinspect.rules.diversion import (
    NAT,
    RAW,
    TABLES,
    Diversion,
    application,
    describe,
    translating,
    untracking,
)
from nfinspect.rules.interception import creating
from nfinspect.rules.of_policy import diversion_of

ONLY = {"4": (iptables.IPV4,), "6": (iptables.IPV6,), None: (iptables.IPV4, iptables.IPV6)}

LONGEST_WAIT = 86400
"""Seconds."""


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
@click.option(
    "--confirm",
    type=click.IntRange(0, LONGEST_WAIT),
    is_flag=False,
    flag_value=0,
    metavar="[SECONDS]",
    help="With --apply: roll back after SECONDS, unless 'nfinspect rules --confirm' is run before.",
)
@click.option(
    "--roll-back", is_flag=True, help="Put the rules back that were there before --apply."
)
def rules(
    configuration: Configuration,
    queues: int,
    queue_num: int,
    fail_open: bool,
    bridge: bool,
    only: str | None,
    apply: bool,
    remove: bool,
    confirm: int | None,
    roll_back: bool,
) -> None:
    """Print, apply or remove the rules that divert the inspected ports to NFQUEUE.

    Without --apply, --remove, --confirm and --roll-back nothing is changed: the rules are printed, as
    input for iptables-restore --noflush and ip6tables-restore --noflush, and with --bridge also for
    nft and sysctl. --remove removes everything, with or without --bridge, and restores the settings.

    To try rules on a machine far away: rules --apply --confirm 60, look whether you still reach it,
    then rules --confirm. If you do not, they are rolled back.
    """
    if sum((apply, remove, roll_back, confirm is not None and not apply)) > 1:
        raise click.UsageError(
            "only one of --apply, --remove, --roll-back and --confirm can be used; --confirm SECONDS"
            " goes with --apply."
        )
    changes = apply or remove or roll_back or confirm is not None
    if only and changes:
        raise click.UsageError("-4 and -6 only select what is printed; omit them.")
    if only and bridge:
        raise click.UsageError("-4 and -6 cannot be used with --bridge.")
    if confirm is not None and bool(confirm) != apply:
        raise click.UsageError(
            "--confirm takes SECONDS with --apply, and none without: rules --apply --confirm 60, then"
            " rules --confirm."
        )
    if remove:
        remove_rules()
    elif roll_back:
        _roll_back()
    elif changes and not apply:
        _confirm()
    else:
        diversion = diversion_of(configuration.policy, queue_num, queues, fail_open, bridged=bridge)
        if apply:
            put_in_place(diversion, bridge=bridge, confirm=confirm or 0)
            for name in flowtables.names():
                click.echo(f"nfinspect: {misfits.flowtable(name)}", err=True)
        else:
            _print(diversion, ONLY[only])
            if bridge:
                click.echo(
                    "# For nft -f: bridges pass only frames that iptables sees, or without IP."
                )
                click.echo(guards.guard(), nl=False)
                click.echo("# For sysctl -p: let iptables see bridged frames.")
                click.echo(guards.settings(), nl=False)


def _print(diversion: Diversion, families: tuple[AddressFamily, ...]) -> None:
    for family in families:
        there = _in_place(family)
        click.echo(describe(diversion, family.name), nl=False)
        if there:
            click.echo("# They replace the rules of nfinspect that are in place now.")
        if diversion.intercepts:
            click.echo("# They need sets, which --apply creates; by hand, before the rules:")
            click.echo("".join(f"#   {line}\n" for line in creating(family.version)), nl=False)
        table = next((table for table in TABLES if table in there), TABLES[0])
        present = there.get(table, ())
        kept = bool(iptables.exempt_and_open(family, present, diversion.ports))
        text = application(diversion, table, family.version, present, keep_marked=kept)
        version = family.version
        intercepted = version if diversion.intercepts else 0
        text += untracking(there.get(RAW, ()), intercepted)
        text += translating(diversion.nat.get(version, ()), there.get(NAT, ()), intercepted)
        click.echo(text, nl=False)


def _in_place(family: AddressFamily) -> Mapping[str, list[str]]:
    """What the rules that are printed have to replace, as far as this user may know it."""
    if not has_capability(CAP_NET_ADMIN):
        return {}
    try:
        return iptables.in_place(family)
    except iptables.RulesError:  # no iptables here
        return {}


def put_in_place(diversion: Diversion, *, bridge: bool = False, confirm: float = 0.0) -> None:
    """Apply the rules, those for a *bridge* first, and warn of what they could not do. If *confirm* is
    not 0, they are rolled back in so many seconds unless somebody confirms.

    If there is nothing to divert, earlier rules are removed: they would block what the policy lets
    pass. Raises Failure.
    """
    if not diversion.ports:
        click.echo("nfinspect: notice: there is nothing to divert: no rules applied", err=True)
        remove_rules()
        return
    try:
        warnings = rollback.apply(diversion, bridged=bridge, confirm=confirm)
    except iptables.RulesError as error:
        raise Failure(f"cannot apply the rules: {error}") from error
    for each in [*warnings, *map(iptables.Notice, diversion.notes)]:
        kind = "notice" if isinstance(each, iptables.Notice) else "warning"
        click.echo(f"nfinspect: {kind}: {each}", err=True)
    if confirm:
        click.echo(
            f"nfinspect: notice: the rules are rolled back in {confirm:.0f} seconds, unless you run:"
            " nfinspect rules --confirm",
            err=True,
        )


def remove_rules() -> None:
    """Remove the rules.

    Raises Failure.
    """
    try:
        removed = rollback.remove()
    except iptables.RulesError as error:
        raise Failure(f"cannot remove the rules: {error}") from error
    if not removed:
        click.echo("nfinspect: there are no rules to remove", err=True)


def _confirm() -> None:
    try:
        rollback.confirmed()
    except iptables.RulesError as error:
        raise Failure(f"cannot confirm the rules: {error}") from error
    click.echo("nfinspect: confirmed: the rules stay", err=True)


def _roll_back() -> None:
    try:
        changed = rollback.roll_back()
    except iptables.RulesError as error:
        raise Failure(f"cannot roll back: {error}") from error
    done = "the rules are those that were there before" if changed else "there is nothing to change"
    click.echo(f"nfinspect: rolled back: {done}", err=True)
