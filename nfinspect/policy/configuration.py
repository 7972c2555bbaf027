"""Policies from text: the default configuration that ships with nfinspect, and a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources

from nfinspect.policy.errors import ConfigurationError, Finding
from nfinspect.policy.grammar import Draft
from nfinspect.policy.model import Policy
from nfinspect.policy.reader import Reader
from nfinspect.policy.resolve import Configuration, resolve

DEFAULT_FILE = "default.cfg"
"""Part of the package, like its modules: reading it does not count as I/O of the core."""


def parse_policy(text: str, file: str, devices: Mapping[str, str] | None = None) -> Configuration:
    """Return the configuration in *text*; messages call it *file*.

    *devices* are Linux interfaces by the appliance's name for them. Raises ConfigurationError with
    all errors found.
    """
    reader = Reader()
    reader.read(text, file)
    draft = reader.draft
    if draft.findings:
        raise ConfigurationError(draft.findings)
    if not reader.understood:
        message = "no configuration in the file: the default applies"
        read = "docs/configuration.md#complete-and-partial-configurations"
        draft.notices.append(Finding(file, 1, 1, message, code="default-applies", read=read))
    configuration = resolve(draft, _read_default(), devices)
    return replace(configuration, understood=reader.understood, other=dict(reader.other))


def default_text() -> str:
    """Return the text of the default configuration."""
    return resources.files("nfinspect.policy").joinpath(DEFAULT_FILE).read_text("utf-8")


def default_policy() -> Policy:
    """Return the default policy: the default map on port 25."""
    return default_configuration().policy


@cache
def default_configuration() -> Configuration:
    """Return the default configuration."""
    return resolve(_read_default(), Draft())


def _read_default() -> Draft:
    reader = Reader()
    reader.read(default_text(), DEFAULT_FILE)
    return reader.draft
