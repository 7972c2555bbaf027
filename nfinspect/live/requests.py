"""What the running filter can be asked: ``status``, ``reload``, ``clear conn``, or ``show`` and the
words after it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from nfinspect.audit.connections import Wanted
from nfinspect.live.control import UnanswerableError

STATUS = "status"
RELOAD = "reload"
DRY_RUN = "--dry-run"
"""After ``reload``."""
CLEAR = "clear"
SHOW = "show"

SERVICE_POLICY = ("service-policy", "inspect", "esmtp")
QUEUE = ("queue",)
SET_CONNECTION = ("service-policy", "set", "connection")
DETAILS = (*SET_CONNECTION, "details")
CONNECTIONS = ("conn",)
LOCAL_HOSTS = ("local-host",)
TRANSLATIONS = ("xlate",)

REQUESTS = (
    SERVICE_POLICY,
    QUEUE,
    CONNECTIONS,
    LOCAL_HOSTS,
    SET_CONNECTION,
    TRANSLATIONS,
    DETAILS,
    *((*CONNECTIONS, word) for word in ("detail", "long", "count", "address", "port")),
)
"""What can be shown; `wanted` and `local_host` read what may follow."""

CLEAR_POLICY = ("service-policy",)


def request(words: Sequence[str]) -> tuple[str, ...]:
    """Return the one of `REQUESTS` that *words* are, in full or shortened to its first words.

    Raises UnanswerableError for anything else.
    """
    if tuple(words[:1]) == CONNECTIONS:
        wanted(words[1:])
        return tuple(words)
    if tuple(words[:1]) == LOCAL_HOSTS:
        local_host(words[1:])
        return tuple(words)
    for known in REQUESTS:
        if words and tuple(words) == known[: len(words)]:
            return known
    available = ", ".join(f"'show {' '.join(known)}'" for known in REQUESTS[:6])
    raise UnanswerableError(f"unknown command 'show {' '.join(words)}'; available: {available}")


def wanted(words: Sequence[str]) -> Wanted:
    """Return which connections the words after ``show conn`` ask for.

    Raises UnanswerableError if they are wrong.
    """
    form, address, port = "", None, None
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("detail", "long", "count") and not form:
            form = word
        elif word == "address" and rest and address is None:
            address = _address(rest.pop(0))
        elif word == "port" and rest and port is None:
            text = rest.pop(0)
            if not (text.isascii() and text.isdigit() and int(text) < 65536):
                raise UnanswerableError(f"'{text}' is no port")
            port = int(text)
        else:
            raise UnanswerableError(
                f"unknown command 'show conn {' '.join(words)}'; available:"
                " 'show conn [detail | long | count] [address ADDRESS] [port PORT]'"
            )
    return Wanted(form, address, port)


def local_host(words: Sequence[str]) -> bytes | None:
    """Return the address in the words after ``show local-host``; None if all hosts are meant.

    Raises UnanswerableError if they are wrong.
    """
    if len(words) > 1:
        raise UnanswerableError("available: 'show local-host [ADDRESS]'")
    return _address(words[0]) if words else None


def _address(text: str) -> bytes:
    try:
        return ip_address(text).packed
    except ValueError as error:
        raise UnanswerableError(f"'{text}' is no IP address") from error


def cleared(words: Sequence[str]) -> bytes | None:
    """Return the address in the words after ``clear``: ``conn``, or ``conn address ADDRESS``; None
    if all connections are meant.

    Raises UnanswerableError for anything else.
    """
    if list(words) == ["conn"]:
        return None
    if list(words[:2]) == ["conn", "address"] and len(words) == 3:
        return _address(words[2])
    raise UnanswerableError(
        f"unknown command 'clear {' '.join(words)}'; available: 'clear conn [address ADDRESS]',"
        " 'clear service-policy'"
    )
