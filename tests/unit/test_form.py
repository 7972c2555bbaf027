"""The compiled form is used only where it fits, and it is said where it is not."""

import ast
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from nfinspect import FORM, engine, form
from nfinspect.packet.craft import craft_reset
from nfinspect.packet.segment import Segment, connection_key, parse
from nfinspect.packet.split import split


@pytest.mark.parametrize("module", form.sources())
def test_compiled_modules_import_compiled_modules_only(module: str) -> None:
    for node in ast.walk(ast.parse(form.sources()[module].read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nfinspect"):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            assert node.module in form.sources() or names <= form.sources().keys(), node.lineno


def test_core_comes_from_the_form_that_is_named() -> None:
    expected = form.SUFFIX if FORM.compiled else ".py"
    assert engine.__file__.endswith(expected)


def test_form_is_the_one_that_the_variable_forces() -> None:
    assert FORM.compiled is (os.environ[form.VARIABLE] == form.COMPILED_FORM)


def test_traceback_names_file_and_line() -> None:
    segment = parse(craft_reset(connection_key(bytes(4), 1, bytes(4), 2), sequence=0))
    assert isinstance(segment, Segment)
    with pytest.raises(ZeroDivisionError) as raised:
        split(segment, 0)
    where = traceback.extract_tb(raised.value.__traceback__)[-1]
    assert where.filename.endswith("nfinspect/packet/split.py")
    assert where.name == "split"
    assert where.line is not None
    assert "// largest" in where.line


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of nfinspect with a compiled form that fits, but whose files are no machine code."""
    ignored = shutil.ignore_patterns(form.DIRECTORY, "__pycache__")
    package = shutil.copytree(form.PACKAGE, tmp_path / "nfinspect", ignore=ignored)
    for name in (*form.sources(package), form.LIBRARY):
        parts = name.removeprefix("nfinspect.").split(".")
        file = package.joinpath(form.DIRECTORY, *parts[:-1], parts[-1] + form.SUFFIX)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"no machine code")
    write(package, form.manifest(package))
    return package


def write(package: Path, manifest: object) -> None:
    (package / form.DIRECTORY / form.MANIFEST).write_text(json.dumps(manifest))


def version(package: Path, wanted: str = "") -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "import nfinspect.engine, nfinspect.cli as c; c.main()"]
    return subprocess.run(
        [*program, "--version"],
        cwd=package.parent,
        env={**os.environ, form.VARIABLE: wanted},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def add_a_line(package: Path) -> None:
    with (package / "tcp" / "sequence.py").open("a") as file:
        file.write("# another line\n")


def add_a_module(package: Path) -> None:
    (package / "flow" / "another.py").write_text("")


def remove_a_module(package: Path) -> None:
    next((package / form.DIRECTORY / "tcp").iterdir()).unlink()


def truncate_a_module(package: Path) -> None:
    next((package / form.DIRECTORY / "tcp").iterdir()).write_bytes(b"")


def build_for_another_python(package: Path) -> None:
    write(package, {**form.manifest(package), "suffix": ".cpython-39-riscv.so"})


def write_no_manifest(package: Path) -> None:
    write(package, ["what"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda package: None, "cannot be loaded"),
        (add_a_line, "the sources have changed since they were compiled"),
        (add_a_module, "incomplete"),
        (remove_a_module, "incomplete"),
        (truncate_a_module, "a module has another size"),
        (build_for_another_python, "for .cpython-39-riscv.so, not for"),
        (write_no_manifest, "incomplete"),
    ],
)
def test_form_that_does_not_fit_is_not_used_and_that_is_said(
    package: Path, change: Callable[[Path], None], reason: str
) -> None:
    change(package)
    done = version(package)
    assert done.returncode == 0
    assert reason in done.stdout
    assert done.stderr.startswith("nfinspect: pure Python: ")
    assert done.stderr.count("\n") == 1

    forced = version(package, form.COMPILED_FORM)
    assert forced.returncode == 1
    *_, last = forced.stderr.splitlines()
    assert last.startswith("ImportError: NFINSPECT_FORM is 'compiled', but: the ")
    assert reason in last


def test_pure_python_by_choice_is_said_by_version_alone(package: Path) -> None:
    done = version(package, form.PURE_FORM)
    assert (done.stdout.split("(")[1], done.stderr) == ("pure Python: NFINSPECT_FORM=pure)\n", "")


def test_core_that_nobody_compiled_is_said_by_version_alone(package: Path) -> None:
    shutil.rmtree(package / form.DIRECTORY)
    done = version(package)
    assert (done.stdout.split("(")[1], done.stderr) == ("pure Python: not compiled)\n", "")


def test_unknown_form_is_refused(package: Path) -> None:
    done = version(package, "fast")
    assert done.returncode == 1
    assert done.stderr.endswith("NFINSPECT_FORM is 'fast', not 'pure' or 'compiled'\n")
