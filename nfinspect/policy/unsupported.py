"""Appliance commands that nfinspect does not support yet, so that they are not reported as typos.

They remain errors: a configuration must not pretend to do what it does not. The tables need not be
complete; a command that they lack is reported as any unknown word. Remove a row here when the
grammar gets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nfinspect.policy.errors import Finding
from nfinspect.policy.lexer import Word

ANY = "*"
"""Matches any one word."""

LINE = "remove the line"
BLOCK = "remove it and the lines below it"
CLAUSE = "remove the match and its action"
EXEMPT = f"{LINE} (to exempt a host, see docs/troubleshooting.md)"


class Unsupported(NamedTuple):
    """What the tables say about a line."""

    length: int
    """How many words identify it."""
    remedy: str
    is_global: bool
    """It is a global command, outside all modes."""

    @property
    def begins_a_mode(self) -> bool:
        """Whether the lines below it belong to it."""
        return self.remedy is BLOCK


TOP = {
    EXEMPT: "access-list access-group",
    "use inspect esmtp in a class of a policy-map": "fixup",
    BLOCK: "interface object object-group group-policy tunnel-group webvpn ldap time-range tcp-map"
    " aaa-server dynamic-access-policy-record",
    LINE: "asa pix fwsm hostname domain-name enable passwd names name ftp pager logging mtu icmp icmp6"
    " asdm arp arp-inspection nat nat-control global static route route-map router timeout aaa http"
    " snmp-server telnet ssh ssl console threat-detection username prompt call-home crypto isakmp boot"
    " dns banner failover same-security-traffic sysopt service regex clock ntp dhcpd dhcprelay vpdn"
    " management-access privilege user-identity url-server url-block filter established tftp-server"
    " terminal monitor-interface alias conduit outbound virtual firewall license cryptochecksum",
}
"""First words of global commands, by remedy."""

BELOW = {
    LINE: (
        "ip",
        "ipv6",
        "nameif",
        "security-level",
        "shutdown",
        "match any",
        "match port",
        "match dscp",
        "match precedence",
        "match rtp",
        "match tunnel-group",
        "match flow",
        "set",
        "police",
        "priority",
        "shape",
        "ips",
        "csc",
        "cxsc",
        "sfr",
        *(
            f"inspect {other}"
            for other in (
                "ctiqbe dcerpc diameter dns ftp gtp h323 http icmp ils im ip-options ipsec-pass-thru"
                " ipv6 lisp m3ua mgcp mmp netbios pptp radius-accounting rsh rtsp scansafe sctp sip"
                " skinny snmp sqlnet stun sunrpc tftp vxlan waas xdmcp"
            ).split()
        ),
        "mail-relay",
        "special-character",
        "bare-newline",
        "service-policy * interface",
    ),
    EXEMPT: ("match access-list", "match address"),
    "use inspect esmtp": ("inspect smtp",),
    "use drop-connection, which sends no RST": ("reset",),
    CLAUSE: (
        "rate-limit",
        "match not",
        "match body length",
        "match cmd verb",
        "match header length",
        "match header to-fields",
        "match invalid-recipients",
        "match mime encoding",
        "match mime filetype",
        "match sender-address regex",
        *(
            f"match ehlo-reply-parameter {keyword}"
            for keyword in "8bitmime auth binaryname checkpoint dsn ecode etrn pipelining size"
            " vrfy".split()
        ),
    ),
    BLOCK: (
        "class-map type",
        "class-map match-any",
        "class-map match-all",
        *(
            f"policy-map type inspect {other}"
            for other in "dcerpc diameter dns ftp gtp h323 http im ip-options ipsec-pass-thru ipv6 lisp"
            " m3ua mgcp netbios radius-accounting rtsp scansafe sctp sip skinny snmp sunrpc".split()
        ),
    ),
}
"""First words of commands within a mode, or that begin like a supported one, by remedy."""

LINES: dict[tuple[str, ...], tuple[str, bool]] = {
    tuple(first.split()): (remedy, False) for remedy, lines in BELOW.items() for first in lines
} | {(first,): (remedy, True) for remedy, words in TOP.items() for first in words.split()}


def find(words: Sequence[Word]) -> Unsupported | None:
    """Return what the tables say about a line that the grammar does not know."""
    texts = [word.text.lower() for word in words[:5]]
    # `no shutdown`, and the appliance's last line, which is Cryptochecksum:d41d….
    skipped = 1 if texts[0] == "no" else 0
    texts = texts[skipped:]
    if texts:
        texts[0] = texts[0].partition(":")[0]
    for length in range(len(texts), 0, -1):
        for first in (tuple(texts[:length]), _with_any(texts[:length])):
            if first in LINES:
                return Unsupported(skipped + length, *LINES[first])
    return None


def finding(words: Sequence[Word], command: Unsupported, expected: tuple[str, ...]) -> Finding:
    """Return the error about such a line; *expected* is what would be valid there."""
    word = words[command.length - 1]
    return word.finding(
        f"{word.quoted} is appliance syntax that nfinspect does not support yet: {command.remedy}",
        expected,
    )


def _with_any(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(ANY if n == 1 else text for n, text in enumerate(texts))
