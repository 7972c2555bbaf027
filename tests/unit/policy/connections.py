"""Helpers: a policy from lines, and what it does to a connection."""

from ipaddress import ip_address

from nfinspect.policy import Configuration, parse_policy
from nfinspect.policy.classify import Classifier, OpeningConnection
from nfinspect.policy.model import Plan, Policy

APPLIED = """
policy-map p
 class c
  {action}
service-policy p global
"""


def configuration(*lines: str) -> Configuration:
    return parse_policy("\n".join(lines), "a.cfg")


def class_of(*lines: str, action: str = "no inspect esmtp") -> Policy:
    """The policy that does *action* to the class ``c`` that *lines* define."""
    return configuration(*lines, *APPLIED.format(action=action).splitlines()).policy


def connection(
    source: str = "10.0.0.1",
    destination: str = "192.168.1.1",
    port: int = 25,
    *,
    source_port: int = 40000,
    arrives: str = "",
    leaves: str = "",
) -> OpeningConnection:
    client, server = ip_address(source), ip_address(destination)
    assert client.version == server.version
    return OpeningConnection(
        client.version, int(client), source_port, int(server), port, arrives, leaves
    )


def plan(policy: Policy, *endpoints: str, **options) -> Plan:
    return Classifier(policy).plan(connection(*endpoints, **options))


def in_class(policy: Policy, *endpoints: str, **options) -> bool:
    """Whether a connection is in class ``c`` of `class_of`."""
    return plan(policy, *endpoints, **options).decided_by == "c"


def findings(found) -> list[tuple[int, str]]:
    return [(finding.line, finding.message) for finding in found]
