"""Work beside the worker's loop: what may take long, such as running iptables, must not hold up
packets."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Aside(Generic[Result]):
    """At most one piece of work at a time, in a thread that ends with the process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._future: Future[Result] | None = None

    @property
    def busy(self) -> bool:
        """Work has been started, and its result not been taken."""
        return self._future is not None

    def start(self, work: Callable[[], Result]) -> None:
        """Begin *work*."""
        assert not self.busy
        future: Future[Result] = Future()
        self._future = future
        Thread(target=_do, args=(work, future), name=self._name, daemon=True).start()

    def take(self) -> Result | None:
        """Return the result, once; None as long as there is none. Raises what the work raised."""
        if self._future is None or not self._future.done():
            return None
        future, self._future = self._future, None
        return future.result()


def _do(work: Callable[[], Result], future: Future[Result]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)
