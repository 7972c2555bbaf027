r"""SMTP smuggling: what a lenient server could take for the end of data, cut at each place.

The variants are those of SEC Consult (2023), of the advisories about Postfix, Exim, Sendmail and aiosmtpd, and of the
public checkers: a dot between CR LF, bare CR and bare LF in any pairing but the true one, also with NULs.
"""

from __future__ import annotations

import random
from itertools import pairwise, product

import pytest

from nfinspect.events import REQUEST, ClauseAction, CloseCause, ParameterMatched
from nfinspect.policy.model import InspectionMap, Reaction
from tests.unit.esmtp.transcript import CONNECTION, DROP, LOG, MASK, Transcript, map_with

RESET = ClauseAction.RESET
ENDS = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\n\n", b"\r\n\0", b"\n\0", b"\r\0")
VARIANTS = sorted(
    {
        before + b"." + nul + after
        for before, nul, after in product(
            ENDS, (b"", b"\0", b"\0\0"), (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r")
        )
        if b"\r\n.\r\n" not in before + b"." + nul + after
    }
)
TEXT = b"Subject: first\r\n\r\ntext"
SMUGGLED = b"MAIL FROM:<evil@example>\r\nRCPT TO:<a@b>\r\nDATA\r\nSubject: second\r\n\r\nx\r\n.\r\n"


def with_action(action: ClauseAction) -> InspectionMap:
    return map_with(bare_newline=Reaction(action, action is not LOG))


class Server:
    """Takes an end of data where any server could, and counts the mails that it sees begin."""

    def __init__(self) -> None:
        self.read = b""

    @property
    def smuggled(self) -> bool:
        """Whether the second mail's commands can have been read as commands."""
        text = self.read.replace(b"\0", b"").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        at = text.find(b"\n.\n")
        return at >= 0 and b"MAIL FROM:<evil" in text[at:].split(b"\n.\n", 1)[1]


def in_message(inspection_map: InspectionMap) -> Transcript:
    talk = Transcript(inspection_map).greeted()
    talk.client(b"MAIL FROM:<a@b>\r\n").server(b"250 ok\r\n")
    talk.client(b"RCPT TO:<c@d>\r\n").server(b"250 ok\r\n")
    return talk.client(b"DATA\r\n").server(b"354 go\r\n")


def send(action: ClauseAction, *packets: bytes) -> tuple[Server, list[ParameterMatched], object]:
    """What the server has read, what was reported, and why it was closed."""
    inspector = in_message(with_action(action)).inspector
    server = Server()
    events = []
    for packet in packets:
        passed = inspector.request(packet, len(packet), 10**6)
        events += [each for each in inspector.events if isinstance(each, ParameterMatched)]
        inspector.events.clear()
        if inspector.closing is not None:
            break
        server.read += passed
    return server, events, inspector.closing


def name(value: object) -> str:
    return repr(value) if isinstance(value, bytes) else str(getattr(value, "value", value))


def test_naive_server_would_be_smuggled_to_by_each_variant() -> None:
    for variant in VARIANTS:
        server = Server()
        server.read = TEXT + variant + SMUGGLED
        assert server.smuggled, variant


@pytest.mark.parametrize("action", [DROP, RESET, MASK], ids=name)
@pytest.mark.parametrize("variant", VARIANTS, ids=name)
def test_variant_lets_nothing_through_however_it_is_cut(
    variant: bytes, action: ClauseAction
) -> None:
    whole = TEXT + variant + SMUGGLED
    begin, stop = len(TEXT), len(TEXT) + len(variant)
    cuts = [(), *([at] for at in range(begin, stop + 1)), range(begin, stop + 1)]
    for cut in cuts:
        edges = [0, *cut, len(whole)]
        packets = [whole[a:b] for a, b in pairwise(edges)]
        server, events, closing = send(action, *filter(None, packets))
        assert not server.smuggled, packets
        (event,) = events
        assert (event.parameter, event.action, event.log) == ("bare-newline", action, True)
        if action is not MASK:
            assert closing is CloseCause.PARAMETER
        else:
            assert closing in (None, CloseCause.PARAMETER)
            assert closing is None or b"\r\n.\r" in variant  # the CR had passed


@pytest.mark.parametrize("variant", VARIANTS, ids=name)
def test_log_reports_once_and_lets_pass(variant: bytes) -> None:
    whole = TEXT + variant + b"more" + variant + b"x"
    server, events, closing = send(LOG, whole)
    assert (server.read, closing, len(events)) == (whole, None, 1)


HARMLESS = (
    b"text\r\n..\r\n.\r\n",
    b"text\r\n.x\r\n\r\n.\r\n",
    b"a\nb\rc.\r\nd.\n\r\n.\r\n",
    b"text.\n.x\r.y\0.z\r\n.\r\n",
    b".\r\n",
    b"x\r\n.\r\n",
    b"\0\0\r\n.\r\n",
)


@pytest.mark.parametrize("text", HARMLESS, ids=name)
@pytest.mark.parametrize("action", [DROP, MASK], ids=name)
def test_honest_dots_pass_however_they_are_cut(text: bytes, action: ClauseAction) -> None:
    for at in range(len(text)):
        server, events, closing = send(action, *filter(None, (text[:at], text[at:])))
        assert (server.read, events, closing) == (text, [], None)
    server, events, closing = send(action, *(text[at : at + 1] for at in range(len(text))))
    assert (server.read, events, closing) == (text, [], None)


def test_first_line_of_a_message_can_be_one_too() -> None:
    for variant in (b".\n", b".\0\r\n", b".\rx"):
        _, events, closing = send(DROP, variant + SMUGGLED)
        assert len(events) == 1
        assert closing is CloseCause.PARAMETER


def test_random_bytes_are_judged_alike_whole_and_byte_by_byte() -> None:
    """The scanner's memory agrees with a search over everything that has arrived."""
    chance = random.Random(7)
    for _ in range(3000):
        text = b"x" + bytes(chance.choices(b"\r\n.\0x", k=12)) + b"xyz"
        if b"\r\n.\r\n" in text:
            continue
        whole = send(DROP, text)[2]
        single = send(DROP, *(text[at : at + 1] for at in range(len(text))))[2]
        assert whole is single, text


def test_long_runs_of_nuls_cost_no_more_than_their_length() -> None:
    server, events, _ = send(DROP, *[b"\r\n" + b"\0" * 60000] * 3, b".", b"\0" * 60000, b"x")
    assert not events
    assert len(server.read) > 240000
    assert len(send(DROP, b"\n" + b"\0" * 60000 + b"." + b"\0" * 60000, b"\n")[1]) == 1


def test_mask_puts_an_x_in_place_of_the_dot_or_of_what_ends_it() -> None:
    talk = in_message(with_action(MASK))
    told = ParameterMatched(CONNECTION, REQUEST, "m", "bare-newline", MASK, log=True)
    talk.client(b"text\n.\ntext", told, server_gets=b"text\nX\ntext")
    talk.client(b"\n.").client(b"\r\n", server_gets=b"X\n")
    talk.client(b"\r\n.\r\n").server(b"250 ok\r\n")


# ---- what the parameters say of other injections


@pytest.mark.parametrize("action", [DROP, RESET], ids=name)
def test_chunk_behind_a_masked_bdat_closes_if_the_map_says_so(action: ClauseAction) -> None:
    closes = map_with(bdat_chunk=action)
    inspector = Transcript(closes).greeted().inspector
    line = b"BDAT 20 LAST\r\n"
    assert inspector.request(line + b"MAIL", len(line) + 4, 0) == b""
    assert inspector.closing is CloseCause.BDAT_CHUNK
    assert inspector.resetting is (action is RESET)


def test_bytes_behind_starttls_reset_if_the_map_says_so() -> None:
    inspector = Transcript(map_with(allow_tls=True, starttls_injection=RESET)).greeted().inspector
    assert inspector.request(b"STARTTLS\r\nMAIL", 14, 0) == b""
    assert inspector.closing is CloseCause.STARTTLS_INJECTION
    assert inspector.resetting
