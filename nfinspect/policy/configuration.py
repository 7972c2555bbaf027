"""Policies from text: the default configuration that ships with nfinspect, and a user's own."""

from __future__ import annotations

from functools import cache
from importlib import resources

from nfinspect.policy.draft import Draft
from nfinspect.policy.errors import Finding
from nfinspect.policy.model import Policy
from nfinspect.policy.parser import read
from nfinspect.policy.resolve import Configuration, resolve

DEFAULT_FILE = "default.cfg"
"""Part of the package, like its modules: reading it does not count as I/O of the core."""


def parse_policy(text: str, file: str) -> Configuration:
    """Return the configuration in *text*; messages call it *file*.

    Raises ConfigurationError with all errors found.
    """
    draft = read(text, file)
    if draft == Draft():
        message = "no configuration in the file: the default applies"
        draft.notices.append(Finding(file, 1, 1, message))
    return resolve(draft, _default_draft())


def default_text() -> str:
    """Return the text of the default configuration."""
    return resources.files("nfinspect.policy").joinpath(DEFAULT_FILE).read_text("utf-8")


def default_policy() -> Policy:
    """Return the default policy: the default map on port 25."""
    return default_configuration().policy


@cache
def default_configuration() -> Configuration:
    """Return the default configuration."""
    return resolve(_default_draft(), Draft())


@cache
def _default_draft() -> Draft:
    return read(default_text(), DEFAULT_FILE)
