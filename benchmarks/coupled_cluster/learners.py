"""What learns energies and forces of coupled cluster: networks, from Hartree-Fock theory or not, and kernels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fitting import fit_amons
from ase_mlwave.models.amons.inference import predict_batch
from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.models.training.checkpoint import checkpoint_path
from ase_mlwave.models.training.start import train
from ase_mlwave.properties import LABELS
from benchmarks.common import read_json, write_json

__all__ = ["LEARNERS", "Figures", "Network", "Task", "errors", "network_predictions"]

Figures = dict[str, float]
#: Energies (B,) and forces (B, N, 3) of geometries, Hartree and Bohr.
Predictions = tuple[NDArray[np.float64], NDArray[np.float64]]
_EV, _EV_PER_A = LABELS["energy"], LABELS["forces"]
#: Geometries that kernels predict at a time.
_BATCH = 50
#: Settings with which a network sees energies and forces alone.
_ENERGIES = ["matrices=null", "loss.density=0", "loss.dipole=0"]


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Parameters
    ----------
    parts : dict of str to Dataset
        Splits ``train``, ``valid`` and ``test`` with energies and forces of the high level.
    low : dict of str to Dataset
        The same geometries of ``train`` and ``test`` with those of Hartree-Fock theory.
    start : Path
        Model of Hartree-Fock theory.
    matrices : Path
        Matrices of Hartree-Fock theory of those of ``train`` and ``valid``.
    settings : Path
        Of the training of networks.
    words : tuple of str
        Settings that take the place of those of the file.
    """

    parts: dict[str, Dataset]
    low: dict[str, Dataset]
    start: Path
    matrices: Path
    settings: Path
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """A PhiSNet trained on energies and forces.

    Parameters
    ----------
    words : tuple of str
        Settings of ``mlwave train`` that make the learner what it is.
    fresh : bool
        Whether it begins with random weights.
    density : bool
        Whether it sees dipoles and matrices of Hartree-Fock theory beside.
    """

    words: tuple[str, ...] = ()
    fresh: bool = False
    density: bool = False

    def __call__(self, task: Task, n: int, folder: Path) -> tuple[Predictions, float]:
        """Train on ``n`` geometries, or go on with it, and predict; CPU-minutes of the training beside it."""
        data, clock = folder.with_suffix(".db"), folder.with_suffix(".clock.json")
        if not (folder / "model" / "config.json").is_file():
            if not checkpoint_path(str(folder)).exists():
                data.unlink(missing_ok=True)
                data.parent.mkdir(parents=True, exist_ok=True)
                records = (*task.parts["train"].records[:n], *task.parts["valid"].records)
                write_dataset(data, replace(task.parts["train"], records=records))
            before, start = read_json(clock, 0.0), time.process_time()
            words = [f"data={data}", f"output={folder}", "workers=1"]
            words += [] if self.fresh else [f"start_from={task.start}"]
            words += [f"matrices={task.matrices}"] if self.density else _ENERGIES
            settings = self._fresh_settings(task, folder) if self.fresh else task.settings
            try:
                train(settings, [*words, *self.words, *task.words], resume=True)
            finally:
                write_json(clock, before + (time.process_time() - start) / 60)
        return network_predictions(folder / "model", task.parts["test"].records), read_json(clock)

    def _fresh_settings(self, task: Task, folder: Path) -> Path:
        """Write the settings of the run with the start's network, but without its weights."""
        import yaml

        from ase_mlwave.models.folder import read_config

        values = yaml.safe_load(task.settings.read_text(encoding="utf-8"))
        del values["start_from"]
        values["model"] = {**read_config(str(task.start)).settings, "overlap_penalty": 0.0, **values["model"]}
        path = folder.with_suffix(".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path


def network_predictions(model: Path | str, records: Sequence[Record]) -> Predictions:
    """Predict with a PhiSNet's wavefunction energy."""
    calculator = PhiSNetCalculator(model, energy="wavefunction", outside="warn")
    found = calculator.predict([atoms_from_record(record) for record in records], ("energy", "forces"))
    energies = np.array([one["energy"] for one in found]) / _EV.to_ase(1.0)
    return energies, np.array([one["forces"] for one in found]) / _EV_PER_A.to_ase(1.0)


def kernel(task: Task, n: int, folder: Path) -> tuple[Predictions, float]:
    """Fit the kernel of amons to ``n`` geometries."""
    return _fitted(task.parts["train"].records[:n], task.parts["test"].records)


def delta(task: Task, n: int, folder: Path) -> tuple[Predictions, float]:
    """Fit the kernel to what coupled cluster adds to Hartree-Fock theory, which has to be computed for every query."""
    differences = [
        replace(high, energy=high.energy - low.energy, forces=high.forces - low.forces)  # type: ignore[operator]
        for high, low in zip(task.parts["train"].records[:n], task.low["train"].records[:n], strict=True)
    ]
    (energies, forces), minutes = _fitted(differences, task.parts["test"].records)
    low = task.low["test"].records
    return (
        energies + np.array([record.energy for record in low]),
        forces + np.array([record.forces for record in low]),
    ), minutes


def _fitted(training: Sequence[Record], queries: Sequence[Record]) -> tuple[Predictions, float]:
    """Fit the kernel to energies and forces, and predict."""
    numbers = sorted({z for record in training for z in record.numbers.tolist()})
    symbols = [atoms_from_record(training[0]).symbols.species()]
    start = time.process_time()
    fit = fit_amons(
        training,
        "ccsd(t)/cc-pvdz",
        FitSettings.for_forces(),
        representation=SlatmConfig.for_forces(tuple(sorted(symbols[0]))),
        free_atoms=dict.fromkeys(numbers, 0.0),
    )
    minutes = (time.process_time() - start) / 60
    energies, forces = [], []
    for begin in range(0, len(queries), _BATCH):
        for one in predict_batch(fit.model, queries[begin : begin + _BATCH], forces=True):
            energies.append(one.energy)
            forces.append(one.forces)
    return (np.array(energies), np.array(forces)), minutes


def errors(predictions: Predictions, records: Sequence[Record]) -> Figures:
    """Compare with the labels: mean absolute errors, and medians over molecules, meV and meV/Angstrom."""
    energies = 1e3 * np.abs(_EV.to_ase(predictions[0] - np.array([record.energy for record in records])))
    forces = 1e3 * np.abs(_EV_PER_A.to_ase(predictions[1] - np.array([record.forces for record in records])))
    return {
        "energy_mae_meV": float(energies.mean()),
        "energy_median_meV": float(np.median(energies)),
        "forces_mae_meV_per_A": float(forces.mean()),
        "forces_median_meV_per_A": float(np.median(forces.mean(axis=(1, 2)))),
    }


#: Learner -> what it does with a task, a number of geometries and a folder.
LEARNERS: dict[str, Callable[[Task, int, Path], tuple[Predictions, float]]] = {
    "wavefunction": Network(),
    "wavefunction and density": Network(density=True),
    "wavefunction and atoms": Network(("model.atomic_energies=true",)),
    "from scratch": Network(("model.atomic_energies=true",), fresh=True),
    "kernel": kernel,
    "kernel on HF": delta,
}
