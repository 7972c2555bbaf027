"""The control socket, for queries to the running filter.

A client connects, writes one line of words (``show queue``), and reads one line of JSON: an object
with ``text`` for people and ``data`` for machines, or one with ``error``. The server runs in the
worker's loop: it never waits for a client, and disconnects one that is slow, sends too much, or is
not root.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from struct import Struct
from time import monotonic
from typing import Any, NamedTuple

DEFAULT_PATH = Path("/run/nfinspect.sock")

CLIENTS = 8
"""Connections served at the same time; further ones wait."""

REQUEST_LIMIT = 1024
"""Bytes."""

CLIENT_TIMEOUT = 5.0
"""Seconds for a whole exchange, for client and server."""

UCRED = Struct("=iII")  # process id, user id, group id of SO_PEERCRED


class ControlError(Exception):
    """The socket cannot be created, or the filter cannot be queried; the message says why."""


class NoFilterError(ControlError):
    """No filter is listening."""


class Answer(NamedTuple):
    """The same answer twice: for people, and for machines (JSON types)."""

    text: str
    data: Any


class UnanswerableError(Exception):
    """The request is not understood, or cannot be fulfilled; the message says why."""


Answering = Callable[[list[str]], Answer | Future[Answer]]
"""From the words of a request to its answer, or to where the answer will be."""


class ControlServer:
    """Listens on a Unix socket that only root, or the user who runs the filter, may open."""

    def __init__(self, path: Path, answer: Answering) -> None:
        """Listen on *path*; *answer* gets the words of a request.

        The socket of a filter that has ended is replaced. Raises ControlError if another filter is
        listening there, or if the socket cannot be created.
        """
        self._path = path
        self._answer = answer
        self._clients: list[_Client] = []
        self._socket = _listen(path)
        status = path.stat()
        self._identity = status.st_dev, status.st_ino

    def serve(self) -> None:
        """Do what can be done without waiting."""
        while len(self._clients) < CLIENTS:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # no client, or it has gone again
                break
            connection.setblocking(False)
            if _peer(connection).user in (0, os.geteuid()):
                self._clients.append(_Client(connection))
            else:
                connection.close()
        if self._clients:
            now = monotonic()
            self._clients = [each for each in self._clients if each.proceed(self._answer, now)]

    def close(self) -> None:
        """Stop listening and remove the socket, unless another filter has replaced it."""
        for client in self._clients:
            client.connection.close()
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            status = self._path.stat()
            if (status.st_dev, status.st_ino) == self._identity:
                self._path.unlink()


class _Client:
    """One connection, from its request to the last byte of the answer."""

    __slots__ = ("_answer", "_deadline", "_request", "_response", "connection")

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._request = b""
        self._answer: Answer | Future[Answer] | None = None
        self._response: bytes | None = None
        self._deadline = monotonic() + CLIENT_TIMEOUT

    def proceed(self, answer: Answering, now: float) -> bool:
        """Read and write as far as possible; returns whether there is more to do."""
        try:
            while b"\n" not in self._request:
                received = self.connection.recv(REQUEST_LIMIT)
                self._request += received
                if not received or len(self._request) > REQUEST_LIMIT:
                    raise ConnectionError
            if self._response is None:
                self._response = self._respond(answer)
            while self._response:
                self._response = self._response[self.connection.send(self._response) :]
        except BlockingIOError:
            if now < self._deadline:
                return True
        except OSError:
            pass
        self.connection.close()
        return False

    def _respond(self, answer: Answering) -> bytes:
        """The response. Raises BlockingIOError if it is not there yet."""
        try:
            if self._answer is None:
                words = self._request.split(b"\n", 1)[0].decode(errors="replace").split()
                self._answer = answer(words)
            if isinstance(self._answer, Future):
                if not self._answer.done():
                    raise BlockingIOError
                self._answer = self._answer.result()
            response = self._answer._asdict()
        except UnanswerableError as reason:
            response = {"error": str(reason)}
        return json.dumps(response).encode() + b"\n"


def ask(path: Path, words: list[str]) -> Answer:
    """Query the filter that listens on *path*.

    Raises UnanswerableError with the filter's message if it does not understand the request, and
    ControlError if no filter answers.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(CLIENT_TIMEOUT)
        try:
            connection.connect(os.fspath(path))
            connection.sendall(" ".join(words).encode() + b"\n")
            with connection.makefile("rb") as file:
                response = json.loads(file.readline())
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NoFilterError(f"no filter is listening on {path}") from error
        except PermissionError as error:
            raise ControlError(f"only root may query the filter on {path}") from error
        except (OSError, ValueError) as error:
            raise ControlError(f"the filter on {path} does not answer ({error})") from error
    if "error" in response:
        raise UnanswerableError(response["error"])
    return Answer(response["text"], response["data"])


class _Peer(NamedTuple):
    process: int
    user: int
    group: int


def _peer(connection: socket.socket) -> _Peer:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
    return _Peer(*UCRED.unpack(credentials))


def _listen(path: Path) -> socket.socket:
    _make_room(path)
    listener = socket.socket(socket.AF_UNIX)
    # umask, not a later chmod, so that nobody can connect in between.
    mask = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
        listener.listen(CLIENTS)
    except OSError as error:
        listener.close()
        raise ControlError(f"cannot create the control socket {path}: {error.strerror}") from error
    finally:
        os.umask(mask)
    listener.setblocking(False)
    return listener


def _make_room(path: Path) -> None:
    """Remove a socket on which nobody is listening."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ControlError(f"cannot create the control socket {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"{path} exists but is not a socket; choose another with --control")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(CLIENT_TIMEOUT)
        try:
            connection.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise ControlError(f"{path} is in use, but nothing answers on it ({error})") from error
        raise ControlError(
            f"another nfinspect (process {_peer(connection).process}) is listening on {path};"
            f" stop it, or choose another socket with --control"
        )
