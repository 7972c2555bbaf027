"""The grammar of a configuration: for each mode, the lines it may contain and what they do.

To support another command, add a row here, and its new arguments to `ARGUMENTS`. `syntax` describes
the notation. docs/configuration.md explains the commands to users; a test keeps the two in step.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from nfinspect.events import ClauseAction
from nfinspect.policy import draft
from nfinspect.policy.model import (
    Criterion,
    IncompleteCommand,
    PipeCharacter,
    ServerAnomalyAction,
    UnseenDataAction,
)
from nfinspect.policy.syntax import Syntax, name, number, text


class Mode(enum.Enum):
    """The mode of a line; the value is its name in messages."""

    GLOBAL = "the configuration"
    CLASS_MAP = "class-map"
    MAP = "policy-map type inspect esmtp"
    PARAMETERS = "parameters"
    CLAUSE = "match"
    POLICY_MAP = "policy-map"
    CLASS = "class"


class Row(NamedTuple):
    """One kind of line."""

    pattern: str
    meaning: draft.Meaning
    enters: Mode | None = None
    """The mode of the lines below it, if it opens one."""


ARGUMENTS = {
    # Ranges not stated in the appliance's guides are our choice (docs/configuration.md).
    "NAME": name(40),
    "TEXT": text(200),
    "LENGTH": number(1, 2**31 - 1),
    "COUNT": number(1, 65535),
    "SECONDS": number(0, 86400),
}

GRAMMAR: dict[Mode, tuple[Row, ...]] = {
    Mode.GLOBAL: (
        Row("class-map NAME", draft.begin_class_map, Mode.CLASS_MAP),
        Row("policy-map type inspect esmtp NAME", draft.begin_map, Mode.MAP),
        Row("policy-map NAME", draft.begin_policy_map, Mode.POLICY_MAP),
        Row("service-policy NAME global", draft.apply_globally),
    ),
    Mode.CLASS_MAP: (
        Row("description TEXT", draft.nothing),
        Row("match default-inspection-traffic", draft.classify),
    ),
    Mode.MAP: (
        Row("description TEXT", draft.describe_map),
        Row("parameters", draft.nothing, Mode.PARAMETERS),
        *(
            Row(f"match {words}", draft.begin_clause(criterion), Mode.CLAUSE)
            for words, criterion in {
                "cmd line length gt LENGTH": Criterion.COMMAND_LINE_LENGTH,
                "cmd rcpt count gt COUNT": Criterion.RECIPIENT_COUNT,
                "body line length gt LENGTH": Criterion.BODY_LINE_LENGTH,
                "header line length gt LENGTH": Criterion.HEADER_LINE_LENGTH,
                "sender-address length gt LENGTH": Criterion.SENDER_LENGTH,
                "mime filename length gt LENGTH": Criterion.MIME_FILENAME_LENGTH,
                "ehlo-reply-parameter others": Criterion.EHLO_REPLY_PARAMETER,
            }.items()
        ),
    ),
    Mode.PARAMETERS: (
        Row("mask-banner", draft.set_parameters(mask_banner=True)),
        Row("no mask-banner", draft.set_parameters(mask_banner=False)),
        Row("allow-tls", draft.set_parameters(allow_tls=True, allow_tls_log=False)),
        Row("allow-tls action log", draft.set_parameters(allow_tls=True, allow_tls_log=True)),
        Row("no allow-tls", draft.set_parameters(allow_tls=False, allow_tls_log=False)),
        Row("no mail-relay", draft.nothing),
        Row("no special-character", draft.nothing),
        Row(
            "server-anomaly {log | drop-connection}",
            draft.choose_parameter("server_anomaly", ServerAnomalyAction),
        ),
        Row(
            "incomplete-command {mask | stream | drop}",
            draft.choose_parameter("incomplete_command", IncompleteCommand),
        ),
        Row(
            "pipe-character {close | blank}",
            draft.choose_parameter("pipe_character", PipeCharacter),
        ),
        Row(
            "unseen-data {drop-connection | uninspected}",
            draft.choose_parameter("unseen_data", UnseenDataAction),
        ),
        Row("midstream-pickup SECONDS", draft.choose_parameter("midstream_pickup", int)),
    ),
    Mode.CLAUSE: (
        Row(
            "{drop-connection | drop} [send-protocol-error] [log]",
            draft.act(ClauseAction.DROP_CONNECTION),
        ),
        Row("mask [log]", draft.act(ClauseAction.MASK)),
        Row("log", draft.act(ClauseAction.LOG)),
    ),
    Mode.POLICY_MAP: (
        Row("description TEXT", draft.nothing),
        Row("class NAME", draft.begin_class, Mode.CLASS),
    ),
    Mode.CLASS: (
        Row("inspect esmtp [NAME]", draft.inspect),
        Row("no inspect esmtp [NAME]", draft.do_not_inspect),
    ),
}

SYNTAX = {
    mode: Syntax(((row.pattern, row) for row in rows), ARGUMENTS) for mode, rows in GRAMMAR.items()
}
