"""The output of show, line by line (section 6)."""

from nfinspect.audit import show
from nfinspect.audit.counters import Counters, InspectionCounts
from nfinspect.events import ClauseAction, Connection, Direction, Endpoint, ParameterMatched
from nfinspect.policy import default_policy, parse_policy

C = Connection(
    1, Endpoint("outside", bytes([192, 0, 2, 1]), 4321), Endpoint("inside", bytes(16), 25)
)


def test_show_service_policy_prints_the_appliances_listing() -> None:
    (inspection,) = default_policy().inspections
    counts = {4: 41, 7: 2555}
    clauses = tuple((clause, counts.get(clause.position, 0)) for clause in inspection.map.clauses)
    assert show.service_policy([InspectionCounts(inspection, 104468, 0, 0, 639, clauses)]) == (
        """\
Global policy:
  Service-policy: global_policy
    Class-map: inspection_default
      Inspect: esmtp _default_esmtp_map, packet 104468, drop 0, reset-drop 0
        mask-banner, count 639
        match cmd line length gt 512
          drop-connection log, packet 0
        match cmd RCPT count gt 100
          drop-connection log, packet 0
        match body line length gt 998
          log, packet 0
        match header line length gt 998
          drop-connection log, packet 41
        match sender-address length gt 320
          drop-connection log, packet 0
        match MIME filename length gt 255
          drop-connection log, packet 0
        match ehlo-reply-parameter others
          mask, packet 2555
"""
    )


def test_parameters_with_an_action_are_listed_with_their_counts() -> None:
    policy = parse_policy(
        """policy-map type inspect esmtp m
parameters
mask-banner
mail-relay example.org action drop-connection log
bare-newline action mask
match not header length gt 5
log
policy-map global_policy
class inspection_default
inspect esmtp m""",
        "a.cfg",
    ).policy
    counters = Counters()
    for name, parameter in (("m", "mail-relay"), ("m", "mail-relay"), ("other", "bare-newline")):
        counters.observe(
            ParameterMatched(C, Direction.REQUEST, name, parameter, ClauseAction.LOG, False)
        )
    assert (
        show.service_policy(counters.inspections(policy, {}))
        == """\
Global policy:
  Service-policy: global_policy
    Class-map: inspection_default
      Inspect: esmtp m, packet 0, drop 0, reset-drop 0
        mask-banner, count 0
        mail-relay example.org action drop-connection log, count 2
        bare-newline action mask, count 0
        match not header length gt 5
          log, packet 0
"""
    )
    (found,) = counters.to_json(policy, {})["service_policy"]
    assert found["parameters"] == [
        {"parameter": "mail-relay example.org action drop-connection log", "count": 2},
        {"parameter": "bare-newline action mask", "count": 0},
    ]


def test_two_classes_of_one_policy_share_one_heading() -> None:
    policy = parse_policy(
        """class-map again
match default-inspection-traffic
policy-map type inspect esmtp m
policy-map p
class inspection_default
inspect esmtp m
class again
inspect esmtp m
service-policy p global""",
        "a.cfg",
    ).policy
    assert (
        show.service_policy(Counters().inspections(policy, {}))
        == """\
Global policy:
  Service-policy: p
    Class-map: inspection_default
      Inspect: esmtp m, packet 0, drop 0, reset-drop 0
    Class-map: again
      Inspect: esmtp m, packet 0, drop 0, reset-drop 0
"""
    )


def test_policy_that_inspects_nothing_is_shown_as_a_sentence() -> None:
    assert show.service_policy([]) == show.NOTHING_INSPECTED


def test_clauses_printed_by_show_can_be_parsed() -> None:
    policy = default_policy()
    shown = show.service_policy(Counters().inspections(policy, {}))
    lines = [line.partition(", packet")[0] for line in shown.splitlines()[5:]]
    application = ["policy-map global_policy", "class inspection_default", "inspect esmtp m"]
    text = "\n".join(["policy-map type inspect esmtp m", *lines, *application])
    (inspection,) = parse_policy(text, "a.cfg").policy.inspections
    assert inspection.map.clauses == policy.inspections[0].map.clauses


def test_show_queue_prints_waiting_and_lost_packets_verdicts_and_drop_reasons() -> None:
    state = show.QueueState(
        number=3,
        waiting=2,
        held=1,
        copy_range=65535,
        replies_awaited=9,
        replies_awaited_now=3,
        unended_lines=2,
        unended_lines_now=1,
        kernel_dropped=4,
        user_dropped=5,
        enobufs=6,
        syn_queue=32771,
        syns_waiting=10,
        syns_received=200,
        syns_lost=11,
        received=700,
        gso=80,
        waiting_lines=7,
        lost_lines=1000,
        suppressed_lines=50,
        verdicts={"accepted": 600, "rewritten": 90, "dropped": 8, "injected": 1},
        dropped={"no-connection": 6, "bad-checksum": 2},
    )
    assert (
        show.queue(state)
        == """\
Queue 3:
  received 700, gso 80, waiting 2, held 1, copy range 65535
  silent: reply awaited 3 now, 9 in all; line unended 1 now, 2 in all
  lost: kernel dropped 4, user dropped 5, ENOBUFS 6
  SYNs: queue 32771, received 200, waiting 10, lost 11
  lines: waiting 7, lost 1000, suppressed 50
  verdicts: accepted 600, rewritten 90, dropped 8, injected 1
    dropped bad-checksum, packet 2
      a wrong TCP checksum: damaged on its way, or made so that only a filter believes it
    dropped no-connection, packet 6
      a segment other than a SYN that belongs to no connection
"""
    )


def test_show_queue_of_an_unused_queue_prints_six_lines() -> None:
    assert len(show.queue(show.QueueState(0)).splitlines()) == 6
