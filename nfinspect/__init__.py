"""Inline ESMTP inspection for Linux, as a Cisco PIX or ASA does it (``inspect esmtp``).

From the bottom up: the shared vocabulary (`arrival`, `actions`, `events`), `packet`, `policy`,
`tcp`, `flow`, `esmtp`, and `engine`, the path of one packet through them; `monitor` only watches. This core does
no I/O and reads no clock. On top of it are the edges: `audit`, `rules`, `lab`, `replay`, `live`, and `cli`. `form` chooses between the core's sources and their compiled form.
"""

from nfinspect.form import FORM

__all__ = ["FORM", "__version__"]

__version__ = "0.1.0"
