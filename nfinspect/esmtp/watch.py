"""How a connection that is no longer inspected is watched, for a transcript."""

from __future__ import annotations

from nfinspect.esmtp.clauses import Rules
from nfinspect.esmtp.dialogue import AUTH_RESPONSE, CHUNK, CHUNK_ANNOUNCED, MESSAGE
from nfinspect.esmtp.inspector import Inspector
from nfinspect.esmtp.observer import Observer
from nfinspect.esmtp.one_sided import OneSided
from nfinspect.events import Connection, UninspectedCause
from nfinspect.tcp.inspection import StreamInspector

NOT_KNOWN = frozenset({UninspectedCause.MIDSTREAM, UninspectedCause.UNSEEN_DATA})
"""Where inspection ended for these, the client's next line may be anything."""


def watch(
    connection: Connection,
    cause: UninspectedCause,
    inspector: StreamInspector | None,
    rules: Rules,
) -> Observer | OneSided:
    """A watcher that goes on where *inspector*, if there was one, has ended."""
    if cause is UninspectedCause.ONE_SIDED:
        return OneSided(connection, rules)
    observer = Observer(connection, unknown=cause in NOT_KNOWN)
    if isinstance(inspector, Inspector):
        dialogue = inspector.dialogue
        observer.in_message = dialogue.phase == MESSAGE
        observer.authenticating = dialogue.phase == AUTH_RESPONSE
        observer.after_auth = observer.after_auth or inspector.commands.after_auth
        if dialogue.phase in (CHUNK, CHUNK_ANNOUNCED):
            observer.chunk = dialogue.announced
        if cause is UninspectedCause.RECORDED_WITHOUT_FILTER:
            observer.masked_accepted(inspector.replies.first_code, inspector.blob)
        elif cause is UninspectedCause.BARE_LF_ANSWERED:
            observer.masked_accepted(inspector.replies.first_code, 0)
    return observer
