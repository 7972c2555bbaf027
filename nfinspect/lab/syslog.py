"""Syslog lines as they are expected: written down as templates, compared as a whole list.

A template is the line itself, with ``#`` for any number and ``{client}``, ``{server}`` for the two
ends. A line that nobody expects is as wrong as one that is missing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

BUILT = (
    "%ASA-6-302013: Built inbound TCP connection # for outside:{client} ({client})"
    " to inside:{server} ({server})"
)
_TORN_DOWN = (
    "%ASA-6-302014: Teardown TCP connection # for outside:{client} to inside:{server}"
    " duration #:#:# bytes # "
)
FINISHED = _TORN_DOWN + "TCP FINs"
RESET_BY_CLIENT = _TORN_DOWN + "TCP Reset-O"
CLOSED = _TORN_DOWN + "Flow closed by inspection"
_FROM_CLIENT = "from outside:{client} to inside:{server}"
_FROM_SERVER = "from inside:{server} to outside:{client}"
_TERMINATED = " terminated by inspection engine, reason - inspector disconnected, dropped packet."
TERMINATED = f"%ASA-4-507003: tcp flow {_FROM_CLIENT}{_TERMINATED}"
TERMINATED_AT_REPLY = f"%ASA-4-507003: tcp flow {_FROM_SERVER}{_TERMINATED}"
TLS_STARTED = (
    "%ASA-6-108007: TLS started on ESMTP session between client outside:{client}"
    " and server inside:{server}"
)

ORDINARY = (BUILT, FINISHED)
"""What a session leaves that inspection has nothing to say about."""


def dropped(clause: str) -> tuple[str, ...]:
    """The lines of a session that a ``drop-connection log`` clause ends.

    *clause* is ``N: criterion``, as the line tells it.
    """
    line = (
        f"%ASA-4-108004: ESMTP Classification: Dropped connection for ESMTP Request {_FROM_CLIENT}"
    )
    return (BUILT, f"{line}; matched Class {clause}", TERMINATED, CLOSED)


def logged(clause: str) -> str:
    """The line of a bare ``log`` clause."""
    line = f"%ASA-6-108005: ESMTP Classification: Received ESMTP Request {_FROM_CLIENT}"
    return f"{line}; matched Class {clause}"


def malicious(argument: str) -> str:
    """The line of a pipe in the *argument* of MAIL or RCPT."""
    return (
        "%ASA-2-108003: Terminating ESMTP connection; malicious pattern detected in the mail"
        f" address {_FROM_CLIENT}. Mail Address:{argument}"
    )


def replaced(character: str, line: str) -> str:
    """The line of a stray *character* in a command *line*; only here no port is told."""
    return (
        f"%ASA-2-108002: SMTP replaced {character}: out {{client_ip}} in {{server_ip}} data: {line}"
    )


def differences(
    lines: Sequence[str],
    templates: Sequence[str],
    *,
    client: str,
    server: str,
    in_order: bool = True,
) -> list[str]:
    """Return what is wrong with *lines*, in words; nothing if they are just what is expected.

    *client* and *server* are addresses; ports are any on the client's side and 25 on the server's.
    Not *in_order* is for connections that overlap.
    """
    fields = {
        "client": f"{client}/#",
        "server": f"{server}/25",
        "client_ip": client,
        "server_ip": server,
    }
    wanted = [template.format(**fields) for template in templates]
    if in_order:
        pairs = list(zip_longest(lines, wanted))
    else:
        pairs = _paired(lines, wanted)
    found = []
    for line, template in pairs:
        if line is None:
            found.append(f"missing:    {template}")
        elif template is None:
            found.append(f"unexpected: {line}")
        elif not _matches(line, template):
            found.append(f"instead of: {template}\n      came: {line}")
    return found


def _paired(lines: Sequence[str], wanted: Sequence[str]) -> list[tuple[str | None, str | None]]:
    left = list(wanted)
    pairs: list[tuple[str | None, str | None]] = []
    for line in lines:
        template = next((each for each in left if _matches(line, each)), None)
        if template is not None:
            left.remove(template)
        pairs.append((line, template))
    return pairs + [(None, template) for template in left]


def _matches(line: str, template: str) -> bool:
    return re.fullmatch(re.escape(template).replace(r"\#", r"\d+"), line) is not None
