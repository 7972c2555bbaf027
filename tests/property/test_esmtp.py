"""The inspector on any bytes in any segmentation: it never fails, changes no length, and decides a
lawful session in the same way however it is segmented."""

import copy
import itertools
import pickle
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfinspect.esmtp.clauses import compile_map
from nfinspect.esmtp.inspector import Inspector
from nfinspect.esmtp.observer import Observer
from nfinspect.esmtp.verbs import PERMITTED
from nfinspect.events import ClauseMatched, CloseCause
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.model import (
    IncompleteCommand,
    InspectionMap,
    PipeCharacter,
    ServerAnomalyAction,
)
from tests.unit.esmtp.transcript import CONNECTION, DEFAULT, DROP, LOG, MASK, map_with

# --- Anything in any order

WORDS = [
    *PERMITTED,
    *b"STARTTLS BDAT XCLIENT 250 354 334 220 421 500 . .. -- FROM:< TO:< > | ; filename name".split(),
    *(b"\r\n", b"\r", b"\n", b" ", b"\t", b"\0", b"-", b"=", b'"', b"(", b")", b"\\", b"*"),
    b"\r\n.\r\n",
    b"\r\n\r\n",
    b"220 hi\r\n",
    b"250 ok\r\n",
    b"354 go\r\n",
    b"250-s\r\n250-STARTTLS\r\n250 PIPELINING\r\n",
    b"EHLO x\r\n",
    b"DATA\r\n",
    b"BDAT 7\r\n",
    b"AUTH LOGIN\r\n",
    b"Content-Disposition: a; filename*0*=''",
    b"Content-Type: message/rfc822; name==?utf-8?B?",
    b"n" * 300,
    b"x" * 1000,
]
pieces = st.lists(st.sampled_from(WORDS) | st.binary(max_size=12), max_size=8).map(b"".join)
packets = st.lists(st.tuples(st.booleans(), pieces.filter(len)), max_size=40)

MAPS = [
    DEFAULT,
    map_with(
        (Criterion.COMMAND_LINE_LENGTH, LOG, True, 5),
        (Criterion.SENDER_LENGTH, LOG, True, 1),
        (Criterion.RECIPIENT_COUNT, LOG, True, 1),
        (Criterion.HEADER_LINE_LENGTH, LOG, True, 1),
        (Criterion.BODY_LINE_LENGTH, LOG, True, 1),
        (Criterion.MIME_FILENAME_LENGTH, LOG, True, 1),
        (Criterion.EHLO_REPLY_PARAMETER, LOG, True, ("others",)),
        (Criterion.EHLO_REPLY_PARAMETER, MASK, True, ("size", "pipelining")),
        (Criterion.EHLO_REPLY_PARAMETER, DROP, True, ("auth",)),
        allow_tls=True,
        incomplete_command=IncompleteCommand.STREAM,
        pipe_character=PipeCharacter.BLANK,
    ),
    map_with(
        mask_banner=True,
        incomplete_command=IncompleteCommand.DROP,
        server_anomaly=ServerAnomalyAction.DROP_CONNECTION,
    ),
]


@settings(max_examples=250)
@given(st.sampled_from(MAPS), st.booleans(), st.booleans(), packets, st.booleans())
def test_any_bytes_in_any_order_are_decided(
    inspection_map: InspectionMap,
    transcript: bool,
    recorded: bool,
    talk: list[tuple[bool, bytes]],
    greeted: bool,
) -> None:
    inspector = Inspector(
        CONNECTION, compile_map(inspection_map), transcript=transcript, unfiltered=recorded
    )
    replied = 0
    if greeted:
        talk = [(False, b"220 x\r\n"), (True, b"EHLO x\r\n"), (False, WORDS[-9]), *talk]
    for from_client, data in talk:
        closed, uninspected = inspector.closing, inspector.uninspected
        owed = inspector.replies_owed
        if from_client:
            passed = inspector.request(data, len(data), replied)
        else:
            passed = inspector.reply(data)
            replied += len(passed)
        assert len(passed) <= len(data)
        assert inspector.edited is None
        if passed == data:
            assert passed is data
        if uninspected is not None:
            assert passed is data
            assert not inspector.events
        if closed is not None:
            assert inspector.closing is closed
            assert not passed or not from_client
            assert not passed or owed
        elif inspector.closing is not None:
            assert not passed
            assert inspector.replies_owed <= owed
        inspector.events.clear()


@settings(max_examples=100)
@given(packets)
def test_observer_changes_nothing(talk: list[tuple[bool, bytes]]) -> None:
    observer = Observer(CONNECTION)
    for from_client, data in talk:
        if from_client:
            assert observer.request(data, len(data), 0) is data
        else:
            assert observer.reply(data) is data


# Python cannot restore a frozen dataclass that is compiled, such as the verb of a line.
@pytest.mark.pure
@settings(max_examples=60)
@given(packets, st.integers(0, 40))
def test_pickled_inspector_decides_like_the_original(
    talk: list[tuple[bool, bytes]], when: int
) -> None:
    first = Inspector(CONNECTION, compile_map(DEFAULT))
    first.reply(b"220 x\r\n")
    other = first
    for number, (from_client, data) in enumerate(talk):
        if number == when:
            other = pickle.loads(pickle.dumps(first))
        results = []
        for inspector in {id(each): each for each in (first, other)}.values():
            passed = (
                inspector.request(data, len(data), 10**6) if from_client else inspector.reply(data)
            )
            results.append((passed, list(inspector.events), inspector.closing))
            inspector.events.clear()
        assert results[0] == results[-1]


# --- Only what is approved passes


@settings(max_examples=150)
@given(st.lists(pieces.filter(len), max_size=25))
def test_server_never_sees_a_command_that_is_not_permitted(talk: list[bytes]) -> None:
    """The server refuses every line, so all lines are commands. To a strict server each has a
    permitted verb, the beginning of one, or X. A lenient server sees no new command after a bare CR
    or LF."""
    inspector = Inspector(CONNECTION, compile_map(DEFAULT))
    inspector.reply(b"220 x\r\n")
    seen = b""
    for data in talk:
        seen += inspector.request(data, len(data), 10**6)
        while inspector.replies_owed:
            inspector.reply(b"500 no\r\n")
    for text in seen.split(b"\r\n")[:-1]:
        assert b"\n" not in text
        command, *after_cr = text.split(b"\r")
        assert set(b"".join(after_cr)) <= set(b"X")
        passed = re.split(rb"[ \t]", command)[0].upper().rstrip(b"X")
        assert text.startswith(b"X") or any(verb.startswith(passed) for verb in PERMITTED)


# --- A lawful session is decided in the same way however it is segmented


@dataclass
class Turn:
    """What one side sends until it has to wait."""

    client: bool
    lines: list[bytes]
    commands: bool = False

    @property
    def data(self) -> bytes:
        return b"".join(each + b"\r\n" for each in self.lines)

    def packets(self, cuts: Iterator[int]) -> Iterator[bytes]:
        """The turn in pieces of these sizes; no verb is split."""
        data = self.data
        verbs = []
        position = 0
        for each in self.lines:
            if self.commands:
                verbs.append((position, position + len(each.split(b" ")[0].split(b":")[0])))
            position += len(each) + 2
        start = 0
        while start < len(data):
            end = start + next(cuts)
            end = next((after for begin, after in verbs if begin < end < after), end)
            yield data[start:end]
            start = end


word = st.from_regex(rb"[a-z0-9.@=;:,\-]{1,12}", fullmatch=True)
address = st.one_of(word, st.just(b"a" * 321), st.just(b"")).map(lambda text: b"<" + text + b">")
arguments = st.lists(word, max_size=3).map(b" ".join)


def line(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(b"".join)


mails = line(st.just(b"MAIL FROM:"), address, st.sampled_from([b"", b" SIZE=10", b" AUTH=<>"]))
commands = st.one_of(
    line(st.just(b"rcpt to:"), address),
    line(st.sampled_from([b"NOOP ", b"VRFY ", b"HELP ", b"ETRN "]), arguments),
    st.just(b"RSET"),
    line(st.just(b"XUNKNOWN "), arguments),
    line(st.just(b"NOOP "), st.just(b"z" * 520)),
)
body_lines = st.lists(
    st.one_of(
        arguments,
        st.just(b""),
        st.just(b"."),
        st.just(b".."),
        st.just(b"--b"),
        st.just(b"y" * 1000),
        st.just(b"Content-Type: message/rfc822"),
        st.just(b"Content-Disposition: a;"),
        st.just(b' filename="' + b"n" * 200),
        st.just(b"\tfilename*0=" + b"n" * 260),
        st.just(b"X: " + b"\xff" * 40),
    ),
    max_size=8,
)


@st.composite
def sessions(draw: st.DrawFn) -> list[Turn]:
    """The turns of client and server, with pipelining."""
    turns = [
        Turn(False, [b"220 mail 2002"]),
        Turn(True, [b"EHLO x"], commands=True),
        Turn(False, [b"250-s", b"250-PIPELINING", b"250 SIZE 5"]),
    ]
    for _ in range(draw(st.integers(1, 2))):
        group = [draw(mails), *draw(st.lists(commands, max_size=5))]
        turns.append(Turn(True, [*group, b"DATA"], commands=True))
        turns.append(Turn(False, [b"500 x" if b"UNKNOWN" in each else b"250 x" for each in group]))
        turns[-1].lines.append(b"354 go")
        text = [b"." + each if each.startswith(b".") else each for each in draw(body_lines)]
        turns.append(Turn(True, [*text, b"."]))
        turns.append(Turn(False, [b"250 ok"]))
    return turns


def run(turns: list[Turn], cuts: list[int]) -> tuple[bytes, bytes, set[int], CloseCause | None]:
    """What server and client receive, the clauses that matched, and why the connection was closed.
    ``cuts`` are packet sizes, used in turn."""
    inspector = Inspector(CONNECTION, compile_map(DEFAULT))
    got = {True: b"", False: b""}
    met: set[int] = set()
    sizes = itertools.cycle(cuts)
    for turn in turns:
        for packet in turn.packets(sizes):
            if turn.client:
                passed = inspector.request(packet, len(packet), len(got[False]))
            else:
                passed = inspector.reply(packet)
            got[turn.client] += passed
            met.update(e.position for e in inspector.events if isinstance(e, ClauseMatched))
            inspector.events.clear()
            if inspector.closing is not None:
                return got[True], got[False], met, inspector.closing
            assert len(passed) == len(packet)
    return got[True], got[False], met, inspector.closing


@settings(max_examples=100)
@given(sessions(), st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_lawful_session_is_decided_the_same_in_any_segmentation(
    turns: list[Turn], cuts: list[int]
) -> None:
    whole = run(turns, [10**6])
    cut = run(turns, cuts)
    assert cut[2:] == whole[2:]
    assert cut[1] == whole[1]
    if whole[3] is None:
        assert cut[0] == whole[0]
    else:  # a packet is dropped whole, so with smaller packets more has passed before
        assert cut[0].startswith(whole[0])


@settings(max_examples=150)
@given(
    body_lines,
    st.lists(st.integers(1, 30), min_size=1, max_size=8),
    st.sampled_from([0, 3, 40, 255]),
)
def test_message_matches_the_same_clauses_in_any_segmentation(
    text: list[bytes], cuts: list[int], limit: int
) -> None:
    logs = map_with(
        (Criterion.HEADER_LINE_LENGTH, LOG, True, 20),
        (Criterion.HEADER_LINE_LENGTH, LOG, True, 900),
        (Criterion.BODY_LINE_LENGTH, LOG, True, 1),
        (Criterion.BODY_LINE_LENGTH, LOG, True, 900),
        (Criterion.MIME_FILENAME_LENGTH, LOG, True, limit),
    )
    stuffed = [b"." + each if each.startswith(b".") else each for each in text]
    data = b"".join(each + b"\r\n" for each in [*stuffed, b"."])
    results = []
    for sizes in ([len(data)], cuts):
        inspector = Inspector(CONNECTION, compile_map(logs))
        inspector.reply(b"220 x\r\n")
        inspector.request(b"DATA\r\n", 6, 7)
        inspector.reply(b"354 go\r\n")
        inspector.events.clear()
        start = number = 0
        while start < len(data):
            size = sizes[number % len(sizes)]
            number += 1
            packet = data[start : start + size]
            start += size
            assert inspector.request(packet, len(packet), 15) is packet
            assert inspector.replies_owed == (start >= len(data))
        results.append(
            [
                (e.position, e.log)
                for e in inspector.events
                if isinstance(e, ClauseMatched) and e.log
            ]
        )
    assert sorted(results[0]) == sorted(results[1])


@pytest.mark.pure
def test_copies_of_an_inspector_continue_where_the_original_was() -> None:
    inspector = Inspector(CONNECTION, compile_map(DEFAULT))
    inspector.reply(b"220 x\r\n")
    inspector.request(b"AUTH LOGIN\r\n", 12, 7)
    inspector.reply(b"334 \r\n")
    inspector.request(b"Zm", 2, 13)
    inspector.events.clear()
    copied = pickle.loads(pickle.dumps(inspector))
    deep = copy.deepcopy(inspector)
    for each in (inspector, copied, deep):
        assert each.request(b"9v\r\nNOOP\r\n", 10, 13) == b"9v\r\n"
        assert each.replies_owed == 1
        assert not each.events
