"""Formulas as MathML, which browsers draw themselves: the site needs no network, and wrong formulas fail its build."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.errors import SphinxError

__all__ = ["setup"]


def _write(writer: Any, node: nodes.math | nodes.math_block) -> None:
    is_block = isinstance(node, nodes.math_block)
    try:
        formula = tex2mathml(node.astext().strip(), as_block=is_block)
    except MathError as error:
        raise SphinxError(f"{node.source}: {error} in the formula {node.astext()}") from error
    writer.body.append(f'<div class="math">{formula}</div>' if is_block else formula)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx the renderer."""
    app.add_html_math_renderer("mathml", (_write, None), (_write, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
