"""Counters, from the events and from the engine's packet totals.

Call `Counters.observe` for every event, and `Counters.dropped` for every dropped packet.
`inspections` is what show prints, `to_json` what JSON output contains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from nfinspect import events
from nfinspect.actions import DropReason
from nfinspect.events import Event
from nfinspect.policy.model import Clause, Inspection, Policy
from nfinspect.policy.words import reaction_lines


class Totals(Protocol):
    """The engine's counts of one inspection (docs/appliance.md, sections 6 and 10)."""

    @property
    def packet(self) -> int:
        """Packets with new payload."""

    @property
    def drop(self) -> int:
        """Of these, the ones that inspection dropped."""

    @property
    def reset_drop(self) -> int:
        """Of these, the ones that were dropped with a reset."""


TALLIES: dict[type, tuple[str, Callable[[Any], str] | None]] = {
    # event: (name of the tally, what it is broken down by)
    events.ConnectionTornDown: ("torn_down", lambda event: event.reason.value),
    events.InspectionClosed: ("closed_by_inspection", lambda event: event.cause.value),
    events.WouldClose: ("would_close", lambda event: event.cause.value),
    events.AlreadyMasked: ("already_masked", lambda event: event.direction.value),
    events.Uninspected: ("uninspected", lambda event: event.cause.value),
    events.CommandMasked: ("masked_commands", lambda event: event.reason.value),
    events.CharacterReplaced: ("replaced_characters", lambda event: event.character),
    events.ServerAnomaly: ("server_anomalies", lambda event: event.kind.value),
    events.MaliciousAddress: ("malicious_addresses", None),
    events.ParameterMatched: ("parameters", lambda event: event.parameter),
    events.SizeExceeded: ("outgrown_sizes", None),
    events.TlsStarted: ("tls_started", None),
    events.StartTlsInjection: ("starttls_injections", None),
    events.ChunkMasked: ("masked_chunks", None),
    events.IdleProbe: ("idle_probes", lambda event: event.direction.value),
    events.UnseenData: ("unseen_data", None),
    events.SentEarly: ("sent_early", None),
    events.ConflictingBytes: ("conflicting_bytes", None),
    events.DeniedNoConnection: ("denied_without_connection", None),
    events.DuplicateSyn: ("duplicate_syns", None),
    events.TableFull: ("refused_by_full_table", None),
    events.LimitReached: ("limits_reached", lambda event: event.limit.value),
    events.ReplyAwaited: ("replies_awaited", None),
    events.LineUnended: ("unended_lines", None),
    events.MailAnswered: ("answered_mails_with_findings", None),
    events.KeywordsHidden: ("masked_ehlo_replies", None),
}
"""Events that are simply counted, and the name of the count in JSON."""


@dataclass(frozen=True, slots=True)
class InspectionCounts:
    """What show service-policy prints about one inspection."""

    inspection: Inspection
    packet: int
    drop: int
    reset_drop: int
    mask_banner: int | None
    """Greetings masked; None if the map does not mask them."""
    clauses: tuple[tuple[Clause, int], ...]
    """Packets that matched each clause, in the map's order."""
    parameters: tuple[tuple[str, int], ...] = ()
    """The lines of parameters with an action, and how often each acted."""


class Counters:
    """Counts since the start."""

    def __init__(self, *, only_watches: bool = False) -> None:
        """*only_watches*: monitor mode, in which dropped packets are those that would have been."""
        self.only_watches = only_watches
        self.built = 0
        self.in_use = 0
        self.most_used = 0
        self.banners: Counter[str] = Counter()
        """By map name."""
        self.clauses: Counter[tuple[str, int, str]] = Counter()
        """By map name, the clause's position and its criterion: after a change of the policy the
        same place may be another clause's, while older connections still match the former one."""
        self.parameters: Counter[tuple[str, str]] = Counter()
        """By map name and parameter."""
        self.tallies: dict[str, Counter[str]] = {name: Counter() for name, _ in TALLIES.values()}
        """By name of the tally and its breakdown; an empty string if there is none."""
        self.dropped_packets: Counter[DropReason] = Counter()
        self.refused: Counter[str] = Counter()
        """SYNs that a connection limit refused, by who has the limit (`events.LimitReached.scope`)."""

    def observe(self, event: Event) -> None:
        """Count one event."""
        match event:
            case events.ConnectionBuilt():
                self.built += 1
                self.in_use += 1
                self.most_used = max(self.most_used, self.in_use)
            case events.ClauseMatched():
                self.clauses[event.map_name, event.position, event.criterion] += 1
            case events.BannerMasked():
                self.banners[event.map_name] += 1
            case events.CommandSeen() | events.ReplySeen() | events.MessageSeen():
                pass
            case _:
                name, by = TALLIES[type(event)]
                self.tallies[name][by(event) if by else ""] += 1
                if type(event) is events.LimitReached and event.refused:
                    self.refused[event.scope] += 1
                if type(event) is events.ParameterMatched:
                    self.parameters[event.map_name, event.parameter] += 1
                if type(event) is events.ConnectionTornDown:
                    self.in_use -= 1

    def clear_service_policy(self) -> None:
        """``clear service-policy``: count anew what show service-policy prints."""
        self.banners.clear()
        self.clauses.clear()
        self.refused.clear()

    def dropped(self, reason: DropReason) -> None:
        """Count one dropped packet."""
        self.dropped_packets[reason] += 1

    def inspections(
        self, policy: Policy, totals: Mapping[Inspection, Totals]
    ) -> list[InspectionCounts]:
        """Return the counts of every inspection of *policy*, in its order."""
        return [
            self._inspection(inspection, totals.get(inspection))
            for inspection in policy.inspections
        ]

    def _inspection(self, inspection: Inspection, total: Totals | None) -> InspectionCounts:
        used = inspection.map
        return InspectionCounts(
            inspection,
            total.packet if total else 0,
            total.drop if total else 0,
            total.reset_drop if total else 0,
            self.banners[used.name] if used.parameters.mask_banner else None,
            tuple(
                (clause, self.clauses[used.name, clause.position, clause.words])
                for clause in used.clauses
            ),
            tuple(
                (line, self.parameters[used.name, parameter])
                for parameter, line in reaction_lines(used.parameters).items()
            ),
        )

    def to_json(self, policy: Policy, totals: Mapping[Inspection, Totals]) -> dict[str, Any]:
        """Return everything as an object of JSON types.

        ``service_policy`` lists what show service-policy prints; the rest is the connections, the
        packets dropped by reason, and every tally of `TALLIES`.
        """
        return {
            "service_policy": [
                _to_json(each, "would_" * self.only_watches)
                for each in self.inspections(policy, totals)
            ],
            "connections": {
                "built": self.built,
                "in_use": self.in_use,
                "most_used": self.most_used,
            },
            "would_drop_packets" if self.only_watches else "dropped_packets": {
                r.value: n
                for r, n in sorted(self.dropped_packets.items(), key=lambda pair: pair[0].value)
            },
            **{
                name: dict(sorted(self.tallies[name].items())) if by else self.tallies[name][""]
                for name, by in TALLIES.values()
            },
        }


def _to_json(counts: InspectionCounts, prefix: str) -> dict[str, Any]:
    """What show prints of an inspection; *prefix*: of the names of what is dropped."""
    inspection = counts.inspection
    result: dict[str, Any] = {
        "service_policy": inspection.service_policy,
        "global": inspection.is_global,
        "class_map": inspection.class_map,
        "inspect": "esmtp",
        "map": inspection.map.name,
        "packet": counts.packet,
        f"{prefix}drop": counts.drop,
        f"{prefix}reset_drop": counts.reset_drop,
    }
    if counts.mask_banner is not None:
        result["mask_banner"] = counts.mask_banner
    if counts.parameters:
        result["parameters"] = [
            {"parameter": line, "count": count} for line, count in counts.parameters
        ]
    result["match"] = [
        {"clause": f"match {clause.words}", "action": clause.action_words, "packet": packets}
        for clause, packets in counts.clauses
    ]
    return result
