"""The elements of a model's settings: checked, and in the order of their atomic numbers."""

from __future__ import annotations

from typing import Annotated

from ase.data import chemical_symbols
from pydantic import AfterValidator

__all__ = ["Elements"]


def _distinct_symbols(elements: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [e for e in elements if e not in chemical_symbols[1:]]
    if unknown or not elements or len(set(elements)) < len(elements):
        raise ValueError(f"elements must be distinct chemical symbols, got {list(elements)}")
    return tuple(sorted(elements, key=chemical_symbols.index))


Elements = Annotated[tuple[str, ...], AfterValidator(_distinct_symbols)]
"""Distinct chemical symbols; whatever order they are given in, sorted by atomic number."""
