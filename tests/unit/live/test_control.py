"""The control socket: one request, one answer, and no client can delay the filter."""

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from nfinspect.live import control
from nfinspect.live.control import (
    Answer,
    ControlError,
    ControlServer,
    UnanswerableError,
    ask,
)


def echo(words: list[str]) -> Answer:
    if words == ["fail"]:
        raise UnanswerableError("that makes no sense")
    return Answer(" ".join(words) + "\n", words)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control"


@pytest.fixture
def server(path: Path) -> Iterator[ControlServer]:
    server = ControlServer(path, echo)
    yield server
    server.close()


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(5)
    connection.connect(str(path))
    return connection


class Serving(threading.Thread):
    """Serves the socket as the worker's loop does."""

    def __init__(self, server: ControlServer) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.005):
            self._server.serve()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def test_request_is_answered_with_text_and_data(path: Path, server: ControlServer) -> None:
    with Serving(server):
        assert ask(path, ["show", "queue"]) == Answer("show queue\n", ["show", "queue"])


def test_long_answer_arrives_complete(path: Path) -> None:
    answer = Answer("x" * 3_000_000, None)
    server = ControlServer(path, lambda words: answer)
    with Serving(server):
        assert ask(path, ["show"]) == answer
    server.close()


def test_unanswerable_request_is_an_error_with_the_reason(
    path: Path, server: ControlServer
) -> None:
    with Serving(server), pytest.raises(UnanswerableError, match="that makes no sense"):
        ask(path, ["fail"])


def test_request_of_plain_words_gets_one_line_of_json(path: Path, server: ControlServer) -> None:
    with connect(path) as client:
        client.sendall(b"show  queue\n")
        server.serve()
        assert json.loads(client.recv(1000)) == {
            "text": "show queue\n",
            "data": ["show", "queue"],
        }
        assert client.recv(1000) == b""


def test_request_in_pieces_is_answered_when_it_is_complete(
    path: Path, server: ControlServer
) -> None:
    with connect(path) as client:
        for piece in (b"show", b" que", b"ue"):
            client.sendall(piece)
            server.serve()
        client.sendall(b"\n")
        server.serve()
        assert json.loads(client.recv(1000))["text"] == "show queue\n"


def test_socket_is_accessible_only_to_its_owner(path: Path, server: ControlServer) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_another_user_is_disconnected_although_it_could_open_the_socket(
    path: Path, server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = control._Peer(process=1, user=os.geteuid() + 1, group=0)
    monkeypatch.setattr(control, "_peer", lambda connection: other)
    with connect(path) as client:
        client.sendall(b"show queue\n")
        server.serve()
        with pytest.raises(ConnectionResetError):
            client.recv(1000)


@pytest.mark.parametrize(
    "sent", [b"", b"show", b"x" * 2000, b"\xff\xfe\n", b"\n", b"show\nshow\nshow\n"]
)
def test_client_never_delays_the_filter_whatever_it_sends(
    path: Path, server: ControlServer, sent: bytes
) -> None:
    with connect(path) as client:
        client.sendall(sent)
        started = time.monotonic()
        for _ in range(10):
            server.serve()
        assert time.monotonic() - started < 1


def test_client_that_reads_nothing_is_disconnected_after_a_timeout(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CLIENT_TIMEOUT", 0.05)
    server = ControlServer(path, lambda words: Answer("x" * 10_000_000, None))
    with connect(path) as client:
        client.sendall(b"show\n")
        server.serve()
        assert len(server._clients) == 1
        time.sleep(0.06)
        server.serve()
        assert server._clients == []
    server.close()


def test_client_beyond_the_bound_waits_and_is_served_later(
    path: Path, server: ControlServer
) -> None:
    idle = [connect(path) for _ in range(control.CLIENTS)]
    server.serve()
    with connect(path) as late:
        late.sendall(b"show\n")
        server.serve()
        late.setblocking(False)
        with pytest.raises(BlockingIOError):
            late.recv(1)
        for client in idle:
            client.close()
        server.serve()
        server.serve()
        assert late.recv(1000)


def test_socket_left_by_a_dead_filter_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = ControlServer(path, echo)
    with Serving(server):
        assert ask(path, ["a"]).text == "a\n"
    server.close()


def test_socket_of_a_running_filter_is_kept_and_the_error_names_its_process(
    path: Path, server: ControlServer
) -> None:
    with pytest.raises(
        ControlError, match=rf"another nfinspect \(process {os.getpid()}\) is listening on"
    ):
        ControlServer(path, echo)
    with Serving(server):
        assert ask(path, ["a"]).text == "a\n"


def test_file_that_is_not_a_socket_is_kept(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ControlError, match="is not a socket"):
        ControlServer(path, echo)
    assert path.read_text() == "precious"


def test_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        ControlError, match=r"cannot create the control socket .*: No such file or directory"
    ):
        ControlServer(tmp_path / "nowhere" / "control", echo)


def test_close_removes_the_socket(path: Path) -> None:
    ControlServer(path, echo).close()
    assert not path.exists()


def test_close_keeps_the_socket_of_a_successor(path: Path) -> None:
    first = ControlServer(path, echo)
    path.unlink()
    second = ControlServer(path, echo)
    first.close()
    assert path.exists()
    second.close()


def test_request_without_a_listening_filter_is_an_error(path: Path) -> None:
    with pytest.raises(ControlError, match=f"no filter is listening on {path}"):
        ask(path, ["show"])


def test_request_to_a_filter_that_hangs_times_out(
    path: Path, server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CLIENT_TIMEOUT", 0.05)
    with pytest.raises(ControlError, match="does not answer"):
        ask(path, ["show"])


def test_answer_that_takes_a_while_holds_up_nobody_else(path: Path) -> None:
    later: Future[Answer] = Future()
    server = ControlServer(path, lambda words: later if words == ["slow"] else echo(words))
    with Serving(server), connect(path) as slow:
        slow.sendall(b"slow\n")
        assert ask(path, ["quick"]).data == ["quick"]
        later.set_result(Answer("done\n", 1))
        with slow.makefile("rb") as file:
            assert json.loads(file.readline()) == {"text": "done\n", "data": 1}
    server.close()


def test_answer_that_fails_after_a_while_is_an_error(path: Path) -> None:
    later: Future[Answer] = Future()
    later.set_exception(UnanswerableError("the file is faulty"))
    server = ControlServer(path, lambda words: later)
    with Serving(server), pytest.raises(UnanswerableError, match="the file is faulty"):
        ask(path, ["slow"])
    server.close()
