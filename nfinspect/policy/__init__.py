"""Configuration text, and the model that it becomes.

`parse_policy` is the way in: `lexer` makes words, `parser` holds them against the tables of
`grammar` (written in the notation of `syntax`; `unread` has words of the appliance that are not among
them), `draft` gathers what they say, `resolve` makes the `model` of it. Whatever is wrong is a
`ConfigurationError` (`errors`).
"""

from nfinspect.policy.configuration import (
    default_configuration,
    default_policy,
    default_text,
    parse_policy,
)
from nfinspect.policy.errors import ConfigurationError, Finding
from nfinspect.policy.lexer import decode
from nfinspect.policy.resolve import Configuration

__all__ = [
    "Configuration",
    "ConfigurationError",
    "Finding",
    "decode",
    "default_configuration",
    "default_policy",
    "default_text",
    "parse_policy",
]
