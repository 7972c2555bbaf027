"""Configuration text, and the policy model made from it.

`parse_policy` is the entry point: `lexer` splits lines into words, `parser` matches them with the
tables of `grammar` (in the notation of `syntax`; `unsupported` lists other appliance commands),
`draft` collects what they say, and `resolve` turns that into the `model`. Every fault in a text
raises `ConfigurationError` (`errors`).
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
