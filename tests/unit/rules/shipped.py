"""The rule sets in iptables/: what the command prints for the examples. This program writes them:

python -m tests.unit.rules.shipped
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner

from nfinspect import cli

ROOT = Path(__file__).parents[3]
DIRECTORY = ROOT / "iptables"
CONFIGURATIONS = ROOT / "docs" / "examples"

OPTIONS = {"default": [], "exemption": [], "redirection": [], "bridge": ["--bridge"]}
"""For each example those of ``nfinspect rules``. All but the default have a configuration."""

ENDINGS = {
    "# IPv4,": "v4.rules",
    "# IPv6,": "v6.rules",
    "# For nft -f:": "nft",
    "# For sysctl -p:": "sysctl",
}
"""Where a printed text is cut, and the file that a part goes to."""


def files() -> Iterator[tuple[Path, str]]:
    """Yield each file and its text."""
    for example, options in OPTIONS.items():
        for start, part in _parts(printed(example, *options)):
            yield DIRECTORY / f"{example}.{ENDINGS[start]}", part


def printed(example: str, *options: str) -> str:
    """Return what ``nfinspect rules`` prints for an example."""
    words = [*options]
    if example != "default":
        words += ["--config", str(CONFIGURATIONS / f"{example}.cfg")]
    result = CliRunner().invoke(cli.main, ["rules", *words], prog_name="nfinspect")
    assert result.exit_code == 0, result.output
    return result.stdout


def _parts(text: str) -> Iterator[tuple[str, str]]:
    starts = "|".join(map(re.escape, ENDINGS))
    for part in re.split(f"(?m)^(?={starts})", text)[1:]:
        start = next(each for each in ENDINGS if part.startswith(each))
        yield start, part


def main() -> None:
    """Write the files anew, and remove others."""
    made = dict(files())
    for path in DIRECTORY.iterdir():
        if path not in made and path.name != "README.md":
            path.unlink()
    for path, text in made.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
