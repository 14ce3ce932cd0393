"""Run dynamics at constant energy with a model, and say how well it conserves the energy.

    python -m benchmarks.dynamics qdf-ethanol --output results

Velocity Verlet from the relaxed molecule, at rest and not turning as a whole. As equipartition turns half of the
kinetic energy into potential energy, the first velocities are those of twice the temperature that is asked for. The
drift is the slope of a straight line through the total energy. Ctrl-C ends a run early; what was done is evaluated and
written, and the same command with --resume goes on from there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, InputError
from ase.io import read
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from numpy.typing import NDArray

from ase_mlwave.calculators import load_calculator
from ase_mlwave.console import Console
from ase_mlwave.demo.dynamics import Trajectory
from benchmarks.common import bar, command_line, figures_table, one_thread, picture, positive, write_json

#: Steps between two checkpoints.
_CHUNK = 500
#: Forces of the geometry that the dynamics start from, eV/Angstrom.
_FMAX = 0.02


@dataclass(frozen=True)
class Run:
    """A trajectory and why it ended."""

    trajectory: Trajectory  # energies after each step
    seconds: float  # wall time
    ending: str  # "complete", "interrupted", or why the calculator failed
    state: NDArray[np.float64]  # positions and momenta after the last step, ASE's units; (2, N, 3)

    @property
    def temperatures(self) -> NDArray[np.float64]:
        """After each step, K; three degrees of freedom for each atom less the six of the whole; (T,)."""
        return 2 * self.trajectory.kinetic / (_freedoms(self.trajectory.n_atoms) * units.kB)


def prepare(atoms: Atoms, temperature: float, seed: int) -> None:
    """Relax a molecule in place, and give it velocities of twice the temperature (K), without moving or turning it."""
    if not BFGS(atoms, logfile=None).run(fmax=_FMAX, steps=200):
        raise InputError(f"{atoms.symbols} did not relax to forces below {_FMAX} eV/Angstrom with this model.")
    thermalize_momenta(atoms, temperature_K=2 * temperature, rng=np.random.default_rng(seed))
    Stationary(atoms)
    ZeroRotation(atoms)
    wanted = _freedoms(len(atoms)) * units.kB * temperature
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(wanted / atoms.get_kinetic_energy()))


def _freedoms(n_atoms: int) -> int:
    """Count the vibrations of a molecule that is not linear."""
    return max(1, 3 * n_atoms - 6)


def run_nve(
    atoms: Atoms,
    steps: int,
    timestep: float,
    progress: Callable[[], object] = lambda: None,
    before: Run | None = None,
    keep: Callable[[Run], object] = lambda run: None,
) -> Run:
    """Run velocity Verlet (time step in fs) from the molecule's positions and velocities, as far as it comes.

    Or go on from a run ``before``, whose steps count; ``keep`` is given the run every few hundred steps.
    """
    log = [] if before is None else [*zip(before.trajectory.potential, before.trajectory.kinetic, strict=True)]
    state = np.zeros((2, len(atoms), 3)) if before is None else before.state
    earlier, n_known, begin = 0.0 if before is None else before.seconds, len(log), time.perf_counter()
    if before is not None:
        atoms.set_positions(state[0])
        atoms.set_momenta(state[1])
        for _ in log:
            progress()

    def note() -> None:
        nonlocal state, n_known
        if n_known:  # the first of what follows is the last of what was
            n_known = 0
            return
        energies = float(atoms.get_potential_energy()), float(atoms.get_kinetic_energy())
        if not np.isfinite(energies).all():
            raise CalculationFailed("the energy is not finite")
        state = np.stack([atoms.get_positions(), atoms.get_momenta()])
        log.append(energies)
        progress()
        if len(log) % _CHUNK == 0:
            keep(so_far("complete"))

    def so_far(ending: str) -> Run:
        potential, kinetic = np.array(log).reshape(-1, 2).T
        trajectory = Trajectory(np.arange(len(log)) * timestep / 1000, potential, kinetic, len(atoms))
        return Run(trajectory, earlier + time.perf_counter() - begin, ending, state)

    dynamics = VelocityVerlet(atoms, timestep=timestep * units.fs, logfile=None)
    dynamics.attach(note)
    try:
        dynamics.run(steps + 1 - len(log) if log else steps)
    except KeyboardInterrupt:
        return so_far("interrupted")
    except (CalculationFailed, InputError) as error:  # such as atoms on top of each other
        return so_far(str(error))
    return so_far("complete")


def run_in_parts(
    atoms: Atoms,
    steps: int,
    timestep: float,
    checkpoint: Path,
    settings: Mapping[str, Any],
    *,
    resume: bool = False,
    progress: Callable[[], object] = lambda: None,
) -> Run:
    """Run as `run_nve` does, keep what was done in an ``.npz`` file, and go on from there if asked to.

    A run that was interrupted and resumed is the one that was not (``test_interrupted_run_goes_on``); a file of a run
    with other ``settings`` (JSON) is refused.
    """
    before = _load(checkpoint, settings, len(atoms)) if resume and checkpoint.is_file() else None
    run = run_nve(atoms, steps, timestep, progress, before, lambda run: _save(run, checkpoint, settings))
    if len(run.trajectory.time):
        _save(run, checkpoint, settings)
    return run


def _save(run: Run, path: Path, settings: Mapping[str, Any]) -> None:
    """Write a run, whole or not at all."""
    partial = path.with_suffix(".partial.npz")
    line = run.trajectory
    arrays = {"time": line.time, "potential": line.potential, "kinetic": line.kinetic, "state": run.state}
    np.savez(partial, settings=json.dumps(dict(settings)), seconds=run.seconds, **arrays)
    partial.replace(path)


def _load(path: Path, settings: Mapping[str, Any], n_atoms: int) -> Run:
    """Read a run, to go on with it whatever ended it."""
    with np.load(path, allow_pickle=False) as held:
        given = json.loads(str(held["settings"]))
        if given != json.loads(json.dumps(dict(settings))):
            raise InputError(f"{path} is of a run with other settings ({given}); remove it, or take another --output.")
        trajectory = Trajectory(held["time"], held["potential"], held["kinetic"], n_atoms)
        return Run(trajectory, float(held["seconds"]), "complete", held["state"])


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


def draw(runs: Mapping[str, Run], title: str, path: Path) -> None:
    """Draw the total energy against time with the line whose slope is the drift."""
    with picture(path, (6.4, 3.8)) as axes:
        for k, (name, run) in enumerate(runs.items()):
            line = run.trajectory
            values = 1e3 * (line.total - line.total[0]) / line.n_atoms
            axes.plot(line.time, values, lw=0.6, color=f"C{k}", alpha=0.6)
            straight = np.polyval(np.polyfit(line.time, values, 1), line.time)
            axes.plot(line.time, straight, lw=1.6, color=f"C{k}", label=f"{name}: {line.drift:+.2g} meV/atom/ps")
        axes.set(xlabel="time (ps)", ylabel="total energy (meV/atom)", title=title)
        axes.legend(frameon=False)


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = command_line("dynamics", __doc__, seed=..., device=..., dtype=..., output=Path("runs/dynamics"))
    parser.add_argument("models", nargs="+", help="names in the zoo or folders, of any kind")
    parser.add_argument("--molecule", default="CH3CH2OH", help="name in ASE's G2 set, or a file")
    parser.add_argument("--length", type=positive(float), default=10.0, help="ps")
    parser.add_argument("--timestep", type=positive(float), default=0.5, help="fs")
    parser.add_argument("--temperature", type=positive(float), default=300.0, help="mean of the run, K")
    parser.add_argument("--resume", action="store_true", help="go on with the runs in the output folder")
    parser.add_argument("--max-drift", type=float, help="meV/atom/ps; exit with 1 where it is more, or a run broke off")
    return parser.parse_args(words)


def structure(name: str) -> Atoms:
    """Read a file, or build a molecule of the G2 set."""
    if Path(name).is_file():
        return read(name)
    try:
        return molecule(name)
    except KeyError:
        raise InputError(f"{name!r} is neither a file nor a molecule of ASE's G2 set, such as CH3CH2OH.") from None


def measure(chosen: argparse.Namespace) -> dict[str, Run]:
    start = structure(chosen.molecule)
    calculators = {model: load_calculator(model, device=chosen.device, dtype=chosen.dtype) for model in chosen.models}
    chosen.output.mkdir(parents=True, exist_ok=True)
    steps = round(1000 * chosen.length / chosen.timestep)
    runs: dict[str, Run] = {}
    with bar() as progress:
        for model, calculator in calculators.items():
            task = progress.add_task(model, total=steps + 1)
            atoms = start.copy()
            atoms.calc = calculator
            checkpoint = chosen.output / f"{model.strip('/').replace('/', '-')}.npz"
            if not (chosen.resume and checkpoint.is_file()):
                prepare(atoms, chosen.temperature, chosen.seed)
            run = run_in_parts(
                atoms,
                steps,
                chosen.timestep,
                checkpoint,
                {"model": model, **_settings(chosen)},
                resume=chosen.resume,
                progress=lambda task=task: progress.advance(task),  # type: ignore[misc]
            )
            if len(run.trajectory.time) < 3:
                raise InputError(f"{model}: nothing to evaluate after {len(run.trajectory.time)} steps ({run.ending}).")
            runs[model] = run
            if run.ending == "interrupted":
                break
    return runs


def _settings(chosen: argparse.Namespace) -> dict[str, Any]:
    return {key: getattr(chosen, key) for key in ("molecule", "timestep", "temperature", "seed", "dtype")}


def main(words: Sequence[str] | None = None) -> None:
    """Run all models; print a table; write dynamics.json and dynamics.png; judge the drift."""
    chosen, console = options(words), Console()
    try:
        with one_thread():
            runs = measure(chosen)
    except KeyboardInterrupt:
        raise SystemExit("interrupted; the same command with --resume goes on") from None
    columns = {model: figures(run) for model, run in runs.items()}
    name = structure(chosen.molecule).get_chemical_formula()
    console.print(figures_table(columns, f"{name}, constant energy, {chosen.timestep:g} fs steps"))
    settings = {**_settings(chosen), "length": chosen.length}
    write_json(chosen.output / "dynamics.json", {"settings": settings, "models": columns})
    draw(runs, f"{name} at constant energy, {chosen.temperature:g} K", chosen.output / "dynamics.png")
    console.print(f"written: {chosen.output / 'dynamics.json'}, {chosen.output / 'dynamics.png'}")
    limit = float("inf") if chosen.max_drift is None else chosen.max_drift
    well = all(run.ending == "complete" and abs(run.trajectory.drift) <= limit for run in runs.values())
    if chosen.max_drift is not None and not well:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
