"""Called by hatchling as it builds a wheel: adds the compiled form of the core to it.

Where the core cannot be compiled, or if NFINSPECT_FORM is ``pure``, the wheel is one of pure Python,
for any machine. An editable installation has no wheel's contents: see script/setup.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileHook(BuildHookInterface):
    """Runs script/compile.py."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel's files are gathered."""
        if version != "standard" or os.environ.get("NFINSPECT_FORM") == "pure":
            return
        program = Path(self.root, "script", "compile.py")
        done = subprocess.run([sys.executable, str(program)], stdout=sys.stderr, check=False)
        if done.returncode == 0:
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["artifacts"].append("/nfinspect/compiled/**")
        else:
            self.app.display_warning("the core is not compiled: this wheel is pure Python")
