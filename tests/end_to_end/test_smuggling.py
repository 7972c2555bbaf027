r"""SMTP smuggling (SEC Consult 2023) to a server that accepts every variant: two mails without the rule, and
the second never with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from nfinspect.lab.dialogue import ClientConnection
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import SCRIPT_ADDRESS
from tests.end_to_end.ends import eventually
from tests.end_to_end.lenient import LenientServer

VARIANTS = (
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r.\n",
    b"\n.\r",
    b"\n\n.\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n\0.\n",
    b"\r\n\0.\r",
)
FIRST, SECOND = b"<first@client.example>", b"<smuggled@evil.example>"
ENVELOPE = b"MAIL FROM:" + FIRST + b"\r\nRCPT TO:<a@mail.example>\r\nDATA\r\n"
TEXT = b"Subject: first\r\n\r\ntext"
SMUGGLED = (
    b"MAIL FROM:" + SECOND + b"\r\nRCPT TO:<b@mail.example>\r\nDATA\r\nSubject: 2\r\n\r\nx\r\n.\r\n"
)
MAP = """\
policy-map type inspect esmtp strict
 parameters
  mask-banner
  bare-newline action {action}
class-map inspection_default
 match default-inspection-traffic
policy-map global_policy
 class inspection_default
  inspect esmtp strict
service-policy global_policy global
"""


@pytest.fixture(scope="module")
def server(plain_lab: Lab) -> LenientServer:
    return LenientServer(plain_lab, SCRIPT_ADDRESS)


def begin(lab: Lab) -> ClientConnection:
    client = ClientConnection.open(lab, SCRIPT_ADDRESS, timeout=20)
    client.reply()
    client.command("EHLO client.example")
    client.send(ENVELOPE)
    for _ in range(3):
        client.reply()
    return client


def smuggle(lab: Lab, variant: bytes, cuts: tuple[int, ...] = ()) -> ClientConnection:
    """Send the two mails, in one packet or cut at these places of the variant."""
    client = begin(lab)
    whole = TEXT + variant + SMUGGLED
    edges = [0, *(len(TEXT) + cut for cut in cuts), len(whole)]
    with contextlib.suppress(ConnectionError):  # reset before the rest has been sent
        for at, to in pairwise(edges):
            client.send(whole[at:to])
    return client


def test_each_variant_is_two_mails_without_the_rule(plain_lab: Lab, server: LenientServer) -> None:
    running = plain_lab.filter()
    for variant in VARIANTS:
        since = len(server.recordings)
        with smuggle(plain_lab, variant):
            eventually(lambda since=since: len(server.mails(since)) == 2)
        assert server.mails(since) == [FIRST, SECOND]
    running.stop()


@pytest.fixture(scope="module", params=["drop-connection log", "reset", "mask log"])
def strict(
    request: pytest.FixtureRequest, plain_lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningFilter]:
    config = tmp_path_factory.mktemp("map") / "strict.cfg"
    config.write_text(MAP.format(action=request.param))
    running = plain_lab.filter(Path(config))
    yield running
    running.stop()


def test_no_variant_brings_the_second_mail_with_the_rule(
    plain_lab: Lab, server: LenientServer, strict: RunningFilter
) -> None:
    for variant in VARIANTS:
        cuts = [(), *((at,) for at in range(1, len(variant))), tuple(range(len(variant) + 1))]
        for cut in cuts:
            since, closed = len(server.recordings), ends(strict)
            with smuggle(plain_lab, variant, cut):
                # Masked, the mail goes on to its true end; otherwise the connection is closed.
                eventually(
                    lambda since=since, closed=closed: server.mails(since) or ends(strict) > closed
                )
                assert SECOND not in server.mails(since), (variant, cut)


def ends(running: RunningFilter) -> int:
    """Connections that inspection has closed."""
    return sum("507003" in line for line in running.syslog)
