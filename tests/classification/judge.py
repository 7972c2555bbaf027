"""Compares what the rules did to SYNs with what the engine would decide about them."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from random import Random

from nfinspect.arrival import Arrival
from nfinspect.esmtp.prepared import prepare_esmtp
from nfinspect.flow.core import Core
from nfinspect.flow.permissions import EngineOptions
from nfinspect.packet.segment import Segment, parse
from nfinspect.policy import parse_policy
from nfinspect.policy.model import Policy
from tests.classification.drawing import Setting, draw_connections, draw_setting
from tests.classification.ground import Ground, Passed, datagram_of


class Verdict(enum.Enum):
    """What a SYN shows."""

    INSPECTED = "inspected: queued"
    EXEMPT = "exempt: not queued"
    NO_CLASS = "not inspected, and not exempt for sure: queued or not"
    """In no class, or bypassing, or from a server's port, too, which the filter drops."""
    NOT_DIVERTED = "a port that nobody inspects: not queued"
    FORGED = "from a server's port, which the filter drops: queued"
    LOST = "not seen again"
    NEEDLESS = "exempt, and queued all the same"
    # faults
    BYPASS = "FAULT: classify inspects it, and the rules do not queue it"
    STRAY = "FAULT: nobody inspects its port, and the rules queue it"
    UNREFUSED = "FAULT: from a server's port, and the rules do not queue it"

    @property
    def is_fault(self) -> bool:
        return self.value.startswith("FAULT")


@dataclass(slots=True)
class Tally:
    policies: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter)


def judge(core: Core, policy: Policy, passed: Passed) -> Verdict:
    """Return what a SYN shows of the rules of *policy*, whose engine has *core*."""
    connection, queued = passed.connection, passed.queued
    if not passed.egress:
        return Verdict.LOST
    to_server = policy.plan(passed.destination_port) is not None
    from_server = policy.plan(connection.source_port) is not None
    if not (to_server or from_server):
        return Verdict.STRAY if queued else Verdict.NOT_DIVERTED
    if not to_server:
        return Verdict.FORGED if queued else Verdict.UNREFUSED
    arrival = Arrival(
        None, behind_translation(passed), 0.0, ingress=passed.ingress, egress=passed.egress
    )
    segment = parse(arrival.datagram, None)
    assert isinstance(segment, Segment)
    plan = core.plan(*core.endpoints(arrival, segment))
    if plan.inspection is not None:
        return Verdict.INSPECTED if queued else Verdict.BYPASS
    if plan.decided_by and not plan.state_bypass and not from_server:
        return Verdict.NEEDLESS if queued else Verdict.EXEMPT
    return Verdict.NO_CLASS


def behind_translation(passed: Passed) -> bytes:
    """Return the SYN as it is in FORWARD."""
    destination = str(ip_address(passed.destination))
    there = replace(
        passed.connection, destination=destination, destination_port=passed.destination_port
    )
    return datagram_of(there, 1)


def try_policy(
    ground: Ground, seed: int, connections: int, tally: Tally
) -> tuple[Setting, list[tuple[Passed, Verdict]]]:
    """Return the policy of a seed, and what each of its connections shows."""
    chance = Random(seed)
    setting = draw_setting(chance, translates=not ground.bridge and chance.random() < 0.5)
    policy = parse_policy(setting.text, "policy.cfg", dict(setting.devices)).policy
    if error := ground.apply(setting):
        raise AssertionError(f"the rules of seed {seed} cannot be applied: {error}")
    core = Core(policy, EngineOptions(), prepare_esmtp, 0.0)
    drawn = draw_connections(chance, connections, policy.plans, setting.mapped)
    judged = [(passed, judge(core, policy, passed)) for passed in ground.send(drawn)]
    tally.policies += 1
    tally.verdicts.update(verdict for _, verdict in judged)
    return setting, judged
