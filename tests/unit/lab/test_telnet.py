"""``nfinspect lab telnet``: what it sends, and how it ends."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from click.testing import CliRunner, Result

from nfinspect import cli


@contextmanager
def server(replies: Sequence[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """The port of a server, and what it receives: for each reply but the first a line, in pieces as they come.

    After the last one it closes; if that is empty, only when the client has.
    """
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                lines = b""
                for number, reply in enumerate(replies):
                    while number and b"\r\n" not in lines:
                        received.append(connection.recv(1024))
                        assert received[-1]
                        lines += received[-1]
                    if number:
                        lines = lines.partition(b"\r\n")[2]
                    connection.sendall(reply)
                if not replies[-1]:
                    connection.recv(1024)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1], received
        thread.join()


def telnet(port: int, text: str, *options: str) -> Result:
    words = ["lab", "telnet", "127.0.0.1", str(port), *options]
    return CliRunner().invoke(cli.main, words, input=text, prog_name="nfinspect")


def test_line_is_sent_at_once() -> None:
    with server([b"220 hi\r\n", b"250-one\r\n250 two\r\n", b"221 bye\r\n"]) as (port, received):
        result = telnet(port, "EHLO me\nQUIT\nNOOP\n")
    assert result.exit_code == 0
    assert result.output == "220 hi\nEHLO me\n250-one\n250 two\nQUIT\n221 bye\n"
    assert received == [b"EHLO me\r\n", b"QUIT\r\n"]


def test_keys_are_sent_one_by_one() -> None:
    with server([b"220 hi\r\n", b"500 no\r\n"]) as (port, received):
        result = telnet(port, "HELO\n", "--keys")
    assert result.exit_code == 0
    assert received == [b"H", b"E", b"L", b"O", b"\r\n"]


def test_mail_is_answered_once() -> None:
    replies = [b"220 hi\r\n", b"354 go\r\n", b"", b"", b"250 taken\r\n"]
    with server(replies) as (port, _):
        result = telnet(port, "DATA\nSubject: x\n\n.\n")
    assert result.exit_code == 0
    assert result.output == "220 hi\nDATA\n354 go\nSubject: x\n\n.\n250 taken\n"


@pytest.mark.parametrize(
    ("replies", "message"),
    [
        ([b"220 hi\r\n", b""], "no answer in 0.2 seconds"),
        ([b"220 hi\r\n", b"220"], "the server has closed the connection"),
    ],
)
def test_reply_that_does_not_come_is_an_error(replies: list[bytes], message: str) -> None:
    with server(replies) as (port, _):
        result = telnet(port, "NOOP\n", "--timeout", "0.2")
    assert result.exit_code == 1
    assert message in result.output


def test_server_that_does_not_listen_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    result = telnet(port, "NOOP\n")
    assert result.exit_code == 1
    assert f"127.0.0.1, port {port}: " in result.output
    assert "refused" in result.output
