"""The levels of energy of a PhiSNet, and which of them measured errors support."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ase.calculators.calculator import InputError
from ase.units import kcal, mol

from ase_mlwave.models.config import ModelConfig
from ase_mlwave.reference.levels import LevelOfTheory

__all__ = [
    "ENERGY_LEVELS",
    "declares_level",
    "default_level",
    "errors_in_words",
    "has_mean_field",
    "learns_energies_apart",
    "supported_level",
]

#: Value of ``energy=`` -> what it stands for; each is slower and more accurate than the one before.
ENERGY_LEVELS: dict[str, str] = {
    "wavefunction": "1/2 tr[P (H + h)] + E_nn + atomic energies of the network, or these alone: one pass and one "
    "eigenproblem",
    "functional": "the Kohn-Sham functional of the predicted density: about one SCF cycle and one gradient",
    "response": "the functional with exchange and correlation linearised there, minimised: two cycles and one gradient",
    "scf": "the converged SCF, started from the predicted density: a few cycles, no loss of accuracy",
}

#: Chemical accuracy, 1 kcal/mol and 1 kcal/mol/Angstrom: the largest mean absolute errors of a level that is a
#: default, in meV and meV/Angstrom.
_ACCURACY = 1e3 * kcal / mol
_MEASURED = ("wavefunction", "functional", "response")


def supported_level(errors: Mapping[str, float], first: str = "wavefunction") -> str | None:
    """Choose the fastest level whose mean absolute errors are within chemical accuracy.

    Parameters
    ----------
    errors : mapping of str to float
        Figures of `evaluate_phisnet`; those within the model's domain count where they are among them.
    first : str
        Fastest level to consider: a model that learned matrices alone has no ``"wavefunction"`` energies.

    Returns
    -------
    str or None
        ``"scf"``, which has no error, if none of the others is good enough; None if not all that are considered were
        measured (``"response"`` need not be).
    """
    for level in _MEASURED[list(ENERGY_LEVELS).index(first) :]:
        measured = _errors_of(errors, level)
        if not measured and level != "response":
            return None
        if measured and all(value <= _ACCURACY for value in measured.values()):
            return level
    return "scf"


def default_level(config: ModelConfig) -> str:
    """Return the level that a model's description says, or that its errors support where it says none.

    Notes
    -----
    Models of versions before there were defaults: one whose errors of wavefunction energies were never measured is
    taken to have learned none.
    """
    stated = config.defaults.get("energy")
    if stated is not None:
        return str(stated)
    errors = _errors_of(config.errors, "wavefunction")
    accurate = errors and all(value <= _ACCURACY for value in errors.values())
    return "wavefunction" if accurate else "functional"


def declares_level(config: ModelConfig) -> bool:
    """Tell whether a model's description says which level it is good for, by a default or by measured errors."""
    return "energy" in config.defaults or bool(_errors_of(config.errors, "wavefunction"))


def has_mean_field(level: str) -> bool:
    """Tell whether a model's level of theory is a mean field, whose functional and SCF PySCF computes.

    Notes
    -----
    Coupled cluster is none: a model of its energies has the level ``"wavefunction"`` alone.
    """
    try:
        return LevelOfTheory.parse(level).has_mean_field
    except InputError:  # a level that is not ours to compute
        return False


def learns_energies_apart(config: ModelConfig) -> bool:
    """Tell whether a model's wavefunction energy is that of atoms alone, which exists because it was trained."""
    return config.settings.get("energy_from") == "atoms"


def errors_in_words(errors: Mapping[str, float], level: str) -> str:
    """Write a level's measured errors in words, empty where there are none."""
    units = {"energy": "meV", "forces": "meV/Å"}
    measured = _errors_of(errors, level)
    return " and ".join(f"{value:.3g} {units[quantity]}" for quantity, value in measured.items())


def _errors_of(errors: Mapping[str, Any], level: str) -> dict[str, float]:
    """Find the mean absolute errors of a level: energies in meV, forces in meV/Angstrom."""
    measured = {}
    for quantity, unit in (("energy", "meV"), ("forces", "meV_per_A")):
        for name in (f"{level}_{quantity}_mae_{unit}", f"{level}_{quantity}_mae_in_domain_{unit}"):
            if name in errors:
                measured[quantity] = float(errors[name])
    return measured
