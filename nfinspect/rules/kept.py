"""The rules of nfinspect that are in place, kept as they are listed, and put back exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nfinspect.rules.diversion import is_call, our_chains, removal

Kept = dict[str, list[str]]
"""The lines of ``iptables-restore`` that make our rules again, by table; tables without any are
missing."""


def kept(present: Sequence[str]) -> list[str]:
    """Return the lines that make the rules again that are ours in a listing of ``iptables -S``.

    A rule in a built-in chain has its place there.
    """
    ours = our_chains(present)
    lines = [f"-N {name}" for name in ours]
    starts = tuple(f"-A {name} " for name in ours)
    lines += [rule for rule in present if rule.startswith(starts)]
    return [*lines, *_calls(present)]


def _calls(present: Sequence[str]) -> Iterator[str]:
    number: dict[str, int] = {}
    for rule in present:
        if not rule.startswith("-A "):
            continue
        _, chain, criteria = rule.split(maxsplit=2)
        number[chain] = number.get(chain, 0) + 1
        if is_call(rule):
            yield f"-I {chain} {number[chain]} {criteria}"


def restoring(table: str, lines: Sequence[str], present: Sequence[str]) -> str:
    """Return the text for ``iptables-restore --noflush`` that puts *lines*, which `kept` has returned,
    in the place of those rules that are ours now; empty if they are the same."""
    if list(lines) == kept(present):
        return ""
    others: dict[str, int] = {}
    for rule in present:
        if rule.startswith("-A ") and not is_call(rule):
            chain = rule.split(maxsplit=2)[1]
            others[chain] = others.get(chain, 0) + 1
    removing = removal(table, present).splitlines()[1:-1]
    return "".join(
        f"{line}\n" for line in (f"*{table}", *removing, *_placed(lines, others), "COMMIT")
    )


def _placed(lines: Sequence[str], others: dict[str, int]) -> Iterator[str]:
    """Yield *lines*; a rule goes to the end of a chain that is shorter now."""
    for line in lines:
        if line.startswith("-I "):
            _, chain, number, criteria = line.split(maxsplit=3)
            there = others[chain] = others.get(chain, 0) + 1
            yield f"-I {chain} {min(int(number), there)} {criteria}"
        else:
            yield line
