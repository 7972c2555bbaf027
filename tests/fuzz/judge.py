"""What has to have come out at the end of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nfinspect.events import ConflictingBytes, ConnectionTornDown, InspectionClosed, TeardownReason
from tests.fuzz import mail
from tests.fuzz.guard import DifferenceError
from tests.fuzz.showing import state

if TYPE_CHECKING:
    from tests.fuzz.session import Session
    from tests.model.stack import Stack


def judge(session: Session) -> None:
    """DifferenceError if it is not what the oracle says."""
    kind = session.kind
    if session.ended:
        _judge_servers(session)
        return
    ends = [event for event in session.events if isinstance(event, ConnectionTornDown)]
    if kind.hostile or any(event.reason is TeardownReason.SYN_TIMEOUT for event in ends):
        _judge_rule(session)  # a handshake may take longer than the filter waits for it
        return
    requests, replies = bytes(session.server.received), bytes(session.client.received)
    if session.script is None:
        fault = _compare_swapped(session, requests, replies)
    else:
        fault = _compare_mail(session, session.script, requests, replies)
    if fault:
        raise DifferenceError(fault)
    closes = [event for event in session.events if isinstance(event, InspectionClosed)]
    if len(closes) != kind.closed:
        raise DifferenceError(f"closed {len(closes)} times")
    if kind.closed:
        return
    if not all(end.done or _waits_for_its_fin(end) for end in (session.client, session.server)):
        raise DifferenceError(f"not done: {state(session.client)}; {state(session.server)}")
    if [event.reason for event in ends] != [TeardownReason.TCP_FINS]:
        raise DifferenceError(f"ended by {ends}")
    inspected = session.guard.streams[0].free is None
    if inspected and ends[0].bytes_passed != len(requests) + len(replies):
        raise DifferenceError(f"{ends[0]} counts not {len(requests) + len(replies)} bytes")
    if not session.forged and any(isinstance(e, ConflictingBytes) for e in session.events):
        raise DifferenceError("an honest repetition is taken for a conflict")


def _waits_for_its_fin(end: Stack) -> bool:
    """All is said and read, but the last acknowledgement got lost again and again, for longer than
    the filter knows a finished connection (``Limits.linger``)."""
    read = end.peer_fin is not None and end.rcv > end.peer_fin and not end.unread
    return end.gave_up and end.una == end.fin_number and read


def _compare_swapped(session: Session, requests: bytes, replies: bytes) -> str:
    """What differs; empty if nothing does."""
    ideal_requests = bytes(session.client.stream).partition(b"#")[0].swapcase()
    ideal_replies = bytes(session.server.stream).swapcase()
    if session.kind.closed:
        if not ideal_requests.startswith(requests):
            return f"the server got {requests!r}"
        if replies.count(b"+") != ideal_replies.count(b"+"):
            return f"{ideal_replies.count(b'+')} replies, {replies.count(b'+')} arrived"
        return "" if ideal_replies.startswith(replies) else f"the client got {replies!r}"
    if requests != ideal_requests:
        return f"the server got {requests!r} instead of {ideal_requests!r}"
    if replies != ideal_replies:
        return f"the client got {replies!r} instead of {ideal_replies!r}"
    return ""


def _compare_mail(session: Session, script: mail.Script, requests: bytes, replies: bytes) -> str:
    """What differs; empty if nothing does."""
    whole, by_byte = mail.ideal(script), mail.ideal(script, by_byte=True)
    if session.kind.closed:
        end = whole.said.find(script.fatal) + len(script.fatal) - 1
        if len(requests) > end:
            return f"the server got {len(requests)} bytes, {end} are lawful"
        tail = bytes(whole.said[len(whole.requests) : end])
        whole.requests += tail
        by_byte.requests += tail
    fault = mail.agrees(requests, whole.requests, by_byte.requests, whole.said)
    if fault:
        return f"the server got {fault}"
    fault = mail.agrees(replies, whole.replies, by_byte.replies, whole.answered)
    if fault:
        return f"the client got {fault}"
    if len(replies) != len(session.server.stream):
        return f"{len(session.server.stream)} bytes of replies, {len(replies)} arrived"
    if session.kind.closed:
        return ""
    inspected = len(whole.requests)
    if requests[inspected:] != bytes(whole.said[inspected:]):
        return f"behind the inspected part the server got {requests[inspected:]!r}"
    return "" if len(requests) == len(whole.said) else "requests are missing"


def _judge_rule(session: Session) -> None:
    """What was received was approved, and what was inspected was sent."""
    for stream, heard, arrived in zip(
        session.guard.streams, session.heard, session.arrived, strict=True
    ):
        approved, got = stream.approved, stream.receiver.received
        if stream.free is not None:
            got = got[: stream.free]
        if approved.startswith(got):
            got = bytearray()
        for at, byte in enumerate(got):
            if at >= len(approved) or (
                byte != approved[at] and (byte != 0x58 or at >= stream.conceded)
            ):
                raise DifferenceError(
                    f"received {bytes(got[at : at + 30])!r} at {at}, approved is "
                    f"{bytes(approved[at : at + 30])!r}"
                )
        unseen = _unsupported(heard, arrived)
        if unseen is not None and session.kind.hostile:
            raise DifferenceError(f"inspection has read at {unseen} what nobody sent")


def _judge_servers(session: Session) -> None:
    """The filter and the server may disagree about how many connections there were. Even so, what
    each socket of the server has delivered is a prefix of what a single inspector has approved."""
    for server in (*session.servers, session.server):
        got = bytes(server.received)
        for inspector, approved in session.approved:
            if approved.startswith(got) or (
                inspector.uninspected is not None and got.startswith(approved)
            ):
                break
        else:
            if got:
                raise DifferenceError(
                    f"a socket of the server has received {got!r}, approved were "
                    + ", ".join(repr(approved) for _, approved in session.approved)
                )


def _unsupported(read: bytes, arrived: list[tuple[int, bytes]]) -> int | None:
    """The first place of what inspection has read that no packet brought so; None if all is."""
    missing = bytearray(b"\1") * len(read)
    for start, payload in arrived:
        begin = max(start, 0)
        end = min(start + len(payload), len(read))
        if begin >= end:
            continue
        part = payload[begin - start : end - start]
        if read[begin:end] == part:
            missing[begin:end] = bytes(end - begin)
        else:
            for at, byte in enumerate(part, begin):
                if read[at] == byte:
                    missing[at] = 0
    at = missing.find(b"\1")
    return None if at < 0 else at
