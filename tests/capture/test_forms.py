"""The compiled form decides every recorded packet as pure Python does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nfinspect import form

CAPTURES = sorted(str(file) for file in Path("pcaps").rglob("*.pcap*"))

DIGESTS = """
import sys
from hashlib import sha256
from pathlib import Path
from click.testing import CliRunner
from nfinspect.cli.replay import replay
out = Path(sys.argv[1])
for capture in sys.argv[2:]:
    result = CliRunner().invoke(replay, [capture, "--json", "--out", str(out)])
    print(capture, result.exit_code, sha256(result.output.encode() + out.read_bytes()).hexdigest())
    out.unlink()
"""
"""Prints a digest of what replay says of each capture, and of the packets that it lets through."""


@pytest.mark.compiled
def test_replay_is_the_same_in_both_forms(tmp_path: Path) -> None:
    lines = {
        wanted: subprocess.run(
            [sys.executable, "-c", DIGESTS, str(tmp_path / "out.pcap"), *CAPTURES],
            env={**os.environ, form.VARIABLE: wanted},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout.splitlines()
        for wanted in (form.PURE_FORM, form.COMPILED_FORM)
    }
    assert len(lines[form.PURE_FORM]) == len(CAPTURES) > 40
    assert lines[form.COMPILED_FORM] == lines[form.PURE_FORM]
