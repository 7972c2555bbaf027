"""Rules that are in place, read back from the listing of iptables."""

import pytest

from nfinspect.rules.diverted import REPLIES, REQUESTS, SYNS, FamilyRules, Flow, read

STATES = "-m conntrack --ctstate INVALID,NEW,RELATED,ESTABLISHED,UNTRACKED"
REQUESTS_25 = (
    f'-A NFINSPECT -p tcp -m tcp --dport 25 {STATES} -m comment --comment "requests to port 25"'
    " -j NFQUEUE --queue-num 3"
)
REPLIES_25 = (
    f'-A NFINSPECT -p tcp -m tcp --sport 25 {STATES} -m comment --comment "replies from port 25"'
    " -j NFQUEUE --queue-num 3"
)
SYNS_25 = (
    f"-A NFINSPECT -p tcp -m tcp --tcp-flags SYN,ACK SYN -m multiport --ports 25,587 {STATES}"
    " -m comment --comment SYNs -j NFQUEUE --queue-num 32771"
)
CALL = "-A FORWARD -p tcp -m comment --comment nfinspect -j NFINSPECT"
FLOWS = (Flow(REQUESTS, 25, 3, 3, False), Flow(REPLIES, 25, 3, 3, False))
POLICY = "-P FORWARD ACCEPT"


def listing(*rules: str) -> dict[str, list[str]]:
    """The table security with our chain, as ``iptables -S`` lists it."""
    return {"security": [POLICY, "-N NFINSPECT", *rules], "mangle": [POLICY]}


def test_applied_rules_are_read_back() -> None:
    found = read(listing(CALL, REQUESTS_25, REPLIES_25))
    assert found == FamilyRules("security", True, FLOWS, ())
    assert found.effective == FLOWS


def test_rules_for_syns_are_told_from_the_others() -> None:
    found = read(listing(CALL, SYNS_25, REQUESTS_25, REPLIES_25))
    assert found.flows == FLOWS
    assert found.syns == (
        Flow(SYNS, 25, 32771, 32771, False),
        Flow(SYNS, 587, 32771, 32771, False),
    )


def test_tables_without_the_chain_have_no_rules() -> None:
    assert read({"security": [POLICY], "mangle": [POLICY]}) == FamilyRules()
    assert read({}) == FamilyRules()


def test_chain_that_nothing_calls_diverts_nothing() -> None:
    found = read(listing(REQUESTS_25, REPLIES_25))
    assert (found.table, found.called, found.flows, found.effective) == (
        "security",
        False,
        FLOWS,
        (),
    )


def test_chain_in_force_is_preferred_to_one_that_was_left_behind() -> None:
    left = ["-N NFINSPECT"]
    used = ["-N NFINSPECT", CALL, REQUESTS_25, REPLIES_25]
    assert read({"security": used, "mangle": left}).table == "security"
    assert read({"security": left, "mangle": used}).table == "mangle"


@pytest.mark.parametrize(
    ("target", "flow"),
    [
        ("NFQUEUE", Flow(REQUESTS, 25, 0, 0, False)),  # iptables omits what is the default
        ("NFQUEUE --queue-num 5 --queue-bypass", Flow(REQUESTS, 25, 5, 5, True)),
        ("NFQUEUE --queue-balance 2:7", Flow(REQUESTS, 25, 2, 7, False)),
    ],
)
def test_queue_of_a_rule(target: str, flow: Flow) -> None:
    assert read(listing(f"-A NFINSPECT -p tcp -m tcp --dport 25 -j {target}")).flows == (flow,)


@pytest.mark.parametrize(
    "rule",
    [
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -j RETURN",
        "-A FORWARD -p tcp -m tcp --dport 25 -j ACCEPT",
        "-A FORWARD ! -p udp -j ACCEPT",
        "-A FORWARD -p tcp -m tcp --sport 25 -j NFQUEUE --queue-num 9",
    ],
)
def test_rule_ahead_that_may_decide_about_mail_is_found(rule: str) -> None:
    assert read(listing(rule, CALL, REQUESTS_25, REPLIES_25)).ahead == (rule,)
    assert read(listing(CALL, rule, REQUESTS_25, REPLIES_25)).ahead == ()


@pytest.mark.parametrize(
    "rule",
    [
        "-A FORWARD -p udp -j ACCEPT",
        "-A FORWARD -p tcp -m tcp --dport 443 -j ACCEPT",
        "-A FORWARD -j OTHERS",
        "-A FORWARD -p tcp -j CONNSECMARK --save",
        "-A INPUT -j ACCEPT",
    ],
)
def test_rule_ahead_that_leaves_mail_alone_is_not_reported(rule: str) -> None:
    assert read(listing(rule, CALL, REQUESTS_25, REPLIES_25)).ahead == ()


def test_comment_with_an_odd_quote_is_no_obstacle() -> None:
    odd = "-A FORWARD -m comment --comment it's -j OTHERS"
    assert read(listing(odd, CALL, REQUESTS_25, REPLIES_25)).flows == FLOWS
