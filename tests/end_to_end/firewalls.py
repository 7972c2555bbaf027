"""Rule sets in the shape in which Docker, ufw and firewalld make them, as far as forwarding goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Command = tuple[Sequence[str], str]
"""A program with its arguments, and its input."""


@dataclass(frozen=True, slots=True)
class Firewall:
    """One program that manages a firewall."""

    name: str
    start: Sequence[Command]
    """What it does as it starts."""
    permit: Sequence[Command]
    """What its operator does, so that mail may pass from the outside to the inside."""
    reload: Sequence[Command]
    """What it does when it reads its configuration again, the permission included."""


# Docker: FORWARD drops what no chain accepts, and the operator's rules are in DOCKER-USER.

_DOCKER_CHAINS = ("DOCKER", "DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2")
_DOCKER = """\
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s {network} ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
"""
_DOCKER_NETWORKS = {"iptables": "172.17.0.0/16", "ip6tables": "fd00:17::/64"}


def _both(*words: str) -> list[Command]:
    return [((program, *words), "") for program in _DOCKER_NETWORKS]


DOCKER = Firewall(
    "docker",
    [
        (("ip", "link", "add", "docker0", "type", "bridge"), ""),
        *(
            ((f"{program}-restore", "--noflush"), _DOCKER.format(network=network))
            for program, network in _DOCKER_NETWORKS.items()
        ),
    ],
    [
        command
        for criteria in (
            "-i outside -o inside -p tcp --dport 25",
            "-i inside -o outside -p tcp --sport 25 -m conntrack --ctstate ESTABLISHED",
        )
        for command in _both("-I", "DOCKER-USER", *criteria.split(), "-j", "ACCEPT")
    ],
    # dockerd as it starts again: its chains anew, its calls at the top
    [
        *_both("-F", "DOCKER"),
        *_both("-D", "FORWARD", "-j", "DOCKER-ISOLATION-STAGE-1"),
        *_both("-I", "FORWARD", "-j", "DOCKER-ISOLATION-STAGE-1"),
        *_both("-D", "FORWARD", "-j", "DOCKER-USER"),
        *_both("-I", "FORWARD", "-j", "DOCKER-USER"),
    ],
)


# ufw: chains before, of the user, and after; the policy of FORWARD is DEFAULT_FORWARD_POLICY.


def _ufw(prefix: str, user: str) -> str:
    parts = ("before", "user", "after", "reject", "track")
    lines = ["*filter", ":FORWARD DROP [0:0]"]
    lines += [f":{prefix}-{part}-forward - [0:0]" for part in parts]
    lines += [f":{prefix}-logging-deny - [0:0]"]
    lines += [
        f"-A {prefix}-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"-A {prefix}-before-forward -j {prefix}-user-forward",
        user,
    ]
    return "\n".join([*lines, "COMMIT", ""])


_UFW = {"iptables": "ufw", "ip6tables": "ufw6"}
_UFW_ROUTE = "-A {}-user-forward -i outside -o inside -p tcp --dport 25 -j ACCEPT"
"""ufw route allow in on outside out on inside to any port 25 proto tcp"""


def _ufw_loads(user: str) -> list[Command]:
    return [
        ((f"{program}-restore", "-n"), _ufw(prefix, user.format(prefix)))
        for program, prefix in _UFW.items()
    ]


UFW = Firewall(
    "ufw",
    [
        *_ufw_loads(""),
        *(
            ((program, "-A", "FORWARD", "-j", f"{prefix}-{part}-forward"), "")
            for program, prefix in _UFW.items()
            for part in ("before", "after", "reject", "track")
        ),
    ],
    [((program, *_UFW_ROUTE.format(prefix).split()), "") for program, prefix in _UFW.items()],
    _ufw_loads(_UFW_ROUTE),
)


# firewalld with nftables: a table of its own, whose FORWARD rejects what no policy accepts.

_FIREWALLD = """\
table inet firewalld
delete table inet firewalld
table inet firewalld {{
	chain filter_FORWARD {{
		type filter hook forward priority filter + 10; policy accept;
		ct state {{ established, related }} accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		jump filter_FORWARD_ZONES
		reject with icmpx admin-prohibited
	}}
	chain filter_FORWARD_ZONES {{
		iifname "outside" oifname "inside" goto filter_FWD_policy_mail
		iifname "outside" reject with icmpx admin-prohibited
	}}
	chain filter_FWD_policy_mail {{
		{allowed}
		reject with icmpx admin-prohibited
	}}
	chain nat_PREROUTING {{
		type nat hook prerouting priority dstnat + 10; policy accept;
	}}
	chain nat_POSTROUTING {{
		type nat hook postrouting priority srcnat + 10; policy accept;
	}}
}}
"""
_PERMITTED: Command = (
    ("nft", "-f", "-"),
    _FIREWALLD.format(allowed="tcp dport 25 ct state { new, untracked } accept"),
)

FIREWALLD = Firewall(
    "firewalld",
    [(("nft", "-f", "-"), _FIREWALLD.format(allowed=""))],
    [_PERMITTED],
    [_PERMITTED],
)

FLUSH = [
    ((program, "-t", table, option), "")
    for program in ("iptables", "ip6tables")
    for table in ("security", "raw", "mangle", "nat", "filter")
    for option in ("-F", "-X", "-Z")
]
"""firewalld with iptables, as it starts or reloads: everybody's rules go."""
