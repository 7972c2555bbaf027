"""The commands of the appliance: one module for each family.

A module holds the rows of its family, the draft that their lines fill, and how that is resolved and
written again. Here they are put together.
"""

from __future__ import annotations

from nfinspect.policy.commands import (
    access_lists,
    classes,
    inspection,
    interfaces,
    nat,
    normalizer,
    numbers,
    objects,
    others,
    pix6,
    policies,
    regex,
    sysopt,
    timeouts,
)
from nfinspect.policy.grammar import ARGUMENTS as SHARED
from nfinspect.policy.grammar import GLOBAL, Family, Mode, Row, Skipped
from nfinspect.policy.syntax import Argument, Fragment

FAMILIES: tuple[Family, ...] = (
    classes.FAMILY,
    policies.FAMILY,
    normalizer.FAMILY,
    inspection.FAMILY,
    regex.FAMILY,
    access_lists.FAMILY,
    objects.FAMILY,
    Family({}, numbers.ARGUMENTS, numbers.FRAGMENTS),
    nat.FAMILY,
    interfaces.FAMILY,
    timeouts.FAMILY,
    sysopt.FAMILY,
    pix6.FAMILY,
    others.FAMILY,
)

GRAMMAR: dict[Mode, tuple[Row, ...]] = {GLOBAL: ()}
ARGUMENTS: dict[str, Argument] = dict(SHARED)
FRAGMENTS: dict[str, Fragment] = {}
OTHERS: dict[Mode, dict[tuple[str, ...], Skipped | None]] = {}

for _family in FAMILIES:
    for _mode, _rows in _family.rows.items():
        GRAMMAR[_mode] = (*GRAMMAR.get(_mode, ()), *_rows)
    assert not ARGUMENTS.keys() & _family.arguments.keys(), "two arguments of one name"
    ARGUMENTS |= _family.arguments
    assert not FRAGMENTS.keys() & _family.fragments.keys(), "two fragments of one name"
    FRAGMENTS |= _family.fragments
    for _mode, _others in _family.others.items():
        OTHERS.setdefault(_mode, {}).update(
            {tuple(words.split()): skipped for words, skipped in _others.items()}
        )
