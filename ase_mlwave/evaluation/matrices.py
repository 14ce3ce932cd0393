"""Measure what only a PhiSNet model has: matrices, orbital energies, levels of energy, SCF cycles."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
import scipy.linalg
import torch
from ase.calculators.calculator import CalculationFailed, InputError
from numpy.typing import NDArray

from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.errors import OutOfDomainWarning, suggestion
from ase_mlwave.evaluation.energies import OUTSIDE, Counter, Evaluation, Progress, check_data, level_remarks, measure
from ase_mlwave.models.card import record_errors
from ase_mlwave.models.config import ModelConfig
from ase_mlwave.models.phisnet.inference import predict_batch
from ase_mlwave.models.phisnet.levels import (
    ENERGY_LEVELS,
    default_level,
    errors_in_words,
    has_mean_field,
    supported_level,
)
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.molecules import mole_of
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.density import orbitals, penalised
from ase_mlwave.quantum.functional import converge
from ase_mlwave.quantum.names import without_evaluation
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.units import HARTREE

__all__ = [
    "CycleCounts",
    "count_cycles",
    "evaluate_phisnet",
    "measure_levels",
    "supported_defaults",
    "uncertainty_bounds",
]

Array = NDArray[np.float64]

#: Molecules that are measured after training.
_N_MEASURED = 16
#: Uncertainties of an atom that are refused, in those of the validation molecule that is least certain.
_REFUSED = 6.0
#: Levels of energy that are measured unless others are asked for.
_DEFAULT_LEVELS = ("wavefunction", "functional")
#: Those whose orbitals are not those of the predicted matrix.
_OWN_ORBITALS = ("response", "scf")


def evaluate_phisnet(
    calculator: PhiSNetCalculator,
    data: Dataset,
    *,
    levels: Sequence[str] | None = None,
    cycles: bool | None = None,
    progress: Counter | None = None,
) -> Evaluation:
    """Measure what the labels of the data allow.

    Parameters
    ----------
    calculator : PhiSNetCalculator
        Its option ``energy`` is that of the last level afterwards. Of a committee the first model's matrices are
        measured.
    data : Dataset
        Molecules with some or all of the labels: Hamiltonians, energies, forces, dipoles.
    levels : sequence of str, optional
        Values of ``energy=`` to measure; each begins the names of its figures. By default ``"wavefunction"`` and, of a
        model of a mean field, ``"functional"``.
    cycles : bool, optional
        Count SCF cycles also, which needs no labels; by default of a model of a mean field.
    progress : callable, optional
        Called with (what, number of molecules); returns the function that is told how many more are done.

    Returns
    -------
    Evaluation
        Figures of matrices and orbitals, those of `measure` for dipoles and, level by level, for energies and forces
        (at ``"response"`` and ``"scf"``, which have orbitals of their own, also for orbital energies and gaps), and
        those of `CycleCounts.summary`.

    Raises
    ------
    InputError
        As `check_data`; also if a level is unknown or nothing can be measured.
    """
    of_mean_field = has_mean_field(calculator.members[0].config.level)
    cycles = of_mean_field if cycles is None else cycles
    if levels is None:
        levels = _DEFAULT_LEVELS if of_mean_field else _DEFAULT_LEVELS[:1]
    unknown = [level for level in levels if level not in ENERGY_LEVELS]
    if unknown:
        raise InputError(f"there is no energy level {unknown[0]!r}. {suggestion(unknown[0], ENERGY_LEVELS)}")
    check_data(calculator, data)
    counter = progress or (lambda what, total: lambda done: None)
    remarks = level_remarks(data)
    result = Evaluation({})
    with_matrix = [record for record in data if "hamiltonian" in record.matrices]
    if with_matrix:
        result = Evaluation(_matrix_errors(calculator, with_matrix, progress=counter("matrices", len(with_matrix))))
        if len(with_matrix) < len(data):
            remarks.append(f"Hamiltonians: on the {len(with_matrix)} molecules of {len(data)} that have them")
    else:
        remarks.append("no Hamiltonians in the data: their errors are left out (mlwave label adds labels)")
    result = _joined(result, _dipoles(calculator, data, counter))
    of_orbitals = partial(_orbital_errors, calculator.members[0].network_as(PhiSNet))
    for level in levels:
        with _at_level(calculator, level):
            extras = {"orbital_energies": of_orbitals} if with_matrix and level in _OWN_ORBITALS else {}
            found = measure(calculator, list(data), prefix=f"{level}_", extras=extras, progress=counter)
            result = _joined(result, found)
    if cycles:
        counts = count_cycles(calculator, list(data), progress=counter("SCF cycles", len(data)))
        result = _joined(result, Evaluation(counts.summary()))
    if not result.figures:
        raise InputError("nothing to measure: the data have no labels, and SCF cycles are not asked for")
    unique = tuple(dict.fromkeys((*remarks, *result.remarks)))
    defaults = supported_defaults(calculator.members[0].config, result.figures)
    return Evaluation(result.figures, unique, result.by_size, result.calibrations, defaults)


@contextmanager
def _at_level(calculator: PhiSNetCalculator, level: str | None) -> Iterator[None]:
    """Set the level of energy, for its errors are wanted even where it is not what the model is good for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="energy='wavefunction' is not what")
        calculator.set(energy=level)
        yield


def _dipoles(calculator: PhiSNetCalculator, data: Dataset, counter: Counter) -> Evaluation:
    """Measure the dipoles of predicted densities, which are those of no level of energy."""
    if not any(record.dipole is not None for record in data):
        return Evaluation({})
    before = calculator.parameters["energy"]
    with _at_level(calculator, "wavefunction"):
        dipoles = measure(calculator, list(data), ("dipole",), progress=counter)
    with _at_level(calculator, before):
        return replace(dipoles, by_size=())


def supported_defaults(config: ModelConfig, errors: Mapping[str, float]) -> dict[str, str]:
    """Give the calculator's defaults that measured errors support: the level of ``energy``, if that can be told.

    Notes
    -----
    A model that says ``"functional"`` learned no energies, or badly: good ones on other molecules are chance.
    """
    first = "wavefunction" if default_level(config) == "wavefunction" else "functional"
    level = supported_level(errors, first)
    return {} if level is None else {"energy": level}


def uncertainty_bounds(figures: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Give the uncertainties past which an energy of ``"functional"`` or ``"response"`` is doubted, and refused.

    Parameters
    ----------
    figures : mapping of str to float
        Of `evaluate_phisnet`, measured on validation molecules.

    Returns
    -------
    thresholds, limits : dict of str to float
        ``energy_uncertainty_per_atom``, eV: the largest at ``"functional"``, and six times that; empty where it was not
        measured.
    """
    largest = figures.get("functional_energy_uncertainty_max_meV_per_atom")
    if largest is None:
        return {}, {}
    name, threshold = "energy_uncertainty_per_atom", 1e-3 * largest
    return {name: threshold}, {name: _REFUSED * threshold}


def measure_levels(model: str | PathLike[str], data: Dataset, *, progress: Counter | None = None) -> str:
    """Measure which level of energy a new model is good for, and write it and the errors into its folder.

    Parameters
    ----------
    model : str or path
        Folder; its default ``energy``, its errors and its threshold of uncertainties are changed.
    data : Dataset
        Validation molecules; sixteen of them, spread evenly, are measured.
    progress : callable, optional
        As in `evaluate_phisnet`.

    Returns
    -------
    str
        What was found, in words.
    """
    stride = math.ceil(len(data) / _N_MEASURED)
    some = Dataset(data.records[::stride], data.level, data.source)
    calculator = PhiSNetCalculator(model)
    config = calculator.members[0].config
    levels = _DEFAULT_LEVELS if has_mean_field(config.level) else ("wavefunction",)
    try:
        result = evaluate_phisnet(calculator, some, levels=levels, cycles=False, progress=progress)
    except CalculationFailed as error:
        return f"which level of energy the model is good for could not be measured: {error}"
    defaults = result.defaults if len(levels) > 1 else {}
    remark = f"On {len(some)} validation molecules, after training:"
    thresholds, limits = uncertainty_bounds(result.figures)
    record_errors(model, result.figures, remark, defaults=defaults, thresholds=thresholds, limits=limits)
    errors = {level: errors_in_words(result.figures, level) for level in levels}
    listed = "; ".join(f"{level} {words}" for level, words in errors.items() if words)
    measured = f"mean errors on {len(some)} validation molecules: {listed}. " if listed else ""
    level = defaults.get("energy", default_level(config))
    return f"{measured}The model's default is energy={level!r}: {ENERGY_LEVELS[level]}"


def _joined(one: Evaluation, other: Evaluation) -> Evaluation:
    """Put two evaluations of the same molecules together; at one level more may be outside of the domain."""
    by_size = one.by_size or other.by_size
    if one.by_size and other.by_size:
        pairs = zip(one.by_size, other.by_size, strict=True)
        by_size = tuple(replace(a, figures=a.figures | b.figures) for a, b in pairs)
    counts = {n: max(one.figures[n], other.figures[n]) for n in OUTSIDE if n in one.figures and n in other.figures}
    figures = one.figures | other.figures | counts
    return Evaluation(figures, one.remarks + other.remarks, by_size, one.calibrations + other.calibrations)


def _matrix_errors(
    calculator: PhiSNetCalculator, records: Sequence[Record], *, progress: Progress | None = None
) -> dict[str, float]:
    """Compare predicted Hamiltonians and their orbitals with references.

    Parameters
    ----------
    calculator : PhiSNetCalculator
        Its first model is measured.
    records : sequence of Record
        With ``"hamiltonian"`` among their matrices.
    progress : callable, optional
        Called with the number of molecules done since the last call.

    Returns
    -------
    dict of str to float
        ``hamiltonian_mae_uHa`` and ``occupied_energies_mae_uHa`` (mean absolute errors over all elements and all
        occupied orbitals), ``gap_mae_meV`` (between the highest occupied and the lowest empty one), and
        ``orbital_similarity_percent`` (mean |<C|S|C_ref>| of occupied orbitals).

    Raises
    ------
    InputError
        If a record has no Hamiltonian, or one in another basis.
    """
    if not records or any("hamiltonian" not in r.matrices for r in records):
        raise InputError("measuring matrices needs records with Hamiltonians; label them with mlwave label")
    network = calculator.members[0].network_as(PhiSNet)
    element, overlap_sum, levels = _Mean(), _Mean(), _Levels()
    for chunk, batch in calculator.in_batches(partial(predict_batch, network, energies=False), records, ["energy"]):
        for record, H, S, state in zip(chunk, batch.hamiltonians, batch.overlaps, batch.states, strict=True):
            reference = torch.from_numpy(np.array(record.matrices["hamiltonian"]))
            if reference.shape != H.shape:
                raise InputError(
                    f"the Hamiltonian of {record.formula} has the shape {tuple(reference.shape)}, but the model's "
                    f"basis, {network.config.basis!r}, needs {tuple(H.shape)}"
                )
            S, n = S.cpu(), state.n_occupied
            element.add((H.cpu() - reference).abs().numpy())
            lifted = penalised(H.cpu(), S, network.config.overlap_penalty)
            predicted, energies = orbitals(lifted, S)
            reference_orbitals, reference_energies = orbitals(reference, S)
            levels.add(energies.numpy(), reference_energies.numpy(), n)
            overlap_sum.add((predicted[:, :n].T @ S @ reference_orbitals[:, :n]).diagonal().abs().numpy())
        if progress is not None:
            progress(len(chunk))
    return {
        "hamiltonian_mae_uHa": 1e6 * element.value,
        **levels.figures,
        "orbital_similarity_percent": 100 * overlap_sum.value,
    }


def _orbital_errors(network: PhiSNet, records: Sequence[Record], predicted: Sequence[Array]) -> dict[str, float]:
    """Compare orbital energies (M,), Hartree, with those of the Hamiltonians that some of the records have."""
    levels = _Levels()
    for record, energies in zip(records, predicted, strict=True):
        if "hamiltonian" in record.matrices:
            overlap = mole_of(network, record).intor("int1e_ovlp")
            reference = scipy.linalg.eigvalsh(record.matrices["hamiltonian"], overlap)
            levels.add(energies, reference, record.n_electrons // 2)
    return levels.figures


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
    basis = calculator.members[0].network_as(PhiSNet).config.basis
    counts = CycleCounts({"model": [], **{guess: [] for guess in guesses}})
    for record in records:
        mole = build_mole(record.numbers, record.positions, basis, record.charge, record.spin)
        for name, cycles in counts.by_guess.items():
            mean_field: Any = level.mean_field(mole)
            mean_field.conv_tol = conv_tol
            with without_evaluation(), warnings.catch_warnings():
                warnings.simplefilter("ignore", OutOfDomainWarning)  # such molecules are counted
                guess = calculator.initial_guess(mean_field) if name == "model" else mean_field.get_init_guess(key=name)
            cycles.append(int(converge(mean_field, guess, forces=False).cycles or 0))
        if progress is not None:
            progress(1)
    return counts


class _Levels:
    """Errors of orbital energies: of all occupied ones, and of the gap above them."""

    def __init__(self) -> None:
        self.occupied, self.gap = _Mean(), _Mean()

    def add(self, predicted: Array, reference: Array, n_occupied: int) -> None:
        """Add a molecule's orbital energies (M,), ascending, Hartree."""
        errors = predicted - reference
        self.occupied.add(np.abs(errors[:n_occupied]))
        if 0 < n_occupied < len(errors):
            self.gap.add(np.abs(np.diff(errors)[n_occupied - 1 : n_occupied]))

    @property
    def figures(self) -> dict[str, float]:
        """Mean absolute errors by the names of `_matrix_errors`; empty where there was nothing to add."""
        found = {"occupied_energies_mae_uHa": (1e6, self.occupied), "gap_mae_meV": (1e3 * HARTREE, self.gap)}
        return {name: unit * mean.value for name, (unit, mean) in found.items() if mean.count}


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
