"""All attacks, by the section of the document that lists them."""

from __future__ import annotations

from tests.attacks.composite import COMPOSITE
from tests.attacks.data import DATA_ATTACKS
from tests.attacks.ending import ENDING
from tests.attacks.network import NETWORK
from tests.attacks.opening import OPENING
from tests.attacks.overlaps import OVERLAPS
from tests.attacks.script import Attack, Script

SECTIONS: dict[str, tuple[Attack, ...]] = {
    "Opening": OPENING,
    "Data": DATA_ATTACKS,
    "Overlaps": OVERLAPS,
    "Ends": ENDING,
    "Below TCP": NETWORK,
    "Several at once": COMPOSITE,
}

CASES: dict[str, tuple[Script, int]] = {
    " ".join(filter(None, (attack.name, script.name, f"IPv{family}"))): (script, family)
    for attacks in SECTIONS.values()
    for attack in attacks
    for script in attack.scripts
    for family in ((script.family,) if script.family else (4, 6))
}
"""Each script of each attack, over each IP version."""
