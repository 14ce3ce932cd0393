"""Identifiers of publications as links: ``doi:10.1038/...`` and ``arXiv:2106.02347`` in the text of any page."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

__all__ = ["linked", "setup"]

#: An identifier ends before the punctuation of the sentence; brackets inside of it are pairs.
_IDENTIFIER = re.compile(r"doi:(?P<doi>10\.\d{4,}/(?:\(\w+\)|[\w./-])*\w)|arXiv:(?P<arxiv>\d{4}\.\d{5})")


def linked(text: str) -> list[nodes.Node]:
    """Cut a text into words and links to the publications that it names."""
    parts: list[nodes.Node] = []
    end = 0
    for match in _IDENTIFIER.finditer(text):
        where = f"https://doi.org/{match['doi']}" if match["doi"] else f"https://arxiv.org/abs/{match['arxiv']}"
        parts += [nodes.Text(text[end : match.start()]), nodes.reference("", match[0], refuri=where, internal=False)]
        end = match.end()
    return [*parts, nodes.Text(text[end:])]


class _Identifiers(SphinxTransform):
    default_priority = 800

    def apply(self, **_: Any) -> None:
        """Replace texts that are neither code nor links already."""
        for text in list(self.document.findall(nodes.Text)):
            above = text.parent
            if isinstance(above, nodes.reference | nodes.literal | nodes.literal_block | nodes.title):
                continue
            parts = linked(text.astext())
            if len(parts) > 1:
                above.replace(text, parts)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_transform(_Identifiers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
