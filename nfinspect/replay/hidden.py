"""Which keyword of an EHLO reply a command makes use of.

Most keywords announce a verb, or a parameter of MAIL or RCPT, of the same name; the tables have the
others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

VERBS = {"BDAT": "CHUNKING"}
"""Verbs of another name than their keyword: RFC 3030."""

PARAMETERS = {
    "BODY=8BITMIME": "8BITMIME",  # RFC 6152
    "BODY=BINARYMIME": "BINARYMIME",  # RFC 3030
    "BY": "DELIVERBY",  # RFC 2852
    "ENVID": "DSN",  # RFC 3461
    "HOLDFOR": "FUTURERELEASE",  # RFC 4865
    "HOLDUNTIL": "FUTURERELEASE",
    "NOTIFY": "DSN",
    "ORCPT": "DSN",
    "RET": "DSN",
    "SOLICIT": "NO-SOLICITING",  # RFC 3865
    "TRANSID": "CHECKPOINT",  # RFC 1845
}
"""Parameters of another name than their keyword; with the value where that decides."""

USED_ANYWAY = ("HELP", "VRFY")
"""Verbs that pass, and that clients do not expect to be announced (RFC 5321 section 4.1.1)."""

SMTPUTF8 = "SMTPUTF8"
"""Also needed for an address beyond ASCII (RFC 6531 section 3.4)."""

_VERB = re.compile(r"[^\s=]*")
_ADDRESSES = ("MAIL", "RCPT", "SAML", "SEND", "SOML")


def keywords_used(command: str) -> Iterator[str]:
    """The keywords, in capitals, of which a command line makes use if a server announces them. Those that
    clients use anyway make use of none."""
    line = command.upper()
    found = _VERB.match(line)
    verb = found[0] if found else ""
    if verb not in USED_ANYWAY:
        yield VERBS.get(verb, verb)
    if verb not in _ADDRESSES:
        return
    address, bracket, rest = line.rpartition(">")
    for word in rest.split() if bracket else line.split()[2:]:
        name = word.partition("=")[0]
        yield PARAMETERS.get(word) or PARAMETERS.get(name, name)
    if not address.isascii():
        yield SMTPUTF8
