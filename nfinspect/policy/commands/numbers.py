"""Ports and protocols by name, and how a line names a port."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from nfinspect.policy.ranges import ALL_PORTS, Ranges
from nfinspect.policy.syntax import Argument, Fragment, WordError, closest

TCP = 6
UDP = 17
IP = 0
"""As a protocol: any."""


def _table(pairs: str) -> dict[str, int]:
    return {name: int(number) for name, number in (pair.split("=") for pair in pairs.split())}


PORTS = _table(
    "aol=5190 bfd=3784 bfd-echo=3785 bgp=179 biff=512 bootpc=68 bootps=67 chargen=19 cifs=3020"
    " citrix-ica=1494 cmd=514 connectedapps-plain=15001 connectedapps-tls=15002 ctiqbe=2748"
    " daytime=13 discard=9 dnsix=195 domain=53 echo=7 exec=512 finger=79 ftp=21 ftp-data=20"
    " gopher=70 h323=1720 hostname=101 http=80 https=443 ident=113 imap4=143 irc=194"
    " isakmp=500 kerberos=750 klogin=543 kshell=544 ldap=389 ldaps=636 login=513"
    " lotusnotes=1352 lpd=515 mobile-ip=434 nameserver=42 netbios-dgm=138 netbios-ns=137"
    " netbios-ssn=139 nfs=2049 nntp=119 non500-isakmp=4500 ntp=123 pcanywhere-data=5631"
    " pcanywhere-status=5632 pim-auto-rp=496 pop2=109 pop3=110 pptp=1723 radius=1645"
    " radius-acct=1646 rip=520 rpc=111 rsh=514 rtsp=554 secureid-udp=5510 sip=5060 smtp=25"
    " snmp=161 snmptrap=162 sqlnet=1521 ssh=22 sunrpc=111 syslog=514 tacacs=49 talk=517"
    " telnet=23 tftp=69 time=37 uucp=540 vxlan=4789 who=513 whois=43 www=80 xdmcp=177"
)
"""By the appliance's name, for TCP and UDP."""

PROTOCOLS = _table(
    "ah=51 ahp=51 eigrp=88 esp=50 gre=47 icmp=1 icmp6=58 igmp=2 igrp=9 ip=0 ipinip=4 ipsec=50"
    " nos=94 ospf=89 pcp=108 pim=103 pptp=47 sctp=132 snp=109 tcp=6 udp=17"
)


def _port(text: str, _: object) -> int:
    if text.isascii() and text.isdigit():
        if len(text) <= 5 and int(text) <= 65535:
            return int(text)
        raise WordError("out of range")
    name = text.lower()
    if name not in PORTS:
        meant = closest(name, PORTS)
        raise WordError(f"no port of that name{f', did you mean {meant}?' if meant else ''}")
    return PORTS[name]


def protocol_of(*numbers: int) -> Callable[[str, object], int]:
    """Return the reader of a protocol, any or one of *numbers*."""

    @lru_cache(256)
    def read(text: str, _: object) -> int:
        value = PROTOCOLS.get(text.lower(), -1)
        if value < 0 and text.isascii() and text.isdigit() and len(text) <= 3:
            value = int(text)
        if not 0 <= value <= 255:
            raise WordError("no protocol of that name or number")
        if numbers and value not in numbers:
            raise WordError("")
        return value

    return read


def ports(values: Mapping[str, Any]) -> Ranges:
    """Return the ports that an operator and its operands stand for."""
    if "first" in values:
        if values["last"] < values["first"]:
            raise WordError("the range ends before it begins", "last")
        return Ranges(((values["first"], values["last"]),))
    port = values["port"]
    match values["operator"]:
        case "eq":
            return Ranges(((port, port),))
        case "neq":
            return Ranges.of(r for r in ((0, port - 1), (port + 1, 65535)) if r[0] <= r[1])
        case "lt":
            first, last = 0, port - 1
        case _:
            first, last = port + 1, 65535
    if last < first:
        raise WordError("there is no such port", "port")
    return Ranges(((first, last),))


ARGUMENTS = {
    "PORT": Argument("a port, by number or name", _port),
    "PROTOCOL": Argument("a protocol, by number or name", protocol_of()),
}

FRAGMENTS = {
    "ports": Fragment(
        "operator:{eq | neq | lt | gt} port:PORT | range first:PORT last:PORT", ports
    ),
    "server-ports": Fragment("operator:eq port:PORT | range first:PORT last:PORT", ports),
}


def port_words(chosen: Ranges) -> str:
    """Return one range of ports as a line writes it; nothing for all of them."""
    if chosen == ALL_PORTS:
        return ""
    if len(chosen.ranges) == 2:  # all but one
        return f"neq {chosen.ranges[0][1] + 1}"
    ((first, last),) = chosen.ranges
    return f"eq {first}" if first == last else f"range {first} {last}"


def protocol_word(number: int) -> str:
    """Return a protocol as a line writes it."""
    return {TCP: "tcp", UDP: "udp", IP: "ip"}.get(number, str(number))
