"""Configuration text, and the policy model made from it.

`parse_policy` is the entry point: `lexer` splits lines into words, `reader` matches them with the rows
of the command families in `commands` (in the notation of `syntax`; `grammar` says what a family
declares), and `resolve` turns what they say into the `model`. Every fault in a text raises
`ConfigurationError` (`errors`). `classify` asks the model about one connection; `advice` comments on a
configuration, and `canonical` writes it again.
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
