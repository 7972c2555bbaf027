"""The match criteria of an inspection map: one row for each (docs/appliance.md, section 4).

The parser, its messages, the evaluation and docs/policy.md follow this table. Criteria and actions
are [G]; which action a criterion takes is [G] for mask, and [U] for the others.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from nfinspect.events import ClauseAction


class Criterion(enum.Enum):
    """The kinds of match clause; the value is the configuration's words as show spells them."""

    COMMAND_VERB = "cmd verb"
    COMMAND_LINE_LENGTH = "cmd line length"
    SENDER_LENGTH = "sender-address length"
    SENDER_ADDRESS = "sender-address"
    RECIPIENT_COUNT = "cmd RCPT count"
    INVALID_RECIPIENTS = "invalid-recipients count"
    EHLO_REPLY_PARAMETER = "ehlo-reply-parameter"
    HEADER_LENGTH = "header length"
    HEADER_LINE_LENGTH = "header line length"
    TO_FIELDS = "header to-fields count"
    BODY_LENGTH = "body length"
    BODY_LINE_LENGTH = "body line length"
    MIME_ENCODING = "MIME encoding"
    MIME_FILENAME_LENGTH = "MIME filename length"
    MIME_FILETYPE = "MIME filetype"


class Scope(enum.Enum):
    """What a criterion looks at."""

    COMMAND = "command"
    REPLY = "reply"
    HEADER = "header"
    MAIL = "mail"


class Kind(enum.Enum):
    """What a criterion is compared with: the form of its condition."""

    LENGTH = "length"
    """`Above` a number of bytes."""
    COUNT = "count"
    """`Above` a count."""
    WORDS = "words"
    """`OneOf` some words."""
    EXPRESSION = "expression"
    """`Matches` a regular expression, or one of a class."""


MOST: Final = {Kind.LENGTH: 2**31 - 1, Kind.COUNT: 65535}
"""The largest limit; the smallest is 1 [U]."""


@dataclass(frozen=True, slots=True)
class CriterionRow:
    """What is known of a criterion."""

    criterion: Criterion
    kind: Kind
    scope: Scope
    actions: tuple[ClauseAction, ...]
    """Those that it takes."""
    once_a_mail: bool
    """Its bare ``log`` writes one line for each mail; otherwise for each command or reply."""
    compared: str
    """What is compared."""
    judged: str
    """When it is certain that a value does not meet the condition, and ``match not`` applies."""
    words: tuple[str, ...] = ()
    """Of `Kind.WORDS`: all there are."""


VERBS: Final = tuple(
    "AUTH DATA EHLO ETRN HELO HELP MAIL NOOP QUIT RCPT RSET SAML SEND SOML STARTTLS VRFY".split()
)
"""The commands that may pass."""

PARAMETERS: Final = tuple(
    "8bitmime auth binaryname checkpoint dsn ecode etrn others pipelining size vrfy".split()
)
"""The appliance's words for the keywords of an EHLO reply."""

ENCODINGS: Final = tuple("7bit 8bit base64 binary others quoted-printable".split())
"""Values of Content-Transfer-Encoding (RFC 2045 section 6), and ``others``."""

_CLOSE: Final = (ClauseAction.DROP_CONNECTION, ClauseAction.RESET, ClauseAction.LOG)
_MASK: Final = (*_CLOSE, ClauseAction.MASK)
_SLOW: Final = (*_CLOSE, ClauseAction.RATE_LIMIT)

_LINE: Final = "at the end of the line"
_COMMAND: Final = "at the end of the command"
_HEADER: Final = "at the end of the header"
_MAIL: Final = "at the end of the mail"

ROWS: Final = (
    CriterionRow(
        Criterion.COMMAND_VERB,
        Kind.WORDS,
        Scope.COMMAND,
        (*_MASK, ClauseAction.RATE_LIMIT),
        False,
        "the verb of a command",
        "at the end of the verb",
        VERBS,
    ),
    CriterionRow(
        Criterion.COMMAND_LINE_LENGTH,
        Kind.LENGTH,
        Scope.COMMAND,
        _CLOSE,
        False,
        "a command line with its CR LF",
        _LINE,
    ),
    CriterionRow(
        Criterion.SENDER_LENGTH,
        Kind.LENGTH,
        Scope.COMMAND,
        _CLOSE,
        False,
        "the address in MAIL, between `<` and `>`",
        _COMMAND,
    ),
    CriterionRow(
        Criterion.SENDER_ADDRESS,
        Kind.EXPRESSION,
        Scope.COMMAND,
        _SLOW,
        False,
        "the address in MAIL, between `<` and `>`",
        _COMMAND,
    ),
    CriterionRow(
        Criterion.RECIPIENT_COUNT,
        Kind.COUNT,
        Scope.COMMAND,
        _CLOSE,
        True,
        "RCPT commands since MAIL, whatever the server answered",
        "at DATA",
    ),
    CriterionRow(
        Criterion.INVALID_RECIPIENTS,
        Kind.COUNT,
        Scope.REPLY,
        _CLOSE,
        True,
        "RCPT commands since MAIL that the server has refused (5xx)",
        "at the reply to DATA",
    ),
    CriterionRow(
        Criterion.EHLO_REPLY_PARAMETER,
        Kind.WORDS,
        Scope.REPLY,
        _MASK,
        False,
        "a keyword of the reply to EHLO",
        _LINE,
        PARAMETERS,
    ),
    CriterionRow(
        Criterion.HEADER_LENGTH,
        Kind.LENGTH,
        Scope.HEADER,
        _CLOSE,
        True,
        "the header of the mail, its line endings included",
        _HEADER,
    ),
    CriterionRow(
        Criterion.HEADER_LINE_LENGTH,
        Kind.LENGTH,
        Scope.HEADER,
        _CLOSE,
        True,
        "a line of the header, without CR LF and a stuffed dot",
        _LINE,
    ),
    CriterionRow(
        Criterion.TO_FIELDS,
        Kind.COUNT,
        Scope.HEADER,
        _CLOSE,
        True,
        "the addresses in the To fields of the header; a field without any counts as one",
        _HEADER,
    ),
    CriterionRow(
        Criterion.BODY_LENGTH,
        Kind.LENGTH,
        Scope.MAIL,
        _CLOSE,
        True,
        "the body of the mail, its line endings included, without stuffed dots",
        _MAIL,
    ),
    CriterionRow(
        Criterion.BODY_LINE_LENGTH,
        Kind.LENGTH,
        Scope.MAIL,
        _CLOSE,
        True,
        "a line of the body, without CR LF and a stuffed dot",
        _LINE,
    ),
    CriterionRow(
        Criterion.MIME_ENCODING,
        Kind.WORDS,
        Scope.MAIL,
        _CLOSE,
        True,
        "a Content-Transfer-Encoding, of the mail or of a part",
        "at the end of the field",
        ENCODINGS,
    ),
    CriterionRow(
        Criterion.MIME_FILENAME_LENGTH,
        Kind.LENGTH,
        Scope.MAIL,
        _CLOSE,
        True,
        "the name of an attachment, decoded",
        "at the end of the field",
    ),
    CriterionRow(
        Criterion.MIME_FILETYPE,
        Kind.EXPRESSION,
        Scope.MAIL,
        _CLOSE,
        True,
        "the declared type of a part, and the name of an attachment",
        "at the end of the field",
    ),
)

CRITERIA: Final = {row.criterion: row for row in ROWS}
