"""Run dynamics at constant energy with a model, and say how well it conserves the energy.

    python -m benchmarks.dynamics qdf-ethanol --output results
    python -m benchmarks.dynamics phisnet-chno --energy wavefunction --molecule "CC(=O)NC" --length 5 --max-drift 1

Velocity Verlet from the relaxed molecule, at rest and not turning as a whole. As equipartition turns half of the
kinetic energy into potential energy, the first velocities are those of twice the temperature that is asked for. The
drift is the slope of a straight line through the total energy. Ctrl-C ends a run early; what was done is evaluated and
written, and the same command with --resume goes on from there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, InputError
from ase.collections import g2
from ase.io import read
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from numpy.typing import NDArray

from ase_mlwave.calculators import load_calculator
from ase_mlwave.console import Console
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.demo.dynamics import Trajectory
from ase_mlwave.plotting.demo import draw_trajectory
from ase_mlwave.reference.molecules import from_smiles
from benchmarks.common import bar, command_line, figures_table, one_thread, positive, write_json

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


@dataclass(frozen=True)
class Checkpoint:
    """The ``.npz`` file of a run with certain settings (JSON)."""

    path: Path
    settings: dict[str, Any]

    def save(self, run: Run) -> None:
        """Write a run, whole or not at all."""
        partial, line = self.path.with_suffix(".partial.npz"), run.trajectory
        arrays = {"time": line.time, "potential": line.potential, "kinetic": line.kinetic, "state": run.state}
        np.savez(partial, settings=json.dumps(self.settings), seconds=run.seconds, **arrays)
        partial.replace(self.path)

    def resume(self, atoms: Atoms) -> Run | None:
        """Read a run, whatever ended it, and move the atoms to where it was; one of other settings is refused."""
        if not self.path.is_file():
            return None
        with np.load(self.path, allow_pickle=False) as held:
            given = json.loads(str(held["settings"]))
            if given != self.settings:
                raise InputError(f"{self.path} is of a run with other settings ({given}); take another --output.")
            trajectory = Trajectory(held["time"], held["potential"], held["kinetic"], len(atoms))
            run = Run(trajectory, float(held["seconds"]), "complete", held["state"])
        atoms.set_positions(run.state[0])
        atoms.set_momenta(run.state[1])
        return run


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
    checkpoint: Checkpoint | None = None,
    *,
    resume: bool = False,
) -> Run:
    """Run velocity Verlet (time step in fs) from the molecule's positions and velocities, as far as it comes.

    Steps are kept in a checkpoint every few hundred and at the end. A run that was interrupted and resumed from it is
    the one that was not (``test_interrupted_run_goes_on``).
    """
    keep: Callable[[Run], object] = (lambda run: None) if checkpoint is None else checkpoint.save
    before = checkpoint.resume(atoms) if resume and checkpoint is not None else None
    before = before or Run(Trajectory(*np.empty((3, 0)), len(atoms)), 0.0, "", np.zeros((2, len(atoms), 3)))
    log = [*zip(before.trajectory.potential, before.trajectory.kinetic, strict=True)]
    state, begin = before.state, time.perf_counter() - before.seconds
    for _ in log:
        progress()
    known = len(log) > 0

    def note() -> None:
        nonlocal state, known
        if known:  # the first of what follows is the last of what was
            known = False
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
        return Run(trajectory, time.perf_counter() - begin, ending, state)

    dynamics, ending = VelocityVerlet(atoms, timestep=timestep * units.fs, logfile=None), "complete"
    dynamics.attach(note)
    try:
        dynamics.run(steps + 1 - len(log) if log else steps)
    except KeyboardInterrupt:
        ending = "interrupted"
    except (CalculationFailed, InputError) as error:  # such as atoms on top of each other
        ending = str(error)
    run = so_far(ending)
    if log:
        keep(run)
    return run


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


def structure(name: str) -> Atoms:
    """Read a file, or build a molecule of the G2 set, or one from its SMILES."""
    if Path(name).is_file():
        return read(name)
    if name in g2.names:
        return molecule(name)
    try:
        return atoms_from_record(from_smiles(name))
    except InputError as error:
        raise InputError(
            f"{name!r} is neither a file nor a molecule of ASE's G2 set, such as CH3CH2OH, nor a SMILES ({error})"
        ) from error


def measure(start: Atoms, chosen: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Run]:
    """Run all models, until one is interrupted."""
    options = {"device": chosen.device, "dtype": chosen.dtype} | ({"energy": chosen.energy} if chosen.energy else {})
    calculators = {model: load_calculator(model, **options) for model in chosen.models}
    chosen.output.mkdir(parents=True, exist_ok=True)
    steps, runs = round(1000 * chosen.length / chosen.timestep), {}
    with bar() as progress:
        for model, calculator in calculators.items():
            task = progress.add_task(model, total=steps + 1)
            atoms = start.copy()
            atoms.calc = calculator
            path = chosen.output / f"{model.strip('/').replace('/', '-')}.npz"
            if not (chosen.resume and path.is_file()):
                prepare(atoms, chosen.temperature, chosen.seed)
            advance = lambda task=task: progress.advance(task)  # noqa: E731
            checkpoint = Checkpoint(path, {"model": model, **settings})
            run = run_nve(atoms, steps, chosen.timestep, advance, checkpoint, resume=chosen.resume)
            line = run.trajectory
            if len(line.time) < 3:
                raise InputError(f"{model}: nothing to evaluate after {len(line.time)} steps ({run.ending}).")
            draw_trajectory(line.time, line.potential, line.kinetic, path.with_suffix(".png"))
            runs[model] = run
            if run.ending == "interrupted":
                break
    return runs


def main(words: Sequence[str] | None = None) -> None:
    """Run all models; print a table; write dynamics.json and a picture of each; judge the drift."""
    parser = command_line("dynamics", __doc__, seed=..., device=..., dtype=..., output=Path("runs/dynamics"))
    parser.add_argument("models", nargs="+", help="names in the zoo or folders, of any kind")
    parser.add_argument("--molecule", default="CH3CH2OH", help="name in ASE's G2 set, a SMILES, or a file")
    parser.add_argument("--energy", help="level of PhiSNets: wavefunction, functional or scf; by default the model's")
    parser.add_argument("--length", type=positive(float), default=10.0, help="ps")
    parser.add_argument("--timestep", type=positive(float), default=0.5, help="fs")
    parser.add_argument("--temperature", type=positive(float), default=300.0, help="mean of the run, K")
    parser.add_argument("--resume", action="store_true", help="go on with the runs in the output folder")
    parser.add_argument("--max-drift", type=float, help="meV/atom/ps; exit with 1 where it is more, or a run broke off")
    chosen = parser.parse_args(words)
    settings = {key: getattr(chosen, key) for key in ("molecule", "timestep", "temperature", "seed", "dtype")}
    settings |= {"energy": chosen.energy} if chosen.energy else {}
    try:
        with one_thread():
            start = structure(chosen.molecule)
            runs = measure(start, chosen, settings)
    except KeyboardInterrupt:
        raise SystemExit("interrupted; the same command with --resume goes on") from None
    columns = {model: figures(run) for model, run in runs.items()}
    Console().print(figures_table(columns, f"{start.symbols}, constant energy, {chosen.timestep:g} fs steps"))
    write_json(chosen.output / "dynamics.json", {"settings": {**settings, "length": chosen.length}, "models": columns})
    limit = chosen.max_drift
    if limit is not None and any(r.ending != "complete" or abs(r.trajectory.drift) > limit for r in runs.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
