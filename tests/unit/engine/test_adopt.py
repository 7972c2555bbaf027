"""A changed policy: open connections keep their plan, new ones get theirs."""

from __future__ import annotations

from nfinspect.events import InspectionClosed
from nfinspect.policy import default_policy, parse_policy
from nfinspect.policy.model import Policy
from tests.model.talk import SYN, Talk

APPLIED = "policy-map global_policy\n class inspection_default\n  {line}\n"
EXEMPT = APPLIED.format(line="no inspect esmtp")
COMMAND = b"NOOP " + b"x" * 300 + b"\r\n"
CLIENT = bytes([192, 0, 2, 77]), 5000


def limited(limit: int) -> Policy:
    text = (
        f"policy-map type inspect esmtp m\n match cmd line length gt {limit}\n"
        "  drop-connection log\n"
        "policy-map global_policy\n class inspection_default\n  no inspect esmtp\n"
        "  inspect esmtp m\n"
    )
    return parse_policy(text, "m.cfg").policy


def greeted(talk: Talk) -> Talk:
    talk.open()
    talk.server(b"220 mail.example\r\n")
    talk.client(b"HELO client\r\n")
    talk.server(b"250 mail.example\r\n")
    return talk


def test_open_connection_keeps_its_plan_and_a_new_one_gets_the_new() -> None:
    old = greeted(Talk(limited(500)))
    old.engine.adopt(limited(200))
    new = greeted(Talk(engine=old.engine, client=CLIENT))
    assert old.client(COMMAND) == COMMAND
    assert not isinstance(new.client(COMMAND), bytes)
    assert (len(old.emitted(InspectionClosed)), len(new.emitted(InspectionClosed))) == (0, 1)


def test_exempt_port_ends_inspection_for_new_connections_only() -> None:
    old = greeted(Talk())
    old.engine.adopt(parse_policy(EXEMPT, "exempt.cfg").policy)
    new = Talk(engine=old.engine, client=CLIENT).open()
    assert old.client(b"XYZZY 1\r\n") == b"XXXXXXX\r\n"
    assert new.client(b"XYZZY 1\r\n") == b"XYZZY 1\r\n"
    assert new.server(b"220 mail.example\r\n") == b"220 mail.example\r\n"


def test_totals_of_what_is_inspected_as_before_go_on_and_others_begin_anew() -> None:
    talk = greeted(Talk(limited(500)))
    (before,) = talk.engine.totals.values()
    assert before.packet > 0
    talk.engine.adopt(limited(500))
    assert list(talk.engine.totals.values()) == [before]
    talk.engine.adopt(limited(200))
    (anew,) = talk.engine.totals.values()
    assert anew.packet == 0
    talk.client(b"NOOP\r\n")  # counted where it began
    assert anew.packet == 0
    assert before.packet > 0


def test_adopting_the_same_policy_changes_nothing_for_a_connection_that_is_opening() -> None:
    talk = Talk()
    assert talk.client(flags=SYN, at=-1) == b""
    talk.engine.adopt(default_policy())
    talk.server(flags=SYN | 16, at=-1, ack=0)
    talk.client(flags=16)
    talk.server(b"220 mail.example\r\n")
    assert talk.last.payload == b"220 ************\r\n"
