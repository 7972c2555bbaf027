"""Imports point downwards only, and the core stays free of I/O, clocks and random numbers.

These are the rules of docs/architecture.md, checked on the source.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "nfinspect"

# From the bottom up. A room may import the rooms before it in this list, and itself.
CORE = [
    "events",
    "arrival",
    "actions",
    "packet",
    "policy",
    "tcp",
    "flow",
    "esmtp",
    "engine",
    "monitor",
]
EDGES = ["form", "audit", "rules", "lab", "replay", "live", "cli", "__main__"]
ROOMS = CORE + EDGES

# Modules that do I/O, read a clock or draw random numbers, and the libraries of the edges.
NOT_IN_THE_CORE = set(
    """
    asyncio concurrent ctypes datetime fcntl fileinput glob io logging mmap multiprocessing os
    pathlib pty random resource sched secrets select selectors shutil signal socket socketserver
    sqlite3 ssl subprocess sys syslog tempfile threading time uuid
    click netfilterqueue pyroute2 rich scapy
    """.split()
)
CALLS_NOT_IN_THE_CORE = {"open", "input", "print"}


def room_of(file: Path) -> str:
    """The first name below the package: ``tcp`` for nfinspect/tcp/stream.py."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(source: str, package: str) -> Iterator[str]:
    """The full dotted name of everything that *source*, a module in *package*, imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            origin = parents[: len(parents) - node.level + 1] if node.level else []
            stem = ".".join([*origin, node.module] if node.module else origin)
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def upward(room: str, imported: str) -> bool:
    """Whether *imported* is a part of nfinspect above *room*, or in no room at all."""
    top, _, rest = imported.partition(".")
    if top != "nfinspect" or rest in ("FORM", "__version__"):
        return False
    target = rest.split(".")[0]
    return target not in ROOMS or ROOMS.index(target) > ROOMS.index(room)


SOURCES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_module_imports_only_from_rooms_below(file: Path) -> None:
    room = room_of(file)
    assert room in ROOMS, f"{file} is in a room that this test does not know; add {room} to ROOMS"
    source = file.read_text()
    package = ".".join(file.relative_to(PACKAGE.parent).parent.parts)
    found = list(imports(source, package))

    up = [name for name in found if upward(room, name)]
    assert not up, f"{file} imports upwards: {', '.join(up)}"
    if room in CORE:
        foreign = [name for name in found if name.split(".")[0] in NOT_IN_THE_CORE]
        assert not foreign, f"{file} belongs to the core but imports {', '.join(foreign)}"
        calls = [
            f"{node.func.id}() in line {node.lineno}"
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in CALLS_NOT_IN_THE_CORE
        ]
        assert not calls, f"{file} belongs to the core but calls {', '.join(calls)}"


def modules(files: Iterable[Path]) -> dict[str, str]:
    """The source of each module by its dotted name; a package's is that of its ``__init__``."""
    return {
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        ): file.read_text()
        for file in files
    }


def imported_modules(name: str, sources: Mapping[str, str]) -> set[str]:
    """Which of the modules in *sources* the module *name* imports, anywhere in its text."""
    found = set()
    for imported in imports(sources[name], name.rpartition(".")[0]):
        while imported and imported not in sources:
            imported = imported.rpartition(".")[0]
        found.add(imported)
    return found - {"", name}


def circles(sources: Mapping[str, str]) -> set[str]:
    """The modules from which a chain of imports leads back to themselves."""
    reached = {name: imported_modules(name, sources) for name in sources}
    for middle in sources:
        for name in sources:
            if middle in reached[name]:
                reached[name] |= reached[middle]
    return {name for name in sources if name in reached[name]}


def test_no_two_classes_have_the_same_name() -> None:
    found: dict[str, list[str]] = {}
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(str(file.relative_to(PACKAGE)))
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


GOING_ROUND = {
    "tcp": {"nfinspect.tcp.connection", "nfinspect.tcp.stream"},
    "flow": {"nfinspect.flow.core", "nfinspect.flow.holding", "nfinspect.flow.passage"},
}
"""Known circles, by room: to be opened."""


@pytest.mark.parametrize("room", [room for room in ROOMS if (PACKAGE / room).is_dir()])
def test_imports_in_a_room_do_not_go_round(room: str) -> None:
    found = circles(modules((PACKAGE / room).rglob("*.py")))
    assert found == GOING_ROUND.get(room, set())


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"r.a": "import r.b", "r.b": "import struct"}, set()),
        ({"r.a": "from r import b", "r.b": "from r.a import A"}, {"r.a", "r.b"}),
        (
            {"r.a": "import r.b", "r.b": "import r.c", "r.c": "def f():\n import r.b"},
            {"r.b", "r.c"},
        ),
        ({"r.a": "from r import x", "r": "if TYPE_CHECKING:\n from r.a import x"}, {"r.a", "r"}),
    ],
)
def test_circle_of_imports_is_recognized(sources: dict[str, str], expected: set[str]) -> None:
    assert circles(sources) == expected


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("import os.path, time", ["os.path", "time"]),
        ("from nfinspect import live", ["nfinspect.live"]),
        ("from nfinspect.live.queue import Queue as Q", ["nfinspect.live.queue.Queue"]),
        ("from . import stream", ["nfinspect.tcp.stream"]),
        ("from ..engine import Engine", ["nfinspect.engine.Engine"]),
        ("from .. import cli", ["nfinspect.cli"]),
        ("if x:\n    def f():\n        import socket", ["socket"]),
    ],
)
def test_import_statement_of_any_form_is_recognized(statement: str, names: list[str]) -> None:
    assert list(imports(statement, "nfinspect.tcp")) == names


@pytest.mark.parametrize(
    ("room", "imported", "is_upward"),
    [
        ("tcp", "nfinspect.packet.checksum", False),
        ("tcp", "nfinspect.tcp.stream", False),
        ("tcp", "struct", False),
        ("tcp", "nfinspect.engine.Engine", True),
        ("esmtp", "nfinspect.audit", True),
        ("replay", "nfinspect.live", True),
        ("cli", "nfinspect.__version__", False),
        ("cli", "nfinspect.attic", True),
    ],
)
def test_upward_import_is_recognized_by_the_order_of_rooms(
    room: str, imported: str, is_upward: bool
) -> None:
    assert upward(room, imported) is is_upward
