"""Train on small molecules, test on larger ones: quantum deep fields beside SchNet.

    python -m benchmarks.extrapolation qm7.npz --output extrapolation

Sizes, settings and steps are in ``extrapolation.yaml``. All models have the same atoms' energies subtracted (a
least-squares fit to the training molecules: the part of an energy that grows with the molecule, which no model should
have to find), and learn on one thread. Writes extrapolation.md and .png.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import yaml
from ase.calculators.calculator import InputError
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ase_mlwave.calculators.qdf import QDFCalculator
from ase_mlwave.console import Console
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.qdf.training.run import train
from ase_mlwave.models.qdf.training.settings import TrainingSettings
from ase_mlwave.models.training.sampler import EpochSampler
from ase_mlwave.models.training.yaml_settings import parse_settings
from ase_mlwave.systems.batch import collate
from ase_mlwave.units import BOHR, HARTREE
from benchmarks.common import (
    KCAL_PER_MOL,
    command_line,
    cpu_seconds,
    existing,
    markdown_table,
    one_thread,
    picture,
    plain_numbers,
    rich_table,
)

Array = NDArray[np.float64]

#: Molecules in a training step, and those that SchNet predicts together.
_BATCH, _AT_A_TIME = 16, 32
#: The published claim, kcal/mol; sizes with fewer molecules are not drawn.
_CLAIM, _FEWEST = 3.0, 5


# --- molecules --------------------------------------------------------------------------------------------------------


def divide(data: Dataset, bound: int, n_train: int, n_per_size: int, seed: int = 0) -> dict[str, list[Record]]:
    """Divide molecules by size, and those of at most ``bound`` atoms at random; what appears twice counts once.

    Returns ``train``, ``valid`` (for the learning curve), ``test`` (a tenth, held out) and ``large``, by rising size;
    molecules with elements that ``train`` lacks are left out. The other parts do not depend on ``n_train``.
    """
    different = list({record.geometry_hash(): record for record in data}.values())
    shuffled = [different[i] for i in np.random.default_rng(seed).permutation(len(different))]
    small = [record for record in shuffled if len(record) <= bound]
    n_test, n_valid = len(small) // 10, min(32, len(small) // 20)
    parts = {"train": small[n_test + n_valid :][:n_train], "valid": small[n_test : n_test + n_valid]}
    sizes = sorted({len(record) for record in shuffled if len(record) > bound})
    large = [record for n in sizes for record in [r for r in shuffled if len(r) == n][:n_per_size]]
    parts |= {"test": small[:n_test], "large": large}
    known = {z for record in parts["train"] for z in record.numbers.tolist()}
    parts = {name: [r for r in part if set(r.numbers.tolist()) <= known] for name, part in parts.items()}
    if len(parts["train"]) < n_train or not all(parts.values()):
        found = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
        raise InputError(f"{data.source} has too few molecules below or above {bound} atoms for {n_train}: {found}")
    return parts


def energies(records: Sequence[Record]) -> Array:
    """Return the labels (B,), Hartree."""
    return np.array([record.energy for record in records], dtype=np.float64)


class AtomSum:
    """Energies as sums over atoms, fitted to molecules: what ``mlwave train`` subtracts by default."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.numbers = sorted({z for record in records for z in record.numbers.tolist()})
        self.references = np.linalg.lstsq(self._composition(records), energies(records), rcond=None)[0]

    def _composition(self, records: Sequence[Record]) -> Array:
        return np.array([[np.count_nonzero(r.numbers == z) for z in self.numbers] for r in records], dtype=np.float64)

    def __call__(self, records: Sequence[Record]) -> Array:
        """Predict energies (B,), Hartree."""
        total: Array = self._composition(records) @ self.references
        return total


# --- models -----------------------------------------------------------------------------------------------------------


def fit_qdf(parts: Mapping[str, Sequence[Record]], level: str, settings: Mapping[str, Any], folder: Path) -> Any:
    """Train a quantum deep field as ``mlwave train`` does; its time has reading, validation and checkpoints in it."""
    data = folder.with_suffix(".db")
    data.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)  # of a run before
    folder.parent.mkdir(parents=True, exist_ok=True)
    records = tuple(record.with_info(split=name) for name in ("train", "valid") for record in parts[name])
    write_dataset(data, Dataset(records, level, folder.name))
    elements = [chemical_symbols[z] for z in AtomSum(parts["train"]).numbers]
    own: dict[str, Any] = {"data": str(data), "output": str(folder), "batch_size": _BATCH, "accelerator": "cpu"}
    own |= {"model": {**settings["model"], "elements": elements, "level": level}}
    run = parse_settings(TrainingSettings, {**settings, **own})
    calculator: Any = QDFCalculator(train(run, progress=False), device="cpu", dtype="float32", outside="warn")

    def predict(records: Sequence[Record]) -> Array:
        atoms = [atoms_from_record(record) for record in records]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OutOfDomainWarning)  # it is what is measured
            return np.array([result["energy"] for result in calculator.predict(atoms, ["energy"])]) / HARTREE

    return predict, sum(p.numel() for p in calculator.members[0].network.parameters())


def fit_schnet(records: Sequence[Record], settings: Mapping[str, Any], seed: int = 0) -> Any:
    """Train SchNet as PyTorch Geometric has it, float32, on the pairs that the package finds.

    The loss (mean absolute error per atom), the order of molecules, the optimiser, its schedule, the gradient's largest
    norm and the average of weights over the last tenth of the steps are those of the quantum deep field.
    Source: Schuett et al., J. Chem. Phys. 148, 241722 (2018).
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # the library still calls torch.jit.script
        from torch_geometric.nn.models import SchNet
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = (settings["features"], settings["features"], settings["interactions"])
        network = SchNet(*sizes, cutoff=settings["cutoff"], interaction_graph=lambda *_: None)
    atoms, steps = AtomSum(records), settings["steps"]
    left = energies(records) - atoms(records)
    unit = float((left / [len(record) for record in records]).std()) or 1.0
    targets = torch.from_numpy(left / unit).float()
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(min(0.999, max(0.0, 1 - 10 / steps))))
    optimiser = torch.optim.AdamW(network.parameters(), settings["learning_rate"], betas=(0.9, 0.99), weight_decay=1e-5)
    warmup = max(1, min(100, steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: min(1.0, (k + 1) / warmup) * (1 - k / steps))
    for chosen in EpochSampler(len(records), _BATCH, steps, seed=seed, epoch=0):
        some = [records[i] for i in chosen]
        sizes = torch.tensor([len(record) for record in some])
        loss = ((_forward(network, some) - targets[chosen]) / sizes).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(network)
    trained = average.module.eval().requires_grad_(False)

    def predict(records: Sequence[Record]) -> Array:
        starts = range(0, len(records), _AT_A_TIME)
        outputs = torch.cat([_forward(trained, records[start : start + _AT_A_TIME]) for start in starts])
        total: Array = outputs.double().numpy() * unit + atoms(records)
        return total

    return predict, sum(p.numel() for p in network.parameters())


def _forward(network: Any, records: Sequence[Record]) -> Tensor:
    """Evaluate the network (B,)."""
    batch = collate(records, network.cutoff / BOHR)
    positions, edges = (batch.positions * BOHR).float(), torch.stack([batch.second, batch.first])
    lengths = (positions[edges[0]] - positions[edges[1]]).norm(dim=1)
    network.interaction_graph = lambda *_: (edges, lengths)
    output: Tensor = network(batch.numbers, positions, batch.system)[:, 0]
    return output


# --- results ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """A trained model's cost and errors."""

    steps: int  # optimiser steps
    seconds: float  # CPU-seconds of training
    n_parameters: int  # learned numbers
    test: Array  # absolute errors of the held-out small molecules, kcal/mol
    large: Array  # those of the larger ones


def measure(
    model: str, settings: Mapping[str, Any], parts: Mapping[str, list[Record]], level: str, folder: Path
) -> Result:
    """Train a model, and test it."""
    if model == "SchNet":
        (predict, size), seconds = cpu_seconds(lambda: fit_schnet(parts["train"], settings))
    elif model == "sum over atoms":
        predict, seconds = cpu_seconds(lambda: AtomSum(parts["train"]))
        size = len(predict.numbers)
    else:
        (predict, size), seconds = cpu_seconds(lambda: fit_qdf(parts, level, settings, folder))
    errors = [np.abs(predict(parts[name]) - energies(parts[name])) * KCAL_PER_MOL for name in ("test", "large")]
    return Result(settings.get("steps", 0), seconds, size, *errors)


def rows(parts: Mapping[str, Sequence[Record]], bound: int, results: Mapping[str, Result]) -> list[list[str]]:
    """Write the table: the error of held-out small molecules, errors by size, their mean, and costs."""
    sizes, found = np.array([len(record) for record in parts["large"]]), results.values()
    cells = [["atoms", "molecules", *results]]
    cells.append([f"at most {bound}, held out", str(len(parts["test"])), *(f"{r.test.mean():.2f}" for r in found)])
    for n, some in ((n, sizes == n) for n in np.unique(sizes)):
        cells += [[str(n), str(some.sum()), *(f"{r.large[some].mean():.2f}" for r in found)]]
    cells.append([f"{bound + 1} and more", str(len(sizes)), *(f"{r.large.mean():.2f}" for r in found)])
    cells.append(["CPU-seconds of training", "", *(f"{r.seconds:.0f}" if r.steps else "-" for r in found)])
    cells.append(["steps", "", *(f"{r.steps:,} of {_BATCH}" if r.steps else "-" for r in found)])
    return [*cells, ["parameters", "", *(f"{r.n_parameters:,}" for r in found)]]


def draw(
    parts: Mapping[str, Sequence[Record]], bound: int, results: Mapping[str, Result], title: str, path: Path
) -> None:
    """Plot mean absolute errors, with standard errors, against the number of atoms."""
    sizes = np.array([len(record) for record in (*parts["test"], *parts["large"])])
    drawn = [n for n in np.unique(sizes) if (sizes == n).sum() >= _FEWEST]
    low, high = min(drawn, default=bound) - 0.5, max(drawn, default=bound + 1) + 0.5
    with picture(path, (5.6, 4.4), dpi=150) as axes:
        for (model, result), marker in zip(results.items(), "os^x", strict=False):
            errors = np.concatenate([result.test, result.large])
            some = [errors[sizes == n] for n in drawn]
            bars = [one.std(ddof=1) / np.sqrt(len(one)) for one in some]
            style = {"markersize": 5, "linewidth": 1.2, "capsize": 2} | ({"color": "0.6"} if marker == "x" else {})
            axes.errorbar(drawn, [one.mean() for one in some], bars, marker=marker, label=model, **style)
        axes.axvspan(low, bound + 0.5, color="0.93", zorder=0)
        axes.text(low + 0.1, 0.99, "learned sizes", transform=axes.get_xaxis_transform(), va="top", color="0.4")
        claim = f"published claim, {bound + 1} atoms and more"
        axes.axhline(_CLAIM, color="0.3", linestyle="--", linewidth=1, zorder=1, label=claim)
        axes.set(yscale="log", xlim=(low, high), xlabel="number of atoms", ylabel="mean absolute error (kcal/mol)")
        plain_numbers(axes.yaxis)
        axes.yaxis.set_minor_formatter(matplotlib.ticker.LogFormatter(minor_thresholds=(1.5, 0.4)))
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        axes.set_title(title, fontsize=10)
        axes.figure.legend(loc="outside lower center", ncols=2, frameon=False)


def main(words: Sequence[str] | None = None) -> None:
    """Train all models; print and write the table; draw the picture."""
    parser = command_line("extrapolation", __doc__, output=...)
    parser.add_argument("data", type=existing, help="file that mlwave reads, neutral closed shells with energies")
    file = Path(__file__).with_suffix(".yaml")
    parser.add_argument("--settings", type=existing, default=file, help="in place of extrapolation.yaml")
    chosen, console = parser.parse_args(words), Console()
    settings = yaml.safe_load(chosen.settings.read_text(encoding="utf-8"))
    results: dict[str, Result] = {}
    with one_thread():
        data, bound = read_dataset(chosen.data), settings["molecules"]["bound"]
        parts = divide(data, **settings["molecules"])
        for model, own in settings["models"].items():
            console.print(f"{model} ...", style="dim")
            results[model] = measure(model, own, parts, data.level, chosen.output / model.replace(" ", "-"))
    n_train = f"{len(parts['train'])} training molecules of at most {bound} atoms"
    title, cells = f"{chosen.data.stem}, {data.level}: {n_train}", rows(parts, bound, results)
    console.print(rich_table(cells, f"{title}; mean absolute error, kcal/mol"))
    base = chosen.output / "extrapolation"
    base.parent.mkdir(parents=True, exist_ok=True)
    base.with_suffix(".md").write_text(
        f"Mean absolute error, kcal/mol. {title}.\n\n{markdown_table(cells)}\n", encoding="utf-8"
    )
    draw(parts, bound, results, f"{chosen.data.stem}: {n_train}", base.with_suffix(".png"))


if __name__ == "__main__":
    main()
