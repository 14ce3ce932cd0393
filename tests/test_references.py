"""What the texts of the repository name is there: the tests of laws, files and modules."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("ase_mlwave", "benchmarks", "docs", "examples", "tests")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TESTS = {name for path in SOURCES for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))}
#: Names that stand for what a reader fills in.
EXAMPLES = {"test_contract", "benchmarks.NAME", "benchmarks.MODULE"}


def _prose(file: Path) -> str:
    """Return a document, or the docstrings and comments of a module."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return text
    comments = [t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT]
    values = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr))
    return "\n".join(comments + [str(value.value) for value in values if isinstance(value, ast.Constant)])


@cache
def _exists(name: str) -> bool:
    """Tell whether a dotted name is a module or folder, or a module that has the name after its own."""
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        place, rest = ROOT.joinpath(*parts[:depth]), parts[depth:]
        if place.is_dir() and not rest:
            return True
        module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if module.exists():
            return not rest or re.search(rf"\b{rest[0]}\b", module.read_text(encoding="utf-8")) is not None
    return False


@pytest.mark.parametrize("file", [*DOCUMENTS, *SOURCES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_named_tests_files_and_modules_exist(file: Path) -> None:
    text, rooms = _prose(file), "|".join(ROOMS)
    absent = {name for name in re.findall(r"`(test_\w+)`", text) if name not in TESTS}
    absent |= {
        path for path in re.findall(rf"(?<![\w/.-])((?:{rooms})/[\w./-]*\w)", text) if not (ROOT / path).exists()
    }
    absent |= {name for name in re.findall(rf"\b((?:{rooms})(?:\.\w+)+)", text) if not _exists(name)}
    assert absent - EXAMPLES == set()
