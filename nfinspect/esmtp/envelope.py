"""What clauses and parameters ask of a whole command: its verb, the sender, the recipient
(docs/appliance.md, section 4).

A command is judged at its end, over what is remembered of its line (`REMEMBERED`): an address in a longer line
counts as as long as the line, and an expression is searched for in its beginning.
"""

from __future__ import annotations

from nfinspect.esmtp.address import Place, measure
from nfinspect.esmtp.evaluation import Fact, Standing, judge, match
from nfinspect.esmtp.session import REMEMBERED, Session
from nfinspect.esmtp.verbs import Verb
from nfinspect.policy.criteria import Criterion


def addresses(verb: Verb, line: bytes) -> tuple[bytes, ...]:
    """The addresses in a whole command line, without its CR LF: what servers may take for one."""
    _, _, found = measure(Place.VERB, 0, line, len(verb.word), len(line))
    return tuple(line[each.start : each.start + each.length] for each in found)


def relays(verb: Verb, line: bytes, domain: bytes) -> bool:
    """Whether a RCPT is for another domain than *domain*, in lower case. An address without a domain
    is for the server itself."""
    for address in addresses(verb, line):
        at = address.rfind(b"@")
        if at >= 0 and address[at + 1 :].strip(b" \t").lower().removesuffix(b".") != domain:
            return True
    return False


def sender_facts(session: Session, verb: Verb, line: bytes, length: int, text: bytes) -> list[Fact]:
    """The sender of a whole MAIL command, whose line has *length* bytes; *text* is what is shown."""
    rules = session.rules
    facts: list[Fact] = []
    lengths, expressions = Criterion.SENDER_LENGTH, Criterion.SENDER_ADDRESS
    if not (rules.groups[lengths].completes or rules.groups[expressions].bits):
        return facts
    found = addresses(verb, line) or (b"",)
    if rules.groups[lengths].completes:
        size = max(map(len, found)) if length <= REMEMBERED else length
        # What exceeds a limit has been reported as it arrived.
        facts.append(Fact(lengths, 0, size, text, size, complete=True))
    if rules.groups[expressions].bits:
        facts.append(Fact(expressions, 0, text=text, values=found))
    return facts


def recipient_facts(session: Session, verb: Verb, line: bytes, text: bytes) -> list[Fact]:
    """The recipient of a whole RCPT command."""
    relay = session.rules.parameters.mail_relay
    if relay is not None and relays(verb, line, relay.domain.lower().encode()):
        return [Fact(Standing.MAIL_RELAY, 0, text=text)]
    return []


def rates(session: Session, verb: Verb, line: bytes) -> int:
    """The clauses with a rate that a command meets, as bits."""
    rules = session.rules
    met = rules.groups[Criterion.COMMAND_VERB].met_by_word(verb.word.decode("ascii"))
    senders = rules.groups[Criterion.SENDER_ADDRESS]
    if verb.sender and senders.bits:
        met |= senders.met_by_text(addresses(verb, line) or (b"",))
    return met & rules.rated


def admitted(session: Session, met: int) -> bool:
    """Whether a command that meets these clauses with a rate may pass now; then it has."""
    rules = session.rules
    buckets = [bucket for bit, bucket in rules.buckets.items() if bit & met]
    if not all(bucket.has_one(rules.clock.now) for bucket in buckets):
        return False
    for bucket in buckets:
        bucket.take()
    return True


def slowed(session: Session, met: int) -> None:
    """A command must wait: report it, once."""
    for rule in session.rules.in_order:
        if rule.bit & met:
            match(session, rule)


def judge_recipients(session: Session) -> None:
    """DATA ends the list of recipients: ``match not cmd RCPT count`` can be judged."""
    if session.rules.groups[Criterion.RECIPIENT_COUNT].completes:
        count = session.dialogue.recipients
        fact = Fact(Criterion.RECIPIENT_COUNT, 0, count, session.recipient, count, complete=True)
        judge(session, fact, Criterion.RECIPIENT_COUNT)
