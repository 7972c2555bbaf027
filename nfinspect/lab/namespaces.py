"""Programs and sockets in the three namespaces of a lab.

Everything that is started there ends with the lab, even if its block is left by an exception or Ctrl-C,
and its directory is removed.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pyroute2 import netns

from nfinspect.lab import place, topology
from nfinspect.lab.topology import LabError, Shape

Argument = str | Path

NFINSPECT = (sys.executable, "-m", "nfinspect")
"""The command, as a user would start it."""

_numbers = itertools.count(1)


class Namespaces(AbstractContextManager["Namespaces"]):
    """Client, filter and server, for the duration of a ``with`` block.

    Without a *prefix* the lab gets a unique name, so any number of labs can coexist. The others are as
    in `topology.Shape`.
    """

    def __init__(
        self,
        prefix: str | None = None,
        *,
        offloads: bool = True,
        bridge: bool = False,
        nat: bool = False,
        ipv6: bool = False,
    ) -> None:
        self.prefix = f"nfi{os.getpid()}-{next(_numbers)}" if prefix is None else prefix
        self.shape = Shape(offloads, bridge, nat, ipv6)
        self.directory = place.directory(self.prefix)
        """For the files of the lab's programs; readable by all, as mail servers switch users."""
        self._closing: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        topology.build(self.prefix, self.shape)
        return self

    @property
    def bridge(self) -> bool:
        return self.shape.bridge

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with _undisturbed():
            while self._closing:
                try:
                    self._closing.pop()()
                except (OSError, subprocess.SubprocessError, LabError):
                    if error is None:
                        topology.remove(self.prefix)
                        raise
            topology.remove(self.prefix)

    def at_close(self, callback: Callable[[], object]) -> None:
        """Call *callback* when the lab is taken down; the last one registered is called first."""
        self._closing.append(callback)

    def run(
        self,
        where: str,
        argv: Sequence[Argument],
        *,
        input: str | None = None,
        timeout: float = 60,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the namespace *where* to its end, and return its output.

        Raises LabError with that output if the program takes longer than *timeout* seconds, or, if
        *check* is true, if it fails.
        """
        process = self.popen(where, argv, stdin=subprocess.PIPE)
        try:
            out, err = process.communicate(input or "", timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise LabError(
                f"{argv[0]} in {where} took longer than {timeout} s: {out}{err}"
            ) from None
        if check and process.returncode != 0:
            raise LabError(f"{argv[0]} in {where} ended with {process.returncode}: {out}{err}")
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def popen(
        self,
        where: str,
        argv: Sequence[Argument],
        *,
        stdin: int | IO[Any] = subprocess.DEVNULL,
        stdout: int | IO[Any] = subprocess.PIPE,
        stderr: int | IO[Any] = subprocess.PIPE,
        environment: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[str]:
        """Start a program in the namespace *where*; it ends with the lab at the latest.

        It runs in its own session, so that Ctrl-C reaches only this process, which then ends it.
        """
        return subprocess.Popen(
            topology.command(self.prefix, where, argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=os.environ | (environment or {}),
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=pass_fds,
        )

    def socket(
        self, where: str, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM
    ) -> socket.socket:
        """Return a new socket in the namespace *where*, usable from any thread."""
        return socket_in(topology.full_name(self.prefix, where), family, kind)


def socket_in(name: str, family: int, kind: int) -> socket.socket:
    """Return a new socket in the network namespace *name*, usable from any thread."""
    made: list[socket.socket | OSError] = []
    path = Path(netns.NETNS_RUN_DIR) / name

    def make() -> None:
        # Only this short-lived thread changes its namespace; the socket stays in it.
        try:
            with path.open("rb") as namespace:
                if _libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
            made.append(socket.socket(family, kind))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore signals that would end the process while a lab is taken down."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
