"""A configuration written again: what matters of it, in one form, each definition before its use.

Reading that gives the same policy. Lines that are not done stand at the end, as comments.
"""

from __future__ import annotations

from collections.abc import Iterator

from nfinspect.policy.commands import (
    access_lists,
    classes,
    inspection,
    interfaces,
    nat,
    objects,
    pix6,
    policies,
    regex,
    sysopt,
    timeouts,
)
from nfinspect.policy.commands.classes import CLASS_DEFAULT
from nfinspect.policy.commands.policies import ClassDraft, PolicyMapDraft
from nfinspect.policy.resolve import DEFAULT_MAP, Configuration, Effective


def text(configuration: Configuration) -> str:
    """Return the effective configuration as text."""
    effective = configuration.effective
    assert effective is not None
    blocks = [block for block in map(list, _blocks(effective)) if block]
    left_out = [
        f"! line {finding.line} is {finding.message}: {finding.text.strip()}"
        for finding in configuration.not_done
    ]
    return "!\n".join("".join(f"{line}\n" for line in block) for block in [*blocks, left_out])


def _blocks(effective: Effective) -> Iterator[Iterator[str]]:
    draft = effective.draft
    said = _classes(effective)
    maps = [effective.class_maps[n] for n in said if n in effective.class_maps]
    lists = dict.fromkeys(m.access_list.text for m in maps if m.access_list is not None)
    names = nat.names_used(draft)
    for name in lists:
        names |= access_lists.names_used(draft, name)
    yield interfaces.lines(draft)
    yield objects.lines(draft, names)
    yield (line for name in lists for line in access_lists.lines(draft, name))
    yield timeouts.lines(draft)
    yield sysopt.lines(draft)
    yield nat.lines(draft)
    for class_map in maps:
        yield classes.lines(class_map)
    used = dict.fromkeys(
        DEFAULT_MAP if c.map_name is None else c.map_name.text
        for _, c in _all(effective)
        if c.inspect is not None
    )
    expressions = [c for n in used for c in inspection.conditions(draft, effective.maps[n])]
    yield regex.lines(expressions)
    for name in used:
        yield inspection.lines(effective.maps[name])
    if not pix6.applies(draft) or draft[policies.PolicyMaps].maps:
        yield _policies(effective)
    yield pix6.lines(draft)


def _all(effective: Effective) -> Iterator[tuple[str, ClassDraft]]:
    for name in effective.names_applied:
        for class_name, policy_class in effective.policies[name].items():
            if policy_class.says_something:
                yield class_name, policy_class


def _classes(effective: Effective) -> dict[str, None]:
    """Return the names of the classes about which something is said."""
    return dict.fromkeys(name for name, _ in _all(effective) if name != CLASS_DEFAULT)


def _policies(effective: Effective) -> Iterator[str]:
    for name in effective.names_applied:
        said = {n: c for n, c in effective.policies[name].items() if c.says_something}
        word = next(word for word in effective.applied.values() if word.text == name)
        yield from policies.lines(PolicyMapDraft(word, said))
    for interface, word in effective.applied.items():
        where = f"interface {interface}" if interface else "global"
        yield f"service-policy {word.text} {where}"
