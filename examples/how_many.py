"""Ask how many geometries a model of one molecule needs: errors against their number, in a table and a picture.

Usage: ``python examples/how_many.py [MOLECULE ...] [--numbers N ...]``; a molecule is a name that ASE knows, or a
labelled file of your own (energies and forces), by default ammonia and methanol, which GFN2-xTB labels here.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from ase.build import molecule
from ase.data import chemical_symbols
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ase_mlwave import (
    AmonsCalculator,
    Dataset,
    evaluate,
    label_geometries,
    read_dataset,
    sample_geometries,
    train,
    write_dataset,
)

SETTINGS = Path(__file__).parent / "amons-chno" / "train.yaml"
N_TEST = 60

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("molecules", nargs="*", default=["NH3", "CH3OH"])
parser.add_argument(
    "--numbers", nargs="+", type=int, default=[5, 10, 20, 50, 100, 200], help="geometries to learn from"
)
given = parser.parse_args()


def labelled(name: str, count: int, folder: Path) -> Dataset:
    """Read a file, or draw geometries at 500 K and label them."""
    if Path(name).is_file():
        return read_dataset(name)
    drawn = sample_geometries([molecule(name)], "gfn2-xtb", [500], count, seed=0, method="modes")
    with ThreadPoolExecutor(1) as threads:
        label_geometries(drawn, folder / "labels.db", "gfn2-xtb", executor=threads, matrices=False)
    return read_dataset(folder / "labels.db")


def errors(known: Dataset, held_out: Dataset, folder: Path) -> tuple[float, float]:
    """Fit energies and forces, and return mean absolute errors of others, meV and meV/Angstrom."""
    write_dataset(folder / "known.db", known)
    elements = ",".join(sorted({chemical_symbols[z] for record in known for z in record.numbers}))
    words = ["valid_split=null", f"data={folder}/known.db", f"output={folder}/run", f"model.elements=[{elements}]"]
    words += ["model.representation={}", "fit.force_penalty=1.0e-6"]  # one molecule wants less smoothing than many
    model = train(SETTINGS, [*words, f"model.level={known.level or 'of-the-file'}"], progress=False)
    figures = evaluate(AmonsCalculator(model, outside="warn"), held_out).figures
    return figures["energy_mae_meV"], figures["forces_mae_meV_per_A"]


figure = Figure(figsize=(9, 3.8), layout="constrained")
panels = figure.subplots(1, 2)
for name in given.molecules:
    with tempfile.TemporaryDirectory() as folder:
        data = labelled(name, N_TEST + max(given.numbers), Path(folder))
    order = np.random.default_rng(0).permutation(len(data))
    records = [data[int(i)].with_info(split="test" if k < N_TEST else "train") for k, i in enumerate(order)]
    held_out, known = records[:N_TEST], records[N_TEST:]
    numbers = [number for number in given.numbers if number <= len(known)]
    curve = []
    print(f"{name}, {data.level or 'labels of the file'}\n{'geometries':>12}{'energy, meV':>14}{'forces, meV/Å':>16}")
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            sets = (Dataset(tuple(some), data.level, data.source) for some in (known[:number], held_out))
            curve.append(errors(*sets, Path(folder)))
        print(f"{number:12d}{curve[-1][0]:14.2f}{curve[-1][1]:16.1f}")
    for axes, values in zip(panels, np.transpose(curve), strict=True):
        axes.loglog(numbers, values, "o-", lw=1.2, ms=5, label=Path(name).stem)

for axes, what in zip(panels, ("energy (meV)", "forces (meV/Å)"), strict=True):
    axes.set(xlabel="geometries learned from", ylabel=f"mean absolute error, {what}", xticks=given.numbers)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
figure.savefig("how_many.png", dpi=150)
print("how_many.png")
