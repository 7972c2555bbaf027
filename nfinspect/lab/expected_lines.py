"""Expected syslog lines: written as templates, and compared as a complete list.

A template is the line itself, with ``#`` for any number and ``{client}``, ``{server}`` for the two
ends. If timing decides, it is a tuple of lines, one of which must appear; an empty string among
them makes it optional. An unexpected line is as wrong as a missing one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Template = str | tuple[str, ...]

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
"""The lines of a session to which inspection has no objection."""

NONE = ""
ENDED: Template = (FINISHED, RESET_BY_CLIENT)
_DENIED = "%ASA-6-106015: Deny TCP (no connection) from "
LATE_FIN = _DENIED + "{server} to {client} flags FIN ACK  on interface inside"
LATE_RESET = _DENIED + "{client} to {server} flags RST  on interface outside"
LATE = (NONE, LATE_FIN, LATE_RESET)
BY_POSTFIX: tuple[Template, ...] = (BUILT, ENDED, LATE, LATE)
"""Like `ORDINARY`, with Postfix as the client. It does not wait for the reply to QUIT. If the reply
comes after Postfix has closed, the kernel answers it with an RST, and also the server's FIN in
flight; timing decides which of these packets still belong to a connection."""


def required(templates: Sequence[Template]) -> int:
    """The number of lines that must appear."""
    return sum(isinstance(each, str) or NONE not in each for each in templates)


def dropped(clause: str) -> tuple[str, ...]:
    """The lines of a session that a ``drop-connection log`` clause ends.

    *clause* is ``N: criterion``, as in the line.
    """
    line = (
        f"%ASA-4-108004: ESMTP Classification: Dropped connection for ESMTP Request {_FROM_CLIENT}"
    )
    return (BUILT, f"{line}; matched Class {clause}", TERMINATED, CLOSED)


def logged(clause: str) -> str:
    """The line for a bare ``log`` clause."""
    line = f"%ASA-6-108005: ESMTP Classification: Received ESMTP Request {_FROM_CLIENT}"
    return f"{line}; matched Class {clause}"


def malicious(argument: str) -> str:
    """The line for a pipe in the *argument* of MAIL or RCPT."""
    return (
        "%ASA-2-108003: Terminating ESMTP connection; malicious pattern detected in the mail"
        f" address {_FROM_CLIENT}. Mail Address:{argument}"
    )


def replaced(character: str, line: str) -> str:
    """The line for a stray *character* in a command *line*; the only one without ports."""
    return (
        f"%ASA-2-108002: SMTP replaced {character}: out {{client_ip}} in {{server_ip}} data: {line}"
    )


def differences(
    lines: Sequence[str],
    templates: Sequence[Template],
    *,
    client: str,
    server: str,
    in_order: bool = True,
) -> list[str]:
    """Return descriptions of what is wrong with *lines*; empty if they are as expected.

    *client* and *server* are addresses; the client's port may be any, the server's is 25. Set
    *in_order* to False for connections that overlap.
    """
    fields = {
        "client": f"{client}/#",
        "server": f"{server}/25",
        "client_ip": client,
        "server_ip": server,
    }
    wanted = [
        [each.format(**fields) for each in ([item] if isinstance(item, str) else item)]
        for item in templates
    ]
    found = []
    for line, choice in _in_turn(lines, wanted) if in_order else _in_any_order(lines, wanted):
        if line is None and choice is not None:
            found.append(f"missing:    {' or '.join(choice)}")
        elif choice is None:
            found.append(f"unexpected: {line}")
        elif line is not None and not _matches(line, choice):
            found.append(f"expected:   {' or '.join(choice)}\n       got: {line}")
    return found


_Pairs = list[tuple[str | None, list[str] | None]]


def _in_turn(lines: Sequence[str], wanted: Sequence[list[str]]) -> _Pairs:
    pairs: _Pairs = []
    left = list(lines)
    for choice in wanted:
        if NONE not in choice:
            pairs.append((left.pop(0) if left else None, choice))
        elif left and _matches(left[0], choice):
            left.pop(0)
    return pairs + [(line, None) for line in left]


def _in_any_order(lines: Sequence[str], wanted: Sequence[list[str]]) -> _Pairs:
    left = list(wanted)
    pairs: _Pairs = []
    for line in lines:
        choice = next((each for each in left if _matches(line, each)), None)
        if choice is not None:
            left.remove(choice)
        pairs.append((line, choice))
    return pairs + [(None, choice) for choice in left if NONE not in choice]


def _matches(line: str, choice: Sequence[str]) -> bool:
    return any(
        re.fullmatch(re.escape(template).replace(r"\#", r"\d+"), line) for template in choice
    )
