"""Valid configurations, and the policies they define."""

import pytest

from nfinspect.events import ClauseAction
from nfinspect.policy import Configuration, default_policy, parse_policy
from nfinspect.policy.conditions import Above, OneOf
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.model import (
    Clause,
    IncompleteCommand,
    InspectionMap,
    Parameters,
    PipeCharacter,
    Plan,
    ServerAnomalyAction,
    UnseenDataAction,
)

APPLIED = """
policy-map global_policy
 class inspection_default
  inspect esmtp m
"""


def the_map(configuration: Configuration) -> InspectionMap:
    (inspection,) = configuration.policy.inspections
    return inspection.map


def map_of(*lines: str) -> InspectionMap:
    """The map that *lines* define, applied to the default class."""
    text = "\n".join(["policy-map type inspect esmtp m", *lines, APPLIED])
    return the_map(parse_policy(text, "test.cfg"))


def notices(text: str) -> list[tuple[int, str]]:
    return [(notice.line, notice.message) for notice in parse_policy(text, "test.cfg").notices]


@pytest.mark.parametrize(
    ("line", "parameters"),
    [
        ("mask-banner", Parameters(mask_banner=True)),
        ("no mask-banner", Parameters()),
        ("allow-tls", Parameters(allow_tls=True)),
        ("allow-tls action log", Parameters(allow_tls=True, allow_tls_log=True)),
        ("no allow-tls", Parameters()),
        ("no mail-relay", Parameters()),
        ("no special-character", Parameters()),
        ("server-anomaly log", Parameters()),
        (
            "server-anomaly drop-connection",
            Parameters(server_anomaly=ServerAnomalyAction.DROP_CONNECTION),
        ),
        ("incomplete-command mask", Parameters()),
        ("incomplete-command stream", Parameters(incomplete_command=IncompleteCommand.STREAM)),
        ("incomplete-command drop", Parameters(incomplete_command=IncompleteCommand.DROP)),
        ("pipe-character close", Parameters()),
        ("pipe-character blank", Parameters(pipe_character=PipeCharacter.BLANK)),
        ("unseen-data uninspected", Parameters(unseen_data=UnseenDataAction.UNINSPECTED)),
        ("unseen-data drop-connection", Parameters(unseen_data=UnseenDataAction.DROP_CONNECTION)),
        ("midstream-pickup 0", Parameters(midstream_pickup=0)),
        ("midstream-pickup 86400", Parameters(midstream_pickup=86400)),
    ],
)
def test_parameter_sets_its_field_and_no_other(line: str, parameters: Parameters) -> None:
    assert map_of("parameters", line).parameters == parameters


@pytest.mark.parametrize(
    ("line", "criterion", "limit"),
    [
        ("match cmd line length gt 1", Criterion.COMMAND_LINE_LENGTH, 1),
        ("match cmd RCPT count gt 65535", Criterion.RECIPIENT_COUNT, 65535),
        ("match body line length gt 2147483647", Criterion.BODY_LINE_LENGTH, 2**31 - 1),
        ("match header line length gt 0998", Criterion.HEADER_LINE_LENGTH, 998),
        ("match sender-address length gt 64", Criterion.SENDER_LENGTH, 64),
        ("match mime FileName length gt 255", Criterion.MIME_FILENAME_LENGTH, 255),
    ],
)
def test_match_defines_a_clause_with_its_limit(line: str, criterion: Criterion, limit: int) -> None:
    assert map_of(line, "log").clauses == (
        Clause(1, criterion, Above(limit), ClauseAction.LOG, True),
    )


@pytest.mark.parametrize(
    ("line", "action", "log"),
    [
        ("drop-connection", ClauseAction.DROP_CONNECTION, False),
        ("drop-connection log", ClauseAction.DROP_CONNECTION, True),
        ("log", ClauseAction.LOG, True),
        ("mask", ClauseAction.MASK, False),
        ("mask log", ClauseAction.MASK, True),
    ],
)
def test_action_line_completes_the_clause(line: str, action: ClauseAction, log: bool) -> None:
    (clause,) = map_of("match ehlo-reply-parameter others", line).clauses
    assert clause == Clause(1, Criterion.EHLO_REPLY_PARAMETER, OneOf(("others",)), action, log)
    assert clause.words == "ehlo-reply-parameter others"
    assert clause.action_words == line


def test_clauses_are_numbered_in_order_whatever_is_between_them() -> None:
    clauses = map_of(
        "match header line length gt 2000",
        "drop-connection",
        "parameters",
        "mask-banner",
        "match header line length gt 998",
        "log",
    ).clauses
    assert [(c.position, c.words) for c in clauses] == [
        (1, "header line length gt 2000"),
        (2, "header line length gt 998"),
    ]


@pytest.mark.parametrize("spelling", ["drop", "drop-connection"])
def test_send_protocol_error_from_7_x_is_read_as_drop_connection_with_a_notice(
    spelling: str,
) -> None:
    text = f"""policy-map type inspect esmtp m
 match cmd line length gt 512
  {spelling} send-protocol-error log
{APPLIED}"""
    (clause,) = the_map(parse_policy(text, "test.cfg")).clauses
    assert clause.action_words == "drop-connection log"
    assert notices(text) == [(3, "7.x syntax, read as drop-connection; no protocol error is sent")]


LISTING = """\
: Saved
!
class-map inspection_default
 match default-inspection-traffic
!
policy-map type inspect esmtp m
 description  two  blanks
 parameters
  mask-banner
  allow-tls
 match cmd line length gt 600
  log
policy-map global_policy
 description of it
 class inspection_default
  inspect esmtp m 
!
service-policy global_policy global
"""  # noqa: W291  # show running-config prints a blank after inspect esmtp

FORMS = {
    "as listed": LISTING,
    "without indentation": "\n".join(line.strip() for line in LISTING.splitlines()),
    "with tabs": LISTING.replace(" ", "\t"),
    "with CR LF": LISTING.replace("\n", "\r\n"),
    "with trailing blanks": LISTING.replace("\n", " \t \n"),
    "with a byte order mark": "\ufeff" + LISTING,
    "without a last line end": LISTING.rstrip("\n"),
    "with empty lines": LISTING.replace("\n", "\n\n"),
    "left with exit": LISTING.replace("policy-map global", "exit\nexit\nEXIT\npolicy-map global"),
    "in capitals": LISTING.replace("match cmd line", "MATCH CMD Line").replace("mask-", "MASK-"),
}


@pytest.mark.parametrize("form", FORMS)
def test_listing_means_the_same_in_any_form(form: str) -> None:
    configuration = parse_policy(FORMS[form], "test.cfg")
    (inspection,) = configuration.policy.inspections
    assert inspection.map.description.split() == ["two", "blanks"]
    assert inspection.map.parameters == Parameters(mask_banner=True, allow_tls=True)
    assert [clause.words for clause in inspection.map.clauses] == ["cmd line length gt 600"]
    assert list(configuration.policy.plans) == [25]
    assert configuration.notices == ()


def test_description_keeps_its_blanks_and_its_case() -> None:
    assert map_of("description Mail  for\tBücher 25 ").description == "Mail  for\tBücher 25"


def test_inspect_esmtp_without_a_map_uses_the_default_map() -> None:
    text = "policy-map p\n class inspection_default\n  inspect esmtp\nservice-policy p global\n"
    (inspection,) = parse_policy(text, "test.cfg").policy.inspections
    assert inspection.map == default_policy().inspections[0].map
    assert inspection.service_policy == "p"


def test_map_with_the_default_maps_name_replaces_it() -> None:
    text = "policy-map type inspect esmtp _default_esmtp_map\n parameters\n  allow-tls\n"
    assert the_map(parse_policy(text, "test.cfg")).parameters == Parameters(allow_tls=True)


@pytest.mark.parametrize("text", ["", "\n\n", "! nothing\n", "\ufeff: end\r\n"])
def test_empty_configuration_is_the_default_with_a_notice(text: str) -> None:
    assert parse_policy(text, "test.cfg").policy == default_policy()
    assert notices(text) == [(1, "no configuration in the file: the default applies")]


def test_configuration_without_a_service_policy_is_added_to_the_default() -> None:
    configuration = parse_policy(f"policy-map type inspect esmtp m\n{APPLIED}", "test.cfg")
    (inspection,) = configuration.policy.inspections
    assert (inspection.service_policy, inspection.map) == ("global_policy", InspectionMap("m"))


def test_class_without_lines_keeps_its_inspection() -> None:
    text = "policy-map global_policy\n class inspection_default\n"
    assert parse_policy(text, "test.cfg").policy == default_policy()


def test_no_inspect_in_the_default_class_leaves_port_25_uninspected_with_a_notice() -> None:
    text = "policy-map global_policy\n class inspection_default\n  no inspect esmtp\n"
    policy = parse_policy(text, "test.cfg").policy
    assert (policy.plans, policy.inspections) == ({25: Plan(inspection=None)}, ())
    assert notices(text) == [
        (3, "policy-map 'global_policy' inspects nothing: all mail passes uninspected")
    ]


def test_inspection_removed_and_set_again_is_the_last_one() -> None:
    text = f"policy-map type inspect esmtp m\n{APPLIED}"
    text = text.replace("  inspect", "  inspect esmtp\n  no inspect esmtp\n  inspect")
    assert the_map(parse_policy(text, "test.cfg")).name == "m"


def test_service_policy_that_inspects_nothing_gets_a_notice() -> None:
    text = "policy-map p\nservice-policy p global"
    assert parse_policy(text, "test.cfg").policy.plans == {25: Plan(inspection=None)}
    assert notices(text) == [(2, "policy-map 'p' inspects nothing: all mail passes uninspected")]


def test_definitions_without_effect_get_notices() -> None:
    text = """policy-map type inspect esmtp spare
policy-map other
 class inspection_default
policy-map p
 class inspection_default
  inspect esmtp
service-policy p global"""
    assert notices(text) == [
        (1, "no class uses the map 'spare'"),
        (2, "policy-map 'other' is not applied"),
    ]
    assert [m.name for m in parse_policy(text, "test.cfg").maps] == ["spare"]


def test_class_map_that_no_policy_map_uses_gets_a_notice() -> None:
    text = """class-map inspection_defautl
 match default-inspection-traffic
policy-map p
 class inspection_default
  inspect esmtp
service-policy p global"""
    (notice,) = parse_policy(text, "test.cfg").notices
    assert (notice.line, notice.column) == (1, 11)
    assert notice.sentence == (
        "no policy-map uses class-map 'inspection_defautl'; did you mean inspection_default?"
        " [unused-class-map, see docs/configuration.md#classes-and-policies]"
    )


def test_class_map_added_to_the_default_configuration_is_used_by_its_policy() -> None:
    assert notices("class-map inspection_default\n match default-inspection-traffic\n") == []


def test_second_class_for_the_same_traffic_is_listed_and_gets_no_connection() -> None:
    text = """class-map again
 match default-inspection-traffic
policy-map type inspect esmtp m
 parameters
  midstream-pickup 900
policy-map p
 class inspection_default
  inspect esmtp
 class again
  inspect esmtp m
service-policy p global"""
    policy = parse_policy(text, "test.cfg").policy
    assert [i.class_map for i in policy.inspections] == ["inspection_default", "again"]
    assert policy.plans[25].inspection is policy.inspections[0]
    assert policy.midstream_pickup == 900


def test_parameter_that_contradicts_an_earlier_one_overrides_it_with_a_notice() -> None:
    text = f"""policy-map type inspect esmtp m
 parameters
  allow-tls action log
  no mask-banner
  no allow-tls
  no mask-banner
{APPLIED}"""
    assert the_map(parse_policy(text, "test.cfg")).parameters == Parameters()
    assert notices(text) == [(5, "this overrides line 3")]
