"""Connections that are not inspected: commands and replies are listed, nothing is changed."""

from nfinspect.esmtp.observer import Observer
from nfinspect.events import Event
from tests.unit.esmtp.transcript import CONNECTION, command, reply


class Watched:
    """Checks that each direction passes unchanged, and which events it adds."""

    def __init__(self) -> None:
        self.observer = Observer(CONNECTION)

    def client(self, says: bytes, *events: Event) -> "Watched":
        assert self.observer.request(says, len(says), 0) is says
        return self._check(events)

    def server(self, says: bytes, *events: Event) -> "Watched":
        assert self.observer.reply(says) is says
        return self._check(events)

    def _check(self, events: tuple[Event, ...]) -> "Watched":
        assert self.observer.events == list(events)
        self.observer.events.clear()
        return self


def test_both_directions_are_listed() -> None:
    watched = Watched().server(b"220 hi\r\n", reply(b"220 hi"))
    watched.client(b"EHLO x\r\nXF", command(b"EHLO x")).client(b"OO\r\n", command(b"XFOO"))
    watched.server(
        b"250-a\r\n250 b\r\n500 c\r\n", reply(b"250-a"), reply(b"250 b"), reply(b"500 c")
    )
    watched.client(b"DATA\r\n", command(b"DATA")).server(b"354 go\r\n", reply(b"354 go"))
    watched.client(b"QUIT\r\n..\r\n").client(b".\r").client(b"\nQUIT\r\n", command(b"QUIT"))


def test_commands_after_refused_data_are_listed() -> None:
    watched = Watched().server(b"220 hi\r\n", reply(b"220 hi"))
    watched.client(b"DATA\r\n", command(b"DATA")).server(b"503 no\r\n", reply(b"503 no"))
    watched.client(b"QUIT\r\n", command(b"QUIT"))


def test_requests_without_replies_are_listed() -> None:
    watched = Watched().client(
        b"MAIL FROM:<a@b>\r\nDATA\r\n", command(b"MAIL FROM:<a@b>"), command(b"DATA")
    )
    watched.client(b"QUIT\r\n.\r\nQUIT\r\n", command(b"QUIT"))


def test_replies_without_requests_are_listed() -> None:
    Watched().server(b"354 go\r\n250 ok\r\n", reply(b"354 go"), reply(b"250 ok")).server(
        b"221 bye\n", reply(b"221 bye")
    )


def test_late_refusal_of_data_ends_the_supposed_message() -> None:
    watched = Watched().client(b"DATA\r\n", command(b"DATA")).client(b"x\r\n")
    watched.server(b"503 no\r\n", reply(b"503 no")).client(b"QUIT\r\n", command(b"QUIT"))


def test_auth_exchange_is_listed_without_credentials() -> None:
    watched = Watched().server(b"220 hi\r\n", reply(b"220 hi"))
    watched.client(b"AUTH LOGIN\r\n", command(b"AUTH LOGIN")).server(b"334 x\r\n", reply(b"334 x"))
    watched.client(b"Zm9v\r\n", command(b"***")).server(b"235 ok\r\n", reply(b"235 ok"))
    watched.client(b"AUTH PLAIN Zm9v\r\n", command(b"AUTH PLAIN ***"))


def test_chunks_are_not_listed() -> None:
    watched = Watched().client(b"BDAT 8\r\nQUIT\r\n", command(b"BDAT 8"))
    watched.client(b"\r\nBDAT 0 LAST\r\nQUIT\r\n", command(b"BDAT 0 LAST"), command(b"QUIT"))


def test_list_ends_at_accepted_starttls() -> None:
    watched = Watched().client(b"STARTTLS\r\n", command(b"STARTTLS"))
    watched.server(b"220 go\r\n", reply(b"220 go")).client(b"NOOP\r\n").server(b"250 ok\r\n")


def test_list_continues_after_refused_starttls() -> None:
    watched = Watched().client(b"STARTTLS\r\n", command(b"STARTTLS"))
    watched.server(b"454 no\r\n", reply(b"454 no")).client(b"NOOP\r\n", command(b"NOOP"))


def test_list_ends_at_a_client_hello() -> None:
    Watched().client(b"\x16\x03\x01\x02\0\r\n").client(b"NOOP\r\n").server(b"250 ok\r\n")
    Watched().server(b"\x16\x03\x03\0\r\n").client(b"NOOP\r\n")


def test_long_lines_are_truncated() -> None:
    watched = Watched().client(b"x" * 70000).client(b"y\r\n", command(b"x" * 1024))
    watched.server(b"2" * 70000).server(b"\r\n", reply(b"2" * 1024))


def test_long_line_of_dots_does_not_end_a_message() -> None:
    watched = Watched().client(b"DATA\r\n", command(b"DATA"))
    watched.client(b"." * 70000).client(b"\r\nQUIT\r\n.\r\nNOOP\r\n", command(b"NOOP"))


def unknown() -> Watched:
    watched = Watched()
    watched.observer = Observer(CONNECTION, unknown=True)
    return watched


def test_nothing_is_listed_until_a_reply_shows_what_the_client_sends() -> None:
    watched = unknown().client(b"Subject: secret\r\n\r\nQUIT\r\nDATA\r\nhalf a li")
    watched.server(b"250-ok\r\n", reply(b"250-ok")).client(b"ne\r\n")
    watched.server(b"250 queued\r\n", reply(b"250 queued")).client(b"QUIT\r\n", command(b"QUIT"))


def test_lone_dot_shows_that_commands_follow() -> None:
    unknown().client(b"text\r\n..\r\n.\r\nQUIT\r\n", command(b"QUIT"))


def test_354_and_334_show_what_follows_even_if_the_command_was_not_seen() -> None:
    watched = unknown().server(b"354 go\r\n", reply(b"354 go")).client(b"QUIT\r\n.\r\n")
    watched.server(b"250 ok\r\n", reply(b"250 ok")).client(b"NOOP\r\n", command(b"NOOP"))
    unknown().server(b"334 x\r\n", reply(b"334 x")).client(b"c2VjcmV0\r\n", command(b"***"))


def test_reply_after_a_message_shows_that_it_is_over_even_if_its_dot_is_missing() -> None:
    watched = Watched().server(b"354 go\r\n", reply(b"354 go")).client(b"text\r\n")
    watched.server(b"250 ok\r\n", reply(b"250 ok")).client(b"QUIT\r\n", command(b"QUIT"))


def test_after_missing_bytes_nothing_is_listed_until_the_next_reply() -> None:
    watched = Watched().server(b"220 hi\r\n", reply(b"220 hi")).client(b"EHLO")
    watched.observer.missed()
    watched.client(b" x\r\nc2VjcmV0\r\n")
    watched.server(b"250 ok\r\n", reply(b"250 ok")).client(b"NOOP\r\n", command(b"NOOP"))


def test_bytes_that_xexch50_announces_are_no_commands() -> None:
    watched = Watched().server(b"220 hi\r\n", reply(b"220 hi"))
    watched.client(b"xexch50 12 2\r\n", command(b"xexch50 12 2"))
    watched.server(b"354 go\r\n", reply(b"354 go")).client(b"QUIT\r\n\0\nXX")
    watched.client(b"\r\nNOOP\r\n", command(b"NOOP"))
    watched.client(b"XEXCH50 12 2\r\n", command(b"XEXCH50 12 2"))
    watched.server(b"504 no\r\n", reply(b"504 no")).client(b"QUIT\r\n", command(b"QUIT"))


def test_auth_responses_without_visible_replies_are_not_listed() -> None:
    watched = Watched().client(b"AUTH LOGIN\r\n", command(b"AUTH LOGIN"))
    watched.client(b"dXNlcg==\r\nc2VjcmV0\r\n", command(b"***"), command(b"***"))
    watched.client(b"MAIL FROM:<a@b>\r\n", command(b"MAIL FROM:<a@b>"))
    watched.client(b"NOOP\r\n", command(b"NOOP"))
