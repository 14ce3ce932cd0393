"""Run dynamics at constant energy with a model, and say how well it conserves the energy.

    python -m benchmarks.dynamics qdf-ethanol --output results

Velocity Verlet from the relaxed molecule, at rest and not turning as a whole. As equipartition turns half of the
kinetic energy into potential energy, the first velocities are those of twice the temperature that is asked for. The
drift is the slope of a straight line through the total energy. Ctrl-C ends a run early; what was done is evaluated and
written. Run it from the root of the repository.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, InputError
from ase.io import read
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from threadpoolctl import threadpool_limits

from ase_mlwave.calculators import load_calculator
from ase_mlwave.demo.dynamics import Trajectory

#: Forces of the geometry that the dynamics start from, eV/Angstrom.
_FMAX = 0.02


@dataclass(frozen=True)
class Run:
    """A trajectory and why it ended."""

    trajectory: Trajectory
    """Energies after each step."""
    temperatures: NDArray[np.float64]
    """After each step, K; three degrees of freedom for each atom less the six of the whole; (T,)."""
    seconds: float
    """Wall time."""
    ending: str
    """``"complete"``, ``"interrupted"``, or why the calculator failed."""


def prepare(atoms: Atoms, temperature: float, seed: int) -> None:
    """Relax a molecule with its calculator, and give it velocities without translation and rotation, in place.

    Parameters
    ----------
    atoms : Atoms
        With a calculator; moved.
    temperature : float
        Of the run, K; the velocities have exactly twice that.
    seed : int
        Of the velocities.

    Raises
    ------
    InputError
        If the model has no minimum near the geometry.
    """
    if not BFGS(atoms, logfile=None).run(fmax=_FMAX, steps=200):
        raise InputError(f"{atoms.symbols} did not relax to forces below {_FMAX} eV/Angstrom with this model.")
    thermalize_momenta(atoms, temperature_K=2 * temperature, rng=np.random.default_rng(seed))
    Stationary(atoms)
    ZeroRotation(atoms)
    wanted = _freedoms(atoms) * units.kB * temperature
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(wanted / atoms.get_kinetic_energy()))


def _freedoms(atoms: Atoms) -> int:
    """Count the vibrations of a molecule that is not linear."""
    return max(1, 3 * len(atoms) - 6)


def run_nve(atoms: Atoms, steps: int, timestep: float, progress: Callable[[], object] = lambda: None) -> Run:
    """Run velocity Verlet from the molecule's positions and velocities.

    Parameters
    ----------
    atoms : Atoms
        With velocities and a calculator; moved.
    steps : int
        Number of steps.
    timestep : float
        fs.
    progress : callable
        Called after each step.

    Returns
    -------
    Run
        As far as it came.
    """
    potential, kinetic, ending = [], [], "complete"

    def note() -> None:
        energies = float(atoms.get_potential_energy()), float(atoms.get_kinetic_energy())
        if not np.isfinite(energies).all():
            raise CalculationFailed("the energy is not finite")
        potential.append(energies[0])
        kinetic.append(energies[1])
        progress()

    dynamics = VelocityVerlet(atoms, timestep=timestep * units.fs, logfile=None)
    dynamics.attach(note)
    begin = time.perf_counter()
    try:
        dynamics.run(steps)
    except KeyboardInterrupt:
        ending = "interrupted"
    except (CalculationFailed, InputError) as error:  # such as atoms on top of each other
        ending = str(error)
    done = min(len(potential), len(kinetic))
    times = np.arange(done) * timestep / 1000
    trajectory = Trajectory(times, np.array(potential[:done]), np.array(kinetic[:done]), len(atoms))
    temperatures = 2 * trajectory.kinetic / (_freedoms(atoms) * units.kB)
    return Run(trajectory, temperatures, time.perf_counter() - begin, ending)


def figures(run: Run) -> dict[str, float | str]:
    """Give the numbers of a run that has at least two steps."""
    line = run.trajectory
    residual = line.total - np.polyval(np.polyfit(line.time, line.total, 1), line.time)
    return {
        "ending": run.ending,
        "length (ps)": float(line.time[-1]),
        "drift (meV / atom / ps)": line.drift,
        "rms fluctuation of the total energy (meV / atom)": line.fluctuation / line.n_atoms,
        "the same about the line (meV / atom)": float(1e3 * residual.std() / line.n_atoms),
        "mean temperature (K)": float(run.temperatures.mean()),
        "highest temperature (K)": float(run.temperatures.max()),
        "ms per step": 1e3 * run.seconds / max(1, len(line.time) - 1),
    }


def draw(runs: dict[str, Trajectory], title: str, path: Path) -> None:
    """Draw the total energy against time with the line whose slope is the drift, as PNG."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for k, (name, run) in enumerate(runs.items()):
        values = 1e3 * (run.total - run.total[0]) / run.n_atoms
        axes.plot(run.time, values, lw=0.6, color=f"C{k}", alpha=0.6)
        line = np.polyval(np.polyfit(run.time, values, 1), run.time)
        axes.plot(run.time, line, lw=1.6, color=f"C{k}", label=f"{name}: {run.drift:+.2g} meV/atom/ps")
    axes.set(xlabel="time (ps)", ylabel="total energy (meV/atom)", title=title)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dynamics",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="+", help="names in the zoo or folders, of any kind")
    parser.add_argument("--molecule", default="CH3CH2OH", help="name in ASE's G2 set, or a file")
    parser.add_argument("--length", type=float, default=10.0, help="ps")
    parser.add_argument("--timestep", type=float, default=0.5, help="fs")
    parser.add_argument("--temperature", type=float, default=300.0, help="mean of the run, K")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--output", type=Path, default=Path("runs/dynamics"), help="folder for dynamics.json and .png")
    chosen = parser.parse_args(words)
    for name in ("length", "timestep", "temperature"):
        if not getattr(chosen, name) > 0:
            parser.error(f"--{name} must be positive (got {getattr(chosen, name)})")
    return chosen


def structure(name: str) -> Atoms:
    """Read a file, or build a molecule of the G2 set."""
    if Path(name).is_file():
        return read(name)
    try:
        return molecule(name)
    except KeyError:
        raise InputError(f"{name!r} is neither a file nor a molecule of ASE's G2 set, such as CH3CH2OH.") from None


def bar(console: Console) -> Progress:
    """Make a progress bar that is silent where nobody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def measure(chosen: argparse.Namespace, console: Console) -> None:
    """Run all models, print a table, write dynamics.json and dynamics.png."""
    start = structure(chosen.molecule)
    name = start.get_chemical_formula()
    calculators = {model: load_calculator(model, device=chosen.device, dtype=chosen.dtype) for model in chosen.models}
    chosen.output.mkdir(parents=True, exist_ok=True)
    steps = round(1000 * chosen.length / chosen.timestep)
    runs: dict[str, Run] = {}
    with bar(console) as progress:
        for model, calculator in calculators.items():
            task = progress.add_task(model, total=steps + 1)
            atoms = start.copy()
            atoms.calc = calculator
            prepare(atoms, chosen.temperature, chosen.seed)
            run = run_nve(atoms, steps, chosen.timestep, lambda task=task: progress.advance(task))  # type: ignore[misc]
            if len(run.trajectory.time) < 3:
                raise InputError(f"{model}: nothing to evaluate after {len(run.trajectory.time)} steps ({run.ending}).")
            runs[model] = run
            if run.ending == "interrupted":
                break
    table = Table("", *runs, title=f"{name}, constant energy, {chosen.timestep:g} fs steps")
    columns = [figures(run) for run in runs.values()]
    for key in columns[0]:
        table.add_row(key, *(f"{c[key]:.4g}" if isinstance(c[key], float) else str(c[key]) for c in columns))
    console.print(table)
    settings = {key: getattr(chosen, key) for key in ("molecule", "length", "timestep", "temperature", "seed", "dtype")}
    written = {"settings": settings, "models": dict(zip(runs, columns, strict=True))}
    (chosen.output / "dynamics.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    title = f"{name} at constant energy, {chosen.temperature:g} K"
    draw({model: run.trajectory for model, run in runs.items()}, title, chosen.output / "dynamics.png")
    console.print(f"written: {chosen.output / 'dynamics.json'}, {chosen.output / 'dynamics.png'}")


def main() -> None:
    """Do what the command line says; refuse wrong input in one line."""
    chosen = options()
    try:
        with threadpool_limits(1):
            measure(chosen, Console())
    except InputError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
