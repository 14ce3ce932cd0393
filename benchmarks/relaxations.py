"""Relax molecules that no model was trained on, and compare with the minima of the reference.

    python -m benchmarks.relaxations references chno5_geometries.npz qm9_under14.npz --cache minima.db
    python -m benchmarks.relaxations run qdf-chno --cache minima.db --output results
    python -m benchmarks.relaxations run phisnet-chno --energy functional --fmax 0.01 --first-hessian --cache minima.db

``references`` computes the reference's minima, kept in a dataset that ``ase gui`` shows; started again, it goes on
where it was. ``run`` displaces every molecule as hot vibrations would (harmonic, curvatures of GFN2-xTB, so tblite is
needed; the start is the same for all models), relaxes it with ASE's BFGS, and takes the deviation after optimal
superposition. Finished molecules are kept in the output folder, so that the same command goes on where it was broken
off. The molecules are held out by sum formula: none of its isomers is in the training split of
`formula_split`.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed, Calculator, InputError
from ase.optimize import BFGS
from scipy.spatial.distance import pdist

from ase_mlwave.calculators import load_calculator
from ase_mlwave.console import Console
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.data.splits import formula_split
from ase_mlwave.reference.calculator import ReferenceCalculator
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.reference.modes import hessian
from ase_mlwave.units import BOHR, HARTREE_PER_BOHR
from benchmarks.common import add_shared, bar, command_line, figures_table, one_thread, positive, read_json, write_json
from benchmarks.references import Relaxing, first_hessian, label
from benchmarks.superposition import rmsd

#: Deviations below which a geometry counts as the reference's, Angstrom: where model and reference are hardly told
#: apart, and where they are the same conformer.
CLOSE = (0.02, 0.1)
#: Displacements' temperature, K; largest force of a model's minimum, eV/Angstrom, and the steps that it may take.
TEMPERATURE, FMAX, STEPS = 1500.0, 0.05, 200
#: Forces of a reference's minimum, eV/Angstrom, and the steps that it may take.
_FMAX, _STEPS = 0.01, 100
#: Geometries of one formula whose sorted distances all agree within this are the same molecule, Angstrom.
_SAME = 0.1
#: Smallest curvature of the displacements, and what keeps the molecule from moving as a whole, eV/Angstrom^2.
_SOFTEST, _RIGID = 0.5, 1e6


def held_out(files: Sequence[Path], count: int, max_heavy: int = 6) -> list[Record]:
    """Choose different molecules of C, H, N and O near their equilibrium that the rule of `formula_split` holds out.

    Of datasets with temperatures only the geometries at 0 K count. The first file comes first, smaller molecules before
    larger ones.
    """
    chosen: list[Record] = []
    for file in files:
        for record in sorted(read_dataset(file), key=len):
            n_heavy, cold = np.count_nonzero(record.numbers > 1), record.info.get("temperature", 0) == 0
            fits = set(record.numbers) <= {1, 6, 7, 8} and n_heavy <= max_heavy and len(record) > 1 and cold
            if fits and formula_split(record) == "test" and not any(_same(record, other) for other in chosen):
                chosen.append(record.with_info(source=Path(file).name, split="test"))
    return chosen[:count]


def _same(one: Record, other: Record) -> bool:
    """Say whether two records are the same molecule in nearly the same geometry."""
    sorted_distances = (np.sort(pdist(record.positions)) * BOHR for record in (one, other))
    return one.formula == other.formula and bool(np.abs(np.subtract(*sorted_distances)).max() < _SAME)


def tight(level: LevelOfTheory) -> Relaxing:
    """Return what computes minima of a level."""
    return Relaxing(level, largest_force=_FMAX / HARTREE_PER_BOHR, steps=_STEPS, tight=True)


def read_minima(path: Path) -> tuple[str, list[Atoms]]:
    """Return the level and the minima of a file, in the order in which they were asked for."""
    if not path.is_file():
        raise InputError(f"there is no file {path}. Compute the minima first with the subcommand 'references'.")
    file = DatasetFile(path)
    return file.level, [atoms_from_record(record) for record in file.read() if record.energy is not None]


def references(chosen: argparse.Namespace, console: Console) -> None:
    """Compute the minima that are not in the file yet."""
    starts = held_out(chosen.data, chosen.count)
    if not starts:
        raise InputError(f"no molecule of {[str(path) for path in chosen.data]} is held out under these conditions.")
    chosen.cache.parent.mkdir(parents=True, exist_ok=True)
    found = label(starts, chosen.cache, tight(LevelOfTheory.parse(chosen.level)), chosen.workers)
    for start, one in zip(starts, found, strict=True):
        what = "failed" if one is None else f"{one.info.get('steps')} steps, {one.energy:.6f} Hartree"
        console.print(f"{start.formula}: {what}")


@dataclass(frozen=True)
class Relaxation:
    """One molecule relaxed by a model."""

    formula: str  # sum formula
    name: str  # SMILES, where known
    start: float  # deviation of the start from the reference's minimum, all atoms, Angstrom
    steps: int  # steps of the optimiser
    converged: bool  # whether the forces fell below the threshold
    all_atoms: float  # deviation of the result from the reference's minimum, Angstrom
    heavy_atoms: float  # the same without hydrogen
    failure: str = ""  # why the calculator gave up, if it did
    seconds: float = 0.0  # of the CPU


def displaced(minimum: Atoms, temperature: float, seed: int) -> Atoms:
    """Displace a molecule as classical harmonic vibrations at a temperature (K) would, soft modes more than stiff ones.

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


def relax(
    calculator: Calculator, start: Atoms, minimum: Atoms, fmax: float | None = None, *, hurry: bool = False
) -> Relaxation:
    """Relax a copy of ``start`` with ASE's BFGS and compare; not converged also where the calculator fails.

    If ``hurry``, the optimiser begins with the Hessian of GFN2-xTB: the same minimum in fewer steps.
    """
    atoms, converged, failure = start.copy(), False, ""
    atoms.calc = calculator
    optimiser, begin = BFGS(atoms, logfile=None), time.process_time()
    if hurry:
        optimiser.H0 = first_hessian(start)
    try:
        converged = bool(optimiser.run(fmax=FMAX if fmax is None else fmax, steps=STEPS))
    except (CalculationFailed, InputError) as error:
        failure = str(error)
    seconds = time.process_time() - begin
    name = str(minimum.info.get("smiles", minimum.info.get("name", "")))
    formula, before = str(minimum.symbols.get_chemical_formula()), rmsd(start, minimum)[0]
    after = rmsd(atoms, minimum)
    return Relaxation(formula, name, before, int(optimiser.nsteps), converged, *after, failure, seconds)


def summary(results: Sequence[Relaxation]) -> dict[str, float]:
    """Give the figures of the table's foot; deviations count all molecules, converged or not."""
    columns = ("start", "all_atoms", "heavy_atoms", "converged", "steps")
    start, whole, heavy, converged, steps = (np.array([getattr(r, key) for r in results]) for key in columns)
    shares = {
        "converged": converged,
        **{f"converged, all atoms within {limit} A": converged & (whole < limit) for limit in CLOSE},
        **{f"converged, heavy atoms within {limit} A": converged & (heavy < limit) for limit in CLOSE},
        f"starts within {CLOSE[-1]} A": start < CLOSE[-1],
    }
    medians = {"all atoms (A)": whole, "heavy atoms (A)": heavy, "the start (A)": start}
    found = {"molecules": len(results)} | {name: float(share.mean()) for name, share in shares.items()}
    found |= {f"median deviation of {name}": float(np.median(values)) for name, values in medians.items()}
    return found | {"median steps": float(np.median(steps))}


def run(chosen: argparse.Namespace, console: Console) -> None:
    """Relax with models what `references` found."""
    options = {"device": chosen.device, "dtype": chosen.dtype} | ({"energy": chosen.energy} if chosen.energy else {})
    calculators = {model: load_calculator(model, **options) for model in chosen.models}
    level, molecules = read_minima(chosen.cache)
    molecules, figures = molecules[: chosen.count], {}
    if not molecules:
        raise InputError(f"{chosen.cache} holds no minima yet. Compute them with the subcommand 'references'.")
    with bar() as progress:
        tracked = progress.track(molecules, description="displacing")
        starts = [displaced(minimum, TEMPERATURE, chosen.seed + k) for k, minimum in enumerate(tracked)]
        for model, calculator in calculators.items():
            pairs = progress.track(list(zip(starts, molecules, strict=True)), description=model)
            results = [_kept(chosen, calculator, start, minimum) for start, minimum in pairs]
            seconds = float(np.mean([result.seconds for result in results]))
            found = summary(results) | {"mean CPU seconds a molecule": seconds}
            figures[model] = {"summary": found, "molecules": [asdict(r) for r in results]}
    console.print(figures_table({model: figure["summary"] for model, figure in figures.items()}))
    settings: dict[str, object] = {"fmax": chosen.fmax or FMAX, "steps": STEPS, "first_hessian": chosen.first_hessian}
    settings |= {"temperature": TEMPERATURE, "seed": chosen.seed, "dtype": chosen.dtype}
    write_json(chosen.output / "relaxations.json", {"reference": level, "settings": settings, "models": figures})


def _kept(chosen: argparse.Namespace, calculator: Calculator, start: Atoms, minimum: Atoms) -> Relaxation:
    """Relax a molecule, unless the output folder has it from this model and this start."""
    path = chosen.output / "kept.json"
    known = read_json(path, {})
    members = [[one.config.weights_sha256, one.config.settings] for one in getattr(calculator, "members", ())]
    settings = [members, calculator.parameters.get("energy"), chosen.dtype, chosen.fmax or FMAX, STEPS]
    settings += ["first hessian"] if chosen.first_hessian else []
    geometry = np.concatenate([start.positions, minimum.positions]).round(6).tobytes()
    key = hashlib.sha256(repr(settings).encode() + geometry).hexdigest()[:24]
    if key not in known:
        known[key] = asdict(relax(calculator, start, minimum, chosen.fmax, hurry=chosen.first_hessian))
        write_json(path, known)
    return Relaxation(**known[key])


def main(words: Sequence[str] | None = None) -> None:
    parser = command_line("relaxations", __doc__)
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("references", help="compute the reference's minima")
    add_shared(first, workers=...)
    first.add_argument("data", type=Path, nargs="+", help="geometries near equilibrium, any format that mlwave reads")
    first.add_argument("--level", default="pbe/def2-svp", help="level of theory")
    first.set_defaults(action=references)
    second = commands.add_parser("run", help="relax with models")
    add_shared(second, seed=..., device=..., dtype=..., output=Path("runs/relaxations"))
    second.add_argument("models", nargs="+", help="names in the zoo or folders, of any kind")
    second.add_argument("--energy", help="level of PhiSNets: wavefunction, functional or scf; by default the model's")
    second.add_argument("--fmax", type=positive(float), help=f"largest force of a minimum, eV/A; {FMAX} by default")
    second.add_argument("--first-hessian", action="store_true", help="begin with GFN2-xTB's Hessian: half the steps")
    second.set_defaults(action=run)
    for command in (first, second):
        command.add_argument("--cache", type=Path, required=True, help="the minima, a .db file")
        command.add_argument("--count", type=positive(int), default=50, help="molecules at most")
    chosen = parser.parse_args(words)
    with one_thread():
        chosen.action(chosen, Console())


if __name__ == "__main__":
    main()
