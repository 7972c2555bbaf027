"""A policy that inspects port 25 by a given map."""

from __future__ import annotations

from dataclasses import replace

from nfinspect.policy import default_policy
from nfinspect.policy.model import InspectionMap, Policy


def policy_with(inspection_map: InspectionMap) -> Policy:
    base = default_policy()
    (known,) = base.inspections
    inspection = replace(known, map=inspection_map)
    return replace(
        base,
        plans={port: replace(plan, inspection=inspection) for port, plan in base.plans.items()},
        inspections=(inspection,),
        service_policies=tuple(
            replace(
                applied,
                classes=tuple(
                    replace(each, inspection=inspection) if each.inspection == known else each
                    for each in applied.classes
                ),
            )
            for applied in base.service_policies
        ),
    )
