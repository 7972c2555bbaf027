"""What can be asked about a configuration, in the appliance's words: ``packet-tracer``, ``show
running-config`` and ``show service-policy flow``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from nfinspect.policy import canonical, lexer
from nfinspect.policy.classify import OpeningConnection
from nfinspect.policy.commands import ARGUMENTS, FRAGMENTS
from nfinspect.policy.resolve import Configuration
from nfinspect.policy.syntax import Mismatch, Statement, Syntax, closest
from nfinspect.policy.trace import FindWay, names_of_interfaces, service_policy_flow, trace

QUESTIONS = {
    "packet-tracer input INTERFACE tcp source:NETWORK source_port:PORT destination:NETWORK"
    " destination_port:PORT [detailed:detailed]": "trace",
    "show service-policy flow tcp host source:NETWORK [eq source_port:PORT] host destination:NETWORK"
    " [eq destination_port:PORT]": "flow",
    "show {running-config | running | run} [REST]": "running",
}
SYNTAX: Syntax[str] = Syntax(QUESTIONS.items(), ARGUMENTS, FRAGMENTS)

CLIENT_PORT, SERVER_PORT = 1024, 25
"""Of a flow that is described without ports."""


class QuestionError(Exception):
    """The question is not understood; the message says why."""


class Reply(NamedTuple):
    """The same answer twice: for people, and for machines (JSON types)."""

    text: str
    data: Any


def is_question(words: Sequence[str]) -> bool:
    """Whether *words* begin one of `QUESTIONS`."""
    first = [word.lower() for word in words[:3]]
    return (
        first[:1] == ["packet-tracer"]
        or first == ["show", "service-policy", "flow"]
        or (first[:1] == ["show"] and first[1:2] in (["running-config"], ["running"], ["run"]))
    )


def answer(
    configuration: Configuration,
    words: Sequence[str],
    *,
    in_use: int | None = None,
    find: FindWay | None = None,
) -> Reply:
    """Answer one of `QUESTIONS`; *in_use* are the connections of a running filter, and *find* asks the
    kernel for the way of a packet.

    Raises QuestionError.
    """
    line = next(lexer.lines(" ".join(words), "command"), None)
    if line is None:
        raise QuestionError("nothing is asked")
    draft = configuration.effective.draft if configuration.effective else None
    match SYNTAX.match(line, draft):
        case Mismatch() as mismatch:
            raise QuestionError(f"{mismatch.finding.sentence}\n{mismatch.finding.excerpt}")
        case Statement() as statement:
            pass
    if statement.meaning == "running":
        return _running(configuration, statement.get("rest", ""))
    connection = _connection(statement)
    if statement.meaning == "flow":
        text = service_policy_flow(configuration, connection)
        return Reply(text, text.splitlines())
    names = names_of_interfaces(configuration.policy)
    if connection.arrives not in names:
        word = statement.word("interface")
        finding = word.finding(
            f"no interface is called {word.quoted}", names, closest(word.text, names)
        )
        raise QuestionError(f"{finding.sentence}\n{finding.excerpt}")
    found = trace(
        configuration,
        connection,
        in_use=in_use,
        detailed="detailed" in statement,
        find=find,
    )
    return Reply(found.text, found.data)


def _connection(statement: Statement[str]) -> OpeningConnection:
    ends = {}
    for label in ("source", "destination"):
        version, first, last = statement[label]
        if first != last:
            raise QuestionError(f"{statement.word(label).quoted} is more than one address")
        ends[label] = version, first
    if ends["source"][0] != ends["destination"][0]:
        raise QuestionError("the addresses are of two IP versions")
    return OpeningConnection(
        ends["source"][0],
        ends["source"][1],
        statement.get("source_port", CLIENT_PORT),
        ends["destination"][1],
        statement.get("destination_port", SERVER_PORT),
        statement.get("interface", ""),
    )


def _running(configuration: Configuration, part: str) -> Reply:
    """Return the effective configuration, or the blocks that begin with the words *part*."""
    wanted = part.lower().split()
    lines: list[str] = []
    shown = False
    for line in canonical.text(configuration).splitlines():
        if not line.startswith(" "):
            shown = line.lower().split()[: len(wanted)] == wanted
        if shown:
            lines.append(line)
    return Reply("".join(f"{line}\n" for line in lines), lines)
