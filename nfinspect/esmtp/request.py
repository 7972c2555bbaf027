"""Scans the client's command lines (docs/appliance.md, sections 1, 9 and 10).

A line is inspected as it arrives, packet by packet. Most lines are plain: whole in one packet, with
a permitted verb and nothing else to check; ``scan`` passes those directly. ``_piece`` inspects all
others, one packet's piece at a time; between pieces the scanner keeps a few numbers and the line's
first bytes, which it needs for events.

Only CR LF ends a line. From a bare LF on the line is X. A bare CR passes, since it may have passed
before the next byte arrived, and what follows it is X. For the same reason a CR that ends a packet
passes in a masked line.
"""

from __future__ import annotations

import enum
import re
from typing import Final, NamedTuple

from nfinspect.esmtp.address import Place, measure
from nfinspect.esmtp.envelope import (
    admitted,
    judge_recipients,
    rates,
    recipient_facts,
    sender_facts,
    slowed,
)
from nfinspect.esmtp.evaluation import Fact, Standing, evaluate, judge
from nfinspect.esmtp.keywords import STARTTLS
from nfinspect.esmtp.session import REMEMBERED, Session
from nfinspect.esmtp.verbs import (
    AUTH_RESPONSE,
    DATA,
    MAIL,
    OTHER_VERBS,
    PERMITTED_WITH_TLS,
    RSET,
    Request,
    Verb,
)
from nfinspect.events import (
    REQUEST,
    CharacterReplaced,
    CloseCause,
    CommandMasked,
    CommandMaskReason,
    CommandSeen,
    StartTlsInjection,
)
from nfinspect.policy.criteria import VERBS, Criterion
from nfinspect.policy.model import IncompleteCommand, PipeCharacter

AUTH: Final = b"AUTH"
CR: Final = 13
LF: Final = 10
PIPE: Final = 124
VERB_TERMINATORS: Final = b" \t\r"
SHORTEST_VERB: Final = 4
BURST: Final = 500
"""Bytes. In a packet of at least this size, it was TCP, not a user, that cut the last verb."""

VERB_WORDS: Final = frozenset(word.encode() for word in VERBS)
_PLAIN_ADDRESS: Final = re.compile(rb"[ \t][^<>|:\r\n]*:[ \t]*<([^<>|\r\n]*)>[^<>|\r\n]*")
_VERB_END: Final = re.compile(rb"[ \t\r\n]")
_BRACKET_OR_PIPE: Final = re.compile(rb"[<>|]")
_SPECIAL: Final = re.compile(rb"[<>|`\0]")
_BDAT: Final = re.compile(rb"BDAT[ \t]+([0-9]+)", re.IGNORECASE)
_SIZE: Final = re.compile(rb"[ \t]SIZE=([0-9]{1,18})(?![^ \t])", re.IGNORECASE)
_XEXCH50: Final = re.compile(rb"XEXCH50[ \t]+([0-9]+)", re.IGNORECASE)
_AUTHENTICATES: Final = rb"(?:AUTH|X-EXPS|XAUTH[A-Z]*)[\s=]"
_INITIAL_RESPONSE: Final = re.compile(
    rb"(\s*" + _AUTHENTICATES + rb"+[^\s=]+[\s=]+)\S.*", re.IGNORECASE | re.DOTALL
)
_BEGINS_AUTH: Final = re.compile(
    rb"\s*(?:" + _AUTHENTICATES + rb"|(?:AUTH|X-EXPS|XAUTH[A-Z]*)\Z)", re.IGNORECASE
)
_COMMAND: Final = re.compile(
    rb"(?:" + b"|".join((*PERMITTED_WITH_TLS, *OTHER_VERBS)) + rb"|X{4,})(?:[ \t]|\Z)",
    re.IGNORECASE,
)


class Stage(enum.IntEnum):
    """How far inspection of the current line has come."""

    START = 0
    """No byte of its verb has arrived."""
    VERB = 1
    """A prefix of a permitted verb has passed (``stream``)."""
    VERB_WHOLE = 2
    """A permitted verb has passed; the byte after it has not arrived."""
    ARGUMENT = 3
    MASKED = 4
    """The line is X up to its CR LF."""


START: Final = Stage.START


class Piece(NamedTuple):
    """The bytes of a line that one packet contains."""

    start: int
    content_end: int
    """Followed by CR LF, by a CR whose LF may come in the next packet, or by nothing."""
    stop: int
    finished: bool
    """It ends with the line's CR LF, or with its LF if the CR came before."""


class CommandScanner:
    """The state of the current command line."""

    __slots__ = (
        "arrived",
        "auth_seen",
        "bracket",
        "ended_in_cr",
        "latest",
        "length",
        "mask_reported",
        "place",
        "place_length",
        "replaced",
        "slowed",
        "special",
        "stage",
        "verb",
    )

    # Named here to lie side by side, as in `StreamInspector`.
    auth_seen: bool
    bracket: bool
    ended_in_cr: bool
    mask_reported: bool
    slowed: bool
    special: bool

    def __init__(self) -> None:
        self.arrived = b""
        """Its first bytes as they arrived, without the line ending."""
        self.latest = b""
        """The verb of the latest permitted command that is complete."""
        self.auth_seen = False
        """AUTH, or what stands for it, was seen: a line that is no command may be a credential."""
        self._begin()

    def _begin(self) -> None:
        self.stage = Stage.START
        self.verb: Verb | None = None
        """Its verb, once a permitted one has passed."""
        self.length = 0
        """Bytes of it that have arrived."""
        self.ended_in_cr = False
        """The last packet ended with a CR of this line."""
        self.bracket = False
        """A ``<`` is open."""
        self.place = Place.VERB
        """Of the next byte, see ``address.py``."""
        self.place_length = 0
        """Length of the unfinished address, see ``address.py``."""
        self.replaced = b""
        """Characters replaced in it, each once."""
        self.mask_reported = False
        """An event has reported that the line is masked."""
        self.slowed = False
        """Its end has been dropped before, as there was too much mail."""
        self.special = False
        """A special character in it has been reported."""
        self.arrived = b""

    def scan(self, session: Session, data: bytes, start: int, packet_length: int) -> int:
        """Inspect the command line that begins or continues at ``start``, up to its end or that of
        ``data``. Returns the position after it; ``start`` if ``session.refusing`` was set."""
        if self.stage == START:
            end = data.find(b"\r\n", start)
            if end > start + 3:
                rules = session.rules
                verb = rules.plain.get(data[start : start + 4].upper())
                if (
                    verb is not None
                    and not self.length
                    and data[start + 4] in VERB_TERMINATORS
                    and end + 2 - start <= rules.command_line
                ):
                    if verb.address:
                        plain = _PLAIN_ADDRESS.fullmatch(data, start + 4, end)
                        if plain is not None and (
                            not verb.sender or plain.end(1) - plain.start(1) <= rules.sender
                        ):
                            self._finish_command(session, verb, data[start:end])
                            return end + 2
                    elif data.find(b"\r", start, end) < 0 and data.find(b"\n", start, end) < 0:
                        self._finish_command(session, verb, data[start:end])
                        return end + 2
        return self._piece(session, data, start, packet_length)

    def scan_response(self, session: Session, data: bytes, start: int) -> int:
        """The same for a client line in an AUTH exchange: it is no command, and its length is not
        limited."""
        if self.stage == Stage.START:
            self.stage = Stage.ARGUMENT
            self.verb = AUTH_RESPONSE
        return self._piece(session, data, start, 0)

    def begin_after_chunk(self) -> None:
        """A masked chunk has ended within a line: mask the rest of that line too. Otherwise the
        chunk's X and what follows could form a verb: ``X`` and ``CLIENT``."""
        self.stage = Stage.MASKED
        self.mask_reported = True  # by ChunkMasked

    @property
    def unended(self) -> int:
        """Bytes of the unfinished line, if a bare CR or LF in it shows that its sender takes it for
        finished; otherwise 0."""
        masked = self.stage == Stage.MASKED
        return self.length if masked and (LF in self.arrived or CR in self.arrived) else 0

    def _piece(self, session: Session, data: bytes, start: int, packet_length: int) -> int:
        piece = self._delimit(data, start)
        content_end = piece.content_end
        if session.rules.rated and piece.finished and not self._admitted(session, data, piece):
            session.refusing = session.slowing = True
            return start
        argument = start
        facts: list[Fact] = []
        reason = CommandMaskReason.BARE_LINE_ENDING
        if self.stage == Stage.MASKED or (self.ended_in_cr and data[start] != LF):
            masked_from = start
        else:
            masked_from = content_end
            if self.stage < Stage.ARGUMENT:
                known = self.arrived
                inspected = self._inspect_verb(session, data, piece, packet_length)
                if inspected is None:
                    session.refusing = True
                    return start
                argument, masked_from, reason = inspected
                if self.stage >= Stage.ARGUMENT and session.rules.wants(Criterion.COMMAND_VERB):
                    self._verb_fact(session, data, piece, known, facts)
            bare = _bare_ending(data, start, masked_from)
            if bare < masked_from:
                masked_from = bare
                reason = CommandMaskReason.BARE_LINE_ENDING
        self._remember(data, piece)
        line = self.arrived
        if piece.finished and session.transcript:
            session.events.append(CommandSeen(session.connection, self.listed(self.verb, line)))

        before, self.length = self.length, self.length + piece.stop - start
        self._inspect_argument(session, data, argument, masked_from, before, piece, line, facts)
        if session.closing is not None:
            return piece.stop
        if masked_from < content_end:
            mask = b"X" * (content_end - masked_from)
            self.stage = Stage.MASKED
            if len(line) >= SHORTEST_VERB and not line.strip(b"X"):
                session.already_masked(REQUEST)
            else:
                session.overwrite(data, masked_from, mask)
                if not self.mask_reported:
                    self.mask_reported = True
                    session.events.append(CommandMasked(session.connection, reason))
        if piece.finished:
            session.bare_line_feed = False
            self._finish(session, line)
            if (
                self.stage == Stage.MASKED
                and piece.stop < len(data)
                and line.rstrip(b" \t").upper() == STARTTLS
            ):
                session.events.append(StartTlsInjection(session.connection))
            self._begin()
        else:
            self.ended_in_cr = content_end < piece.stop
            if data.find(b"\n", start, content_end) >= 0:
                session.bare_line_feed = True
        return piece.stop

    def _delimit(self, data: bytes, start: int) -> Piece:
        if self.ended_in_cr and data[start] == LF:
            return Piece(start, start, start + 1, True)
        end = data.find(b"\r\n", start)
        if end >= 0:
            return Piece(start, end, end + 2, True)
        stop = len(data)
        return Piece(start, stop - (data[stop - 1] == CR), stop, False)

    def _inspect_verb(
        self, session: Session, data: bytes, piece: Piece, packet_length: int
    ) -> tuple[int, int, CommandMaskReason] | None:
        """Where the verb ends, from where on the piece is masked, and why; None if the packet must
        be dropped."""
        start, content_end = piece.start, piece.content_end
        rules = session.rules
        found = _VERB_END.search(data, start, content_end)
        word_end = content_end if found is None else found.start()
        terminated = found is not None or content_end < piece.stop
        word = data[start:word_end].upper()

        if self.stage == Stage.VERB_WHOLE:
            if word:
                self.stage = Stage.MASKED
                return start, start, CommandMaskReason.UNKNOWN_VERB
            self.stage = Stage.ARGUMENT
            return start, content_end, CommandMaskReason.BARE_LINE_ENDING

        known = self.arrived.upper() if self.stage == Stage.VERB else b""
        if not known and not word:
            # An empty line, so far. A leading blank makes the command unknown.
            if content_end > start and data[start] in b" \t":
                self.stage = Stage.MASKED
                return start, start, CommandMaskReason.UNKNOWN_VERB
            return start, content_end, CommandMaskReason.BARE_LINE_ENDING
        verb = rules.verbs.get(known + word)
        if verb is not None:
            self.verb = verb
            self.stage = Stage.ARGUMENT if terminated else Stage.VERB_WHOLE
            return word_end, content_end, CommandMaskReason.BARE_LINE_ENDING

        if self.stage == Stage.START:
            reason = CommandMaskReason.UNKNOWN_VERB
            if terminated:
                if len(word) < SHORTEST_VERB:
                    reason = CommandMaskReason.SHORT_VERB
                self.stage = Stage.MASKED
                return start, start, reason
            if not self._streams(session, data, start, packet_length):
                if word in rules.prefixes:
                    if rules.parameters.incomplete_command is IncompleteCommand.DROP:
                        return None
                    reason = CommandMaskReason.FRAGMENT
                self.stage = Stage.MASKED
                return start, start, reason

        if not terminated and known + word in rules.prefixes:
            self.stage = Stage.VERB
            return word_end, content_end, CommandMaskReason.BARE_LINE_ENDING
        self.stage = Stage.MASKED
        length = len(known)
        while length < len(known + word) and (known + word)[: length + 1] in rules.prefixes:
            length += 1
        return start, start + length - len(known), CommandMaskReason.UNKNOWN_VERB

    def _streams(self, session: Session, data: bytes, start: int, packet_length: int) -> bool:
        """Whether a verb cut by the end of the packet may continue in the next one: the map says
        so, or TCP has cut it, since other data precedes it or the packet is large."""
        return (
            session.rules.parameters.incomplete_command is IncompleteCommand.STREAM
            or start > 0
            or len(data) < packet_length
            or packet_length >= BURST
        )

    def _inspect_argument(
        self,
        session: Session,
        data: bytes,
        argument: int,
        end: int,
        before: int,
        piece: Piece,
        line: bytes,
        facts: list[Fact],
    ) -> None:
        """Find what closes the connection, in the order of the bytes, and blank stray
        characters."""
        verb = self.verb
        limit = session.rules.command_line
        complete = piece.finished and session.rules.completes(Criterion.COMMAND_LINE_LENGTH)
        if (self.length > limit or complete) and (verb is None or not verb.response):
            at = min(piece.start + max(0, limit - before), piece.stop)
            facts.append(
                Fact(
                    Criterion.COMMAND_LINE_LENGTH,
                    at,
                    self.length,
                    self._subject(Criterion.COMMAND_LINE_LENGTH, line),
                    before,
                    complete=complete,
                )
            )
        strays: list[int] = []
        opened = -1
        if verb is not None and verb.address:
            special = session.rules.parameters.special_character is not None
            for found in (_SPECIAL if special else _BRACKET_OR_PIPE).finditer(data, argument, end):
                at = found.start()
                character = data[at]
                if character == 60:  # <
                    if self.bracket:
                        strays.append(at)
                    else:
                        self.bracket, opened = True, at
                elif character == 62:  # >
                    if not self.bracket:
                        strays.append(at)
                    self.bracket = False
                else:
                    if special and not self.special:
                        self.special = True
                        facts.append(Fact(Standing.SPECIAL_CHARACTER, at, text=line))
                    if character == PIPE and verb.pipe:
                        if session.rules.parameters.pipe_character is PipeCharacter.BLANK:
                            strays.append(at)
                        else:
                            facts.append(Fact(Standing.PIPE, at, text=_argument(line)))
        if verb is not None and verb.sender:
            self.place, self.place_length, pieces = measure(
                self.place, self.place_length, data, argument, end
            )
            limit = session.rules.sender
            facts.extend(
                Fact(
                    Criterion.SENDER_LENGTH,
                    found.start + max(0, limit - found.before),
                    found.length,
                    _argument(line),
                    found.before,
                )
                for found in pieces
                if found.length > limit
            )
        if facts:
            evaluate(session, facts)
            if session.closing is not None:
                return

        if piece.finished and self.bracket:
            if opened >= 0:
                strays.append(opened)
            else:
                session.events.append(CharacterReplaced(session.connection, "<", line))
                session.close(CloseCause.UNCLOSED_BRACKET)
                return
        for at in strays:
            character_bytes = data[at : at + 1]
            session.overwrite(data, at, b" ")
            if character_bytes not in self.replaced:
                self.replaced += character_bytes
                session.events.append(
                    CharacterReplaced(session.connection, character_bytes.decode("ascii"), line)
                )

    def _verb_fact(
        self, session: Session, data: bytes, piece: Piece, known: bytes, facts: list[Fact]
    ) -> None:
        """The verb is known, or that it is none: a piece of one is neither."""
        word = self.verb.word if self.verb is not None else b""
        text = known + data[piece.start : piece.content_end]
        if self.verb is None:
            found = _VERB_END.search(text)
            word = text[: found.start()] if found is not None else text
            if found is None and not piece.finished and word.upper() not in VERB_WORDS:
                return
        shown = b"***"  # perhaps a credential, see `_subject`
        if self.verb is not None:
            shown = as_listed(self.verb, text[:REMEMBERED])
        elif word.upper() in VERB_WORDS:
            shown = word
        name = word.decode("latin-1").upper()
        facts.append(Fact(Criterion.COMMAND_VERB, piece.start, text=shown, word=name))

    def _admitted(self, session: Session, data: bytes, piece: Piece) -> bool:
        """Whether the end of this line may pass now, or there is too much mail. Nothing is learnt of
        a line that may not, as it comes again."""
        if self.stage == Stage.MASKED:
            return True
        line = (self.arrived + data[piece.start : piece.content_end])[:REMEMBERED]
        verb = self.verb
        if verb is None:
            found = _VERB_END.search(line)
            verb = session.rules.verbs.get(
                (line if found is None else line[: found.start()]).upper()
            )
        if verb is None or verb.response:
            return True
        met = rates(session, verb, line)
        if not met:
            return True
        if session.unfiltered or admitted(session, met):
            if self.slowed:
                session.matched |= met
            else:
                slowed(session, met)
            return True
        if not self.slowed:
            self.slowed = True
            slowed(session, met)
        return False

    @property
    def after_auth(self) -> bool:
        """Whether AUTH, or what stands for it, was seen, or has begun."""
        return self.auth_seen or begins_auth(self.arrived)

    def listed(self, verb: Verb | None, line: bytes) -> bytes:
        """A line as a transcript shows it: after AUTH, which may have been refused, one that is no
        command may be a response."""
        if verb is None and self.auth_seen and not looks_like_command(line):
            if not begins_auth(line):
                return b"***"
        return as_listed(verb, line)

    def _subject(self, criterion: Criterion, line: bytes) -> bytes:
        """What is too long, as far as it may be shown."""
        if self.verb is None:
            return b"***"  # perhaps a credential, if the server has refused AUTH
        if criterion is Criterion.COMMAND_LINE_LENGTH:
            return as_listed(self.verb, line)
        return _argument(line)

    def _remember(self, data: bytes, piece: Piece) -> None:
        room = REMEMBERED - len(self.arrived)
        if room <= 0:
            return
        if self.ended_in_cr and piece.content_end > piece.start:
            self.arrived += b"\r"
        self.arrived += data[piece.start : min(piece.content_end, piece.start + room)]

    def _finish(self, session: Session, line: bytes) -> None:
        """A line that was not plain is complete."""
        dialogue = session.dialogue
        if self.verb is not None:
            self._finish_command(session, self.verb, line, listed=True)
        elif self.stage == Stage.START:  # or a bare CR, which some servers drop, too
            dialogue.expect_reply(Request.EMPTY)
        else:
            chunk = _BDAT.match(line)
            announced = int(chunk[1][:_DIGITS]) if chunk else 0
            session.blob = announced_blob(line)
            if begins_auth(line):
                self.latest = AUTH
                self.auth_seen = True
            dialogue.expect_reply(Request.BDAT if announced else Request.MASKED)
            if announced:
                dialogue.begin_chunk(announced)

    def _finish_command(
        self, session: Session, verb: Verb, line: bytes, listed: bool = False
    ) -> None:
        """A permitted command, or an AUTH response, is complete."""
        if session.transcript and not listed:
            session.events.append(CommandSeen(session.connection, as_listed(verb, line)))
        dialogue = session.dialogue
        request = verb.request
        if verb.sender:
            request = dialogue.begin_transaction()
            if request == MAIL:
                session.begin_mail()
            session.sender = line
            session.declared, session.size = declared_size(line), 0
            if listed:
                evaluate(session, sender_facts(session, verb, line, self.length, _argument(line)))
        elif verb.recipient:
            count = dialogue.add_recipient()
            session.recipient = line
            if listed:
                evaluate(session, recipient_facts(session, verb, line, _argument(line)))
            if count > session.rules.recipients:
                fact = Fact(Criterion.RECIPIENT_COUNT, 0, count, _argument(line))
                judge(session, fact, Criterion.RECIPIENT_COUNT)
        elif request == DATA:
            judge_recipients(session)
        elif request == RSET:
            if len(line.rstrip(b" \t")) == len(verb.word):
                dialogue.end_transaction()
                session.sender = session.recipient = b""
        elif verb.response:
            dialogue.expect_auth_reply()
            return
        elif request == Request.AUTH:
            self.auth_seen = True
        self.latest = verb.word
        dialogue.expect_reply(request)


_DIGITS: Final = 18
"""Digits read of a chunk's announced length; a chunk with more will never end anyway."""


def _bare_ending(data: bytes, start: int, end: int) -> int:
    """From where on a bare LF or CR makes the line X; ``end`` if there is none. Any CR or LF within
    the line's content is bare."""
    line_feed = data.find(b"\n", start, end)
    carriage_return = data.find(b"\r", start, end if line_feed < 0 else line_feed)
    if carriage_return >= 0:
        return carriage_return + 1
    return end if line_feed < 0 else line_feed


def _argument(line: bytes) -> bytes:
    """A command's argument: what follows its verb and any blanks."""
    found = _VERB_END.search(line)
    return line[found.end() :].lstrip(b" \t") if found else b""


def announced_blob(line: bytes) -> int:
    """The bytes that an XEXCH50 announces: its client sends them after a 354, and they are no
    commands. 0 for any other line."""
    found = _XEXCH50.match(line)
    return int(found[1][:_DIGITS]) if found else 0


def declared_size(line: bytes) -> int:
    """The SIZE that a MAIL command declares (RFC 1870); -1 if it declares none."""
    found = _SIZE.search(line)
    return int(found[1]) if found else -1


def looks_like_command(line: bytes) -> bool:
    """Whether a line has a known verb, and so is a command rather than mail text or a response in an
    AUTH exchange."""
    return _COMMAND.match(line) is not None


def begins_auth(line: bytes) -> bool:
    """Whether a line is AUTH, or what Exchange and older clients send in its place."""
    return _BEGINS_AUTH.match(line) is not None


def as_listed(verb: Verb | None, line: bytes) -> bytes:
    """A command line as a transcript shows it: with ``***`` in place of AUTH credentials."""
    if verb is not None and verb.response:
        return b"***"
    initial = _INITIAL_RESPONSE.match(line)
    return initial[1] + b"***" if initial else line
