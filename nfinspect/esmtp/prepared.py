"""ESMTP inspection as the engine knows it: prepared once for each ``inspect esmtp`` of a policy."""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from nfinspect.esmtp.clauses import compile_map
from nfinspect.esmtp.inspector import Inspector
from nfinspect.esmtp.watch import watch
from nfinspect.events import Connection, Event, UninspectedCause
from nfinspect.policy.model import Inspection, InspectionMap
from nfinspect.tcp.inspection import PreparedInspection, StreamInspector, StreamWatcher


@mypyc_attr(allow_interpreted_subclasses=True)
class EsmtpInspection(PreparedInspection):
    """The compiled clauses of a map, and what its inspectors are told."""

    __slots__ = ("events", "rules", "transcript", "unfiltered")

    def __init__(
        self, inspection_map: InspectionMap, *, transcript: bool = False, unfiltered: bool = False
    ) -> None:
        """See `Inspector`."""
        super().__init__()
        self.rules = compile_map(inspection_map, self.clock)
        self.events: list[Event] = []
        """Of whichever inspector was called last: a list for each would be 3 % of an idle connection."""
        self.transcript = transcript
        self.unfiltered = unfiltered

    def begin(self, connection: Connection) -> StreamInspector:
        return Inspector(
            connection,
            self.rules,
            transcript=self.transcript,
            unfiltered=self.unfiltered,
            events=self.events,
        )

    def watch(
        self, connection: Connection, cause: UninspectedCause, inspector: StreamInspector | None
    ) -> StreamWatcher:
        return watch(connection, cause, inspector, self.rules)


def prepare_esmtp(inspection: Inspection, transcript: bool, unfiltered: bool) -> EsmtpInspection:
    """Prepares an ``inspect esmtp``; see `Inspector` for the rest."""
    return EsmtpInspection(inspection.map, transcript=transcript, unfiltered=unfiltered)
