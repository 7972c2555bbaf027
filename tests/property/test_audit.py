"""Whatever a peer sends, it is rendered as one line of printable ASCII, and can be decoded again."""

import json

from hypothesis import given
from hypothesis import strategies as st

from nfinspect.audit.json_lines import to_json
from nfinspect.audit.syslog import render
from nfinspect.audit.text import escaped
from nfinspect.events import CharacterReplaced, CommandSeen, Connection, Endpoint, MaliciousAddress

endpoints = st.builds(
    Endpoint,
    interface=st.just("outside"),
    address=st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
    port=st.integers(0, 65535),
)
connections = st.builds(Connection, st.integers(1), endpoints, endpoints)


@given(connections, st.binary(max_size=600))
def test_syslog_line_with_a_peers_bytes_is_one_line_of_printable_ascii(
    connection: Connection, sent: bytes
) -> None:
    for event in (CharacterReplaced(connection, "<", sent), MaliciousAddress(connection, sent)):
        line = render(event)
        assert line is not None
        assert line.isascii()
        assert line.isprintable()


@given(connections, st.binary(max_size=512))
def test_bytes_in_json_can_be_decoded(connection: Connection, sent: bytes) -> None:
    line = json.loads(json.dumps(to_json(CommandSeen(connection, sent))))["line"]
    assert line.encode().decode("unicode_escape").encode("latin-1") == sent


@given(st.binary(), st.binary())
def test_different_bytes_are_escaped_differently(one: bytes, other: bytes) -> None:
    assert (escaped(one) == escaped(other)) == (one == other)
