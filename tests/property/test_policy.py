"""Any text is parsed to a policy or a located error, and a map written out as configuration lines is
parsed to the same map."""

import re

from hypothesis import given
from hypothesis import strategies as st

from nfinspect.events import ClauseAction
from nfinspect.policy import ConfigurationError, decode, default_text, parse_policy
from nfinspect.policy.commands import GRAMMAR
from nfinspect.policy.errors import MAX_ERRORS
from nfinspect.policy.model import (
    Clause,
    Criterion,
    IncompleteCommand,
    InspectionMap,
    Parameters,
    PipeCharacter,
    ServerAnomalyAction,
    UnseenDataAction,
)
from nfinspect.policy.words import parameter_lines

WORDS = sorted(
    {
        word
        for rows in GRAMMAR.values()
        for row in rows
        for word in re.findall(r"[a-z0-9-]+|[A-Z_]+", row.pattern)
    }
    | {"exit", "_default_esmtp_map", "inspection_default", "global_policy", "m", "5", "!", "\t"}
    | {"1.2.3.4", "255.255.255.0", "2001:db8::/32", "(inside,outside)", "0:5:0", "smtp", "any"}
)


def read(text: str) -> None:
    """Parse *text*; an error must be located in it and printable."""
    try:
        parse_policy(text, "a.cfg")
    except ConfigurationError as error:
        lines = text.removeprefix("\ufeff").split("\n")
        for finding in error.findings:
            assert 1 <= finding.line <= len(lines)
            assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1
            assert finding.message
        printed = str(error).splitlines()
        assert len(printed) <= 3 * MAX_ERRORS + 1
        assert all(line.isprintable() for line in printed)


@given(st.text())
def test_any_text_is_a_policy_or_a_located_error(text: str) -> None:
    read(text)


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)).map("\n".join))
def test_any_order_of_known_words_is_a_policy_or_a_located_error(text: str) -> None:
    read(text)


LINES = default_text().splitlines()


@given(st.lists(st.sampled_from(LINES)).map("\n".join))
def test_any_order_of_the_default_lines_is_a_policy_or_a_located_error(text: str) -> None:
    read(text)


@given(st.binary())
def test_any_bytes_are_a_text_or_a_located_error(data: bytes) -> None:
    try:
        text = decode(data, "a.cfg")
    except ConfigurationError as error:
        (finding,) = error.findings
        assert 1 <= finding.line <= data.count(b"\n") + 1
    else:
        read(text)


limits = st.integers(1, 65535)
clauses = st.one_of(
    st.builds(
        Clause,
        position=st.just(0),
        criterion=st.sampled_from([c for c in Criterion if c != Criterion.EHLO_REPLY_PARAMETER]),
        action=st.just(ClauseAction.DROP_CONNECTION),
        log=st.booleans(),
        limit=limits,
    ),
    st.builds(
        Clause,
        position=st.just(0),
        criterion=st.just(Criterion.EHLO_REPLY_PARAMETER),
        action=st.sampled_from([ClauseAction.MASK, ClauseAction.DROP_CONNECTION]),
        log=st.booleans(),
        parameters=st.just(("others",)),
    ),
    st.builds(
        Clause,
        position=st.just(0),
        criterion=st.just(Criterion.BODY_LINE_LENGTH),
        action=st.just(ClauseAction.LOG),
        log=st.just(True),
        limit=limits,
    ),
)
parameters = st.builds(
    Parameters,
    mask_banner=st.booleans(),
    server_anomaly=st.sampled_from(ServerAnomalyAction),
    incomplete_command=st.sampled_from(IncompleteCommand),
    pipe_character=st.sampled_from(PipeCharacter),
    unseen_data=st.sampled_from([None, *UnseenDataAction]),
    midstream_pickup=st.integers(0, 86400),
).flatmap(
    lambda p: st.sampled_from(
        [
            p,
            Parameters(**{**fields(p), "allow_tls": True}),
            Parameters(**{**fields(p), "allow_tls": True, "allow_tls_log": True}),
        ]
    )
)


def fields(p: Parameters) -> dict:
    return {name: getattr(p, name) for name in Parameters.__slots__}


maps = st.builds(
    lambda name, description, parameters, clauses: InspectionMap(
        name,
        description,
        parameters,
        tuple(
            Clause(n, c.criterion, c.action, c.log, c.limit, c.parameters)
            for n, c in enumerate(clauses, 1)
        ),
    ),
    st.from_regex(r"[!-~]{1,40}", fullmatch=True),
    st.from_regex(r"([!-~]([ -~]{0,198}[!-~])?)?", fullmatch=True),
    parameters,
    st.lists(clauses, unique_by=lambda c: (c.criterion, c.limit), max_size=10),
)


def map_lines(inspection_map: InspectionMap) -> list[str]:
    lines = [f"policy-map type inspect esmtp {inspection_map.name}"]
    if inspection_map.description:
        lines.append(f" description {inspection_map.description}")
    lines += [" parameters", *(f"  {p}" for p in parameter_lines(inspection_map.parameters))]
    for clause in inspection_map.clauses:
        lines += [f" match {clause.words}", f"  {clause.action_words}"]
    return lines


@given(maps)
def test_map_written_as_configuration_lines_is_parsed_to_the_same_map(
    inspection_map: InspectionMap,
) -> None:
    application = [
        "policy-map GLOBAL",
        "class inspection_default",
        f"inspect esmtp {inspection_map.name}",
        "service-policy GLOBAL global",
    ]
    text = "\n".join(map_lines(inspection_map) + application)
    configuration = parse_policy(text, "a.cfg")
    assert configuration.maps == (inspection_map,)
    assert configuration.policy.inspections[0].map == inspection_map
    assert configuration.notices == ()
