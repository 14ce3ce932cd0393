"""Draw how the errors of a PhiSNet fall with the number of geometries that it learns from.

    python -m benchmarks.learning_curve --data chno_matrices.db --geometries 250 500 1000
        [--settings examples/phisnet-chno/train.yaml] [--set steps=6000] [--cycles 12]
    python -m benchmarks.learning_curve --data chno_matrices.db --models 250=runs/a/model 500=runs/b/model

The first trains a model on each number of geometries, drawn at random from the training split, the smaller sets within
the larger ones, with the same settings and steps for all. The second takes models that are there; both go together.
Errors are those on another split (`valid`), whose sum formulas no training molecule has where the file is divided so.
Straight lines through the logarithms say what --predict geometries would give: once through all points, once through
the last two. What was trained and measured is kept: a second call goes on, and with more geometries does what is new.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.calculators.calculator import InputError
from matplotlib.ticker import LogLocator, NullFormatter

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.console import Console
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.evaluation.matrices import count_cycles
from ase_mlwave.models.phisnet.inference import predict_batch
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.training.start import train
from ase_mlwave.quantum.density import orbitals
from ase_mlwave.units import HARTREE
from benchmarks import common
from benchmarks.common import existing, positive
from benchmarks.cycles import Kept

SETTINGS = Path("examples/phisnet-chno/train.yaml")
#: Figure -> heading; of these a law is drawn.
FIGURES = {
    "hamiltonian_mae_uHa": "H, µHa",
    "occupied_virtual_rms_uHa": "occupied-virtual, µHa",
    "second_order_energy_median_meV": "energy, meV",
    "occupied_energies_mae_mHa": "occupied energies, mHa",
}
CYCLES, COLD = "scf_cycles_model_mean", "scf_cycles_minao_mean"
Errors = dict[str, float]


def read(files: Sequence[Path]) -> Dataset:
    """Read what has a matrix."""
    first, *others = (read_dataset(file) for file in files)
    data = sum(others, start=first)
    return replace(data, records=tuple(one for one in data if "hamiltonian" in one.matrices))


def subset(data: Dataset, n: int, seed: int) -> Dataset:
    """Take ``n`` training geometries at random, of which fewer are a part, and all that validate the training."""
    pool = data.split("train")
    if n > len(pool):
        raise InputError(f"there are {len(pool)} training geometries with matrices, {n} were asked for")
    order = np.random.default_rng(seed).permutation(len(pool))[:n]
    return replace(pool, records=(*(pool[i] for i in order), *data.split("valid")))


def trained(data: Dataset, n: int, chosen: argparse.Namespace) -> Path:
    """Train on ``n`` geometries with ``mlwave train``, or go on with that; return the model."""
    folder, file = chosen.output / f"{n}", chosen.output / f"{n}.db"
    model: Path = folder / "model"
    if not (model / "config.json").is_file():
        if not file.is_file():
            write_dataset(file, subset(data, n, chosen.seed))
        words = [f"data={file}", f"output={folder}", f"cache={chosen.output / 'integrals'}", *chosen.set]
        train(chosen.settings, words, resume=True)
    return model


def errors_of(calculator: PhiSNetCalculator, records: Sequence[Record], tell: Callable[[int], None]) -> Errors:
    """Measure matrices and what they do to orbitals.

    H and occupied energies are mean absolute errors over all elements and occupied orbitals; the block between occupied
    and virtual orbitals of the reference is a root mean square, averaged over molecules; the energy is what the
    density loses to second order, 2 sum |dH_ia|^2 / (eps_a - eps_i), the median of molecules.
    """
    network = calculator.members[0].network_as(PhiSNet)
    elements, levels, mixings, losses = [], [], [], []
    for chunk, batch in calculator.in_batches(partial(predict_batch, network), records, ["energy"]):
        for record, H, S, state in zip(chunk, batch.hamiltonians, batch.overlaps, batch.states, strict=True):
            n, reference = state.n_occupied, torch.from_numpy(np.array(record.matrices["hamiltonian"]))
            if reference.shape != H.shape:
                raise InputError(f"{record.formula} has matrices of another basis than {network.config.basis!r}")
            C, eps = orbitals(reference, S.cpu())
            change = H.cpu() - reference
            block = C[:, :n].T @ change @ C[:, n:]  # (occupied, virtual)
            elements.append(change.abs().flatten())
            levels.append((state.orbital_energies.cpu()[:n] - eps[:n]).abs())
            mixings.append(block.square().mean().sqrt())
            losses.append(2 * (block.square() / (eps[n:] - eps[:n, None])).sum())
        tell(len(chunk))
    means = (torch.cat(elements).mean(), torch.stack(mixings).mean(), torch.stack(losses).quantile(0.5))
    scales = (1e6, 1e6, 1e3 * HARTREE, 1e3)
    found = (scale * float(value) for scale, value in zip(scales, (*means, torch.cat(levels).mean()), strict=True))
    return dict(zip(FIGURES, found, strict=True))


def measured(model: str | Path, data: Dataset, chosen: argparse.Namespace, kept: Kept) -> Errors:
    """Measure a model once: errors on all molecules, and SCF cycles of some, evenly from the first to the last."""
    calculator = PhiSNetCalculator(model, dtype="float32", device=chosen.device, outside="warn")
    config = calculator.members[0].config
    name = f"{config.weights_sha256[:16]} {config.settings.get('overlap_penalty', 0)}"
    places = np.linspace(0, len(data) - 1, min(chosen.cycles, len(data))).round().astype(int)
    some = replace(data, records=tuple(data[i] for i in places))
    cold = f"{some.content_hash()[:16]} minao"
    with common.bar() as progress:

        def teller(what: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(what, total=total)
            return lambda done: progress.advance(task, done)

        def cycles() -> Errors:
            guesses = [] if cold in kept.runs else ["minao"]  # which is the same for all models
            counts = count_cycles(
                calculator, some.records, guesses=guesses, progress=teller("SCF cycles", len(some))
            ).by_guess
            if guesses:
                kept.get(cold, lambda: {COLD: float(np.mean(counts["minao"]))})
            return {CYCLES: float(np.mean(counts["model"]))}

        key = f"{name} {data.content_hash()[:16]}"
        found = kept.get(key, lambda: errors_of(calculator, data.records, teller("matrices", len(data))))
        if some.records:
            found |= kept.get(f"{key} {len(some)} cycles", cycles) | kept.runs[cold]
    return found


def law(numbers: Sequence[int], values: Sequence[float], predict: Sequence[int]) -> dict[str, Any]:
    """Fit error = factor * number**exponent to all points and to the last two; predict by both, the lower first."""
    x, y = np.log(numbers), np.log(values)
    fits = [np.polyfit(x, y, 1), np.polyfit(x[-2:], y[-2:], 1)]
    predicted = {n: sorted(math.exp(np.polyval(fit, math.log(n))) for fit in fits) for n in predict}
    return {
        "exponent": float(fits[0][0]),
        "factor": math.exp(fits[0][1]),
        "exponent_of_the_last_two": float(fits[1][0]),
        "predicted": predicted,
    }


def rows_of(curve: Sequence[Errors], laws: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Write a line for each model, the exponents, and what the laws predict."""
    with_cycles = CYCLES in curve[0]
    rows = [["geometries", *FIGURES.values(), *(["SCF cycles"] if with_cycles else [])]]
    rest = [""] if with_cycles else []
    for one in curve:
        cells = [_three_digits(one[name]) for name in FIGURES]
        rows.append([f"{one['geometries']:,.0f}", *cells, *([f"{one[CYCLES]:.2f}"] if with_cycles else [])])
    if with_cycles:
        rows.append(["PySCF's guess", *("" for _ in FIGURES), f"{curve[0][COLD]:.2f}"])
    if laws:
        exponents = [f"{each['exponent']:.2f} ({each['exponent_of_the_last_two']:.2f})" for each in laws.values()]
        rows.append(["exponent (of the last two)", *exponents, *rest])
        for n in next(iter(laws.values()))["predicted"]:
            ranges = [" to ".join(map(_three_digits, each["predicted"][n])) for each in laws.values()]
            rows.append([f"{n:,}, by the laws", *ranges, *rest])
    return rows


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def draw(curve: Sequence[Errors], laws: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Plot errors against geometries; dashed: the law of all points; bars: from it to that of the last two."""
    numbers = [one["geometries"] for one in curve]
    with common.picture(path, (11.0, 3.4), panels=len(FIGURES), dpi=150) as axes:
        for axis, (name, label) in zip(axes, FIGURES.items(), strict=True):
            axis.plot(numbers, [one[name] for one in curve], "o", color="C0")
            if name in laws:
                found = laws[name]
                ends = np.array([min(numbers), *found["predicted"]], dtype=float)
                axis.plot(ends, found["factor"] * ends ** found["exponent"], "--", color="0.5", linewidth=1)
                for n, (low, high) in found["predicted"].items():
                    axis.plot([n, n], [low, high], color="C0", alpha=0.4, linewidth=5, solid_capstyle="butt")
                label = f"{label}: N$^{{{found['exponent']:.2f}}}$"
            axis.set_title(label, fontsize=10)
            axis.set(xscale="log", yscale="log", xlabel="training geometries, N")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_minor_formatter(NullFormatter())
            for each in (axis.xaxis, axis.yaxis):
                common.plain_numbers(each)


def numbered(text: str) -> tuple[int, str]:
    """Read ``N=MODEL``."""
    number, _, model = text.partition("=")
    if not (number.isdecimal() and int(number) and model):
        raise argparse.ArgumentTypeError(f"it was {text}, write NUMBER=MODEL, as 250=runs/250/model")
    return int(number), model


def options() -> argparse.ArgumentParser:
    """Say what may be chosen."""
    shared: dict[str, Any] = {"output": Path("runs/learning_curve"), "seed": ..., "device": "cpu"}
    parser = common.command_line("learning_curve", __doc__, **shared)
    add = parser.add_argument
    add("--data", type=existing, nargs="+", required=True, metavar="FILE", help="data sets with Kohn-Sham matrices")
    add("--geometries", type=positive(int), nargs="*", default=[], help="numbers to train on")
    add("--models", type=numbered, nargs="*", default=[], metavar="N=MODEL", help="models that are there")
    add("--settings", type=existing, default=SETTINGS, help="of mlwave train")
    add("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings in place of those, as steps=6000")
    add("--split", default="valid", help="to measure on")
    add("--cycles", type=int, default=0, help="molecules whose SCF cycles are counted; 0: none")
    add("--predict", type=positive(int), nargs="*", default=[4000, 10000], help="numbers to say errors of")
    return parser


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    """Train and measure what is missing; print a table; write learning_curve.md, .json and .png."""
    chosen = options().parse_args(words)
    chosen.output.mkdir(parents=True, exist_ok=True)
    with common.one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)  # what a model does not know is measured, too
        everything = read(chosen.data)
        data = everything.split(chosen.split)
        models = dict(chosen.models)
        if not {*models, *chosen.geometries}:
            raise SystemExit("nothing to measure: give --geometries or --models")
        kept, curve = Kept(chosen.output / "kept.json"), []
        for n in sorted({*models, *chosen.geometries}):
            model = models.get(n) or trained(everything, n, chosen)
            curve.append({"geometries": n, **measured(model, data, chosen, kept)})
    numbers = [int(one["geometries"]) for one in curve]
    values = {name: [one[name] for one in curve] for name in FIGURES}
    laws = {name: law(numbers, some, chosen.predict) for name, some in values.items()} if len(curve) > 1 else {}
    rows = rows_of(curve, laws)
    formulas = len({record.formula for record in data})
    Console().print(common.rich_table(rows, f"errors on {len(data)} molecules of {formulas} formulas, {chosen.split}"))
    result = {"split": chosen.split, "molecules": len(data), "formulas": formulas, "curve": curve, "laws": laws}
    common.write_json(chosen.output / "learning_curve.json", result)
    (chosen.output / "learning_curve.md").write_text(common.markdown_table(rows) + "\n", encoding="utf-8")
    draw(curve, laws, chosen.output / "learning_curve.png")
    return result


if __name__ == "__main__":
    main()
