"""The comparison on which every end-to-end test relies: no line missing, none unexpected."""

from collections.abc import Callable

import pytest

from nfinspect.lab import expected_lines
from nfinspect.lab.expected_lines import (
    BUILT,
    FINISHED,
    RESET_BY_CLIENT,
    Template,
    differences,
    required,
)
from tests.end_to_end.conftest import Syslog

CLIENT, SERVER = "192.0.2.10", "198.51.100.25"
A, B = f"outside:{CLIENT}/40001", f"inside:{SERVER}/25"
BUILT_LINE = (
    f"%ASA-6-302013: Built inbound TCP connection 1 for {A} ({CLIENT}/40001) to {B} ({SERVER}/25)"
)
TORN_DOWN_LINE = (
    f"%ASA-6-302014: Teardown TCP connection 1 for {A} to {B} duration 0:00:03 bytes 345 "
)
FINISHED_LINE, RESET_LINE = TORN_DOWN_LINE + "TCP FINs", TORN_DOWN_LINE + "TCP Reset-O"
LATE_LINE = (
    f"%ASA-6-106015: Deny TCP (no connection) from {SERVER}/25 to {CLIENT}/40001"
    " flags FIN ACK  on interface inside"
)


def wrong(lines: list[str], templates: list[Template], *, in_order: bool = True) -> list[str]:
    """The first word of each difference."""
    found = differences(lines, templates, client=CLIENT, server=SERVER, in_order=in_order)
    return [each.split()[0] for each in found]


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([BUILT_LINE, FINISHED_LINE], []),
        ([BUILT_LINE], ["missing:"]),
        ([], ["missing:", "missing:"]),
        ([BUILT_LINE, FINISHED_LINE, FINISHED_LINE], ["unexpected:"]),
        ([BUILT_LINE, FINISHED_LINE, "%ASA-6-108005: anything"], ["unexpected:"]),
    ],
)
def test_lines_missing_and_unexpected_are_differences(
    lines: list[str], expected: list[str], in_order: bool
) -> None:
    assert wrong(lines, [BUILT, FINISHED], in_order=in_order) == expected


def test_order_matters_unless_in_order_is_false() -> None:
    lines = [FINISHED_LINE, BUILT_LINE]
    assert wrong(lines, [BUILT, FINISHED]) == ["expected:", "expected:"]
    assert wrong(lines, [BUILT, FINISHED], in_order=False) == []


@pytest.mark.parametrize(
    "line",
    [
        BUILT_LINE + " ",
        BUILT_LINE.replace("302013", "302014"),
        BUILT_LINE.replace("%ASA-6", "%ASA-5"),
        BUILT_LINE.replace("/25", "/26"),
        BUILT_LINE.replace(CLIENT, "192.0.2.11"),
        BUILT_LINE.replace("/40001", "/"),
        BUILT_LINE.replace("connection 1", "connection one"),
        BUILT_LINE.replace("inbound", "outbound"),
    ],
)
def test_line_that_differs_in_more_than_a_number_is_a_difference(line: str) -> None:
    assert wrong([line], [BUILT]) == ["expected:"]


def test_exactly_one_of_alternative_lines_must_appear() -> None:
    either = (FINISHED, RESET_BY_CLIENT)
    assert wrong([FINISHED_LINE], [either]) == wrong([RESET_LINE], [either]) == []
    assert wrong([FINISHED_LINE, RESET_LINE], [either]) == ["unexpected:"]
    assert wrong([], [either]) == ["missing:"]


@pytest.mark.parametrize("in_order", [True, False])
def test_optional_line_is_neither_missing_nor_unexpected(in_order: bool) -> None:
    templates: list[Template] = [BUILT, expected_lines.LATE, FINISHED]
    lines = [BUILT_LINE, LATE_LINE, FINISHED_LINE]
    assert wrong(lines, templates, in_order=in_order) == []
    assert wrong([BUILT_LINE, FINISHED_LINE], templates, in_order=in_order) == []
    twice = [BUILT_LINE, LATE_LINE, LATE_LINE, FINISHED_LINE]
    assert wrong(twice, templates, in_order=in_order) != []
    assert required(templates) == 2


def test_difference_shows_the_expected_line_with_its_addresses_filled_in() -> None:
    (found,) = differences(
        [], [expected_lines.replaced(">", "RCPT TO:<a>>")], client=CLIENT, server=SERVER
    )
    assert found == (
        f"missing:    %ASA-2-108002: SMTP replaced >: out {CLIENT} in {SERVER} data: RCPT TO:<a>>"
    )


class Silent:
    """A filter that prints no further lines."""

    def __init__(self, *lines: str) -> None:
        self.syslog = list(lines)

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        return condition()


def test_end_to_end_test_fails_for_a_line_that_is_missing_unexpected_or_left_over() -> None:
    def watch(*lines: str) -> Syslog:
        silent = Silent()
        watching = Syslog(silent)  # type: ignore[arg-type]
        silent.syslog += lines
        return watching

    def expect(watching: Syslog, *templates: Template) -> None:
        watching.expect(templates, client=CLIENT, server=SERVER)

    good = watch(BUILT_LINE, FINISHED_LINE)
    expect(good, BUILT, FINISHED)
    good.finish()
    with pytest.raises(AssertionError, match=r"missing: .*302014"):
        expect(watch(BUILT_LINE), BUILT, FINISHED)
    with pytest.raises(AssertionError, match=r"unexpected: .*106015"):
        expect(watch(BUILT_LINE, FINISHED_LINE, LATE_LINE), BUILT, FINISHED)
    with pytest.raises(AssertionError, match=r"unexpected syslog lines:\n.*302013"):
        watch(BUILT_LINE).finish()
