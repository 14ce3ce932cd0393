"""Measure how time and memory of energies and forces grow with the number of atoms: alkane chains and water boxes.

    python -m benchmarks.scaling qdf-chno --output results
    python -m benchmarks.scaling --random --output results

Every structure has a fresh process, so that its peak memory is its own. Times are medians, CPU-seconds of one thread
(wall time on a GPU); the exponent is the slope of log(time) against log(atoms) from --fit-from atoms on: below, the
fixed cost of a call counts, and a quantum deep field keeps what its backward pass needs instead of computing it again,
which takes more memory and about half the time. ``--random`` takes a quantum deep field of the default size with random
weights, on which the speed does not depend. Run it from the root of the repository.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.spatial.transform import Rotation

from benchmarks.qdf import alkane

#: Volume of a molecule in liquid water at 298 K, Angstrom^3 (0.997 g/cm^3).
_WATER_VOLUME = 30.0
#: Smallest distance of atoms of different water molecules, Angstrom (the hydrogen bond has about 1.8).
_CONTACT = 1.6


@dataclass(frozen=True)
class Cost:
    """What energy and forces of one structure cost."""

    family: str
    """``"alkane"`` or ``"water"``."""
    atoms: int
    """Number of atoms."""
    seconds: float
    """Median time."""
    memory: float
    """Peak memory beyond that of the loaded model, MB; of the device, where that is a GPU."""


def chain(n_atoms: int) -> Atoms:
    """Build the all-trans alkane C_n H_(2n+2) whose size is nearest to ``n_atoms`` (at least methane's 5)."""
    return alkane(max(1, round((n_atoms - 2) / 3)))


def water_box(n_atoms: int, seed: int = 0) -> Atoms:
    """Build a drop of water of liquid density, not periodic.

    Parameters
    ----------
    n_atoms : int
        The number of molecules is the nearest to a third of it, at least 1.
    seed : int
        Of the orientations.

    Returns
    -------
    Atoms
        Angstrom; molecules around the places of a simple cubic lattice nearest to the centre, turned at random such
        that no atoms of different molecules are nearer than 1.6 A (``test_waters_do_not_overlap``).
    """
    n = max(1, round(n_atoms / 3))
    side = int(np.ceil(n ** (1 / 3)))
    places = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) - (side - 1) / 2
    places = places[np.argsort((places**2).sum(1), kind="stable")[:n]] * _WATER_VOLUME ** (1 / 3)
    water = molecule("H2O")
    shape = water.positions - water.positions[0]
    generator = np.random.default_rng(seed)
    positions = np.empty((0, 3))
    for place in places:
        near = positions[np.linalg.norm(positions - place, axis=1) < 6]
        while True:
            turned = place + Rotation.random(random_state=generator).apply(shape)
            if not len(near) or np.linalg.norm(turned[:, None] - near, axis=-1).min() > _CONTACT:
                break
        positions = np.concatenate([positions, turned])
    return Atoms("OH2" * n, positions)


FAMILIES: dict[str, Callable[[int], Atoms]] = {"alkane": chain, "water": water_box}


def measure(family: str, n_atoms: int, model: str, repeats: int, options: dict[str, str | None]) -> Cost:
    """Measure one structure, in a process that has done nothing else."""
    import torch

    from ase_mlwave.calculators import load_calculator

    torch.set_num_threads(1)
    atoms = FAMILIES[family](n_atoms)
    calculator = load_calculator(model, outside="warn", **options)
    device = next(calculator.members[0].network.parameters()).device
    on_gpu = device.type == "cuda"
    calculator.predict([FAMILIES[family](6)])  # loads what is loaded at first use
    before = torch.cuda.memory_allocated(device) if on_gpu else _resident_bytes()
    clock = time.perf_counter if on_gpu else time.process_time
    seconds = []
    for _ in range(repeats):
        begin = clock()
        calculator.predict([atoms], ["energy", "forces"])
        seconds.append(clock() - begin)
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else _peak_bytes()
    return Cost(family, len(atoms), float(np.median(seconds)), (peak - before) / 1e6)


def exponent(sizes: Sequence[float], costs: Sequence[float], fit_from: float) -> float:
    """Fit the slope of log(cost) against log(size), from a size on; NaN if fewer than two are left."""
    pairs = [(s, c) for s, c in zip(sizes, costs, strict=True) if s >= fit_from and c > 0]
    if len(pairs) < 2:
        return float("nan")
    return float(np.polyfit(*np.log(np.array(pairs)).T, 1)[0])


def draw(costs: Sequence[Cost], fit_from: float, title: str, path: Path) -> None:
    """Draw time and memory against size, log-log, as PNG."""
    figure = Figure(figsize=(8.4, 3.9), layout="constrained")
    figure.suptitle(title)
    parts = (("seconds", "time of energy and forces (s)"), ("memory", "peak memory beyond the model's (MB)"))
    for axes, (key, title_of) in zip(figure.subplots(1, 2), parts, strict=True):
        for family, marker in zip(FAMILIES, "os", strict=True):
            own = [c for c in costs if c.family == family and getattr(c, key) > 0]
            if own:
                sizes, values = [c.atoms for c in own], [getattr(c, key) for c in own]
                slope = exponent(sizes, values, fit_from)
                label = f"{family}: exponent {slope:.2f}" if np.isfinite(slope) else family
                axes.plot(sizes, values, marker=marker, ms=5, lw=1.2, label=label)
        reached = [c for c in costs if getattr(c, key) > 0]
        if reached:
            last = max(reached, key=lambda c: c.atoms)
            line = np.array([min(c.atoms for c in reached), last.atoms])
            axes.plot(line, getattr(last, key) * line / last.atoms, "k:", lw=1, label="proportional")
            axes.set(xscale="log", yscale="log")
            axes.legend(frameon=False, fontsize=9)
        axes.set(xlabel="atoms", ylabel=title_of)
    figure.savefig(path, dpi=130)


def run(chosen: argparse.Namespace, console: Console) -> list[Cost]:
    """Measure all sizes, each in a fresh process."""
    spawn = multiprocessing.get_context("spawn")
    options = {"device": chosen.device, "dtype": chosen.dtype}
    jobs = [(family, size) for family in chosen.families for size in chosen.sizes]
    costs = []
    with _model(chosen) as model:
        for family, size in track(jobs, "measuring", console=console, disable=not console.is_terminal):
            with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                costs.append(pool.submit(measure, family, size, model, chosen.repeats, options).result())
            if not console.is_terminal:
                console.print(f"{family}, {costs[-1].atoms} atoms: {costs[-1].seconds:.3g} s", highlight=False)
    return costs


@contextmanager
def _model(chosen: argparse.Namespace) -> Iterator[str]:
    """Give the model's name, or the folder of one with random weights."""
    from ase_mlwave.models.folder import locate

    with ExitStack() as stack:
        if not chosen.random:
            locate(chosen.model)
            yield chosen.model
            return
        folder = stack.enter_context(TemporaryDirectory())
        yield str(random_model(Path(folder) / "random"))


def random_model(folder: Path) -> Path:
    """Write a quantum deep field of the default size with random weights."""
    import torch

    from ase_mlwave.models.folder import ModelFolder, TrainingData
    from ase_mlwave.models.qdf.config import QDFConfig
    from ase_mlwave.models.qdf.model import QDF

    torch.manual_seed(0)
    network = QDF(QDFConfig(elements=("H", "C", "N", "O")))
    with torch.no_grad():
        network.functional.readout.weight.normal_(std=0.04)
    data = TrainingData(source="none: random weights", sha256="0" * 64, n_records=1)
    return ModelFolder.pack("qdf", network, training_data=data, card="Random weights.").save(folder)


def _resident_bytes() -> float:
    """Return the memory that this process has now, and let its peak start from there where the system can do that."""
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        return _peak_bytes()
    with suppress(OSError):  # a hardened kernel; then the peak so far is a lower bound
        reset.write_text("5")
    return _from_status("VmRSS")


def _peak_bytes() -> float:
    """Return the largest memory that this process has had (Linux's ``ru_maxrss`` starts with that of its parent)."""
    if Path("/proc/self/status").exists():
        return _from_status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _from_status(key: str) -> float:
    """Return a figure of Linux's own account of this process, bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="qdf-chno", help="name in the zoo or folder, for H, C and O")
    parser.add_argument("--random", action="store_true", help="random weights instead of a model")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[10, 20, 50, 100, 200, 350, 500, 700, 1000], help="atoms, about"
    )
    parser.add_argument("--families", nargs="+", choices=tuple(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--fit-from", type=int, default=300, help="smallest size of the fit")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/scaling"), help="folder for scaling.json and scaling.png"
    )
    chosen = parser.parse_args(words)
    if min(chosen.sizes) < 1 or chosen.repeats < 1:
        parser.error("--sizes and --repeats must be positive")
    return chosen


def report(costs: Sequence[Cost], chosen: argparse.Namespace, console: Console) -> None:
    """Print a table, write scaling.json and scaling.png."""
    name = "random weights" if chosen.random else chosen.model
    title = f"{name}, {chosen.dtype}, {chosen.device}"
    table = Table("", "atoms", "s", "ms per atom", "MB", "kB per atom", title=title)
    for c in costs:
        each = (f"{1e3 * c.seconds / c.atoms:.3g}", f"{c.memory:.0f}", f"{1e3 * c.memory / c.atoms:.0f}")
        table.add_row(c.family, str(c.atoms), f"{c.seconds:.3g}", *each)
    console.print(table)
    exponents: dict[str, float] = {}
    for family in chosen.families:
        own = [c for c in costs if c.family == family]
        for key in ("seconds", "memory"):
            slope = exponent([c.atoms for c in own], [getattr(c, key) for c in own], chosen.fit_from)
            if np.isfinite(slope):
                exponents[f"{family}, {key}"] = slope
                console.print(f"{family}: {key} grow as atoms^{slope:.2f} from {chosen.fit_from} atoms on")
    chosen.output.mkdir(parents=True, exist_ok=True)
    settings = {"model": name, **{key: getattr(chosen, key) for key in ("dtype", "device", "repeats", "fit_from")}}
    written = {"settings": settings, "exponents": exponents, "costs": [asdict(c) for c in costs]}
    (chosen.output / "scaling.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    draw(costs, chosen.fit_from, title, chosen.output / "scaling.png")
    console.print(f"written: {chosen.output / 'scaling.json'}, {chosen.output / 'scaling.png'}")


def main() -> None:
    """Measure and report."""
    chosen = options()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started
    try:
        report(run(chosen, Console()), chosen, Console())
    except InputError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
