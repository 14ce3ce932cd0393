"""What the documents say of the house is so: the public names, the rooms, and who may import whom."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
from pathlib import Path

import pytest

import ase_mlwave

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ase_mlwave"

#: Examples that look inside of the package, because what is inside is their subject.
LOOKS_INSIDE = {"lcao_is_a_gcn.py": {"ase_mlwave.models.qdf"}, "density.py": {"ase_mlwave.quantum.cubes"}}


def _documents() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*.*"))]


def test_public_names_are_those_that_the_documents_list() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(set(ase_mlwave.__all__) - {"__version__"})
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("name", sorted(set(ase_mlwave.__all__) - {"__version__"}))
def test_public_name_is_documented(name: str) -> None:
    value = getattr(ase_mlwave, name)
    text = inspect.getdoc(value) or ""
    assert text.partition("\n")[0].endswith((".", ":", "?")), text
    assert value.__module__.startswith("ase_mlwave."), "a public name is the package's own"
    if inspect.isfunction(value) and inspect.signature(value).parameters:
        assert "Parameters\n----------" in text
        assert "Returns\n-------" in text or value.__annotations__["return"] == "None"


@pytest.mark.parametrize("document", _documents(), ids=lambda path: path.name)
def test_documents_import_public_names_alone(document: Path) -> None:
    if document.suffix not in {".md", ".py"} or document.name == "new_model.md":
        return
    inside = LOOKS_INSIDE.get(document.name, set())
    found = re.findall(r"^\s*(?:from|import) (ase_mlwave[\w.]*)", document.read_text(encoding="utf-8"), re.MULTILINE)
    public = {*inside, "ase_mlwave.interfaces."}
    private = {name for name in found if name != "ase_mlwave" and not any(name.startswith(one) for one in public)}
    assert private == set()


def _rooms(plan: str) -> set[str]:
    """Read the folders and files of a drawn plan: two more spaces are one room deeper."""
    path: list[str] = []
    found = set()
    for line in plan.splitlines():
        entry = re.match(r"( *)((?:[\w{}]+(?:/|\.py) *)+)", line)
        if entry is None:
            continue
        depth = len(entry.group(1)) // 2
        names = entry.group(2).split()
        path[depth:] = [names[0].rstrip("/")]
        found |= {"/".join([*path[:depth], name.rstrip("/")]) for name in names}
    return found


def test_house_of_the_documents_is_that_of_the_folders() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (plan,) = re.findall(r"## The house\n.*?^```\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    drawn = _rooms(plan)
    missing = {room for room in drawn if not (ROOT / room).exists()}
    assert missing == set()
    present = {init.parent.relative_to(ROOT).as_posix() for init in PACKAGE.rglob("*/__init__.py")}
    assert present - drawn == set(), "rooms that the plan does not show"
    files = {file.relative_to(ROOT).as_posix() for file in PACKAGE.glob("[!_]*.py")}
    assert files - drawn == set(), "files at the door that the plan does not show"


def test_root_holds_what_the_plan_shows_and_no_leftovers() -> None:
    """Files that a script has left at the root belong to nobody."""
    found = subprocess.run(
        ["git", "ls-tree", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip("no checkout of git")
    folders = {".ci", "ase_mlwave", "benchmarks", "conda", "datasets", "docs", "examples", "models", "tests"}
    files = {".gitignore", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md"}
    assert set(found.stdout.split("\n")) - {""} == folders | files | {"constraints.txt", "pyproject.toml"}


def _offered(tree: ast.Module) -> set[str]:
    """Return the names of ``__all__``, in whatever way the list is written."""
    lists = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "__all__" for to in node.targets)
    ]
    return {node.value for one in lists for node in ast.walk(one) if isinstance(node, ast.Constant)}


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_module_says_what_it_is_and_what_it_offers(file: Path) -> None:
    """Each module has a docstring; what it offers is in ``__all__`` or its verb, what it does not has an underscore."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "no docstring"
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    offered = _offered(tree) | ({file.stem} if file.parent.name == "cli" else set())
    assert {name for name in defined if not name.startswith("_")} <= offered, "neither offered nor private"
