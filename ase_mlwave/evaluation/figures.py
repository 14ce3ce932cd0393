"""Errors of predictions against labels: means, largest values, and errors by size of molecule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_mlwave.calculators.outcome import Outcome
from ase_mlwave.data.record import Record
from ase_mlwave.properties import LABELS

__all__ = ["MoleculeErrors", "SizeBin", "figures_by_size", "label_figures", "molecule_errors"]

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
    of: Mapping[str, Array]
    """Those of each label that the molecule has, by its name."""
    inside: bool = True
    """Whether all measured uncertainties are below the model's thresholds."""
    refused: bool = False
    """Whether one is past a limit, so that a calculator gives no result."""

    @property
    def energy(self) -> float | None:
        """Error of the energy, eV; None where there is no label."""
        return float(self.of["energy"]) if "energy" in self.of else None

    @property
    def forces(self) -> Array | None:
        """Errors of the forces, (N, 3), eV/Angstrom; None where there are no labels."""
        return self.of.get("forces")


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
    """
    labels = {name: value for name, value in record.labels.items() if name in outcome.values}
    errors = {name: np.asarray(outcome.values[name] - LABELS[name].to_ase(value)) for name, value in labels.items()}
    return MoleculeErrors(len(record), int(np.count_nonzero(record.numbers > 1)), errors, inside, refused)


def label_figures(errors: Sequence[MoleculeErrors], prefix: str = "") -> dict[str, float]:
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
        of atoms first), ``forces_mae_meV_per_A`` and ``forces_rmse_meV_per_A`` (of components), the same of dipoles in
        ``me_A`` (1e-3 e*Angstrom), medians and largest errors as ``..._median_...`` and ``..._max_...``, and the mean
        errors of the molecules within the model's domain as ``..._mae_in_domain_...`` where some are not. What has no
        labels is left out.
    """
    figures: dict[str, float] = {}
    for name, label in LABELS.items():
        labelled = [(one, one.of[name]) for one in errors if name in one.of]
        if not labelled:
            continue
        if label.shape == ():
            per_atom = [abs(float(error)) / one.n_atoms for one, error in labelled]
            mean = {f"{name}_mae_{label.figure_unit}_per_atom": 1e3 * float(np.mean(per_atom))}
        else:
            components = np.concatenate([error.ravel() for _, error in labelled])
            mean = {f"{name}_rmse_{label.figure_unit}": 1e3 * float(np.sqrt(np.mean(components**2)))}
        figures |= _statistics(labelled, name, label.figure_unit, mean)
    return {prefix + name: value for name, value in figures.items()}


def _statistics(
    errors: Sequence[tuple[MoleculeErrors, Array]], name: str, unit: str, second: dict[str, float]
) -> dict[str, float]:
    """Give mean, a second figure, median, largest, and mean inside the domain; errors in ASE's units."""
    absolute = [1e3 * np.abs(error).ravel() for _, error in errors]
    inside = [values for (one, _), values in zip(errors, absolute, strict=True) if one.inside]
    every = np.concatenate(absolute)
    figures = {f"{name}_mae_{unit}": float(every.mean()), **second}
    figures |= {f"{name}_median_{unit}": float(np.median(every)), f"{name}_max_{unit}": float(every.max())}
    if 0 < len(inside) < len(absolute):
        figures[f"{name}_mae_in_domain_{unit}"] = float(np.concatenate(inside).mean())
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
    figures = label_figures(errors, prefix)
    return {name: value for name, value in figures.items() if "_mae_" in name and "in_domain" not in name}
