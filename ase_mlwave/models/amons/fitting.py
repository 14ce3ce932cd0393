"""Fit a model to labelled amons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from ase.calculators.calculator import InputError
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.config import AmonConfig, BlockSizes, FitSettings
from ase_mlwave.models.amons.model import AmonModel
from ase_mlwave.models.amons.regression.baseline import atomic_baseline, compositions, lost_freedom
from ase_mlwave.models.amons.regression.basis import choose_basis, in_half_precision, leading
from ase_mlwave.models.amons.regression.environments import Block, Directions, Environments, environment_rows, gather
from ase_mlwave.models.amons.regression.expansion import expand
from ase_mlwave.models.amons.regression.hyperparameters import Hyperparameters, most_likely
from ase_mlwave.models.amons.regression.kernel import kernel_matrix, largest_distances
from ase_mlwave.models.amons.regression.solver import Solution, solve
from ase_mlwave.models.amons.regression.sparse import solve_sparse, sum_rows
from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.models.amons.slatm.representation import Slatm
from ase_mlwave.models.amons.thresholds import library_thresholds
from ase_mlwave.systems.system import System

__all__ = ["Fit", "fit_amons"]

#: Rows, less what the baseline takes from them, that a likelihood needs: of fewer it may choose anything.
_FEWEST_FREE = 20


@dataclass(frozen=True)
class Fit:
    """What came of a fit.

    Parameters
    ----------
    model : AmonModel
        Ready for predictions.
    log_likelihood : float
        Of the training data.
    left_out : (B,)
        Error of every training energy when it is predicted from all other rows, Hartree.
    thresholds : mapping of str to float
        For the model folder: entry of the calculator's ``extras`` -> largest value inside the domain, eV.
    """

    model: AmonModel
    log_likelihood: float
    left_out: NDArray[np.float64]
    thresholds: Mapping[str, float]


def fit_amons(
    records: Sequence[Record],
    level: str,
    settings: FitSettings | None = None,
    *,
    representation: SlatmConfig | None = None,
    others: Sequence[System] = (),
    free_atoms: Mapping[int, float] | None = None,
    base: str | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Fit:
    """Fit a model to energies, and forces where the records have them.

    Parameters
    ----------
    records : sequence of Record, (B,)
        Labelled molecules.
    level : str
        Their level of theory.
    settings : FitSettings, optional
        Penalties, widths, directions.
    representation : SlatmConfig, optional
        By default the publication's settings, smooth, for the elements of the records.
    others : sequence of System
        What else counts in the rule for the widths, such as the query.
    free_atoms : mapping of int to float, optional
        Atomic number -> energy of the free atom, Hartree; needed where compositions are linearly dependent.
    base : str, optional
        Level of theory that was taken off all these energies and forces, see `ase_mlwave.reference.differences`.
    seed : int
        Of the directions, and of the molecules that a search for hyperparameters looks at.
    device : torch.device or str
        Where to compute.
    progress : callable, optional
        Called with the number of molecules whose environments are done since the last call.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If a record has no energy, or elements are missing.
    ValueError
        If free atoms are missing (`atomic_baseline`), or training molecules coincide (`CoincidingRowsError`).
    """
    task = _prepare(records, level, settings or FitSettings(), representation, free_atoms or {}, seed, device)
    task = replace(task, base=base)
    return (_fit_all if task.settings.basis is None else _fit_basis)(task, others, progress)


@dataclass(frozen=True)
class _Task:
    """What is to be fitted."""

    records: Sequence[Record]
    level: str
    settings: FitSettings
    slatm: Slatm
    directions: list[Directions]
    baseline: NDArray[np.float64]
    energies: Tensor
    slopes: Tensor
    device: torch.device | str
    seed: int
    base: str | None = None

    @property
    def n_fitted(self) -> int:
        """How many numbers the baseline took from the energies."""
        return int(np.linalg.matrix_rank(compositions([r.numbers for r in self.records], self.slatm.config.numbers)))

    @property
    def variance_factor(self) -> float:
        """What variances grow by as the baseline was fitted to the same energies."""
        return lost_freedom(compositions([r.numbers for r in self.records], self.slatm.config.numbers))

    @property
    def start(self) -> Hyperparameters:
        """Widths and penalties of the settings."""
        return Hyperparameters(self.settings.penalty, self.settings.force_penalty, self.settings.scale)

    def config(self, hyperparameters: Hyperparameters, blocks: Mapping[int, BlockSizes], **sizes: int) -> AmonConfig:
        """Say what the model is."""
        used = asdict(hyperparameters)
        return AmonConfig(
            elements=self.slatm.config.elements,
            level=self.level,
            base=self.base,
            representation=self.slatm.config,
            fit=self.settings.model_copy(update=used),
            blocks={chemical_symbols[z]: size for z, size in blocks.items()},
            n_molecules=len(self.records),
            amons=tuple(dict.fromkeys(_name(record) for record in self.records)),
            **sizes,
        )


def _prepare(
    records: Sequence[Record],
    level: str,
    settings: FitSettings,
    representation: SlatmConfig | None,
    free_atoms: Mapping[int, float],
    seed: int,
    device: torch.device | str,
) -> _Task:
    numbers = _elements(records)
    slatm = Slatm(representation or SlatmConfig(elements=tuple(chemical_symbols[z] for z in numbers)))
    if tuple(numbers) != slatm.config.numbers:
        raise InputError(
            f"the representation is one of {list(slatm.config.elements)}, the records have "
            f"{[chemical_symbols[z] for z in numbers]}. They must be the same."
        )
    directions = [_directions(record, settings.directions, [seed, n]) for n, record in enumerate(records)]
    counts = compositions([record.numbers for record in records], numbers)
    energies = np.array([record.energy for record in records])
    completed = settings.baseline == "completed"
    baseline = atomic_baseline(counts, energies, free_atoms, numbers, completed=completed)
    targets = torch.from_numpy(energies - counts @ baseline).to(device)
    slopes = torch.from_numpy(_slopes(records, directions)).to(device)
    return _Task(records, level, settings, slatm, directions, baseline, targets, slopes, device, seed)


def _reaches(task: _Task, training: Environments, others: Sequence[System]) -> dict[int, float]:
    """Find the largest distances of environments, those of other systems included."""
    return largest_distances(training, gather(task.slatm, others, device=task.device) if others else None)


def _fit_all(task: _Task, others: Sequence[System], progress: Callable[[int], None] | None) -> Fit:
    """Fit with all rows."""
    settings, name = task.settings, _namer(task.records, task.directions)
    training = gather(task.slatm, task.records, task.directions, device=task.device, progress=progress)
    reaches = _reaches(task, training, others)
    targets = torch.cat([task.energies, task.slopes])
    hyperparameters = task.start
    if settings.hyperparameters == "likelihood" and training.n_rows - task.n_fitted >= _FEWEST_FREE:
        hyperparameters = most_likely(*_sample(task, training, targets), reaches, start=hyperparameters)
    widths = hyperparameters.widths(reaches)
    kernel = kernel_matrix(training, training, widths)
    penalties, n = hyperparameters.penalties(training), training.n_molecules
    solution = solve(kernel, targets, penalties, name, n_energies=n, n_fitted=task.n_fitted)
    variance_training, variance_solution = training, solution
    if training.n_rows > settings.variance_rows and training.n_directions:
        variance_training = training.without_directions()
        variance_solution = solve(kernel[:n, :n], targets[:n], penalties[:n], name, n_fitted=task.n_fitted)
    return _finish(
        task,
        hyperparameters,
        reaches,
        training,
        solution,
        variance_training,
        variance_solution,
        n_directions=variance_training.n_directions,
    )


def _sample(task: _Task, training: Environments, targets: Tensor) -> tuple[Environments, Tensor]:
    """Draw the molecules whose likelihood is maximised, with their targets."""
    most, n = task.settings.likelihood_molecules, len(task.records)
    if n <= most:
        return training, targets
    molecules = np.sort(np.random.default_rng(task.seed).permutation(n)[:most])
    owners = np.repeat(np.arange(n), [_count(along) for along in task.directions])
    rows = np.concatenate([molecules, n + np.flatnonzero(np.isin(owners, molecules))])
    records, directions = ([every[index] for index in molecules] for every in (task.records, task.directions))
    sample = gather(task.slatm, records, directions, device=task.device)
    return sample, targets[torch.from_numpy(rows).to(targets.device)]


def _fit_basis(task: _Task, others: Sequence[System], progress: Callable[[int], None] | None) -> Fit:
    """Fit in a basis of environments, molecule by molecule."""
    settings = task.settings
    plain = gather(task.slatm, task.records, device=task.device)
    reaches = _reaches(task, plain, others)
    widths = task.start.widths(reaches)
    basis = in_half_precision(choose_basis(plain, widths, settings.basis or 1))
    molecules = environment_rows(task.slatm, task.records, task.directions, device=task.device, progress=progress)
    sums = sum_rows(molecules, basis, widths, task.energies, task.slopes)
    variance_basis, places = leading(basis, max(1, settings.variance_rows // len(basis.blocks)))
    solution = solve_sparse(basis, widths, sums, settings.penalty, settings.force_penalty, kept=places)
    variance_solution = replace(
        solution,
        amplitude=task.variance_factor * solution.amplitude,
        variances=task.variance_factor * solution.variances,
    )
    rows = {"n_directions": 0, "n_basis": variance_basis.n_molecules}
    return _finish(task, task.start, reaches, basis, solution, basis, variance_solution, **rows)


def _finish(
    task: _Task,
    hyperparameters: Hyperparameters,
    reaches: Mapping[int, float],
    training: Environments,
    solution: Solution,
    variance_training: Environments,
    variance_solution: Solution,
    **rows: int,
) -> Fit:
    """Make the model of a solution; what is kept of the training set, and its own solution, give the variances."""
    sizes = {z: _sizes(training.blocks[z], variance_training.blocks[z]) for z in training.blocks}
    model = AmonModel(task.config(hyperparameters, sizes, **rows)).to(task.device)
    model.fill(
        variance_training,
        expand(training, solution.coefficients, hyperparameters.widths(reaches)),
        reaches,
        baseline=torch.from_numpy(task.baseline),
        factor=variance_solution.factor,
        amplitude=variance_solution.amplitude,
    )
    left_out, variances = (
        of_rows[: len(task.records)].cpu() for of_rows in (solution.residuals, variance_solution.variances)
    )
    return Fit(model, solution.log_likelihood, left_out.numpy(), library_thresholds(variances.sqrt().numpy()))


def _elements(records: Sequence[Record]) -> list[int]:
    """Check that all records have energies, and list their elements."""
    if not records:
        raise InputError("there are no training molecules. Give at least one labelled record.")
    for index, record in enumerate(records):
        if record.energy is None:
            raise InputError(f"training molecule {index} ({_name(record)}) has no energy. Label it first.")
    return sorted({z for record in records for z in record.numbers.tolist()})


def _directions(record: Record, n_directions: int | None, seed: Sequence[int]) -> Directions:
    """Choose directions: all coordinates, some random orthogonal ones, or none."""
    size = 3 * len(record)
    count = size if n_directions is None else min(size, n_directions)
    if record.forces is None or count == 0:
        return None
    random = np.random.default_rng(seed)
    basis = np.eye(size) if count == size else np.linalg.qr(random.normal(size=(size, count)))[0].T
    return basis.reshape(count, -1, 3)


def _count(directions: Directions) -> int:
    return 0 if directions is None else len(directions)


def _slopes(records: Sequence[Record], directions: Sequence[Directions]) -> NDArray[np.float64]:
    """Return the energies' derivatives along all directions, (R,)."""
    slopes = [
        -np.einsum("rnx,nx->r", along, record.forces)
        for record, along in zip(records, directions, strict=True)
        if along is not None and record.forces is not None
    ]
    return np.concatenate(slopes) if slopes else np.zeros(0)


def _sizes(fitted: Block, kept: Block) -> BlockSizes:
    p, c = fitted.values.shape
    return BlockSizes(environments=p, columns=c, vectors=p if len(fitted.slopes) else 0, slopes=len(kept.slopes))


def _name(record: Record) -> str:
    return str(record.info.get("smiles", record.formula))


def _namer(records: Sequence[Record], directions: Sequence[Directions]) -> Callable[[int], str]:
    """Return what names the rows of a kernel in messages."""
    owners = [index for index, along in enumerate(directions) for _ in range(_count(along))]

    def name(row: int) -> str:
        molecule = row if row < len(records) else owners[row - len(records)]
        what = "" if row < len(records) else "a direction of "
        return f"{what}training molecule {molecule} ({_name(records[molecule])})"

    return name
