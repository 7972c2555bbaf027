"""A new policy for the running filter: read again and checked beside the loop, adopted in it.

Connections that are open keep what they began with; only new ones follow the new policy. A file that
cannot be used changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic_ns

from nfinspect.live import rollback
from nfinspect.live.aside import Aside
from nfinspect.live.control import Answer, UnanswerableError
from nfinspect.live.foresight import foresee
from nfinspect.live.iptables import Notice, RulesError
from nfinspect.live.notify import notify
from nfinspect.policy import Configuration, ConfigurationError
from nfinspect.policy.model import Policy
from nfinspect.rules.diversion import Diversion
from nfinspect.rules.of_policy import diversion_of

NO_FILE = "it is the default, without a file (run --config FILE)"
RULES_STAY = (
    "the rules do not follow, as this filter has not applied them: whom they divert, exempt"
    " and translate is still what the former configuration says (nfinspect rules --apply)"
)
UNCHANGED = "the policy stays as it is: "


class Reload:
    """Answers SIGHUP and the control socket's ``reload`` and ``reload --dry-run``."""

    def __init__(
        self,
        read: Callable[[], Configuration] | None,
        adopt: Callable[[Configuration], None],
        diversion: Diversion | None,
        report: Callable[[str], None],
        divert: Callable[[Diversion], list[str]] = rollback.apply,
        *,
        now: Configuration | None = None,
        queue: int = 0,
    ) -> None:
        """*read* reads and checks the configuration, and raises ConfigurationError or OSError; None
        if there is no file. *adopt* hands it to the filter. *diversion* is what the filter has
        applied, None if somebody else takes care of the rules; *divert* applies another one. *now* is
        the configuration that it follows, and *queue* what it reads.
        """
        self._read = read
        self._adopt = adopt
        self._diversion = diversion
        self._report = report
        self._divert = divert
        self._now = now
        self._queue = queue
        self._curious: list[Future[Answer]] = []
        """Clients that want to know what would change."""
        self._foreseeing: Aside[Answer | str] = Aside("configuration")
        self._wanted = False
        self._asked: list[Future[Answer]] = []
        """Clients that wait for the next reading."""
        self._waiting: list[Future[Answer]] = []
        """Clients that wait for the present one."""
        self._messages: list[str] = []
        self._reading: Aside[Configuration | str] = Aside("configuration")
        self._diverting: Aside[list[str]] = Aside("rules")

    def want(self) -> None:
        """Let the next round of the loop begin; may be called by a signal handler."""
        self._wanted = True

    def ask(self) -> Future[Answer]:
        """The same; returns where the answer will be."""
        future: Future[Answer] = Future()
        self._asked.append(future)
        return future

    def foresee(self) -> Future[Answer]:
        """Return where the answer will be what a reload would change; nothing is changed."""
        future: Future[Answer] = Future()
        self._curious.append(future)
        return future

    def serve(self) -> None:
        """Do what can be done without waiting."""
        if self._reading.busy:
            outcome = self._reading.take()
            if isinstance(outcome, str):
                self._refuse(outcome)
            elif outcome is not None:
                self._accept(outcome)
        elif self._diverting.busy:
            warnings = self._diverting.take()
            if warnings is not None:
                self._finish(
                    [
                        f"{'notice' if isinstance(each, Notice) else 'warning'}: {each}"
                        for each in warnings
                    ]
                )
        elif self._foreseeing.busy:
            foreseen = self._foreseeing.take()
            if foreseen is not None:
                self._tell(foreseen)
        elif self._curious:
            self._look_ahead()
        elif self._wanted or self._asked:
            self._wanted = False
            self._waiting, self._asked = self._asked, []
            if self._read is None:
                self._refuse(NO_FILE)
                return
            notify(f"RELOADING=1\nMONOTONIC_USEC={monotonic_ns() // 1000}")
            read = self._read
            self._reading.start(lambda: _checked(read))

    def _refuse(self, reason: str) -> None:
        self._report(f"error: {UNCHANGED}{reason}")
        for future in self._waiting:
            future.set_exception(UnanswerableError(UNCHANGED + reason))
        notify("READY=1")

    def _look_ahead(self) -> None:
        read, now = self._read, self._now
        if read is None or now is None:
            self._tell(NO_FILE)
            return
        diversion = self._diversion

        def look() -> Answer | str:
            then = _checked(read)
            if isinstance(then, str):
                return then
            was = diversion or diversion_of(now.policy, self._queue)
            rules = was, self._grown(then.policy, was) or was
            return foresee(now, then, rules, applies=diversion is not None)

        self._foreseeing.start(look)

    def _tell(self, foreseen: Answer | str) -> None:
        curious, self._curious = self._curious, []
        for future in curious:
            if isinstance(foreseen, str):
                future.set_exception(UnanswerableError(foreseen))
            else:
                future.set_result(foreseen)

    def _accept(self, configuration: Configuration) -> None:
        self._adopt(configuration)
        before, self._now = self._now, configuration
        self._messages = [f"notice: {notice}" for notice in configuration.notices]
        if self._diversion is None and before is None:
            self._finish([])
        else:
            self._diverting.start(lambda: self._follow(before, configuration.policy))

    def _follow(self, before: Configuration | None, policy: Policy) -> list[str]:
        """Let the rules follow, and return what there is to say. Not in the worker's loop: a long
        access list takes its time."""
        old = self._diversion
        if old is None:
            changed = before is not None and diversion_of(before.policy) != diversion_of(policy)
            return [RULES_STAY] if changed else []
        grown = self._grown(policy, old)
        if grown is None:
            return []
        self._diversion = grown
        return self._applied(grown)

    @staticmethod
    def _grown(policy: Policy, old: Diversion) -> Diversion | None:
        """The rules of the policy, if they are others. A port that is no longer in it stays
        diverted: connections that are open there are still inspected."""
        new = diversion_of(policy, old.first_queue, old.queues, old.fail_open, bridged=old.bridged)
        grown = dataclasses.replace(new, ports=tuple(sorted({*old.ports, *new.ports})))
        return None if grown == old else grown

    def _applied(self, diversion: Diversion) -> list[str]:
        try:
            return [*self._divert(diversion), *map(Notice, diversion.notes)]
        except RulesError as error:
            return [f"cannot apply the rules: {error}"]

    def _finish(self, more: list[str]) -> None:
        text = (
            "notice: the configuration was read again: it applies to new connections"
            " (nfinspect clear conn ends the open ones)"
        )
        messages = [text, *self._messages, *more]
        for message in messages:
            self._report(message)
        for future in self._waiting:
            future.set_result(Answer("".join(f"{each}\n" for each in messages), messages))
        notify("READY=1")


def _checked(read: Callable[[], Configuration]) -> Configuration | str:
    """The configuration, or why it cannot be used."""
    try:
        return read()
    except ConfigurationError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
