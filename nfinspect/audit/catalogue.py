"""Why a packet was dropped, a connection ended or passes uninspected, and what else is reported, in an
operator's words: one row for each reason, with the section of the documents, the syslog line and the
cure.

`show queue` and the report of a replay print from here, and the tables in ``docs/packets.md`` and
``docs/troubleshooting.md`` are made from it (``python -m tests.unit.audit.document``).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple

from nfinspect.actions import DropReason
from nfinspect.esmtp.verbs import PERMITTED
from nfinspect.events import CloseCause, CommandMaskReason, TeardownReason, UninspectedCause


class Explanation(NamedTuple):
    """What is to be known about one reason."""

    meaning: str
    section: str
    """A document in docs/ and the anchor in it."""
    cure: str = ""
    """What to do; empty: nothing, it works as it should."""
    syslog: tuple[int, ...] = ()
    """The numbers of the messages that go with it, in order (docs/appliance.md, section 7)."""
    follows: str = ""
    """For what was recorded without the filter: what would become of the mail behind it."""
    normal: bool = False
    """Nothing is wrong: what stands under `cure` is to be known, and cures nothing."""


DROPPED: Mapping[DropReason, Explanation] = {
    DropReason.TRUNCATED: Explanation(
        "fewer bytes than the IP header says, or a total length of 0 (BIG TCP)",
        "packets.md#datagrams-that-are-dropped-unparsed",
        "live: turn BIG TCP off; a capture: 'tcpdump -s 0'",
    ),
    DropReason.MALFORMED: Explanation(
        "a header that contradicts itself or the datagram's length, a source route, or a segment from a"
        " socket to itself",
        "packets.md#datagrams-that-are-dropped-unparsed",
        "find its sender: no TCP implementation makes such packets",
    ),
    DropReason.FRAGMENT: Explanation(
        "an IP fragment that connection tracking has not reassembled",
        "packets.md#datagrams-that-are-dropped-unparsed",
        "use the generated rules, which have fragments reassembled before the queue",
    ),
    DropReason.NOT_TCP: Explanation(
        "a protocol other than TCP",
        "packets.md#datagrams-that-are-dropped-unparsed",
        "let the rules divert TCP only, as the generated ones do",
    ),
    DropReason.BAD_CHECKSUM: Explanation(
        "a wrong TCP checksum: damaged on its way, or made so that only a filter believes it",
        "packets.md#checksums",
        "in a capture made on an endpoint: '--checksums ignore'; otherwise look for the device that damages"
        " packets",
    ),
    DropReason.BAD_FLAGS: Explanation(
        "SYN with FIN or RST, no flags at all, data or FIN without ACK", "tcp.md#opening"
    ),
    DropReason.NO_CONNECTION: Explanation(
        "a segment other than a SYN that belongs to no connection",
        "troubleshooting.md#older-connections",
        "if connections older than the filter die: a longer 'midstream-pickup'",
        (106015,),
    ),
    DropReason.TABLE_FULL: Explanation(
        "a SYN while the table of connections is full; nothing is evicted for it",
        "tcp.md#opening",
        "find who opens so many connections; the bound is 100,000, or that of `run --connections`",
        (201008,),
    ),
    DropReason.CONNECTION_LIMIT: Explanation(
        "a SYN while as many connections to its server are open as its class or its static allows"
        " ('conn-max'); in a capture also what the refused connection sends after it",
        "tcp.md#connection-limits",
        "a higher limit; or find who keeps so many open: 'show conn', 'show local-host'",
        (201011,),
    ),
    DropReason.PER_CLIENT_LIMIT: Explanation(
        "a SYN while its client has as many connections open as its class allows ('per-client-max')",
        "tcp.md#connection-limits",
        "a higher limit; or fewer connections at a time from that client",
        (201013,),
    ),
    DropReason.INTERCEPTED: Explanation(
        "a SYN at which TCP intercept begins, or that comes before the kernel has begun it; the client's"
        " next one is answered by the kernel. On a bridge: a SYN that the filter answers, or another packet"
        " of a handshake between client and filter",
        "tcp.md#tcp-intercept",
        "find who opens so many connections and does not complete them; or a higher limit",
        (201010, 201012),
    ),
    DropReason.CLOSED_CONNECTION: Explanation(
        "a packet of a connection that inspection has closed, or that is over",
        "tcp.md#ends",
        "look for what closed it: 507003",
    ),
    DropReason.INSPECTION: Explanation(
        "the packet at which inspection closed the connection",
        "troubleshooting.md#closed-without-a-clause",
        "see the cause of the close",
        (507003, 302014),
    ),
    DropReason.BAD_SYN: Explanation(
        "a SYN on a connection that is established, from an inspected port, or otherwise one that no"
        " client sends",
        "tcp.md#who-may-open-a-connection",
    ),
    DropReason.DUPLICATE_SYN: Explanation(
        "a SYN whose sequence number is not that of the connection it belongs to",
        "tcp.md#opening",
        "if a client reuses its ports too early, it tries again; otherwise it is forged",
        (419002,),
    ),
    DropReason.BAD_SYN_ACK: Explanation(
        "a SYN-ACK that carries data, does not acknowledge the SYN, or has a new sequence number",
        "tcp.md#opening",
    ),
    DropReason.BAD_RST: Explanation(
        "an RST outside the window, or one that acknowledges what was never sent", "tcp.md#ends"
    ),
    DropReason.INVALID_ACK: Explanation(
        "an acknowledgement of bytes that were never sent, or too old to be believed",
        "tcp.md#data",
        "if it grows: look for a second path around the filter",
    ),
    DropReason.OUT_OF_WINDOW: Explanation("data beyond the receiver's window", "tcp.md#data"),
    DropReason.PAST_FIN: Explanation(
        "data after the end of its stream (FIN), or a second, contradictory end", "tcp.md#data"
    ),
    DropReason.NOT_ESTABLISHED: Explanation(
        "data before the handshake is complete", "tcp.md#opening"
    ),
    DropReason.REPEATED_HELD: Explanation(
        "a retransmission of a segment that is held already", "tcp.md#data"
    ),
    DropReason.ALREADY_REPORTED: Explanation(
        "an acknowledgement that says only what the filter has told the sender already",
        "tcp.md#what-the-sender-is-told",
    ),
    DropReason.HOLD_BOUND: Explanation(
        "a segment beyond a gap that cannot be held within the bounds; its sender repeats it",
        "tcp.md#bounds",
        "look for the loss in front of the filter",
    ),
    DropReason.MEMORY_BOUND: Explanation(
        "new data while too much is unacknowledged; its sender slows down",
        "tcp.md#bounds",
        "look for the receiver that does not acknowledge",
    ),
    DropReason.REFUSED: Explanation(
        "a piece of a verb, where the map says 'incomplete-command drop'",
        "troubleshooting.md#typing",
        "type in line mode, or 'incomplete-command stream'",
    ),
    DropReason.RATE_LIMIT: Explanation(
        "the end of a command above a clause's 'rate-limit'; TCP sends it again, and the mail goes on then",
        "policy.md#rate-limit",
        "a higher 'rate-limit', if honest mail waits for long",
    ),
    DropReason.AWAITS_REPLY: Explanation(
        "a request ahead of a reply that must come first, and that cannot be held within the bounds",
        "troubleshooting.md#waiting",
        "find out why the server does not reply",
    ),
    DropReason.WRONG_SIDE: Explanation(
        "a packet with the server's address that came from the client's side",
        "tcp.md#who-may-open-a-connection",
        "it is forged; or a routing loop sends replies back",
    ),
    DropReason.GSO_CUT: Explanation(
        "a large (GSO) packet that had to be cut; what may pass of it was sent in small ones",
        "tcp.md#data",
    ),
    DropReason.FILTER_ERROR: Explanation(
        "the filter itself failed on it",
        "operation.md#what-the-filter-reports",
        "report the traceback on stderr: it is a bug",
    ),
    DropReason.FLUSHED: Explanation(
        "still held when the filter stopped, or the capture ended",
        "operation.md#signals-and-shutdown",
    ),
}
"""Why a packet was dropped."""

CLOSED: Mapping[CloseCause, Explanation] = {
    CloseCause.CLAUSE: Explanation(
        "a match clause with 'drop-connection'; without 'log' beside it, 108004 is missing",
        "troubleshooting.md#change-the-map",
        "'drop-connection log' tells which one; a higher limit, or 'log' alone",
        (108004, 507003, 302014),
    ),
    CloseCause.PARAMETER: Explanation(
        "a line under 'parameters': 'mail-relay', 'special-character' or 'bare-newline', with"
        " 'drop-connection' or 'reset'; without 'log' beside it, 108004 is missing",
        "troubleshooting.md#change-the-map",
        "'drop-connection log' tells which one; or 'log' alone",
        (108004, 507003, 302014),
    ),
    CloseCause.PIPE: Explanation(
        "a '|' in the parameter of MAIL or RCPT",
        "troubleshooting.md#pipes",
        "an address without '|', or 'pipe-character blank'",
        (108003, 507003, 302014),
    ),
    CloseCause.UNCLOSED_BRACKET: Explanation(
        "a '<' without '>' in a line that arrived in several packets: it had passed before",
        "troubleshooting.md#brackets",
        "the sender closes the '<' of its address",
        (108002, 507003, 302014),
    ),
    CloseCause.STARTTLS_INJECTION: Explanation(
        "the client sent more after STARTTLS before it had the 220: the attack of CVE-2011-0411, or a"
        " broken client",
        "troubleshooting.md#closed-without-a-clause",
        "the client must wait for the reply to STARTTLS",
        (507003, 302014),
    ),
    CloseCause.BDAT_CHUNK: Explanation(
        "the client sent the chunk of a masked BDAT without waiting for the reply, and the map says"
        " 'bdat-chunk drop-connection' or 'reset'",
        "troubleshooting.md#closed-without-a-clause",
        "the client must not use CHUNKING where it is not offered; or 'bdat-chunk mask'",
        (507003, 302014),
    ),
    CloseCause.UNASKED_354: Explanation(
        "the server said 354 to something other than DATA: from there on nobody could tell mail from"
        " commands",
        "troubleshooting.md#closed-without-a-clause",
        "repair the server: it said 354 without DATA",
        (507003, 302014),
    ),
    CloseCause.ABANDONED_BY_SERVER: Explanation(
        "the server replied in the middle of a message, an AUTH exchange or STARTTLS (an ESA at its"
        " 1,001st header line, for example), and the client went on: nobody could tell mail from"
        " commands",
        "troubleshooting.md#closed-without-a-clause",
        "at the server: its reply, which has reached the client, says why; no line of the map",
        (507003, 302014),
    ),
    CloseCause.SERVER_ANOMALY: Explanation(
        "the server sent an unsolicited or malformed reply, and the map says 'server-anomaly"
        " drop-connection'",
        "troubleshooting.md#closed-without-a-clause",
        "'server-anomaly log' in the map",
        (507003, 302014),
    ),
    CloseCause.UNSEEN_DATA: Explanation(
        "the receiver acknowledged bytes that never came through the filter: a second path around it,"
        " or 'run --fail-open' with a full queue",
        "troubleshooting.md#closed-without-a-clause",
        "all packets of a connection must pass this filter; or 'unseen-data uninspected'",
        (507003, 302014),
    ),
}
"""Why inspection closed a connection."""

ENDED: Mapping[TeardownReason, Explanation] = {
    TeardownReason.TCP_FINS: Explanation("both sides have ended it", "tcp.md#ends", "", (302014,)),
    TeardownReason.TCP_RESET_INSIDE: Explanation(
        "the server's side reset it", "tcp.md#ends", "the server's log says why", (302014,)
    ),
    TeardownReason.TCP_RESET_OUTSIDE: Explanation(
        "the client's side reset it", "tcp.md#ends", "the client's log says why", (302014,)
    ),
    TeardownReason.SYN_TIMEOUT: Explanation(
        "its handshake was not complete after the embryonic timeout, 30 seconds by default",
        "tcp.md#ends",
        "does the server listen, and does its answer come back this way?",
        (302014,),
    ),
    TeardownReason.INTERCEPTED: Explanation(
        "TCP intercept had connected its client to the server, and the handshake was not complete after"
        " the embryonic timeout",
        "tcp.md#tcp-intercept",
        "",
        (302014,),
    ),
    TeardownReason.FIN_TIMEOUT: Explanation(
        "one side has ended it, and nothing came for the half-closed timeout, 10 minutes by default",
        "tcp.md#ends",
        "",
        (302014,),
    ),
    TeardownReason.CONNECTION_TIMEOUT: Explanation(
        "nothing came for the idle timeout, an hour by default, and with 'dcd' no answer either; neither side is"
        " told",
        "tcp.md#ends",
        "a client that keeps connections open says NOOP now and then",
        (302014,),
    ),
    TeardownReason.TIMED_OUT_WITH_RESET: Explanation(
        "the same where the class says 'idle TIME reset': both sides get an RST",
        "tcp.md#timeouts",
        "a longer 'timeout idle', or 'dcd'",
        (302014,),
    ),
    TeardownReason.CLOSED_BY_INSPECTION: Explanation(
        "inspection closed it; neither side is told",
        "troubleshooting.md#closed-without-a-clause",
        "see the cause of the close",
        (507003, 302014),
    ),
    TeardownReason.CLEARED: Explanation(
        "an operator ended it ('clear conn'); the word is ours",
        "operation.md#changing-the-configuration",
        "",
        (302014,),
    ),
    TeardownReason.UNKNOWN: Explanation(
        "a SYN took the place of a connection that was picked up and seen from one side only",
        "tcp.md#who-may-open-a-connection",
        "",
        (302014,),
    ),
}
"""What ended a connection: REASON in 302014."""

UNINSPECTED: Mapping[UninspectedCause, Explanation] = {
    UninspectedCause.TLS: Explanation(
        "the server accepted STARTTLS: what follows is encrypted; logged as 108007 with 'allow-tls action"
        " log'",
        "troubleshooting.md#no-tls",
        "'no allow-tls' keeps TLS out, if it must be inspected",
        (108007,),
        normal=True,
    ),
    UninspectedCause.MIDSTREAM: Explanation(
        "its SYN was not seen, so nobody knows where its dialogue stands",
        "troubleshooting.md#older-connections",
        "later connections are inspected; a capture must begin before the connection",
        (302013,),
        normal=True,
    ),
    UninspectedCause.UNSEEN_DATA: Explanation(
        "the receiver acknowledged bytes that never came through the filter, or are not in the capture",
        "appliance.md#bytes-that-the-filter-has-not-seen",
        "all packets of a connection must pass this filter; capture without losses",
    ),
    UninspectedCause.RECORDED_WITHOUT_FILTER: Explanation(
        "the server accepted a command that would have been masked here",
        "replay.md#how-replay-differs-from-live",
        "what would have followed cannot be known",
        normal=True,
    ),
    UninspectedCause.BARE_LF_ANSWERED: Explanation(
        "behind the filter the client would wait for ever, as bare LF ends no line",
        "troubleshooting.md#bare-line-feeds",
        "the client ends its lines with CR LF",
    ),
    UninspectedCause.ONE_SIDED: Explanation(
        "measured as if the other direction had been as expected",
        "replay.md#how-replay-differs-from-live",
        "capture both directions",
    ),
    UninspectedCause.WOULD_CLOSE: Explanation(
        "monitor mode: the filter would have closed it here",
        "operation.md#a-trial-beside-the-old-firewall",
        "as for the cause of the close",
    ),
    UninspectedCause.MASKED_ACCEPTED: Explanation(
        "monitor mode: the server accepted what would have been masked, a STARTTLS for example",
        "operation.md#a-trial-beside-the-old-firewall",
        "for STARTTLS: 'allow-tls'",
    ),
    UninspectedCause.BARE_LF_ACCEPTED: Explanation(
        "monitor mode: behind the filter the client would wait for ever, as bare LF ends no line",
        "troubleshooting.md#bare-line-feeds",
        "the client ends its lines with CR LF",
    ),
}
"""Why a connection passes without inspection."""

MASKED: Mapping[CommandMaskReason, Explanation] = {
    CommandMaskReason.UNKNOWN_VERB: Explanation(
        "the verb is not one of the fifteen",
        "troubleshooting.md#x",
        "no line of the map lets this verb pass; the client does without it, or take its path to the server out"
        " of the inspection",
    ),
    CommandMaskReason.SHORT_VERB: Explanation(
        "a verb has four letters",
        "troubleshooting.md#x",
        "the client sends a verb of four letters",
    ),
    CommandMaskReason.FRAGMENT: Explanation(
        "the verb arrived in pieces",
        "troubleshooting.md#typing",
        "type in line mode, or 'incomplete-command stream'",
    ),
    CommandMaskReason.BARE_LINE_ENDING: Explanation(
        "only CR LF ends a line",
        "troubleshooting.md#bare-line-feeds",
        "the client ends its lines with CR LF",
    ),
}
"""Why a command line was overwritten with X; no syslog line."""

FOUND: Mapping[str, Explanation] = {
    # the beginning of the cause of any other finding of a replay; with the verb, if that has a row of
    # its own
    "unknown command: STARTTLS": Explanation(
        "without 'allow-tls', STARTTLS is not one of the verbs that pass",
        "troubleshooting.md#no-tls",
        "'allow-tls'",
    ),
    "chunk": Explanation(
        "the bytes that a masked BDAT announced, and that the client sent without waiting for the reply",
        "troubleshooting.md#x",
        "as for BDAT: the client must not use CHUNKING where it is not offered; then nothing of it is sent",
    ),
    "match cmd line length": Explanation(
        "a longer command line than the clause allows",
        "troubleshooting.md#long-commands-and-senders",
        "a higher limit, or 'log' instead of 'drop-connection log'",
    ),
    "match cmd RCPT count": Explanation(
        "more recipients than the clause allows",
        "troubleshooting.md#recipients",
        "a higher limit; or the sender splits the mail into several of fewer recipients",
    ),
    "match body line length": Explanation(
        "a longer line of a body than the clause allows",
        "troubleshooting.md#header-lines",
        "shorter lines at the sender (RFC 5322: 998 at most), or a higher limit",
    ),
    "match header line length": Explanation(
        "a longer line of a header than the clause allows",
        "troubleshooting.md#header-lines",
        "the sender folds this field (RFC 5322: 998 at most); or a higher limit, or 'log' instead of"
        " 'drop-connection log'",
    ),
    "match sender-address length": Explanation(
        "a longer address in MAIL than the clause allows",
        "troubleshooting.md#long-commands-and-senders",
        "a higher limit; long addresses come from SRS, BATV or VERP",
    ),
    "match MIME filename length": Explanation(
        "a longer file name than the clause allows",
        "troubleshooting.md#attachments",
        "a shorter file name, or a higher limit",
    ),
    "match ehlo-reply-parameter": Explanation(
        "a keyword of the EHLO reply that the clause names",
        "troubleshooting.md#x",
        "name the keyword in no clause of the map, or 'log' it",
    ),
    "match cmd verb": Explanation(
        "a command that the clause names",
        "troubleshooting.md#the-maps-other-clauses",
        "name the command in no clause of the map, or 'log' it",
    ),
    "match sender-address": Explanation(
        "a sender that the clause's expression matches",
        "troubleshooting.md#the-maps-other-clauses",
        "a narrower expression",
    ),
    "match invalid-recipients count": Explanation(
        "the server has refused more recipients than the clause allows",
        "troubleshooting.md#the-maps-other-clauses",
        "the sender removes addresses that do not exist; or a higher limit",
    ),
    "match header length": Explanation(
        "a longer header than the clause allows",
        "troubleshooting.md#the-maps-other-clauses",
        "a higher limit; each relay and each filter on the way adds fields",
    ),
    "match header to-fields count": Explanation(
        "more addresses in To than the clause allows",
        "troubleshooting.md#the-maps-other-clauses",
        "fewer addresses in To (others in Bcc), or a higher limit",
    ),
    "match body length": Explanation(
        "a longer body than the clause allows",
        "troubleshooting.md#the-maps-other-clauses",
        "a smaller mail, or a higher limit",
    ),
    "match MIME encoding": Explanation(
        "an encoding that the clause names",
        "troubleshooting.md#the-maps-other-clauses",
        "name the encoding in no clause of the map, or 'log' it",
    ),
    "match MIME filetype": Explanation(
        "an attachment whose type or name the clause's expression matches",
        "troubleshooting.md#the-maps-other-clauses",
        "a narrower expression, or send the file another way",
    ),
    "match not": Explanation(
        "something that does not meet what the clause asks for",
        "troubleshooting.md#the-maps-other-clauses",
        "a clause that asks for less, or 'log' instead of what it does",
    ),
    "pipe-character": Explanation(
        "a '|' in the parameter of MAIL or RCPT became a blank",
        "troubleshooting.md#pipes",
        "an address without '|'",
    ),
    "angle-bracket": Explanation(
        "a '<' or '>' that is not half of a pair became a blank",
        "troubleshooting.md#brackets",
        "the sender writes '<' and '>' in pairs",
    ),
    "greeting": Explanation(
        "the client sent more before the greeting",
        "troubleshooting.md#waiting",
        "the client waits for the greeting",
    ),
    "reply to": Explanation(
        "the client sent more before a reply that must come first",
        "troubleshooting.md#waiting",
        "find out why the server does not reply",
    ),
    "line without CR LF": Explanation(
        "only CR LF ends a line",
        "troubleshooting.md#bare-line-feeds",
        "the client ends its lines with CR LF",
    ),
    "STARTTLS hidden": Explanation(
        "the client left after a reply to EHLO in which STARTTLS was masked",
        "troubleshooting.md#no-tls",
        "if the client requires TLS, 'allow-tls'; otherwise it had no mail to send",
    ),
    "used, although hidden": Explanation(
        "the client used a keyword of the reply to EHLO that is hidden here",
        "troubleshooting.md#x",
        "name the keyword in no clause of the map, or 'log' it",
        follows="the client would not learn of it, and send the mail without it, or not at all",
    ),
    "used, although hidden: a verb": Explanation(
        "the client used a verb of its own name, which a keyword of the reply to EHLO announces that is hidden"
        " here",
        "troubleshooting.md#out-of-the-inspection-altogether",
        "none is needed if the client goes on without it; no line of the map lets {verb} pass; else take the"
        " path between client and server out of the inspection",
        follows="the client would not learn of it; {verb} in spite of it is masked, and answered by 500",
    ),
    "used, although hidden: STARTTLS": Explanation(
        "the client began TLS",
        "troubleshooting.md#no-tls",
        "'allow-tls'",
        follows="the mail goes unencrypted; a client that requires TLS sends none",
    ),
    "used, although hidden: SMTPUTF8": Explanation(
        "a mail that needs SMTPUTF8 (RFC 6531)",
        "troubleshooting.md#x",
        "a map without 'match ehlo-reply-parameter others', which hides SMTPUTF8",
        follows="the client returns this mail to its sender, as it may not send it without SMTPUTF8",
    ),
    "used, although hidden: CHUNKING": Explanation(
        "the client sent its mail by BDAT (RFC 3030)",
        "troubleshooting.md#x",
        "none is needed for a client that falls back to DATA; no line of the map lets BDAT pass",
        follows="the client sends by DATA; BDAT in spite of it is masked, and answered by 500",
    ),
    "used, although hidden: XCLIENT": Explanation(
        "a proxy told the server who its client is",
        "troubleshooting.md#out-of-the-inspection-altogether",
        "take the path between proxy and server out of the inspection",
        follows="XCLIENT is masked: the server sees the proxy's address in place of the client's",
    ),
    "used, although hidden: XFORWARD": Explanation(
        "a proxy told the server who its client is",
        "troubleshooting.md#out-of-the-inspection-altogether",
        "take the path between proxy and server out of the inspection",
        follows="XFORWARD is masked: the server logs the proxy's address in place of the client's",
    ),
    "used, although hidden: X-EXPS": Explanation(
        "Exchange servers authenticated to each other",
        "troubleshooting.md#out-of-the-inspection-altogether",
        "take the path between these servers out of the inspection",
        follows="X-EXPS is masked: a server that requires it refuses the mail",
    ),
    "injection behind STARTTLS": Explanation(
        "the client sent more in the packet of STARTTLS: the attack of CVE-2011-0411, or a broken client",
        "troubleshooting.md#closed-without-a-clause",
        "someone sent {verb} in the same packet as STARTTLS: a possible attack or a broken client. Look at the"
        " client, and at what the server made of it; no line of the map: STARTTLS is masked here, so nothing of it"
        " gets into TLS, and with 'allow-tls' it closes the connection",
    ),
    "unfinished greeting": Explanation(
        "the server's greeting has no CR LF, or no last line",
        "troubleshooting.md#waiting",
        "the server ends its greeting with CR LF, and its last line has a blank after 220",
        follows="its replies are taken for a part of the greeting, and each one counts for the line before;"
        " a client that waits for the whole greeting waits for ever",
    ),
    "sent early": Explanation(
        "the client did not wait for a reply that must come first; here, its bytes do",
        "troubleshooting.md#waiting",
        "none is needed if the reply comes; the client waits for it, unless it was offered PIPELINING",
    ),
    "sent before the greeting": Explanation(
        "the client did not wait for the greeting; here, its bytes do",
        "troubleshooting.md#proxy-protocol",
        "the client waits for the greeting; a server that waits for a PROXY line never sends it",
    ),
    "no reply to": Explanation(
        "the server did not answer a command, or a message",
        "troubleshooting.md#nobody-answers",
        "look at the server, and at any firewall between it and the place of the capture",
    ),
    "no greeting": Explanation(
        "the server did not greet",
        "troubleshooting.md#nobody-answers",
        "look at the server, and at any firewall between it and the place of the capture",
    ),
    "no answer to the SYN": Explanation(
        "the server's host did not answer",
        "troubleshooting.md#nobody-answers",
        "is the server up, and does its answer come back this way?",
    ),
    "the server refuses the connection": Explanation(
        "its host answered the SYN by an RST",
        "troubleshooting.md#nobody-answers",
        "does the server listen on this port?",
    ),
    "the client's data is not acknowledged": Explanation(
        "the client's packets do not reach the server, or its answers get lost",
        "troubleshooting.md#nobody-answers",
        "look for a firewall between the place of the capture and the server that has closed the session, or for"
        " loss there; if only large packets are lost, for the path MTU",
    ),
    "the client's data is not acknowledged: only large packets": Explanation(
        "the client's large packets do not reach the server, and smaller ones do",
        "troubleshooting.md#nobody-answers",
        "look at the path MTU: for a link that carries only smaller packets, with a firewall that drops the ICMP"
        " message that says so; otherwise for a firewall that has closed the session, or for loss",
    ),
    "the client is silent": Explanation(
        "the client stopped in the middle of a mail, and everything it had sent was acknowledged",
        "troubleshooting.md#nobody-answers",
        "look at the client, and at any firewall between it and the place of the capture",
    ),
    "the client leaves": Explanation(
        "the client ended the connection by itself",
        "troubleshooting.md#nobody-answers",
        "the client's log says why",
    ),
    "the server leaves": Explanation(
        "the server ended the connection by itself",
        "troubleshooting.md#nobody-answers",
        "the server's log says why",
    ),
    "refused by the server": Explanation(
        "the server said 4xx or 5xx, not the filter",
        "troubleshooting.md#refused",
        "the server's answer says why; no line of the map",
    ),
    "the server ends the session": Explanation(
        "the server said 421, not the filter",
        "troubleshooting.md#refused",
        "the server's answer says why; no line of the map",
    ),
    "the server requires TLS": Explanation(
        "the server said 530: it accepts no mail without TLS",
        "troubleshooting.md#no-tls",
        "'allow-tls', where the map hides STARTTLS; and the client must use TLS",
    ),
    "already masked": Explanation(
        "another inspecting firewall has masked it",
        "troubleshooting.md#ask-the-filter",
        "look at the other firewall, on that side, or at this filter, if it was at work",
    ),
}
"""What else a replay finds."""

TABLES: tuple[Mapping[Any, Explanation], ...] = (DROPPED, CLOSED, ENDED, UNINSPECTED, MASKED)

COUNTERS: Mapping[type[enum.Enum], tuple[str, str]] = {
    DropReason: ("`dropped REASON` in `show queue`", "dropped_packets"),
    CloseCause: ("`drop` in `show service-policy`", "closed_by_inspection"),
    TeardownReason: ("", "torn_down"),
    UninspectedCause: ("`connections not inspected` in `show queue`", "uninspected"),
    CommandMaskReason: ("", "masked_commands"),
}
"""Where each kind is counted: what show prints (if it does), and the name in JSON, by reason."""


def explained(cause: str, command: str = "") -> Explanation | None:
    """The row for a finding of a replay, whose cause is a reason's value or begins like a key of
    `FOUND`; None if there is none. *command*: the line that it is about, if any; the row names its
    verb."""
    verb = command.partition(" ")[0].upper()
    row = FOUND.get(f"{cause}: {verb}") or _BY_VALUE.get(cause)
    if row is None:
        beginnings = [beginning for beginning in FOUND if cause.startswith(beginning)]
        row = FOUND[max(beginnings, key=len)] if beginnings else None
    if row is _HIDDEN and cause.endswith(f": {verb}") and verb.encode() not in PERMITTED:
        row = FOUND["used, although hidden: a verb"]
    if row is None:
        return None
    cure, follows = (text.replace("{verb}", verb or "more") for text in (row.cure, row.follows))
    return row._replace(cure=cure, follows=follows)


_HIDDEN = FOUND["used, although hidden"]
"""Of a keyword that is a parameter, if nothing else is known of it."""


_BY_VALUE = {
    reason.value: row for table in (CLOSED, UNINSPECTED, MASKED) for reason, row in table.items()
}

DROPPED_BECAUSE = {reason.value: row.meaning for reason, row in DROPPED.items()}
"""What the name of a drop reason means, as show and a replay print it."""
