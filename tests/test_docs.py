"""Every page of ``docs/`` is in the site's navigation, and every public name in its reference; its code runs."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from ase.calculators.calculator import Calculator

from ase_mlwave.calculators.base import MlwaveCalculator
from ase_mlwave.calculators.matrices import MatrixCalculator

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def _contents(page: Path) -> set[Path]:
    """Find the pages that the lists of contents of a page lead to."""
    blocks = re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines() if line and not line.startswith(":")]
    names = [line.rpartition("<")[2].rstrip(">") for line in lines]
    return {(page.parent / f"{name}.md").resolve() for name in names}


def test_every_page_is_in_the_navigation() -> None:
    seen: set[Path] = set()
    left = {DOCS / "index.md"}
    while left:
        page = left.pop()
        seen.add(page)
        left |= _contents(page) - seen
    pages = {*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("models/*/*.md")}
    missing = sorted(page.relative_to(ROOT).as_posix() for page in pages - seen)
    assert missing == [], "add them to a {toctree} of docs/index.md (cards: docs/models.md)"
    assert seen <= {*pages, ROOT / "examples/README.md", ROOT / "datasets/README.md"}


@pytest.mark.parametrize("base", [MlwaveCalculator, MatrixCalculator])
def test_reference_has_what_calculators_share(base: type[MlwaveCalculator]) -> None:
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    shown = re.findall(rf"autoclass:: \S+\.{base.__name__}\n   :members: (.*)", page)[0].split(", ")
    above = () if base is MlwaveCalculator else MlwaveCalculator.__mro__
    ours = [vars(cls) for cls in base.__mro__ if cls.__module__.startswith("ase_mlwave") and cls not in above]
    defined = {name for names in ours for name, it in names.items() if callable(it) or isinstance(it, property)}
    public = {name for name in defined if not name.startswith("_") and not hasattr(Calculator, name)}
    assert public - {"get_spin_polarized"} <= {*shown}  # which ASE's own calculators have
    assert {*shown} <= defined


#: From this comment on a tutorial takes longer than the quick tests may.
SLOW = "<!-- slow from here -->"
TUTORIALS = sorted(DOCS.glob("tutorials/*.md"))


def _run(text: str) -> None:
    """Run the Python of a page as one script; a block of text holds what the block before it prints."""
    names: dict[str, Any] = {}
    for code, shown in re.findall(r"^```python\n(.*?)^```(?:\n+```text\n(.*?)^```)?", text, re.MULTILINE | re.DOTALL):
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(code, "tutorial", "exec"), names)
        if shown:
            _compare(printed.getvalue(), shown)


def _compare(printed: str, shown: str) -> None:
    """Compare words (a zero may have a sign), and numbers to a hundredth (or one unit of the last place)."""
    number = r"-?\d+(?:\.\d+)?"
    printed, shown = (text.replace("-0.00 ", "0.00 ") for text in (printed, shown))
    assert re.sub(number, "#", printed).split() == re.sub(number, "#", shown).split(), printed
    for mine, other in zip(re.findall(number, printed), re.findall(number, shown), strict=True):
        last = 10.0 ** -len(other.partition(".")[2])
        assert float(mine) == pytest.approx(float(other), rel=0.01, abs=1.01 * last), printed


@pytest.mark.parametrize(
    "page", [p for p in TUTORIALS if "```python" in p.read_text("utf-8").partition(SLOW)[0]], ids=lambda p: p.stem
)
def test_quick_code_of_the_tutorial_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _run(page.read_text(encoding="utf-8").partition(SLOW)[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ase_mlwave.OutOfDomainWarning")  # the text says so
@pytest.mark.parametrize("page", [p for p in TUTORIALS if SLOW in p.read_text("utf-8")], ids=lambda p: p.stem)
def test_code_of_the_tutorial_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _run(page.read_text(encoding="utf-8"))
