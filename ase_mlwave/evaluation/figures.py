"""Errors of predicted energies and forces against labels: means, largest values, and errors by size of molecule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_mlwave.calculators.outcome import Outcome
from ase_mlwave.data.record import Record
from ase_mlwave.units import HARTREE, HARTREE_PER_BOHR

__all__ = ["MoleculeErrors", "SizeBin", "energy_and_force_figures", "figures_by_size", "molecule_errors"]

Array = NDArray[np.float64]

#: Rows of the table by size, at most, unless every number of heavy atoms has one.
_MAX_BINS = 8


@dataclass(frozen=True, eq=False)
class MoleculeErrors:
    """Hold prediction minus label for one molecule, in ASE's units."""

    n_atoms: int
    """Number of atoms N."""
    n_heavy: int
    """Atoms other than hydrogen."""
    energy: float | None
    """eV; None where there is no label."""
    forces: Array | None
    """(N, 3), eV/Angstrom; None where there are no labels."""
    inside: bool = True
    """Whether all measured uncertainties are below the model's thresholds."""
    refused: bool = False
    """Whether one is past a limit, so that a calculator gives no result."""


@dataclass(frozen=True)
class SizeBin:
    """Hold the figures of the molecules with a range of sizes."""

    heavy_atoms: str
    """Number of atoms other than hydrogen: ``"3"`` or ``"4-6"``."""
    n_molecules: int
    """Molecules in the bin."""
    figures: dict[str, float]
    """Names end in their unit."""


def molecule_errors(record: Record, outcome: Outcome, *, inside: bool = True, refused: bool = False) -> MoleculeErrors:
    """Subtract the labels of a molecule from what was predicted for it.

    Parameters
    ----------
    record : Record
        Labels in atomic units; those that are missing are not compared, and neither is what was not predicted.
    outcome : Outcome
        Predictions in ASE's units.
    inside : bool
        Whether the molecule is within the model's domain.
    refused : bool
        Whether it is so far outside that a calculator refuses it.

    Returns
    -------
    MoleculeErrors
        In eV and eV/Angstrom.
    """
    energy = forces = None
    if record.energy is not None and "energy" in outcome.values:
        energy = float(outcome.values["energy"]) - record.energy * HARTREE
    if record.forces is not None and "forces" in outcome.values:
        forces = np.asarray(outcome.values["forces"] - record.forces * HARTREE_PER_BOHR)
    return MoleculeErrors(len(record), int(np.count_nonzero(record.numbers > 1)), energy, forces, inside, refused)


def energy_and_force_figures(errors: Sequence[MoleculeErrors], prefix: str = "") -> dict[str, float]:
    """Summarise the errors of molecules.

    Parameters
    ----------
    errors : sequence of MoleculeErrors
        One at least.
    prefix : str
        Begins every name.

    Returns
    -------
    dict of str to float
        ``energy_mae_meV`` (mean absolute error of a molecule), ``energy_mae_meV_per_atom`` (each divided by the number
        of atoms first), ``forces_mae_meV_per_A`` and ``forces_rmse_meV_per_A`` (of components), medians and largest
        errors as ``..._median_...`` and ``..._max_...``, and the mean errors of the molecules within the model's domain
        as ``..._mae_in_domain_...`` where some are not. What has no labels is left out.
    """
    figures: dict[str, float] = {}
    energies = [(one, np.array([one.energy])) for one in errors if one.energy is not None]
    if energies:
        per_atom = [abs(float(error[0])) / one.n_atoms for one, error in energies]
        mean = {"energy_mae_meV_per_atom": 1e3 * float(np.mean(per_atom))}
        figures |= _statistics(energies, "energy", "meV", mean)
    forces = [(one, one.forces) for one in errors if one.forces is not None]
    if forces:
        components = np.concatenate([error.ravel() for _, error in forces])
        mean = {"forces_rmse_meV_per_A": 1e3 * float(np.sqrt(np.mean(components**2)))}
        figures |= _statistics(forces, "forces", "meV_per_A", mean)
    return {prefix + name: value for name, value in figures.items()}


def _statistics(
    errors: Sequence[tuple[MoleculeErrors, Array]], what: str, unit: str, second: dict[str, float]
) -> dict[str, float]:
    """Give mean, a second figure, median, largest, and mean inside the domain; errors in eV or eV/Angstrom."""
    absolute = [1e3 * np.abs(error).ravel() for _, error in errors]
    inside = [values for (one, _), values in zip(errors, absolute, strict=True) if one.inside]
    every = np.concatenate(absolute)
    figures = {f"{what}_mae_{unit}": float(every.mean()), **second}
    figures |= {f"{what}_median_{unit}": float(np.median(every)), f"{what}_max_{unit}": float(every.max())}
    if 0 < len(inside) < len(absolute):
        figures[f"{what}_mae_in_domain_{unit}"] = float(np.concatenate(inside).mean())
    return figures


def figures_by_size(errors: Sequence[MoleculeErrors], prefix: str = "") -> tuple[SizeBin, ...]:
    """Summarise the errors of small and of large molecules.

    Parameters
    ----------
    errors : sequence of MoleculeErrors
        One at least.
    prefix : str
        Begins every name of a figure.

    Returns
    -------
    tuple of SizeBin
        One for every number of heavy atoms, or for ranges of it where there are many; empty where all molecules have
        the same number of atoms, or of heavy atoms.
    """
    counts = np.unique([e.n_heavy for e in errors])
    if len(counts) < 2 or len({e.n_atoms for e in errors}) < 2:
        return ()
    bins = []
    for part in np.array_split(counts, min(len(counts), _MAX_BINS)):
        low, high = int(part[0]), int(part[-1])
        inside = [e for e in errors if low <= e.n_heavy <= high]
        label = str(low) if low == high else f"{low}-{high}"
        bins.append(SizeBin(label, len(inside), _means(inside, prefix)))
    return tuple(bins)


def _means(errors: Sequence[MoleculeErrors], prefix: str) -> dict[str, float]:
    """Give the mean absolute errors only."""
    figures = energy_and_force_figures(errors, prefix)
    return {name: value for name, value in figures.items() if "_mae_" in name and "in_domain" not in name}
