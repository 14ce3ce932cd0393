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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from ase.calculators.calculator import InputError
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from scipy.linalg import LinAlgError
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.func import jvp, vmap

from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.models.qdf.config import MAX_GRID_LEVEL
from ase_mlwave.models.qdf.model import QDF
from ase_mlwave.models.qdf.training.normal_equations import NormalEquations
from ase_mlwave.models.qdf.training.settings import ReadoutSettings
from ase_mlwave.models.training.stopping import TrainingInterrupted, stop_request
from ase_mlwave.units import HARTREE, HARTREE_PER_BOHR

__all__ = ["ReadoutFit", "fit_readout", "write_summary"]

Array = NDArray[np.float64]
Progress = Callable[[int], None]

#: Directions that are differentiated along at a time, and rows that are kept before they are summed up.
_CHUNK, _ROWS = 8, 512
#: What rows are of; their number is their kind.
_ENERGY, _FORCES, _ORIENTATION = _KINDS = range(3)
#: Levels by which the grid of the other orientations is finer.
_FINER = 1


@dataclass(frozen=True)
class _Rows:
    """Equations of molecules, in Hartree per atom, Hartree/Bohr and Hartree: weighted when they are solved.

    Parameters
    ----------
    matrix : (R, M)
        Columns: what the energy is linear in, then the atoms' references.
    targets : (R,)
        Right-hand sides.
    kinds : (R,)
        What each is of: an energy, a force, or a difference between orientations.
    """

    matrix: Array
    targets: Array
    kinds: NDArray[np.int64]

    def errors(self, solution: Array, weights: Sequence[float]) -> float:
        """Root of the weighted mean square of the residuals."""
        residuals = (self.matrix @ solution - self.targets) * np.asarray(weights)[self.kinds]
        return float(np.sqrt(np.mean(np.square(residuals))))


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
        Changed in place.
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
        File of sums, written every ``checkpoint_minutes`` and read where it is there: a fit with other units or
        penalties needs no more than a new solution.
    checkpoint_minutes : float
        Least time between two.
    progress : callable, optional
        Called with the number of molecules; returns a function that is called with the number of further ones done.

    Returns
    -------
    ReadoutFit

    Raises
    ------
    ValueError
        If no penalty leaves the equations solvable.
    TrainingInterrupted
        After Ctrl-C or SIGTERM, when the file is written.
    InputError
        If the file is of other molecules, directions, orientations, or another seed or grid.

    Notes
    -----
    An interrupted fit that goes on from its file gives the same weights (``test_interrupted_fit_goes_on``), up to
    rounding where Ctrl-C came between two sums.
    """
    n_elements = len(network.config.elements)
    n_free = 0 if fixed_references else n_elements
    n_columns = len(network.linear_weights()) + n_free
    identity = {
        "directions": str(settings.directions),
        "orientations": str(settings.orientations),
        "seed": str(seed),
        "rotate": str(rotate),
        "grid_level": str(network.config.grid_level),
        "columns": str(n_columns),
        "training": training.content_hash(),
        "validation": validation.content_hash(),
    }
    train, valid, n_done = _read(checkpoint, n_columns, identity)
    records = [*training, *validation]
    counter = progress(len(records)) if progress else lambda n: None
    counter(n_done)
    last = time.monotonic()
    pending: list[_Rows] = []
    with stop_request() as stop:
        for index in range(n_done, len(records)):
            rng = np.random.default_rng([seed, index])
            rows = _rows(network, records[index], settings, rng, rotate=rotate)
            rows = replace(rows, matrix=rows.matrix[:, :n_columns])
            (pending if index < len(training) else valid).append(rows)
            due = checkpoint is not None and (stop or time.monotonic() - last > 60 * checkpoint_minutes)
            if pending and (due or index + 1 == len(training) or sum(len(r.targets) for r in pending) >= _ROWS):
                _sum_up(train, pending)
                pending = []
            if checkpoint is not None and due:
                _write(checkpoint, train, valid, index + 1, identity)
                last = time.monotonic()
            counter(1)
            if stop:
                raise TrainingInterrupted(f"stopped after molecule {index + 1} of {len(records)} of the readout's fit")
    if checkpoint is not None and n_done < len(records):
        _write(checkpoint, train, valid, len(records), identity)
    n_pairs = network.repulsion.weight.numel()
    fits = sorted(_candidates(train, valid, settings, n_free, n_pairs), key=lambda fit: fit[0].valid_rms)
    if not fits:
        raise ValueError(f"no penalty of {list(settings.penalties)} makes the readout's equations solvable; add larger")
    best, solution = fits[0]
    _apply(network, solution, n_free)
    if network.uncertainty is not None:
        sizes = np.array([[len(record)] for record in validation])
        per_atom, targets = (np.stack([getattr(r, name)[0] for r in valid]) for name in ("matrix", "targets"))
        sums, of_molecules = train[_ENERGY], sizes * per_atom
        errors = of_molecules @ solution - sizes[:, 0] * targets
        network.uncertainty.fit(sums.gram / sums.rows, sums.scale(n_free, n_pairs), of_molecules, errors)
    return best


def _sum_up(train: list[NormalEquations], pending: list[_Rows]) -> None:
    """Add rows to the sums of their kinds."""
    matrix, targets, kinds = (np.concatenate([getattr(r, f.name) for r in pending]) for f in fields(_Rows))
    for kind in _KINDS:
        train[kind].add(matrix[kinds == kind], targets[kinds == kind])


def _candidates(
    train: list[NormalEquations], valid: list[_Rows], settings: ReadoutSettings, n_free: int, n_pairs: int
) -> Iterator[tuple[ReadoutFit, Array]]:
    """Solve for every penalty."""
    weights = [
        1e3 * HARTREE / settings.energy_unit,
        1e3 * HARTREE_PER_BOHR / settings.force_unit,
        1e3 * HARTREE / settings.orientation_unit,
    ]
    joined = NormalEquations.weighted(train, weights)
    for penalty in settings.penalties:
        try:
            solution = joined.solve(penalty, n_free, n_pairs)
        except LinAlgError:
            continue
        train_rms = max(0.0, joined.mean_square(solution)) ** 0.5
        errors = [rows.errors(solution, weights) for rows in valid]
        yield ReadoutFit(penalty, train_rms, float(np.median(errors))), solution


def _rows(network: QDF, record: Record, settings: ReadoutSettings, rng: np.random.Generator, *, rotate: bool) -> _Rows:
    """Differentiate what the energy of one molecule is linear in."""
    turn = Rotation.random(rng=rng).as_matrix() if rotate else np.eye(3)
    batch = network.collate([replace(record, positions=record.positions @ turn.T)])
    composition = np.array([np.count_nonzero(record.numbers == z) for z in network.config.numbers], dtype=np.float64)
    references = network.references.cpu().numpy()

    def terms(r: Tensor) -> Tensor:
        fixed, features = network.linear_terms(batch.at(r))
        return torch.cat([features[0], fixed])

    with torch.no_grad():
        values = terms(batch.positions).cpu().numpy()
        slopes, forces = np.zeros((0, len(values))), np.zeros(0)
        if record.forces is not None and settings.directions:
            size = 3 * len(record)
            basis = np.linalg.qr(rng.normal(size=(size, min(size, settings.directions))))[0].T
            along = torch.from_numpy(basis).to(batch.positions.device).unflatten(1, (-1, 3))
            slopes = vmap(lambda u: jvp(terms, (batch.positions,), (u,))[1], chunk_size=_CHUNK)(along).cpu().numpy()
            forces = basis @ (np.array(record.forces) @ turn.T).ravel()
    differences = _differences(network, record, values[:-1], settings.orientations, rng)
    energy = (record.energy or 0.0) - composition @ references - values[-1]
    matrix = np.zeros((1 + len(forces) + len(differences), len(values) - 1 + len(composition)))
    matrix[0] = np.concatenate([values[:-1], composition]) / len(record)
    matrix[1:, : -len(composition)] = np.concatenate([-slopes[:, :-1], differences])
    kinds = np.repeat(_KINDS, [1, len(forces), len(differences)])
    targets = np.concatenate([[energy / len(record)], forces + slopes[:, -1], np.zeros(len(differences))])
    return _Rows(matrix, targets, kinds)


@torch.no_grad()
def _differences(network: QDF, record: Record, value: Array, count: int, rng: np.random.Generator) -> Array:
    """Subtract features of other orientations on a finer grid from ``value`` (M,); (count, M)."""
    if count == 0:
        return np.zeros((0, len(value)))
    finer = min(MAX_GRID_LEVEL, network.config.grid_level + _FINER)
    turned = [
        replace(record, positions=record.positions @ turn.T) for turn in Rotation.random(count, rng=rng).as_matrix()
    ]
    others: Array = network.linear_terms(network.collate(turned, grid_level=finer))[1].cpu().numpy()
    return value - others


@torch.no_grad()
def _apply(network: QDF, solution: Array, n_free: int) -> None:
    """Set readout and references."""
    network.set_linear_weights(torch.from_numpy(solution[: len(solution) - n_free]))
    if n_free:
        network.references.add_(torch.from_numpy(solution[len(solution) - n_free :]).to(network.references.device))


def _write(
    path: Path, train: list[NormalEquations], valid: list[_Rows], n_done: int, identity: Mapping[str, str]
) -> None:
    """Write the training molecules' sums and the validation molecules' rows, whole or not at all."""
    arrays = {f"valid_{f.name}_{i}": getattr(rows, f.name) for i, rows in enumerate(valid) for f in fields(_Rows)}
    for kind, sums in enumerate(train):
        arrays |= {f"train_gram_{kind}": sums.gram, f"train_moment_{kind}": sums.moment}
    counts = np.array([n_done, len(valid), *(sums.rows for sums in train)], dtype=np.int64)
    squares = np.array([sums.square for sums in train])
    partial = path.with_suffix(".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({**arrays, "squares": squares, "counts": counts}, partial, metadata=dict(identity))
    partial.replace(path)


def _read(
    path: Path | None, n_columns: int, identity: Mapping[str, str]
) -> tuple[list[NormalEquations], list[_Rows], int]:
    """Read sums, rows and the number of molecules done, or start new ones; refuse those of another fit."""
    if path is None or not path.exists():
        return [NormalEquations.empty(n_columns) for _ in _KINDS], [], 0
    with safe_open(path, "np") as file:
        stored = file.metadata() or {}
    different = sorted(key for key in identity if stored.get(key) != identity[key])
    if different:
        raise InputError(
            f"{path} is of a fit with other {', '.join(different)}; go on with the same, or remove it to start over "
            "(units and penalties may change)"
        )
    arrays = load_file(path)
    n_done, n_valid, *n_rows = arrays["counts"].tolist()
    squares = arrays["squares"].tolist()
    train = [
        NormalEquations(arrays[f"train_gram_{kind}"], arrays[f"train_moment_{kind}"], squares[kind], n_rows[kind])
        for kind in _KINDS
    ]
    valid = [_Rows(*(arrays[f"valid_{f.name}_{i}"] for f in fields(_Rows))) for i in range(n_valid)]
    return train, valid, n_done


def write_summary(fit: ReadoutFit, path: Path) -> None:
    """Write what was fitted as JSON."""
    path.write_text(json.dumps(asdict(fit), indent=2) + "\n", encoding="utf-8")
