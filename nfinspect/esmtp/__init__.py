"""The ESMTP inspection (docs/appliance.md, sections 1, 2, 4, 9, 10; odd cases: docs/esmtp.md).

``inspector`` is the door; ``observer`` its place where nothing is inspected. Tables: ``verbs``,
``keywords``, ``dialogue`` (what a line asks, what a reply does). Scanners: ``request`` (command
lines), ``message``, ``chunk`` (behind a masked BDAT), ``reply``. What they measure: ``address``,
``filename``; where a measured value meets a clause: ``clauses`` and ``session``, which is also all
that the scanners share.
"""
