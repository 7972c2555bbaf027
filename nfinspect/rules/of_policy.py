"""What the rules of a policy divert, exempt, translate and intercept."""

from __future__ import annotations

from nfinspect.policy.model import Policy
from nfinspect.rules.counting import covered, has_limits
from nfinspect.rules.diversion import Diversion
from nfinspect.rules.exemption import exempting
from nfinspect.rules.interception import intercepts
from nfinspect.rules.translation import nat_rules


def diverted_ports(policy: Policy) -> tuple[int, ...]:
    """Return the server ports that the policy covers, inspected or not."""
    return tuple(sorted(policy.plans))


def diversion_of(
    policy: Policy,
    first_queue: int = 0,
    queues: int = 1,
    fail_open: bool = False,
    *,
    bridged: bool = False,
) -> Diversion:
    """Return what the rules of *policy* divert, exempt and translate."""
    return Diversion(
        diverted_ports(policy),
        first_queue,
        queues,
        fail_open,
        exempting(policy, bridged=bridged),
        nat_rules(policy),
        bridged,
        intercepts(policy) and not bridged,
        has_limits(policy),
        covered(policy),
    )
