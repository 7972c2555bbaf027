"""The engine that only watches: for a trial beside another firewall, and for replay.

Every packet passes at once and unchanged. What the filter would have done with it comes afterwards,
as ``Would``. The endpoints see nothing of what is decided, as in a capture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mypy_extensions import mypyc_attr

from nfinspect.actions import Accept, Action, Drop, DropReason, Emit, Replace, Would
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.events import Event, Uninspected, UninspectedCause
from nfinspect.flow.permissions import Permissions
from nfinspect.policy.model import UnseenDataAction

WATCHED = Permissions(
    incomplete_handshake=True,
    nobody_reacts=True,
    unfiltered=True,
    only_watches=True,
    unseen_data=UnseenDataAction.UNINSPECTED,
)
"""Live traffic that passes whatever is decided. A handshake may seem incomplete, as a segment of it
that would be dropped passes."""

_CAUSES = {
    UninspectedCause.RECORDED_WITHOUT_FILTER: UninspectedCause.MASKED_ACCEPTED,
    UninspectedCause.BARE_LF_ANSWERED: UninspectedCause.BARE_LF_ACCEPTED,
}
"""Nothing was recorded here: the filter itself has let it pass."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Monitor(Engine):
    """An engine whose permissions have ``only_watches``. A call returns one Accept, of the packet
    that it brought, and before anything else; no Replace, Drop or Inject."""

    def arrive(self, arrival: Arrival) -> list[Action]:
        actions = super().arrive(arrival)
        if len(actions) == 1 and type(actions[0]) is Accept:
            if actions[0].token == arrival.token:
                return actions
        return [Accept(arrival.token), *_told(actions)]

    def tick(self, now: float) -> list[Action]:
        return list(_told(super().tick(now)))

    def flush(self, now: float, reason: DropReason = DropReason.FLUSHED) -> list[Action]:
        """Forget what waits to be inspected: it has passed."""
        flushed = super().flush(now, reason)
        return [action for action in _told(flushed) if isinstance(action, Emit)]


def _told(actions: Iterable[Action]) -> Iterable[Action]:
    """What is reported of decisions that are not carried out."""
    for action in actions:
        if isinstance(action, Drop | Replace):
            yield Would(action)
        elif isinstance(action, Emit):
            yield Emit(_as_watched(action.event), action.token)


def _as_watched(event: Event) -> Event:
    if isinstance(event, Uninspected):
        return replace(event, cause=_CAUSES.get(event.cause, event.cause))
    return event
