"""The two ways to a policy: the text that ships with nfinspect, and a person's own."""

from __future__ import annotations

from functools import cache
from importlib import resources

from nfinspect.policy.draft import Draft
from nfinspect.policy.errors import Finding
from nfinspect.policy.model import Policy
from nfinspect.policy.parser import read
from nfinspect.policy.resolve import Configuration, resolve

DEFAULT_FILE = "default.cfg"
"""A part of the package, as its modules are: reading it is no I/O of the filter's."""


def parse_policy(text: str, file: str) -> Configuration:
    """Return the configuration in *text*, which messages call *file*.

    Raises ConfigurationError with every fault that was found.
    """
    draft = read(text, file)
    if draft == Draft():
        message = "the file says nothing: the default configuration holds"
        draft.notices.append(Finding(file, 1, 1, message))
    return resolve(draft, _default_draft())


def default_text() -> str:
    """Return the configuration that holds where no other is given."""
    return resources.files("nfinspect.policy").joinpath(DEFAULT_FILE).read_text("utf-8")


def default_policy() -> Policy:
    """Return the policy that holds where no other is given: the default map on port 25."""
    return default_configuration().policy


@cache
def default_configuration() -> Configuration:
    """Return the configuration in the text of `default_text`."""
    return resolve(_default_draft(), Draft())


@cache
def _default_draft() -> Draft:
    return read(default_text(), DEFAULT_FILE)
