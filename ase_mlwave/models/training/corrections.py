"""Training of models that correct a base level of theory: they learn what the labels have and the base lacks."""

from __future__ import annotations

from dataclasses import replace

from ase_mlwave.data.record import Dataset
from ase_mlwave.models.training.bar import training_bar
from ase_mlwave.reference.differences import base_labels, base_level, difference

__all__ = ["check_base", "correcting", "less_base"]


def correcting(base: str | None) -> str:
    """Say in a card's heading, after the level, what a model corrects; nothing where there is no base level."""
    return "" if base is None else f", correcting {base}"


def check_base(base: str | None, part: Dataset) -> None:
    """Raise ``InputError`` for molecules that the base level does not serve; or at once, where it cannot be had."""
    if base is not None:
        level = base_level(base)
        for record in part:
            level.check(record)


def less_base(part: Dataset, base: str | None, *, shown: bool) -> Dataset:
    """Take the base level off the labels of molecules.

    Parameters
    ----------
    part : Dataset
        With energies.
    base : str or None
        As `ase_mlwave.reference.differences.base_level` takes it.
    shown : bool
        Show a progress bar.

    Returns
    -------
    Dataset
        Differences of energies and forces, without other labels; ``part`` itself where there is no base level.
    """
    if base is None:
        return part
    found = []
    with training_bar(f"labelling {len(part)} molecules at {base}", shown=shown) as start:
        advance = start(len(part))
        for record in part:
            found.append(difference(record, base_labels(base, record)))
            advance(1)
    return replace(part, records=tuple(found))
