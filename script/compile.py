"""Compiles the core (``COMPILED`` in nfinspect/form.py) with mypyc into nfinspect/compiled/.

What is there and fits the sources is left alone; it takes about a minute otherwise, and with ``--check`` exit
status 1 says so instead. The new form replaces an older one only after all its modules could be
imported. Needs ``mypy[mypyc]``, a C compiler, and Python's header files; without them, exit status 1,
and one line on stdout says what is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ["NFINSPECT_FORM"] = "pure"
sys.path.insert(0, str(ROOT))

from nfinspect import form  # noqa: E402

CHECK = "import importlib, nfinspect.form as f; [importlib.import_module(m) for m in f.sources()]"
"""Imports all compiled modules."""


def main() -> int:
    """Compile if needed. Returns the exit status."""
    up_to_date = form.fits(form.PACKAGE)
    if up_to_date or "--check" in sys.argv:
        return 0 if up_to_date else 1
    missing = _missing()
    if missing:
        print(f"not possible without {missing}: pure Python is used")
        return 1
    with tempfile.TemporaryDirectory(prefix="nfinspect-compile-") as temporary:
        package = Path(temporary) / "nfinspect"
        shutil.copytree(
            form.PACKAGE, package, ignore=shutil.ignore_patterns(form.DIRECTORY, "__pycache__")
        )
        with contextlib.chdir(temporary):  # tracebacks show paths relative to it
            _compile(package)
        (package / form.DIRECTORY / form.MANIFEST).write_text(json.dumps(form.manifest(package)))
        wanted = {**os.environ, "NFINSPECT_FORM": "compiled"}
        subprocess.run([sys.executable, "-c", CHECK], cwd=temporary, env=wanted, check=True)
        _replace(package / form.DIRECTORY, form.PACKAGE / form.DIRECTORY)
    print(f"{len(form.sources())} modules compiled")
    return 0


def _missing() -> str:
    """What is missing to compile; empty if nothing is."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC")
    if shutil.which(compiler.split()[0]) is None:
        return f"a C compiler ({compiler.split()[0]})"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's header files (Python.h)"
    try:
        import mypyc.build  # noqa: F401
        import setuptools  # noqa: F401
    except ImportError as error:
        return str(error.name)
    return ""


def _compile(package: Path) -> None:
    """Compile the sources in the current directory, and gather the results in the package."""
    from mypyc.build import mypycify
    from setuptools import setup

    files = [str(file.relative_to(package.parent)) for file in form.sources(package).values()]
    extensions = mypycify(["--strict", *files], group_name="nfinspect")
    setup(
        name="nfinspect",
        packages=[],
        py_modules=[],
        ext_modules=extensions,
        script_args=["--quiet", "build_ext", "--build-lib", "lib", "--build-temp", "temporary"],
    )
    shutil.copytree(Path("lib", "nfinspect"), package / form.DIRECTORY)
    library = f"{form.LIBRARY}{form.SUFFIX}"
    shutil.copy2(Path("lib", library), package / form.DIRECTORY / library)


def _replace(made: Path, place: Path) -> None:
    """Put the directory ``made`` in the place of an older one, of which a process may hold files."""
    new = place.with_name(f"{place.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(made, new)
    shutil.rmtree(place, ignore_errors=True)
    new.rename(place)


if __name__ == "__main__":
    sys.exit(main())
