"""The readout of the energy functional in closed form: energies and forces are linear in its weights.

With h_k(R) the terms that the energy is linear in (`QDF.linear_terms`), E = fixed + sum_k v_k h_k, and the force along
a direction u of all coordinates is -u.grad fixed - sum_k v_k u.grad h_k. Least squares in v, with a penalty on the size
of every contribution, is one Cholesky factorisation; gradient descent needs thousands of steps for the same, because
the features are alike. Directions are drawn at random, a few per molecule: they carry the same information a row as
single components, and molecules are what one has too few of.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.func import jvp, vmap

from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.qdf.batch import collate
from ase_mlwave.qdf.config import MAX_GRID_LEVEL
from ase_mlwave.qdf.model import QDF
from ase_mlwave.qdf.training.settings import ReadoutSettings
from ase_mlwave.units import HARTREE, HARTREE_PER_BOHR

__all__ = ["NormalEquations", "ReadoutFit", "fit_readout", "write_summary"]

Array = NDArray[np.float64]
Progress = Callable[[int], None]

#: Directions that are differentiated along at a time, and rows that are kept before they are summed up.
_CHUNK, _ROWS = 8, 512
#: Least scale of a pair function, relative to the largest.
_FLOOR = 0.1
#: Names of rows and targets in the file of an interrupted fit.
_KINDS = ("valid_rows", "valid_targets")
#: Levels by which the grid of the other orientations is finer.
_FINER = 1


@dataclass
class NormalEquations:
    """Sums of products of rows: what least squares needs of any number of them.

    Parameters
    ----------
    gram : (M, M)
        Of the columns.
    moment : (M,)
        Of the columns with the targets.
    square : float
        Of the targets.
    rows : int
        How many.
    """

    gram: Array
    moment: Array
    square: float = 0.0
    rows: int = 0

    @classmethod
    def empty(cls, n_columns: int) -> NormalEquations:
        """Start with no rows."""
        return cls(np.zeros((n_columns, n_columns)), np.zeros(n_columns))

    def add(self, rows: Array, targets: Array) -> None:
        """Add rows (R, M) with targets (R,)."""
        self.gram += rows.T @ rows
        self.moment += rows.T @ targets
        self.square += float(targets @ targets)
        self.rows += len(targets)

    def mean_square(self, solution: Array) -> float:
        """Mean squared residual of a solution (M,)."""
        return float(solution @ (self.gram @ solution) - 2 * self.moment @ solution + self.square) / max(1, self.rows)

    def solve(self, penalty: float, n_free: int, n_pairs: int = 0) -> Array:
        """Minimise the mean squared residual plus ``penalty`` times the mean squared contributions.

        Parameters
        ----------
        penalty : float
            Without a unit: columns are scaled to a mean square of one.
        n_free : int
            Columns at the end that are hardly penalised.
        n_pairs : int
            Columns before these whose scale is at least a tenth of their largest: a function of a distance that hardly
            any training molecule has is not free to be large where another molecule has it.

        Returns
        -------
        (M,)

        Raises
        ------
        LinAlgError
            If the penalty is too small for the columns' linear dependence.
        """
        scale = np.sqrt(np.diagonal(self.gram) / self.rows) + 1e-300
        scale[scale < 1e-12 * scale.max()] = np.inf  # columns of zeros: an element that the data lack
        pairs = scale[len(scale) - n_free - n_pairs : len(scale) - n_free]
        pairs[pairs < np.inf] = np.maximum(pairs[pairs < np.inf], _FLOOR * pairs[pairs < np.inf].max(initial=0.0))
        weights = np.full(len(scale), penalty)
        weights[len(scale) - n_free :] = 1e-12
        matrix = self.gram / np.outer(scale, scale) / self.rows
        matrix[np.diag_indices_from(matrix)] += weights
        solution: Array = cho_solve(cho_factor(matrix, lower=True), self.moment / scale / self.rows) / scale
        return solution


@dataclass(frozen=True)
class ReadoutFit:
    """What was fitted, and how well."""

    penalty: float
    """The one of the smallest validation error."""
    train_rms: float
    """Root of the weighted mean square of all rows, in units of ``ReadoutSettings.force_unit``."""
    valid_rms: float
    """The same of every validation molecule, median over these: a few that are unlike all others do not choose."""


def fit_readout(
    network: QDF,
    training: Dataset,
    validation: Dataset,
    settings: ReadoutSettings,
    *,
    seed: int = 0,
    rotate: bool = True,
    fixed_references: bool = False,
    checkpoint: Path | None = None,
    checkpoint_minutes: float = 3.0,
    progress: Callable[[int], Progress] | None = None,
) -> ReadoutFit:
    """Set the readout's weights, and the atoms' references, to those that fit energies and forces best.

    Parameters
    ----------
    network : QDF
        Changed in place; its grid is used.
    training, validation : Dataset
        Labelled molecules; the second chooses the penalty.
    settings : ReadoutSettings
        Directions, weights and penalties.
    seed : int
        Of directions and orientations.
    rotate : bool
        Turn every molecule at random.
    fixed_references : bool
        Keep the references: isolated atoms have the right energy, molecules a less flexible one.
    checkpoint : Path, optional
        File of sums, written every ``checkpoint_minutes`` and read where it is there.
    checkpoint_minutes : float
        Least time between two.
    progress : callable, optional
        Called with the number of molecules; returns what is told how many more are done.

    Returns
    -------
    ReadoutFit

    Raises
    ------
    ValueError
        If no penalty leaves the equations solvable.

    Notes
    -----
    An interrupted fit that goes on from its file gives the same weights (``test_interrupted_fit_goes_on``).
    """
    n_elements = len(network.config.elements)
    n_free = 0 if fixed_references else n_elements
    n_columns = len(network.linear_weights()) + n_free
    train, valid, done = _read(checkpoint, n_columns)
    jobs = [*training, *validation]
    counter = progress(len(jobs)) if progress else lambda n: None
    counter(done)
    last = time.monotonic()
    waiting: list[tuple[Array, Array]] = []
    for index in range(done, len(jobs)):
        rng = np.random.default_rng([seed, index])
        rows, targets = _rows(network, jobs[index], settings, rng, rotate=rotate)
        (waiting if index < len(training) else valid).append((rows[:, :n_columns], targets))
        late = checkpoint is not None and time.monotonic() - last > 60 * checkpoint_minutes
        if waiting and (late or index + 1 == len(training) or sum(len(t) for _, t in waiting) >= _ROWS):
            train.add(np.concatenate([r for r, _ in waiting]), np.concatenate([t for _, t in waiting]))
            waiting = []
        if checkpoint is not None and late:
            _write(checkpoint, train, valid, index + 1)
            last = time.monotonic()
        counter(1)
    if checkpoint is not None:
        _write(checkpoint, train, valid, len(jobs))
    n_pairs = network.repulsion.weight.numel()
    fits = sorted(_candidates(train, valid, settings, n_free, n_pairs), key=lambda fit: fit[0].valid_rms)
    if not fits:
        raise ValueError(f"no penalty of {list(settings.penalties)} makes the readout's equations solvable; add larger")
    best, solution = fits[0]
    _apply(network, solution, n_free)
    return best


def _candidates(
    train: NormalEquations, valid: list[tuple[Array, Array]], settings: ReadoutSettings, n_free: int, n_pairs: int
) -> Iterator[tuple[ReadoutFit, Array]]:
    """Solve for every penalty."""
    for penalty in settings.penalties:
        try:
            solution = train.solve(penalty, n_free, n_pairs)
        except LinAlgError:
            continue
        errors = [float(np.mean(np.square(rows @ solution - targets))) ** 0.5 for rows, targets in valid]
        train_rms = max(0.0, train.mean_square(solution)) ** 0.5
        yield ReadoutFit(penalty, train_rms, float(np.median(errors))), solution


def _rows(
    network: QDF, record: Record, settings: ReadoutSettings, rng: np.random.Generator, *, rotate: bool
) -> tuple[Array, Array]:
    """Differentiate the features of one molecule; rows (R, M + E) and targets (R,), weighted; references last."""
    turn = Rotation.random(rng=rng).as_matrix() if rotate else np.eye(3)
    reach = 2 * network.config.cutoff
    batch = collate([(record.numbers, record.positions @ turn.T)], reach).to(network.references.device)
    composition = np.array([np.count_nonzero(record.numbers == z) for z in network.config.numbers], dtype=np.float64)
    references = network.references.cpu().numpy()
    weight = HARTREE / (settings.energy_unit * 1e-3 * len(record))
    force_weight = HARTREE_PER_BOHR / (settings.force_unit * 1e-3)

    def terms(r: Tensor) -> Tensor:
        fixed, features = network.linear_terms(batch.at(r))
        return torch.cat([features[0], fixed])

    with torch.no_grad():
        if record.forces is None or settings.directions == 0:
            value, slopes, targets = terms(batch.positions), None, np.zeros(0)
        else:
            size = 3 * len(record)
            basis = np.linalg.qr(rng.normal(size=(size, min(size, settings.directions))))[0].T
            along = torch.from_numpy(basis).to(batch.positions.device).unflatten(1, (-1, 3))
            value = terms(batch.positions)
            slopes = vmap(lambda u: jvp(terms, (batch.positions,), (u,))[1], chunk_size=_CHUNK)(along)
            targets = basis @ (np.array(record.forces) @ turn.T).ravel()
    energy = (record.energy or 0.0) - composition @ references
    values = value.cpu().numpy()
    rows = np.zeros((1 + len(targets) + settings.orientations, len(values) - 1 + len(composition)))
    rows[0] = np.concatenate([values[:-1], composition]) * weight
    right = np.zeros(len(rows))
    right[0] = (energy - values[-1]) * weight
    forced, elsewhere = slice(1, 1 + len(targets)), slice(1 + len(targets), None)
    if slopes is not None:
        derivatives = slopes.cpu().numpy()
        rows[forced, : -len(composition)] = -derivatives[:, :-1] * force_weight
        right[forced] = (targets + derivatives[:, -1]) * force_weight
    differences = _differences(network, record, values[:-1], settings.orientations, rng)
    rows[elsewhere, : -len(composition)] = differences * (HARTREE / (settings.orientation_unit * 1e-3))
    return rows, right


@torch.no_grad()
def _differences(network: QDF, record: Record, value: Array, count: int, rng: np.random.Generator) -> Array:
    """Subtract features of other orientations on a finer grid from ``value`` (M,); (count, M)."""
    if count == 0:
        return np.zeros((0, len(value)))
    level = network.grid_level
    network.set_grid_level(min(MAX_GRID_LEVEL, level + _FINER))
    try:
        turned = [(record.numbers, record.positions @ turn.T) for turn in Rotation.random(count, rng=rng).as_matrix()]
        batch = collate(turned, 2 * network.config.cutoff).to(network.references.device)
        others: Array = network.linear_terms(batch)[1].cpu().numpy()
    finally:
        network.set_grid_level(level)
    return value - others


@torch.no_grad()
def _apply(network: QDF, solution: Array, n_free: int) -> None:
    """Set readout and references."""
    network.set_linear_weights(torch.from_numpy(solution[: len(solution) - n_free]))
    if n_free:
        network.references.add_(torch.from_numpy(solution[len(solution) - n_free :]).to(network.references.device))


def _write(path: Path, train: NormalEquations, valid: list[tuple[Array, Array]], done: int) -> None:
    """Write the training molecules' sums and the validation molecules' rows, whole or not at all."""
    pairs = [(f"{kind}_{i}", part) for i, pair in enumerate(valid) for kind, part in zip(_KINDS, pair, strict=True)]
    counts = np.array([done, train.rows, len(valid)], dtype=np.int64)
    sums = {"train_gram": train.gram, "train_moment": train.moment, "train_square": np.array([train.square])}
    partial = path.with_suffix(".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({**dict(pairs), **sums, "counts": counts}, partial)
    partial.replace(path)


def _read(path: Path | None, n_columns: int) -> tuple[NormalEquations, list[tuple[Array, Array]], int]:
    """Read sums, rows and the number of molecules done, or start new ones."""
    if path is None or not path.exists():
        return NormalEquations.empty(n_columns), [], 0
    held = load_file(path)
    done, n_rows, n_valid = held["counts"].tolist()
    train = NormalEquations(held["train_gram"], held["train_moment"], float(held["train_square"][0]), n_rows)
    rows, targets = ([held[f"{kind}_{i}"] for i in range(n_valid)] for kind in _KINDS)
    return train, list(zip(rows, targets, strict=True)), done


def write_summary(fit: ReadoutFit, path: Path) -> None:
    """Write what was fitted as JSON."""
    path.write_text(json.dumps(asdict(fit), indent=2) + "\n", encoding="utf-8")
