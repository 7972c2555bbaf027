"""Reading the configuration again: what is adopted, when, and what is said."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from nfinspect.live.control import Answer, UnanswerableError
from nfinspect.live.iptables import RulesError
from nfinspect.live.reload import Reload
from nfinspect.policy import (
    Configuration,
    ConfigurationError,
    Finding,
    default_configuration,
    parse_policy,
)
from nfinspect.policy.model import Plan, Policy
from nfinspect.rules.diversion import Diversion

DEFAULT = default_configuration()
AGAIN = (
    "notice: the configuration was read again: it applies to new connections"
    " (nfinspect clear conn ends the open ones)"
)
FAULT = Finding("my.cfg", 3, 1, "unknown command")


def with_ports(*ports: int) -> Configuration:
    return Configuration(Policy(dict.fromkeys(ports, Plan(None)), ()), ())


class Filter:
    """A running filter whose file is a function of the test."""

    def __init__(
        self,
        read: Callable[[], Configuration] | None,
        diversion: Diversion | None = None,
        divert: Callable[[Diversion], list[str]] = lambda diversion: [],
    ) -> None:
        self.adopted: list[Configuration] = []
        self.reports: list[str] = []
        self.diverted: list[Diversion] = []

        def note(diversion: Diversion) -> list[str]:
            self.diverted.append(diversion)
            return divert(diversion)

        self.reload = Reload(read, self.adopted.append, diversion, self.reports.append, note)

    def rounds(self, number: int = 6) -> None:
        """Serve, each time after the threads have done their work."""
        for _ in range(number):
            self.reload.serve()
            for thread in threading.enumerate():
                if thread.name in ("configuration", "rules"):
                    thread.join(10)


def test_nothing_is_read_unless_somebody_asks() -> None:
    filter_ = Filter(lambda: pytest.fail("read"))
    filter_.rounds()
    assert filter_.reports == []


def test_signal_lets_the_filter_adopt_what_the_file_says_now() -> None:
    filter_ = Filter(lambda: DEFAULT)
    filter_.reload.want()
    filter_.rounds()
    assert filter_.adopted == [DEFAULT]
    assert filter_.reports == [AGAIN]


def test_notices_about_the_file_are_passed_on() -> None:
    notice = Finding("my.cfg", 1, 1, "worth knowing")
    filter_ = Filter(lambda: Configuration(DEFAULT.policy, (), (notice,)))
    answer = filter_.reload.ask()
    filter_.rounds()
    assert filter_.reports == [AGAIN, "notice: my.cfg:1:1: worth knowing"]
    assert answer.result().text == "".join(f"{line}\n" for line in filter_.reports)


def raising(error: Exception) -> Callable[[], Configuration]:
    def read() -> Configuration:
        raise error

    return read


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConfigurationError([FAULT]), "my.cfg:3:1: unknown command"),
        (FileNotFoundError(2, "No such file or directory", "my.cfg"), "my.cfg: No such file"),
        (OSError("my.cfg is no regular file"), "my.cfg is no regular file"),
    ],
)
def test_file_that_cannot_be_used_changes_nothing_and_says_why(
    error: Exception, reason: str
) -> None:
    filter_ = Filter(raising(error), Diversion((25,)))
    answer = filter_.reload.ask()
    filter_.rounds()
    assert filter_.adopted == filter_.diverted == []
    (report,) = filter_.reports
    assert report.startswith(f"error: the policy stays as it is: {reason}")
    with pytest.raises(UnanswerableError, match="the policy stays as it is: "):
        answer.result()


def test_filter_without_a_file_says_so() -> None:
    filter_ = Filter(None)
    filter_.reload.want()
    filter_.rounds()
    assert filter_.reports == [
        "error: the policy stays as it is: it is the default, without a file (run --config FILE)"
    ]


def test_request_during_a_reading_gets_another_one() -> None:
    """The one that has begun may have read what the file said before."""
    readings: list[int] = []
    asked: list[Future[Answer]] = []

    def read() -> Configuration:
        readings.append(len(readings))
        if len(readings) == 1:
            asked.append(filter_.reload.ask())
        return DEFAULT

    filter_ = Filter(read)
    first = filter_.reload.ask()
    filter_.rounds()
    assert readings == [0, 1]
    assert first.done()
    assert asked[0].done()


def test_several_requests_before_a_reading_share_it() -> None:
    filter_ = Filter(lambda: DEFAULT)
    answers = [filter_.reload.ask(), filter_.reload.ask()]
    filter_.reload.want()
    filter_.rounds()
    assert [answer.done() for answer in answers] == [True, True]
    assert len(filter_.adopted) == 1


def test_rules_that_the_filter_has_applied_grow_with_the_ports_and_after_the_policy() -> None:
    order: list[str] = []
    filter_ = Filter(
        lambda: with_ports(25, 587),
        Diversion((25, 2525), 3),
        lambda diversion: order.append(f"rules, {len(filter_.adopted)} adopted") or [],
    )
    filter_.reload.want()
    filter_.rounds()
    # 2525 is kept: connections that are open there are still inspected.
    assert filter_.diverted == [Diversion((25, 587, 2525), 3)]
    assert order == ["rules, 1 adopted"]
    filter_.reload.want()
    filter_.rounds()
    assert len(filter_.diverted) == 1


@pytest.mark.parametrize("diversion", [None, Diversion((25,)), Diversion((25, 587))])
def test_rules_of_others_or_the_same_ones_are_left_alone(diversion: Diversion | None) -> None:
    ports = (25, 587) if diversion is None else (25,)
    filter_ = Filter(lambda: with_ports(*ports), diversion)
    filter_.reload.want()
    filter_.rounds()
    assert filter_.diverted == []
    assert filter_.reports == [AGAIN]


def test_rules_that_cannot_be_applied_are_a_warning() -> None:
    def refuse(diversion: Diversion) -> list[str]:
        raise RulesError("IPv4: denied")

    filter_ = Filter(lambda: with_ports(25, 587), Diversion((25,)), refuse)
    answer = filter_.reload.ask()
    filter_.rounds()
    assert len(filter_.adopted) == 1
    assert filter_.reports == [AGAIN, "warning: cannot apply the rules: IPv4: denied"]
    assert answer.result().data == filter_.reports


def test_manager_is_told_of_the_reading_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("nfinspect.live.reload.notify", told.append)
    filter_ = Filter(lambda: DEFAULT)
    filter_.reload.want()
    filter_.rounds()
    assert [each.split("=")[0] for each in told] == ["RELOADING", "READY"]
    assert "\nMONOTONIC_USEC=" in told[0]


def test_rules_that_the_filter_has_not_applied_do_not_follow_and_that_is_said() -> None:
    filter_ = Filter(lambda: with_ports(25, 587))
    filter_.reload._now = with_ports(25)
    filter_.reload.want()
    filter_.rounds()
    first, warning = filter_.reports
    assert first == AGAIN
    assert warning.startswith("warning: the rules do not follow, as this filter has not applied")
    filter_.reload.want()
    filter_.rounds()
    assert filter_.reports[2:] == [AGAIN]


# ---- what would change


def foreseen(
    lines: str, error: Exception | None = None, diversion: Diversion | None = None
) -> tuple[Filter, Future[Answer]]:
    filter_ = Filter(lambda: parse_policy(lines, "my.cfg") if error is None else raising(error)())
    filter_.reload = Reload(
        filter_.reload._read,
        filter_.adopted.append,
        diversion,
        filter_.reports.append,
        lambda diversion: pytest.fail("applied"),
        now=DEFAULT,
        queue=3,
    )
    answer = filter_.reload.foresee()
    filter_.rounds()
    assert (filter_.adopted, filter_.reports) == ([], [])
    return filter_, answer


EXEMPTING = """\
access-list l permit ip any host 10.0.0.1
class-map l
 match access-list l
class-map s
 match port tcp eq 587
policy-map global_policy
 class l
  no inspect esmtp
 class s
  inspect esmtp
"""


def test_dry_run_says_what_would_change_and_changes_nothing() -> None:
    _, answer = foreseen(EXEMPTING, diversion=Diversion((25,), 7))
    text, data = answer.result()
    lines = text.splitlines()
    assert lines[0] == "rules:"
    assert "  IPv4: + -A NFINSPECT-C1 -d 10.0.0.1/32 -g NFINSPECT-EXEMPT" in lines
    assert any("--dport 587" in line and line.endswith("--queue-num 7") for line in lines)
    assert not any(line.startswith("  IPv6:") and "10.0.0.1" in line for line in lines)
    assert "  port 587: not covered -> inspect esmtp _default_esmtp_map, class s" in lines
    assert "  + access-list l extended permit ip any host 10.0.0.1" in lines
    assert lines[-1] == "nothing has been changed (nfinspect reload does it)"
    assert data["plans"] == {
        "587": {"now": "not covered", "then": "inspect esmtp _default_esmtp_map, class s"}
    }
    assert data["rules_of_this_filter"] is True


def test_dry_run_of_an_unchanged_file_finds_nothing() -> None:
    _, answer = foreseen("")
    rules, *others = answer.result().text.splitlines()
    assert rules == "rules (not this filter's: nfinspect rules --apply changes them): unchanged"
    assert others[:2] == ["plans, of new connections: unchanged", "configuration: unchanged"]


def test_dry_run_of_a_faulty_file_says_why() -> None:
    _, answer = foreseen("", ConfigurationError([FAULT]))
    with pytest.raises(UnanswerableError, match=r"my\.cfg:3:1: unknown command"):
        answer.result()
    filter_ = Filter(None)
    answer = filter_.reload.foresee()
    filter_.rounds()
    with pytest.raises(UnanswerableError, match="it is the default, without a file"):
        answer.result()
