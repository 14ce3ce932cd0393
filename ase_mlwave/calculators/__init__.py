"""What a simulation script touches: with command line and engines, the only rooms that know eV and Angstrom."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase_mlwave.calculators.base import MlwaveCalculator

__all__ = ["load_calculator"]


def load_calculator(model: str | PathLike[str] | Sequence[str | PathLike[str]], **options: Any) -> MlwaveCalculator:
    """Make the calculator that goes with a model.

    Parameters
    ----------
    model : str, path, or sequence of them
        A name in the zoo, a folder, or several models of one kind: a committee.
    **options
        Those of the calculator.

    Returns
    -------
    MlwaveCalculator
        Of the class that the model's kind needs.

    Raises
    ------
    TypeError, InputError
        As the calculator's constructor.
    """
    from ase_mlwave.calculators.members import model_names
    from ase_mlwave.models import folder as zoo
    from ase_mlwave.models.kinds import find_kind

    names = model_names(model)
    first = names if isinstance(names, str) else names[0]
    calculator: MlwaveCalculator = find_kind(zoo.read_config(first).kind, first).load("calculator")(names, **options)
    return calculator
