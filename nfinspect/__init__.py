"""Inline ESMTP inspection for Linux, as a Cisco PIX or ASA does it (``inspect esmtp``).

The rooms, from the bottom up: the words all share (`events`, `actions`), `packet`, `tcp`, `esmtp`,
`policy`, and `engine`, which is the way of one packet through them. Above that core, which does no
I/O and reads no clock, stand the edges: `audit`, `rules`, `lab`, `replay`, `live`, and `cli`.
"""

__version__ = "0.1.0"
