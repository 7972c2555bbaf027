"""The default configuration is the appliance's default map, clause by clause (section 3)."""

from nfinspect.policy import default_configuration, default_policy, default_text, parse_policy
from nfinspect.policy.model import Parameters


def test_default_policy_inspects_port_25_with_the_default_map() -> None:
    policy = default_policy()
    assert list(policy.plans) == [25]
    (inspection,) = policy.inspections
    assert policy.plans[25].inspection is inspection
    assert inspection.service_policy == "global_policy"
    assert inspection.class_map == "inspection_default"
    assert inspection.is_global
    assert inspection.map.name == "_default_esmtp_map"
    assert inspection.map.description == "Default ESMTP policy-map"
    assert inspection.map.parameters == Parameters(mask_banner=True)
    assert policy.midstream_pickup == 300


def test_default_map_has_the_appliances_clauses_in_order() -> None:
    (inspection,) = default_policy().inspections
    assert [(c.position, c.words, c.action_words) for c in inspection.map.clauses] == [
        (1, "cmd line length gt 512", "drop-connection log"),
        (2, "cmd RCPT count gt 100", "drop-connection log"),
        (3, "body line length gt 998", "log"),
        (4, "header line length gt 998", "drop-connection log"),
        (5, "sender-address length gt 320", "drop-connection log"),
        (6, "MIME filename length gt 255", "drop-connection log"),
        (7, "ehlo-reply-parameter others", "mask"),
    ]


def test_default_text_in_a_users_file_is_the_same_policy_without_notices() -> None:
    configuration = parse_policy(default_text(), "mine.cfg")
    assert configuration.policy == default_policy()
    assert configuration.notices == ()
    assert default_configuration().notices == ()
