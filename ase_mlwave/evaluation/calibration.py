"""Does a model know when it is wrong? A committee's spread, and what a single model claims, against the error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from ase_mlwave.calculators.outcome import Outcome
from ase_mlwave.evaluation.figures import MoleculeErrors

__all__ = ["Calibration", "CalibrationBin", "calibrations", "uncertainty_figures"]

Array = NDArray[np.float64]

#: Spreads below this are rounding: the members agree exactly. eV and eV/Angstrom.
_AGREEMENT = 1e-9
#: Fewest spreads from which anything is said.
_FEWEST = 3
_MAX_BINS = 12
_PER_BIN = 10


@dataclass(frozen=True)
class CalibrationBin:
    """Hold the molecules (or atoms) of nearly one spread."""

    n: int
    """How many."""
    spread: float
    """Root mean square of their spreads."""
    error: float
    """Root mean square of their errors."""
    uncertainty: float
    """Standard error of ``error``."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Hold the spreads of a committee and the errors of its mean.

    Notes
    -----
    Energies: one entry per molecule, of the energy divided by the number of atoms. Forces: one entry per atom; the
    spread is ``extras["forces_spread"]`` divided by the root of 3 and the error the root mean square over the three
    components, so that neither depends on how the molecule lies in space and both are sizes of a component.
    """

    quantity: str
    """``"energy"`` or ``"forces"``."""
    spreads: Array
    """(n,) standard deviations over the members, meV/atom or meV/Angstrom, positive."""
    errors: Array
    """(n,) errors of the committee's mean in the same unit, not negative."""
    n_agreed: int
    """Entries left out because the members agree to rounding (isolated atoms, forces that vanish by symmetry)."""
    title: str
    """What the panel of a plot shows."""

    @property
    def unit(self) -> str:
        """Unit of spreads and errors, as it ends the name of a figure."""
        return "meV_per_atom" if self.quantity == "energy" else "meV_per_A"

    def factor(self) -> float:
        """Give the number by which to multiply spreads so that error / spread has a root mean square of 1.

        Notes
        -----
        In a committee of K members with normally distributed predictions the mean of (error / spread)^2 is
        proportional to (K - 1) / (K - 3) for energies: with three members or fewer it has no limit, and a few molecules
        on which the members agree by accident decide the factor. `ratio` has a limit always.
        """
        return float(np.sqrt(np.mean((self.errors / self.spreads) ** 2)))

    def ratio(self) -> float:
        """Give the root mean square error divided by the root mean square spread."""
        return float(np.sqrt(np.mean(self.errors**2) / np.mean(self.spreads**2)))

    def figures(self, prefix: str = "") -> dict[str, float]:
        """Summarise.

        Parameters
        ----------
        prefix : str
            Begins every name.

        Returns
        -------
        dict of str to float
            Root mean square spread, Spearman's rank correlation of spread and error, `factor` and `ratio`.
        """
        name = f"{prefix}{self.quantity}"
        return {
            f"{name}_spread_rms_{self.unit}": float(np.sqrt(np.mean(self.spreads**2))),
            f"{name}_spread_error_spearman": float(spearmanr(self.spreads, self.errors).statistic),
            f"{name}_calibration_factor": self.factor(),
            f"{name}_rms_error_over_spread": self.ratio(),
        }

    def bins(self) -> tuple[CalibrationBin, ...]:
        """Divide the entries into bins of equal number by their spread, of ten or more where there are as many."""
        n_bins = min(max(len(self.spreads) // _PER_BIN, 1), _MAX_BINS)
        result = []
        for members in np.array_split(np.argsort(self.spreads, kind="stable"), n_bins):
            squares = self.errors[members] ** 2
            error = float(np.sqrt(squares.mean()))
            deviation = float(squares.std(ddof=1)) / np.sqrt(len(members)) if len(members) > 1 else 0.0
            spread = float(np.sqrt(np.mean(self.spreads[members] ** 2)))
            result.append(CalibrationBin(len(members), spread, error, deviation / (2 * error) if error else 0.0))
        return tuple(result)


def calibrations(
    errors: Sequence[MoleculeErrors], outcomes: Sequence[Outcome], title: str = ""
) -> tuple[Calibration, ...]:
    """Set the spreads of a committee against the errors of its mean.

    Parameters
    ----------
    errors : sequence of MoleculeErrors, (B,)
        Of the committee's mean.
    outcomes : sequence of Outcome, (B,)
        What the committee gave: ``energy_spread`` (eV) and ``forces_spread`` (eV/Angstrom) are among the extras.
    title : str
        Begins the titles.

    Returns
    -------
    tuple of Calibration
        Of energies and of forces; what has fewer than three spreads is left out.
    """
    energy: list[tuple[float, float]] = []
    forces: list[Array] = []
    for error, outcome in zip(errors, outcomes, strict=True):
        if error.energy is not None:
            energy.append((outcome.extras["energy_spread"] / error.n_atoms, abs(error.energy) / error.n_atoms))
        if error.forces is not None:
            of_atoms = (np.asarray(outcome.extras["forces_spread"]), np.linalg.norm(error.forces, axis=1))
            forces.append(np.stack(of_atoms, axis=1) / np.sqrt(3))
    parts = (
        ("energy", np.array(energy).reshape(-1, 2), "energy per atom"),
        ("forces", np.concatenate(forces) if forces else np.empty((0, 2)), "force components"),
    )
    result = []
    for quantity, pairs, label in parts:
        usable = pairs[pairs[:, 0] > _AGREEMENT]
        if len(usable) >= _FEWEST and usable[:, 1].any():
            spreads, deviations = 1e3 * usable[:, 0], 1e3 * usable[:, 1]
            name = f"{title}: {label}" if title else label
            result.append(Calibration(quantity, spreads, deviations, len(pairs) - len(usable), name))
    return tuple(result)


def uncertainty_figures(
    errors: Sequence[MoleculeErrors], outcomes: Sequence[Outcome], prefix: str = ""
) -> dict[str, float]:
    """Set the uncertainties that a model claims of its energies against the errors.

    Parameters
    ----------
    errors : sequence of MoleculeErrors, (B,)
        Of the model.
    outcomes : sequence of Outcome, (B,)
        What it gave, with ``energy_uncertainty`` (eV) and ``energy_uncertainty_per_atom`` among the extras.
    prefix : str
        Begins every name.

    Returns
    -------
    dict of str to float
        The largest uncertainty of an atom, where a model claims one; Spearman's rank correlation of uncertainty and
        error, the median of error over uncertainty, and the share of molecules whose error is below the uncertainty,
        unless fewer than three molecules have both.
    """
    name = "energy_uncertainty_per_atom"
    of_atoms = [outcome.extras[name] for outcome in outcomes if name in outcome.extras]
    largest = {f"{prefix}energy_uncertainty_max_meV_per_atom": 1e3 * max(of_atoms)} if of_atoms else {}
    pairs = np.array(
        [
            (outcome.extras["energy_uncertainty"], abs(error.energy))
            for error, outcome in zip(errors, outcomes, strict=True)
            if error.energy is not None and "energy_uncertainty" in outcome.extras
        ]
    )
    if len(pairs) < _FEWEST or (np.ptp(pairs, axis=0) < _AGREEMENT).any():
        return largest
    claimed, wrong = pairs.T
    return largest | {
        f"{prefix}energy_uncertainty_error_spearman": float(spearmanr(claimed, wrong).statistic),
        f"{prefix}energy_error_over_uncertainty_median": float(np.median(wrong / np.maximum(claimed, _AGREEMENT))),
        f"{prefix}energy_error_below_uncertainty_percent": 100 * float(np.mean(wrong < claimed)),
    }
