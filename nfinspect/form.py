"""Which form of the core runs: pure Python, or the same source compiled to machine code by mypyc.

Pure Python is the reference, and runs everywhere. ``script/compile.py`` puts the compiled form into
``nfinspect/compiled/``, beside a manifest of the sources that it was made from. It is used if it was
made from exactly these sources, for this Python, and can be loaded; else all modules come from their
sources, and ``FORM.reason`` says why. The two forms are never mixed, for compiled code takes only
compiled classes.

The environment variable ``NFINSPECT_FORM`` forces a form, here and in child processes: ``pure``
never uses the compiled one; ``compiled`` raises ImportError, with the reason, where it cannot be
used. A benchmark of both runs itself twice, with the one and with the other; in one process the form
is chosen once, as ``nfinspect`` is imported. ``nfinspect --version`` names it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

COMPILED = (
    "actions.py",
    "arrival.py",
    "engine.py",
    "esmtp",
    "events.py",
    "flow",
    "monitor.py",
    "packet",
    "policy/classify.py",
    "policy/conditions.py",
    "policy/criteria.py",
    "policy/errors.py",
    "policy/expressions.py",
    "policy/lexer.py",
    "policy/model.py",
    "policy/ranges.py",
    "tcp",
)
"""What is compiled: modules, and all modules of these rooms (without the ``__init__.py``, which only
describe). A module here imports nothing of nfinspect that is not here, so that the manifest names
every source on which the compiled form depends."""

VARIABLE = "NFINSPECT_FORM"
PURE_FORM, COMPILED_FORM = "pure", "compiled"

PACKAGE = Path(__file__).parent
DIRECTORY = "compiled"
"""Below the package. The compiled modules lie there as their sources lie in the package."""
MANIFEST = "manifest.json"
LIBRARY = "nfinspect__mypyc"
"""The extension module with all the machine code, as mypyc names it. The extension modules beside it
only refer to it."""
SUFFIX = EXTENSION_SUFFIXES[0]
"""Of extension modules for this Python, on this kind of machine."""


@dataclass(frozen=True, slots=True)
class Form:
    """The form that runs, and why it is not the compiled one."""

    compiled: bool
    reason: str = ""
    unexpected: bool = False
    """There is a compiled form, but it could not be used."""

    def __str__(self) -> str:
        return "compiled" if self.compiled else f"pure Python: {self.reason}"


class CompiledFinder(MetaPathFinder):
    """Finds the compiled modules, before Python looks for their sources."""

    def __init__(self, package: Path) -> None:
        directory = package / DIRECTORY
        self._files = {name: _compiled_file(directory, name) for name in sources(package)}
        self._files[LIBRARY] = directory / f"{LIBRARY}{SUFFIX}"

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The compiled module of that name; None if it is not one of these."""
        file = self._files.get(name)
        if file is None:
            return None
        return spec_from_file_location(name, file, loader=ExtensionFileLoader(name, str(file)))


def sources(package: Path = PACKAGE) -> dict[str, Path]:
    """The source of each module that is compiled, by its dotted name."""
    files: list[Path] = []
    for entry in COMPILED:
        path = package / entry
        files += [path] if path.suffix else sorted(path.rglob("*.py"))
    return {
        ".".join(("nfinspect", *file.relative_to(package).with_suffix("").parts)): file
        for file in files
        if file.name != "__init__.py"
    }


def manifest(package: Path) -> dict[str, object]:
    """What ``script/compile.py`` notes of the sources and of the machine code made from them."""
    directory = package / DIRECTORY
    files = sources(package)
    return {
        "suffix": SUFFIX,
        "sources": {name: sha256(file.read_bytes()).hexdigest() for name, file in files.items()},
        "sizes": {
            name: _compiled_file(directory, name).stat().st_size for name in (*files, LIBRARY)
        },
    }


def fits(package: Path) -> bool:
    """Whether there is a compiled form that was made from the package's sources."""
    return not _fault(package)


def choose(wanted: str, package: Path = PACKAGE) -> Form:
    """Put the compiled form in front of the sources if it can be used; ``wanted`` is the variable's
    value. Raises ImportError if that is no form, or one that cannot be used."""
    if wanted not in ("", PURE_FORM, COMPILED_FORM):
        raise ImportError(f"{VARIABLE} is {wanted!r}, not {PURE_FORM!r} or {COMPILED_FORM!r}")
    if wanted == PURE_FORM:
        return Form(False, f"{VARIABLE}={PURE_FORM}")
    if not (package / DIRECTORY / MANIFEST).exists():
        form = Form(False, "not compiled")
    else:
        fault = _fault(package) or _load(package)
        form = Form(False, fault, unexpected=True) if fault else Form(True)
    if wanted == COMPILED_FORM and not form.compiled:
        raise ImportError(f"{VARIABLE} is {wanted!r}, but: {form.reason}")
    return form


def _fault(package: Path) -> str:
    """Why the compiled form does not fit; empty if it does."""
    try:
        noted = json.loads((package / DIRECTORY / MANIFEST).read_bytes())
        if noted["suffix"] != SUFFIX:
            return f"the compiled form is for {noted['suffix']}, not for {SUFFIX}"
        present = manifest(package)
        if noted == present:
            return ""
        changed = noted["sources"] != present["sources"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        return f"the compiled form is incomplete ({error})"
    if changed:
        return "the sources have changed since they were compiled"
    return "the compiled form is incomplete (a module has another size)"


def _load(package: Path) -> str:
    """Load the machine code; returns why that is not possible."""
    finder = CompiledFinder(package)
    sys.meta_path.insert(0, finder)
    try:
        import_module(LIBRARY)
    except ImportError as error:
        sys.meta_path.remove(finder)
        return f"the compiled form cannot be loaded ({error})"
    return ""


def _compiled_file(directory: Path, name: str) -> Path:
    parts = name.split(".")
    return directory.joinpath(*parts[1:-1], f"{parts[-1]}{SUFFIX}")


FORM = choose(os.environ.get(VARIABLE, ""))
