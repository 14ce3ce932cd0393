"""Every page of ``docs/`` is in the site's navigation, and every public name in its reference; its code runs."""

from __future__ import annotations

import re
from pathlib import Path

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
