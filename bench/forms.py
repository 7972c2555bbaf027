"""In which form the filter is loaded, compiled or as pure Python: the one place that knows how to ask."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from nfinspect.lab.topology import LabError

COMPILED, PURE = "compiled", "pure Python"

AS_LOADED: Mapping[str, str] = {}
FORCED_PURE: Mapping[str, str] = {"NFINSPECT_FORM": "pure"}
"""Environments: one in which the filter is loaded as it comes, and one in which it is pure Python."""


def form(environment: Mapping[str, str] = AS_LOADED, python: str = sys.executable) -> str:
    """`COMPILED` or `PURE`: what ``nfinspect --version`` says in this environment."""
    done = subprocess.run(
        [python, "-P", "-m", "nfinspect", "--version"],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=True,
    )
    return form_in(done.stdout)


def form_in(version: str) -> str:
    """The form that a line of ``nfinspect --version`` names in brackets; where it is pure Python, the reason
    follows, and one that names none has no other."""
    return COMPILED if f"({COMPILED})" in version else PURE


def has_both() -> bool:
    """Whether the filter is compiled here, and is also there as pure Python.

    Raises LabError if it cannot be forced to be.
    """
    if form() == PURE:
        return False
    if form(FORCED_PURE) != PURE:
        raise LabError(f"{FORCED_PURE} does not bring pure Python")
    return True
