"""Measure a PhiSNet model on labelled molecules: matrices, orbital energies, energies, forces, SCF cycles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ase.calculators.calculator import InputError
from numpy.typing import NDArray

from ase_mlwave.calculators.checks import read_atoms
from ase_mlwave.calculators.phisnet import ENERGY_LEVELS, PhiSNetCalculator
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.errors import suggestion
from ase_mlwave.phisnet.inference import predict_batch
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.density import orbitals
from ase_mlwave.quantum.functional import converge
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.units import HARTREE, HARTREE_PER_BOHR

__all__ = ["CycleCounts", "Evaluation", "count_cycles", "energy_errors", "evaluate", "matrix_errors"]

Array = NDArray[np.float64]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a model, and what was not."""

    figures: dict[str, float]
    """Names end in their unit."""
    remarks: tuple[str, ...] = ()
    """What was left out or measured on fewer molecules, and why."""


def evaluate(
    calculator: PhiSNetCalculator,
    data: Dataset,
    *,
    levels: Sequence[str] = ("wavefunction", "functional"),
    cycles: bool = True,
    progress: Callable[[str, int], Progress] | None = None,
) -> Evaluation:
    """Measure what the labels of the data allow.

    Parameters
    ----------
    calculator : PhiSNetCalculator
        Its option ``energy`` is that of the last level afterwards.
    data : Dataset
        Molecules with some or all of the labels: Hamiltonians, energies, forces.
    levels : sequence of str
        Values of ``energy=`` to measure.
    cycles : bool
        Count SCF cycles also, which needs no labels.
    progress : callable, optional
        Called with (what, number of molecules); returns the function that is told how many more are done.

    Returns
    -------
    Evaluation
        The figures of `matrix_errors`, `energy_errors` and `CycleCounts.summary`.

    Raises
    ------
    InputError
        If there are no molecules, one is outside of what the model was made for, a level is unknown, the labels are of
        another level of theory, or nothing can be measured.
    """
    _check(calculator, data, levels)
    counter = progress or (lambda what, total: lambda done: None)
    figures: dict[str, float] = {}
    remarks = [] if data.level else ["the file does not say its level of theory; taken to be the model's"]
    total = len(data)
    with_matrix = [record for record in data if "hamiltonian" in record.matrices]
    with_energy = [record for record in data if record.energy is not None and record.forces is not None]
    for what, found in (("Hamiltonians", with_matrix), ("energies and forces", with_energy)):
        if not found:
            remarks.append(f"no {what} in the data: their errors are left out (mlwave label adds labels)")
        elif len(found) < total:
            remarks.append(f"{what}: on the {len(found)} molecules of {total} that have them")
    if not (with_matrix or (with_energy and levels) or cycles):
        raise InputError("nothing to measure: the data have no labels, and SCF cycles are not asked for")
    if with_matrix:
        figures |= matrix_errors(calculator, with_matrix, progress=counter("matrices", len(with_matrix)))
    for level in levels if with_energy else ():
        calculator.set(energy=level)
        figures |= energy_errors(calculator, with_energy, progress=counter(level, len(with_energy)))
    if cycles:
        figures |= count_cycles(calculator, list(data), progress=counter("SCF cycles", total)).summary()
    return Evaluation(figures, tuple(remarks))


def _check(calculator: PhiSNetCalculator, data: Dataset, levels: Sequence[str]) -> None:
    """Refuse what cannot be measured, before any work."""
    unknown = [level for level in levels if level not in ENERGY_LEVELS]
    if unknown:
        raise InputError(f"there is no energy level {unknown[0]!r}. {suggestion(unknown[0], ENERGY_LEVELS)}")
    if len(data) == 0:
        raise InputError(f"{data.source} has no molecules")
    config = calculator.members[0].config
    if data.level and LevelOfTheory.parse(data.level).name != LevelOfTheory.parse(config.level).name:
        raise InputError(
            f"the data are labelled at {data.level!r} but the model was made for {config.level!r}: its errors would be "
            "those of the level. Label the data again with mlwave label"
        )
    for index, record in enumerate(data):
        try:
            read_atoms(atoms_from_record(record), calculator.domain)
        except InputError as error:
            raise InputError(f"molecule {index} of {data.source}: {error}") from error


def matrix_errors(
    calculator: PhiSNetCalculator, records: Sequence[Record], *, batch_size: int = 32, progress: Progress | None = None
) -> dict[str, float]:
    """Compare predicted Hamiltonians and their orbitals with references.

    Parameters
    ----------
    calculator : PhiSNetCalculator
        Its first model is measured.
    records : sequence of Record
        With ``"hamiltonian"`` among their matrices.
    batch_size : int
        Molecules per pass.
    progress : callable, optional
        Called with the number of molecules done since the last call.

    Returns
    -------
    dict of str to float
        ``hamiltonian_mae_uHa`` and ``occupied_energies_mae_uHa`` (mean absolute errors over all elements and all
        occupied orbitals), ``orbital_similarity_percent`` (mean |<C|S|C_ref>| of occupied orbitals).

    Raises
    ------
    InputError
        If a record has no Hamiltonian, or one in another basis.
    """
    if not records or any("hamiltonian" not in r.matrices for r in records):
        raise InputError("measuring matrices needs records with Hamiltonians; label them with mlwave label")
    element, energy, overlap_sum = _Mean(), _Mean(), _Mean()
    for start in range(0, len(records), batch_size):
        chunk = records[start : start + batch_size]
        batch = predict_batch(calculator.members[0].network, chunk)
        for record, H, integrals, state in zip(chunk, batch.hamiltonians, batch.integrals, batch.states, strict=True):
            reference = torch.from_numpy(np.array(record.matrices["hamiltonian"]))
            if reference.shape != H.shape:
                raise InputError(
                    f"the Hamiltonian of {record.formula} has the shape {tuple(reference.shape)}, but the model's "
                    f"basis, {calculator.members[0].network.config.basis!r}, needs {tuple(H.shape)}"
                )
            S, n = integrals.overlap.cpu(), state.n_occupied
            element.add((H.cpu() - reference).abs().numpy())
            predicted, energies = orbitals(H.cpu(), S)
            wanted, reference_energies = orbitals(reference, S)
            energy.add((energies[:n] - reference_energies[:n]).abs().numpy())
            overlap_sum.add((predicted[:, :n].T @ S @ wanted[:, :n]).diagonal().abs().numpy())
        if progress is not None:
            progress(len(chunk))
    return {
        "hamiltonian_mae_uHa": 1e6 * element.value,
        "occupied_energies_mae_uHa": 1e6 * energy.value,
        "orbital_similarity_percent": 100 * overlap_sum.value,
    }


def energy_errors(
    calculator: PhiSNetCalculator, records: Sequence[Record], *, progress: Progress | None = None
) -> dict[str, float]:
    """Compare energies and forces of a calculator's level with references.

    Parameters
    ----------
    calculator : PhiSNetCalculator
        With the ``energy=`` to be measured.
    records : sequence of Record
        With energies and forces.
    progress : callable, optional
        Called with the number of molecules done since the last call.

    Returns
    -------
    dict of str to float
        ``<level>_energy_mae_meV`` (per molecule), ``<level>_forces_mae_meV_per_A`` (per component), the medians and
        the largest errors as ``..._median_...`` and ``..._max_...``, and the mean errors of the molecules within the
        model's domain (``domain_distance`` below its threshold) as ``..._mae_in_domain_...``.

    Raises
    ------
    InputError
        If a record lacks energy or forces.
    """
    if not records or any(r.energy is None or r.forces is None for r in records):
        raise InputError("measuring energies needs records with energies and forces; label them with mlwave label")
    results = calculator.predict([atoms_from_record(r) for r in records], ("energy", "forces"), progress=progress)
    reference_energy = np.array([r.energy for r in records], dtype=np.float64) * HARTREE
    energy = 1e3 * np.abs(np.array([r["energy"] for r in results]) - reference_energy)
    pairs = [(result["forces"], record.forces) for result, record in zip(results, records, strict=True)]
    force = [1e3 * np.abs(a - b * HARTREE_PER_BOHR).ravel() for a, b in pairs if b is not None]
    inside = _inside_domain(calculator, records)
    level = calculator.parameters["energy"]
    of_energy, of_force = _statistics(list(energy[:, None]), inside), _statistics(force, inside)
    figures = {f"{level}_energy_{name}_meV": value for name, value in of_energy.items()}
    return figures | {f"{level}_forces_{name}_meV_per_A": value for name, value in of_force.items()}


def _statistics(errors: list[Array], inside: NDArray[np.bool_]) -> dict[str, float]:
    """Summarise the errors of molecules, arrays of any size each: mean, median, largest, and mean inside the domain."""
    values = np.concatenate(errors)
    result = {"mae": float(values.mean()), "median": float(np.median(values)), "max": float(values.max())}
    if inside.any() and not inside.all():
        result["mae_in_domain"] = float(np.concatenate([e for e, i in zip(errors, inside, strict=True) if i]).mean())
    return result


def _inside_domain(calculator: PhiSNetCalculator, records: Sequence[Record]) -> NDArray[np.bool_]:
    """Say which molecules have no atom past the model's threshold, (B,)."""
    limit = calculator.domain.thresholds.get("domain_distance", float("inf"))
    batch = predict_batch(calculator.members[0].network, records)
    return np.array([float(distances.max()) <= limit for distances in batch.distances])


@dataclass
class CycleCounts:
    """SCF cycles per molecule, by initial guess."""

    by_guess: dict[str, list[int]] = field(default_factory=dict)
    """Name of the guess -> cycles of each molecule; ``"model"`` is the calculator's."""

    def summary(self, default: str = "minao") -> dict[str, float]:
        """Give means by guess, and in how many molecules the model needs more cycles than the default guess."""
        result = {f"scf_cycles_{name}_mean": float(np.mean(counts)) for name, counts in self.by_guess.items()}
        model, other = np.array(self.by_guess["model"]), np.array(self.by_guess[default])
        worse = float((model > other).sum())
        return result | {"scf_cycles_model_max": float(model.max()), "scf_worse_than_default": worse}


def count_cycles(
    calculator: PhiSNetCalculator,
    records: Sequence[Record],
    *,
    guesses: Sequence[str] = ("minao",),
    conv_tol: float = 1e-9,
    progress: Progress | None = None,
) -> CycleCounts:
    """Count the SCF cycles that PySCF needs from the model's density and from its own guesses.

    Parameters
    ----------
    calculator : PhiSNetCalculator
        Gives the densities.
    records : sequence of Record
        Molecules; labels are not needed.
    guesses : sequence of str
        PySCF's names; ``"minao"`` is its default.
    conv_tol : float
        Energy change at which the SCF stops, Hartree.
    progress : callable, optional
        Called with the number of molecules done since the last call.

    Returns
    -------
    CycleCounts
    """
    level = LevelOfTheory.parse(calculator.members[0].config.level)
    basis = calculator.members[0].network.config.basis
    counts = CycleCounts({"model": [], **{guess: [] for guess in guesses}})
    for record in records:
        mole = build_mole(record.numbers, record.positions, basis, record.charge, record.spin)
        for name, cycles in counts.by_guess.items():
            mean_field: Any = level.mean_field(mole)
            mean_field.conv_tol = conv_tol
            guess = calculator.initial_guess(mean_field) if name == "model" else mean_field.get_init_guess(key=name)
            cycles.append(int(converge(mean_field, guess, forces=False).cycles or 0))
        if progress is not None:
            progress(1)
    return counts


class _Mean:
    """Mean over arrays of different sizes."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, values: Array) -> None:
        self.total += float(values.sum())
        self.count += values.size

    @property
    def value(self) -> float:
        return self.total / self.count
