"""The time that reading a text takes grows with its lines and their length, no faster, whatever they say.

Function calls are counted, those of C functions as well, in place of seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from nfinspect.policy import ConfigurationError, canonical, parse_policy
from nfinspect.policy.advice import advise
from nfinspect.policy.classify import Classifier
from nfinspect.policy.commands.objects import LARGEST

pytestmark = pytest.mark.pure  # compiled functions are not seen by a profiler

USE = """\
class-map k
 match access-list a
policy-map global_policy
 class k
  no inspect esmtp
"""


def address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def each(count: int, line: Callable[[int], str]) -> str:
    return "".join(f"{line(number)}\n" for number in range(count))


def entries(n: int) -> str:
    return USE + each(
        n, lambda i: f"access-list a permit tcp host {address(i * 7)} host {address(i)} eq {i}"
    )


def port_ranges(n: int) -> str:
    return USE + each(
        n, lambda i: f"access-list a deny tcp any any range {i * 40 % 60000} {i * 40 % 60000 + 60}"
    )


def one_group_in_all_entries(n: int) -> str:
    text = "object-group network g\n" + each(n // 2, lambda i: f" network-object host {address(i)}")
    return text + USE + each(n // 2, lambda i: "access-list a permit tcp object-group g any")


def groups_around_a_group(n: int) -> str:
    text = "object-group network g\n" + each(n // 3, lambda i: f" network-object host {address(i)}")
    text += each(n // 3, lambda i: f"object-group network g{i}\n group-object g")
    return text + USE + each(n // 3, lambda i: f"access-list a permit ip object-group g{i} any")


def services_in_all_entries(n: int) -> str:
    text = "object-group service s\n"
    text += each(n // 2, lambda i: f" service-object tcp destination eq {i}")
    return text + USE + each(n // 2, lambda i: "access-list a permit object-group s any any")


def nested_too_deep(n: int) -> str:
    text = each(n // 2, lambda i: f"object-group network g{i}\n group-object g{i + 1}")
    return text + USE + "access-list a permit ip object-group g0 any\n"


def in_itself(n: int) -> str:
    text = "object-group network g\n" + each(n, lambda i: " group-object g")
    return text + USE + "access-list a permit ip object-group g any\n"


def binary_tree(n: int) -> str:
    text = each(n // 4, lambda i: f"object-group network g{i}\n" + f" group-object g{i + 1}\n" * 2)
    return text + USE + f"access-list a permit ip object-group g{max(0, n // 4 - 40)} any\n"


def names(n: int) -> str:
    text = each(n // 2, lambda i: f"name {address(i)} n{i}")
    return text + USE + each(n // 2, lambda i: f"access-list a permit tcp host n{i} any")


def undefined_names(n: int) -> str:
    return USE + each(n, lambda i: f"access-list a permit tcp host n{i} any")


def undefined_groups(n: int) -> str:
    text = each(n // 2, lambda i: f"object-group network g{i}")
    return text + USE + each(n // 2, lambda i: f"access-list a permit ip object-group x{i} any")


def classes(n: int) -> str:
    text = each(n // 4, lambda i: f"class-map k{i}\n match port tcp eq {i + 1}")
    text += "policy-map p\n" + each(n // 4, lambda i: f" class k{i}\n  inspect esmtp")
    return text + "service-policy p global\n"


def one_list_in_all_classes(n: int) -> str:
    text = entries(n // 2).removeprefix(USE)
    text += each(n // 8, lambda i: f"class-map k{i}\n match access-list a")
    text += "policy-map p\n" + each(n // 8, lambda i: f" class k{i}\n  inspect esmtp")
    return text + "service-policy p global\n"


def policies_of_interfaces(n: int) -> str:
    return each(
        n // 4,
        lambda i: (
            f"policy-map p{i}\n class class-default\n  inspect esmtp\n"
            f"service-policy p{i} interface x{i}"
        ),
    )


def statics(n: int) -> str:
    return each(n, lambda i: f"static (inside,outside) {address(i)} {address(i + 2**20)}")


def interfaces(n: int) -> str:
    return each(n // 2, lambda i: f"interface e{i}\n nameif n{i}")


def unknown_commands(n: int) -> str:
    return each(n, lambda i: f"acces-list a{i} foo")


def misplaced(n: int) -> str:
    return "policy-map type inspect esmtp m\n" + each(n, lambda i: f" match cmd lin{i} gt 7")


def modes_in_modes(n: int) -> str:
    return each(n // 2, lambda i: f"policy-map p{i}\n class c")


def certificates(n: int) -> str:
    chain = "crypto ca certificate chain x\n certificate 01\n"
    return chain + each(n, lambda i: "  308204a1 30820389 a0030201")


def wrapped_lines(n: int) -> str:
    return each(n, lambda i: "x" * 80)


def pages_and_prompts(n: int) -> str:
    return USE + each(
        n, lambda i: "<--- More --->\r  \rfw(config)# access-list a permit ip any any"
    )


SHAPES = (
    *(entries, port_ranges, one_group_in_all_entries, groups_around_a_group),
    *(services_in_all_entries, nested_too_deep, in_itself, binary_tree, names, undefined_names),
    *(undefined_groups, classes, one_list_in_all_classes, policies_of_interfaces, statics),
    *(interfaces, unknown_commands, misplaced, modes_in_modes, certificates, wrapped_lines),
    pages_and_prompts,
)


def calls(text: str, *, whole: bool = False) -> int:
    """Return the function calls that reading *text* takes, and with *whole* checking it, too."""
    count = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        configuration = parse_policy(text, "a.cfg")
        Classifier(configuration.policy)
        if whole:
            advise(configuration)
            canonical.text(configuration)
    except ConfigurationError as error:
        str(error)
    finally:
        sys.setprofile(None)
    return count


N = 300


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_twice_the_lines_take_twice_the_steps(shape: Callable[[int], str]) -> None:
    empty = calls(shape(8))
    small, large = calls(shape(N)) - empty, calls(shape(2 * N)) - empty
    assert large < 2.2 * small + 500
    # Twenty are shown of all errors, and have their suggestions.
    assert large < 1000 * 2 * N + 20_000


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_check_takes_a_bounded_number_of_steps_for_a_line(shape: Callable[[int], str]) -> None:
    assert calls(shape(2 * N), whole=True) < 2500 * 2 * N


@pytest.mark.parametrize(
    "line",
    [
        lambda n: "access-list a permit ip any any " + "log " * n,
        lambda n: "access-list a remark " + "x" * n,
        lambda n: "( " * n,
        lambda n: "(" * n,
        lambda n: "a# " * n,
        lambda n: " " * n + "policy-map p",
        lambda n: "match " * n,
        lambda n: "\0" * n,
    ],
    ids=["words", "text", "pairs", "brackets", "prompts", "blanks", "keywords", "nul"],
)
def test_a_longer_line_takes_no_more_steps(line: Callable[[int], str]) -> None:
    """It is refused as soon as its length is known."""
    assert calls(line(40_000)) < calls(line(20_000)) + 1000


def test_groups_that_hold_too_much_are_an_error() -> None:
    size = 3 * int(LARGEST**0.5)
    text = "object-group network g\n" + each(
        size, lambda i: f" network-object host {address(2 * i)}"
    )
    text += each(
        size, lambda i: f"object-group network g{i}\n network-object host 1.1.1.1\n group-object g"
    )
    text += USE + each(size, lambda i: f"access-list a permit ip object-group g{i} any")
    with pytest.raises(ConfigurationError, match="with those in it, is one too many"):
        parse_policy(text, "a.cfg")
