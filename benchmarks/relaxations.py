"""Relax molecules that no model was trained on, and compare with the minima of the reference.

    python -m benchmarks.relaxations references chno5_geometries.npz qm9_under14.npz --cache minima.db
    python -m benchmarks.relaxations run qdf-chno --cache minima.db --output results

``references`` computes the reference's minima, one molecule after the other; started again, it goes on where it was.
``run`` displaces every molecule as hot vibrations would (harmonic, curvatures of GFN2-xTB, so tblite is needed; the
start is the same for all models), relaxes it with ASE's BFGS, and takes the deviation after optimal superposition. The
molecules are held out by sum formula: none of its isomers is in the training split of `formula_split`. Run it from
the root of the repository.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed, Calculator, InputError
from ase.optimize import BFGS
from rich.console import Console
from rich.progress import track
from rich.table import Table
from threadpoolctl import threadpool_limits

from ase_mlwave.calculators import load_calculator
from ase_mlwave.reference.calculator import ReferenceCalculator
from ase_mlwave.reference.modes import hessian
from benchmarks.relaxed_references import Minima, held_out
from benchmarks.superposition import rmsd

#: Deviation below which a geometry counts as the reference's, Angstrom.
CLOSE = 0.1
#: Smallest curvature of the displacements, and what keeps the molecule from moving as a whole, eV/Angstrom^2.
_SOFTEST, _RIGID = 0.5, 1e6


@dataclass(frozen=True)
class Relaxation:
    """One molecule relaxed by a model."""

    formula: str
    """Sum formula."""
    name: str
    """SMILES, where known."""
    start: float
    """Deviation of the start from the reference's minimum, all atoms, Angstrom."""
    steps: int
    """Steps of the optimiser."""
    converged: bool
    """Whether the forces fell below the threshold."""
    all_atoms: float
    """Deviation of the result from the reference's minimum, Angstrom."""
    heavy_atoms: float
    """The same without hydrogen."""
    failure: str = ""
    """Why the calculator gave up, if it did."""


def displaced(minimum: Atoms, temperature: float, seed: int) -> Atoms:
    """Displace a molecule as classical harmonic vibrations at a temperature would, soft modes more than stiff ones.

    Parameters
    ----------
    minimum : Atoms
        Where the vibrations are centred; not changed.
    temperature : float
        K.
    seed : int
        Of the draw.

    Returns
    -------
    Atoms
        Without calculator.

    Notes
    -----
    Curvatures are those of GFN2-xTB, and at least 0.5 eV/A^2: a torsion that is nearly free would turn into another
    conformer, whose minimum is not the one that results are compared with.
    """
    moved = minimum.copy()
    moved.calc = ReferenceCalculator("gfn2-xtb")
    centred = moved.positions - moved.positions.mean(0)
    rigid = [np.ones((len(moved), 1)) * axis for axis in np.eye(3)] + [np.cross(axis, centred) for axis in np.eye(3)]
    u, s, _ = np.linalg.svd(np.reshape(rigid, (6, -1)).T, full_matrices=False)
    u = u[:, s > 1e-3 * s[0]]  # of a straight molecule five
    curvatures, modes = np.linalg.eigh(hessian(moved) + _RIGID * u @ u.T)
    amplitudes = np.sqrt(units.kB * temperature / np.maximum(np.abs(curvatures), _SOFTEST))
    drawn = modes @ (amplitudes * np.random.default_rng(seed).standard_normal(len(amplitudes)))
    moved.calc = None
    moved.positions += drawn.reshape(-1, 3)
    return moved


def relax(calculator: Calculator, start: Atoms, minimum: Atoms, fmax: float, steps: int) -> Relaxation:
    """Relax with ASE's BFGS and compare.

    Parameters
    ----------
    calculator : Calculator
        The model.
    start : Atoms
        Where it starts; not changed.
    minimum : Atoms
        Of the reference.
    fmax : float
        Largest force at the end, eV/Angstrom.
    steps : int
        Largest number of steps.

    Returns
    -------
    Relaxation
        Not converged also where the calculator fails on the way.
    """
    atoms, converged, failure = start.copy(), False, ""
    atoms.calc = calculator
    optimiser = BFGS(atoms, logfile=None)
    try:
        converged = bool(optimiser.run(fmax=fmax, steps=steps))
    except (CalculationFailed, InputError) as error:
        failure = str(error)
    whole, heavy = rmsd(atoms, minimum)
    name = str(minimum.info.get("smiles", minimum.info.get("name", "")))
    return Relaxation(
        formula=str(minimum.symbols.get_chemical_formula()),
        name=name,
        start=rmsd(start, minimum)[0],
        steps=int(optimiser.nsteps),
        converged=converged,
        all_atoms=whole,
        heavy_atoms=heavy,
        failure=failure,
    )


def summary(results: Sequence[Relaxation]) -> dict[str, float]:
    """Give the figures of the table's foot; deviations count all molecules, converged or not."""
    whole, heavy = (np.array([getattr(r, key) for r in results]) for key in ("all_atoms", "heavy_atoms"))
    converged = np.array([r.converged for r in results])
    return {
        "molecules": len(results),
        "converged": float(converged.mean()),
        f"converged, all atoms within {CLOSE} A": float((converged & (whole < CLOSE)).mean()),
        f"converged, heavy atoms within {CLOSE} A": float((converged & (heavy < CLOSE)).mean()),
        "median deviation of all atoms (A)": float(np.median(whole)),
        "median deviation of heavy atoms (A)": float(np.median(heavy)),
        "median deviation of the start (A)": float(np.median([r.start for r in results])),
        f"starts within {CLOSE} A": float(np.mean([r.start < CLOSE for r in results])),
        "median steps": float(np.median([r.steps for r in results])),
    }


def table(model: str, results: Sequence[Relaxation]) -> Table:
    """Lay the results out, the worst first."""
    columns = ("molecule", "", "start (A)", "steps", "converged", "all atoms (A)", "heavy atoms (A)")
    laid = Table(*columns, title=f"{model}: relaxed, deviation from the reference's minimum")
    for r in sorted(results, key=lambda r: -r.all_atoms):
        state = "yes" if r.converged else r.failure or "no"
        cells = (f"{r.start:.3f}", str(r.steps), state, f"{r.all_atoms:.4f}", f"{r.heavy_atoms:.4f}")
        laid.add_row(r.formula, r.name, *cells)
    return laid


def references(chosen: argparse.Namespace, console: Console) -> None:
    """Compute the minima that are not in the file yet."""
    starts = held_out(
        chosen.data, count=chosen.count, split=chosen.split, elements=chosen.elements, max_heavy=chosen.max_heavy
    )
    if not starts:
        raise InputError(f"no molecule of {[str(path) for path in chosen.data]} is held out under these conditions.")
    said: Iterator[str] = Minima(chosen.cache, chosen.level).fill(starts)
    for line in track(said, "relaxing", total=len(starts), console=console, disable=not console.is_terminal):
        console.print(line, highlight=False, soft_wrap=True)


def run(chosen: argparse.Namespace, console: Console) -> None:
    """Relax with every model, print tables, write relaxations.json."""
    calculators = {model: load_calculator(model, device=chosen.device, dtype=chosen.dtype) for model in chosen.models}
    minima = Minima(chosen.cache)
    molecules = minima.read()[: chosen.count]
    if not molecules:
        raise InputError(f"{chosen.cache} holds no minima yet. Compute them with the subcommand 'references'.")
    chosen.output.mkdir(parents=True, exist_ok=True)
    quiet = not console.is_terminal
    starts = [
        displaced(minimum, chosen.temperature, chosen.seed + k)
        for k, minimum in enumerate(track(molecules, "displacing", console=console, disable=quiet))
    ]
    figures = {}
    for model, calculator in calculators.items():
        pairs = track(list(zip(starts, molecules, strict=True)), model, console=console, disable=quiet)
        results = [relax(calculator, start, minimum, chosen.fmax, chosen.steps) for start, minimum in pairs]
        console.print(table(model, results))
        short = Table("", model)
        for name, value in summary(results).items():
            short.add_row(name, f"{value:.4g}")
        console.print(short)
        figures[model] = {"summary": summary(results), "molecules": [asdict(r) for r in results]}
    settings = {key: getattr(chosen, key) for key in ("fmax", "steps", "temperature", "seed", "dtype")}
    written = {"reference": minima.level.name, "settings": settings, "models": figures}
    path = chosen.output / "relaxations.json"
    path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    console.print(f"written: {path}")


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.relaxations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("references", help="compute the reference's minima")
    first.add_argument("data", type=Path, nargs="+", help="geometries near equilibrium, any format that mlwave reads")
    first.add_argument("--cache", type=Path, required=True, help="the minima, a .db file")
    first.add_argument("--level", default="pbe/def2-svp", help="level of theory")
    first.add_argument("--count", type=int, default=50, help="molecules at most")
    first.add_argument("--split", choices=("test", "valid"), default="test")
    first.add_argument("--elements", default="HCNO", help="elements allowed, as a formula")
    first.add_argument("--max-heavy", type=int, default=6, help="atoms other than hydrogen at most")
    first.set_defaults(action=references)
    second = commands.add_parser("run", help="relax with models")
    second.add_argument("models", nargs="+", help="names in the zoo or folders, of any kind")
    second.add_argument("--cache", type=Path, required=True, help="what 'references' wrote")
    second.add_argument("--output", type=Path, default=Path("runs/relaxations"), help="folder for relaxations.json")
    second.add_argument("--count", type=int, help="only the first molecules")
    second.add_argument("--fmax", type=float, default=0.05, help="eV/Angstrom")
    second.add_argument("--steps", type=int, default=200)
    second.add_argument("--temperature", type=float, default=1500.0, help="of the displacements, K")
    second.add_argument("--seed", type=int, default=0)
    second.add_argument("--device")
    second.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    second.set_defaults(action=run)
    return parser.parse_args(words)


def main() -> None:
    """Do what the command line says; refuse wrong input in one line."""
    chosen = options()
    try:
        with threadpool_limits(1):
            chosen.action(chosen, Console())
    except (InputError, ValueError, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
