"""ESMTP inspection (docs/appliance.md, sections 1, 2, 4, 9, 10; odd cases: docs/esmtp.md).

``inspector`` is the entry point; ``observer`` replaces it on uninspected connections. Tables:
``verbs``, ``keywords``, ``dialogue`` (what a reply answers and what it changes). Scanners:
``request`` (command lines), ``message``, ``chunk`` (of a masked BDAT), ``reply`` and ``ehlo``. What they
measure: ``envelope`` and ``address`` (senders and recipients), ``newline`` (false ends of a message), and of
a message, which ``structure`` reads, ``asked`` by the map: ``lines``, ``sizes``, ``fields``, ``field``,
``mailboxes``, ``filename``. ``clauses`` prepares the clauses of a map, ``evaluation`` judges by them what
the scanners report, ``rate`` limits; ``session`` is the state that the scanners share.
"""
