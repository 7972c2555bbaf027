"""What a finding's cause means and what cures it, in a line, with the section of the manual."""

from __future__ import annotations

from typing import NamedTuple

MANUAL = "docs/troubleshooting.md"


class Cure(NamedTuple):
    """What to do."""

    text: str
    section: str
    """The anchor of a section in `MANUAL`."""


CURES = {
    # a beginning of the cause: what to do about it
    "match cmd line length": Cure(
        "a higher limit, or 'log' instead of 'drop-connection log'", "long-commands-and-senders"
    ),
    "match cmd RCPT count": Cure(
        "a higher limit; or the sender splits the mail into several of fewer recipients",
        "recipients",
    ),
    "match body line length": Cure(
        "shorter lines at the sender (RFC 5322: 998 at most), or a higher limit", "header-lines"
    ),
    "match header line length": Cure(
        "the sender folds this field (RFC 5322: 998 at most); or a higher limit, or 'log' instead of"
        " 'drop-connection log'",
        "header-lines",
    ),
    "match sender-address length": Cure(
        "a higher limit; long addresses come from SRS, BATV or VERP", "long-commands-and-senders"
    ),
    "match MIME filename length": Cure("a shorter file name, or a higher limit", "attachments"),
    "match ehlo-reply-parameter": Cure(
        "name the keyword in no clause of the map, or 'log' it", "x"
    ),
    "pipe": Cure("an address without '|', or 'pipe-character blank'", "pipes"),
    "unclosed-bracket": Cure("the sender closes the '<' of its address", "brackets"),
    "angle-bracket": Cure("the sender writes '<' and '>' in pairs", "brackets"),
    "starttls-injection": Cure(
        "the client must wait for the reply to STARTTLS (CVE-2011-0411)", "closed-without-a-clause"
    ),
    "unasked-354": Cure("repair the server: it said 354 without DATA", "closed-without-a-clause"),
    "abandoned-by-server": Cure(
        "repair the server: it replied in the middle of a message, an AUTH exchange or STARTTLS",
        "closed-without-a-clause",
    ),
    "server-anomaly": Cure("'server-anomaly log' in the map", "closed-without-a-clause"),
    "unseen-data": Cure(
        "all packets of a connection must pass this filter: look for a second path",
        "closed-without-a-clause",
    ),
    "unknown command": Cure(
        "the verb is not among the fifteen that pass; for STARTTLS: 'allow-tls'", "x"
    ),
    "command shorter": Cure("the client sends a verb of four letters", "x"),
    "incomplete command": Cure("type in line mode, or 'incomplete-command stream'", "typing"),
    "wrong command termination": Cure("the client ends its lines with CR LF", "bare-line-feeds"),
    "line without CR LF": Cure("the client ends its lines with CR LF", "bare-line-feeds"),
    "greeting": Cure("the client waits for the greeting", "waiting"),
    "reply to": Cure("find out why the server does not reply", "waiting"),
    "STARTTLS hidden": Cure(
        "if the client requires TLS, 'allow-tls'; otherwise it had no mail to send", "no-tls"
    ),
    "TLS started": Cure("'no allow-tls' keeps TLS out, if it must be inspected", "no-tls"),
    "recorded without the filter: bare LF": Cure(
        "the client ends its lines with CR LF: behind the filter it would wait for ever",
        "bare-line-feeds",
    ),
    "already masked": Cure("look at the other firewall, on that side", "ask-the-filter"),
}


def cure(cause: str) -> Cure | None:
    """What to do about a finding; None if there is nothing to advise."""
    found = [beginning for beginning in CURES if cause.startswith(beginning)]
    return CURES[max(found, key=len)] if found else None
