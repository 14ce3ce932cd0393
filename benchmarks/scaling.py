"""Measure how time and memory of energies and forces grow with the number of atoms: alkane chains and water boxes.

    python -m benchmarks.scaling qdf-chno --output results
    python -m benchmarks.scaling --random --output results

Every structure has a fresh process, so that its peak memory is its own. Times are medians, CPU-seconds of one thread
(wall time on a GPU); the exponent is the slope of log(time) against log(atoms) from --fit-from atoms on: below, the
fixed cost of a call counts, and a quantum deep field keeps what its backward pass needs instead of computing it again,
which takes more memory and about half the time. ``--random`` takes a quantum deep field of the default size with random
weights, on which the speed does not depend.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ase_mlwave.console import Console
from benchmarks.common import bar, command_line, median, one_thread, picture, positive, rich_table, write_json
from benchmarks.structures import chain, water_box

FAMILIES = {"alkane": chain, "water": water_box}


@dataclass(frozen=True)
class Cost:
    """What energy and forces of one structure cost."""

    family: str  # ``"alkane"`` or ``"water"``
    atoms: int  # number of atoms
    seconds: float  # median time
    memory: float  # peak memory beyond that of the loaded model, MB; of the device, where that is a GPU


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
    seconds = median(lambda: calculator.predict([atoms], ["energy", "forces"]), repeats, clock)
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else _peak_bytes()
    return Cost(family, len(atoms), seconds, (peak - before) / 1e6)


def exponent(sizes: Sequence[float], costs: Sequence[float], fit_from: float) -> float:
    """Fit the slope of log(cost) against log(size), from a size on; NaN if fewer than two are left."""
    pairs = [(s, c) for s, c in zip(sizes, costs, strict=True) if s >= fit_from and c > 0]
    if len(pairs) < 2:
        return float("nan")
    return float(np.polyfit(*np.log(np.array(pairs)).T, 1)[0])


def draw(costs: Sequence[Cost], fit_from: float, title: str, path: Path) -> None:
    parts = (("seconds", "time of energy and forces (s)"), ("memory", "peak memory beyond the model's (MB)"))
    with picture(path, (8.4, 3.9), panels=2, title=title) as panels:
        for axes, (key, title_of) in zip(panels, parts, strict=True):
            reached = [c for c in costs if getattr(c, key) > 0]
            for family, marker in zip(FAMILIES, "os", strict=True):
                own = [c for c in reached if c.family == family]
                if own:
                    sizes, values = [c.atoms for c in own], [getattr(c, key) for c in own]
                    slope = exponent(sizes, values, fit_from)
                    label = f"{family}: exponent {slope:.2f}" if np.isfinite(slope) else family
                    axes.plot(sizes, values, marker=marker, ms=5, lw=1.2, label=label)
            if reached:
                last = max(reached, key=lambda c: c.atoms)
                line = np.array([min(c.atoms for c in reached), last.atoms])
                axes.plot(line, getattr(last, key) * line / last.atoms, "k:", lw=1, label="proportional")
                axes.set(xscale="log", yscale="log")
                axes.legend(frameon=False, fontsize=9)
            axes.set(xlabel="atoms", ylabel=title_of)


def run(chosen: argparse.Namespace, console: Console) -> list[Cost]:
    from ase_mlwave.models.folder import locate

    spawn = multiprocessing.get_context("spawn")
    options = {"device": chosen.device, "dtype": chosen.dtype}
    jobs = [(family, size) for family in chosen.families for size in chosen.sizes]
    costs = []
    with TemporaryDirectory() as folder, bar() as progress:
        if chosen.random:
            model = str(random_model(Path(folder) / "random"))
        else:
            locate(model := chosen.model)
        for family, size in progress.track(jobs, description="measuring"):
            with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                costs.append(pool.submit(measure, family, size, model, chosen.repeats, options).result())
            console.print(f"{family}, {costs[-1].atoms} atoms: {costs[-1].seconds:.3g} s", highlight=False)
    return costs


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


def main(words: Sequence[str] | None = None) -> None:
    parser = command_line("scaling", __doc__, repeats=..., dtype=..., device="cpu", output=Path("runs/scaling"))
    parser.add_argument("model", nargs="?", default="qdf-chno", help="name in the zoo or folder, for H, C and O")
    parser.add_argument("--random", action="store_true", help="random weights instead of a model")
    sizes = [10, 20, 50, 100, 200, 350, 500, 700, 1000]
    parser.add_argument("--sizes", type=positive(int), nargs="+", default=sizes, help="atoms, about")
    parser.add_argument("--families", nargs="+", choices=tuple(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--fit-from", type=int, default=300, help="smallest size of the fit")
    chosen, console = parser.parse_args(words), Console()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started
    with one_thread():
        costs = run(chosen, console)
    name = "random weights" if chosen.random else chosen.model
    title = f"{name}, {chosen.dtype}, {chosen.device}"
    rows = [["", "atoms", "s", "ms per atom", "MB", "kB per atom"]]
    for c in costs:
        each = (f"{1e3 * c.seconds / c.atoms:.3g}", f"{c.memory:.0f}", f"{1e3 * c.memory / c.atoms:.0f}")
        rows.append([c.family, str(c.atoms), f"{c.seconds:.3g}", *each])
    console.print(rich_table(rows, title))
    exponents: dict[str, float] = {}
    for family in chosen.families:
        own = [c for c in costs if c.family == family]
        for key in ("seconds", "memory"):
            slope = exponent([c.atoms for c in own], [getattr(c, key) for c in own], chosen.fit_from)
            if np.isfinite(slope):
                exponents[f"{family}, {key}"] = slope
                console.print(f"{family}: {key} grow as atoms^{slope:.2f} from {chosen.fit_from} atoms on")
    settings = {"model": name, **{key: getattr(chosen, key) for key in ("dtype", "device", "repeats", "fit_from")}}
    written = {"settings": settings, "exponents": exponents, "costs": [asdict(c) for c in costs]}
    write_json(chosen.output / "scaling.json", written)
    draw(costs, chosen.fit_from, title, chosen.output / "scaling.png")
    console.print(f"written: {chosen.output / 'scaling.json'}, {chosen.output / 'scaling.png'}")


if __name__ == "__main__":
    main()
