"""A stream keeps its own books: nobody but ``tcp/stream.py`` changes what is known of one.

These are laws of docs/architecture.md, checked on the source.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "nfinspect"


def fields(source: str) -> frozenset[str]:
    """The slots of `Stream`. The compiled class does not tell them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and node.name == "Stream":
            for statement in node.body:
                if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Tuple):
                    return frozenset(ast.literal_eval(statement.value))
    raise AssertionError("no slots")


FIELDS = fields((PACKAGE / "tcp/stream.py").read_text())
CHANGES = {
    ("memory", "append"),
    ("memory", "release"),
    ("memory", "clear"),
    ("held", "append"),
    ("held", "insert"),
    ("held", "pop"),
    ("held", "clear"),
}
"""Calls that change what a field holds."""
OWNER = "tcp/stream.py"


def changed(source: str) -> Iterator[tuple[int, str]]:
    """Each line that changes a field of a stream, unless it is a field of ``self``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.Delete):
            targets = node.targets
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Attribute)
            and (node.func.value.attr, node.func.attr) in CHANGES
        ):
            yield node.lineno, node.func.value.attr
            continue
        else:
            continue
        for target in targets:
            for part in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(part, ast.Attribute) and part.attr in FIELDS:
                    own = isinstance(part.value, ast.Name) and part.value.id == "self"
                    if not own:
                        yield node.lineno, part.attr


CORE = [PACKAGE / "engine.py"]
CORE += [
    file for room in ("tcp", "flow", "esmtp") for file in sorted((PACKAGE / room).rglob("*.py"))
]


@pytest.mark.parametrize("file", CORE, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nobody_else_changes_a_field_of_a_stream(file: Path) -> None:
    found = list(changed(file.read_text()))
    owner = str(file.relative_to(PACKAGE)) == OWNER
    assert bool(found) == owner, f"{file} changes fields of a stream: {found}"


@pytest.mark.parametrize(
    "statement",
    [
        "stream.next = 1",
        "passage.stream.next += 1",
        "a.edge, b = 1, 2",
        "del stream.gap",
        "stream.memory.append(0, b'', b'')",
        "stream.peer.held.pop(0)",
    ],
)
def test_a_change_of_any_form_is_seen(statement: str) -> None:
    assert list(changed(statement))


@pytest.mark.parametrize("statement", ["self.next = 1", "edge = stream.edge", "stream.heard(1.0)"])
def test_what_changes_no_stream_is_not_reported(statement: str) -> None:
    assert not list(changed(statement))
