"""The mails and sessions of the loads."""

from email import message_from_string
from email.policy import default

import pytest

from bench.loads import BULK, LOADS, SMALL, mail, on_the_wire, wire_length
from bench.session import GSO_SEGMENT, SEGMENT, session
from nfinspect.packet.checksum import tcp_checksum_valid
from nfinspect.packet.segment import FIN, SYN, Segment, parse


@pytest.mark.parametrize("size", [SMALL.size, *range(4000, 4080), BULK.size])
def test_mail_has_the_requested_size_on_the_wire(size: int) -> None:
    assert wire_length(mail(size)) == size


def test_mail_is_a_multipart_with_an_attachment_and_a_dot_stuffed_line() -> None:
    message = message_from_string(mail(4000), policy=default)
    text, attachment = message.iter_parts()
    assert not message.defects
    assert text.get_content().splitlines()[-1] == "."
    assert attachment.get_filename() == "figures.ods"
    assert "\r\n..\r\n" in on_the_wire(mail(4000))


def test_mail_too_small_for_its_header_is_an_error() -> None:
    with pytest.raises(ValueError, match="too small"):
        mail(100)


def test_shortened_load_has_at_least_as_many_sessions_as_run_at_a_time() -> None:
    short = BULK.shortened(1000)
    assert short.sessions == BULK.parallel
    assert (short.parallel, short.size) == (BULK.parallel, BULK.size)


def test_loads_have_different_names() -> None:
    assert len({load.name for load in LOADS}) == len(LOADS)


@pytest.mark.parametrize("segment", [SEGMENT, GSO_SEGMENT])
def test_session_is_a_valid_tcp_connection(segment: int) -> None:
    following: dict[bytes, int] = {}
    for packet in session(200_000, segment):
        parsed = parse(packet.datagram)
        assert isinstance(parsed, Segment)
        assert tcp_checksum_valid(parsed)
        assert parsed.sequence == following.get(parsed.key, parsed.sequence)
        step = parsed.length + bool(parsed.flags & SYN) + bool(parsed.flags & FIN)
        following[parsed.key] = (parsed.sequence + step) % 2**32
        acknowledged = following.get(parsed.reverse_key)
        assert acknowledged is None or parsed.acknowledgment == acknowledged


def test_session_from_another_port_differs_only_in_the_port() -> None:
    for packet in session(SMALL.size, SEGMENT):
        original, moved = parse(packet.datagram), parse(packet.at_port(40000))
        assert isinstance(original, Segment)
        assert isinstance(moved, Segment)
        assert 40000 in (moved.source_port, moved.destination_port)
        assert 25 in (moved.source_port, moved.destination_port)
        assert moved.datagram[24:] == original.datagram[24:]
