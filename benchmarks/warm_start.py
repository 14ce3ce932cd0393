"""Count the SCF cycles of PySCF from its own guess and from a model's density, and compare the states that they end in.

    python -m benchmarks.warm_start [--model phisnet-water] [--waters 84] [--structures FILE] [--output FOLDER]

Waters with bonds from 0.7 to 3 Angstrom and angles from 60 to 180 degrees, or the structures of a file, at the
levels of `LEVELS`. A guess costs the Fock matrices that `PhiSNetCalculator.initial_guess` builds in the mean field,
which count as cycles. Where the model hands over, its guess must equal PySCF's to the last bit; then no SCF runs, as
both would be the same. Second-order solvers count Fock matrices and products with the Hessian.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import yaml
from ase import Atoms
from ase.io import read
from pyscf import dft, gto, scf

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.console import Console
from benchmarks.common import bar, command_line, existing, one_thread, positive, rich_table, write_json

#: aug-cc-pVTZ and def2-TZVPP at once: nearly dependent functions.
_DEPENDENT = {s: gto.basis.load("aug-cc-pvtz", s) + gto.basis.load("def2-tzvpp", s) for s in "HCNO"}
#: Name -> density fitting or not.
LEVELS: dict[str, bool] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
#: Difference of energies (Hartree) and of <S^2> up to which two states are the same.
_ENERGY, _SPIN_SQUARE = 1e-6, 1e-2


@dataclass(frozen=True)
class Result:
    """Where an SCF ended (energy in Hartree), and after how many cycles."""

    cycles: int
    energy: float
    spin_square: float
    converged: bool

    def same_state(self, other: Result) -> bool:
        """Tell whether both ended in the same state."""
        near = abs(self.energy - other.energy) <= _ENERGY and abs(self.spin_square - other.spin_square) <= _SPIN_SQUARE
        return self.converged == other.converged and near


@dataclass(frozen=True)
class Run:
    """One structure at one level, from both guesses."""

    structure: int
    level: str
    builds: int  # fock matrices built for the model's guess
    cold: Result | None  # from PySCF's guess; None where the model's guess is equal to it
    warm: Result | None  # from the model's guess

    @property
    def slower(self) -> bool:
        """Whether the model's way takes more cycles, its test included."""
        return self.builds + (self.warm.cycles if self.warm else 0) > (self.cold.cycles if self.cold else 0)

    @property
    def other_state(self) -> bool:
        """Whether the model's way ends elsewhere."""
        return self.cold is not None and self.warm is not None and not self.cold.same_state(self.warm)


def waters(count: int, seed: int = 0) -> list[Atoms]:
    """Draw waters: a third with one stretched bond, a third with equal bonds, a third with both at random."""
    rng = np.random.default_rng(seed)
    drawn = []
    for index in range(count):
        first, second = np.exp(rng.uniform(np.log(0.7), np.log(3.0), size=2))
        second = (0.96, first, second)[index % 3]
        angle = np.radians(rng.uniform(60, 180))
        drawn.append(Atoms("OH2", [(0, 0, 0), (first, 0, 0), (second * np.cos(angle), second * np.sin(angle), 0)]))
    return drawn


def compare(calculator: PhiSNetCalculator, atoms: Atoms, index: int, level: str) -> Run:
    """Converge one structure from both guesses, where they differ, and count the Fock matrices of the model's guess."""
    cold, warm = (unconverged(atoms, level) for _ in range(2))
    inner = getattr(warm, "_scf", warm)
    with mock.patch.object(inner, "get_veff", wraps=inner.get_veff) as build, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        guess = calculator.initial_guess(warm)
    own = cold.get_init_guess(cold.mol, cold.init_guess)
    if np.array_equal(guess, own):
        return Run(index, level, build.call_count, None, None)
    return Run(index, level, build.call_count, _converge(cold, own), _converge(warm, guess))


def _converge(mean_field: Any, guess: np.ndarray) -> Result:
    products: list[int] = []
    if hasattr(mean_field, "_scf"):
        mean_field.callback = lambda state: products.append(state.get("jktot", 0))
    mean_field.kernel(dm0=guess)
    spin_square = float(mean_field.spin_square()[0]) if np.ndim(mean_field.mo_occ) == 2 else 0.0
    cycles = max(products) if products else int(mean_field.cycles)
    return Result(cycles, float(mean_field.e_tot), spin_square, bool(mean_field.converged))


def unconverged(atoms: Atoms, level: str) -> Any:
    """Make an unconverged mean field; of a dependent basis as PySCF's users do, with a guess that stands it."""
    theory, basis = level.split(", ")[0].split("/")
    method, _, functional = theory.partition(" ")
    dependent = basis == "dependent basis"
    functions = {symbol: _DEPENDENT[symbol] for symbol in set(atoms.symbols)} if dependent else basis.lower()
    mole = gto.M(atom=[(atom.symbol, atom.position) for atom in atoms], basis=functions, verbose=0)
    mean_field = getattr(dft, method)(mole, xc=functional.lower()) if functional else getattr(scf, method)(mole)
    if LEVELS[level]:
        mean_field = mean_field.density_fit()
    if dependent:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            mean_field = scf.addons.remove_linear_dep_(mean_field)
        mean_field.init_guess = "1e"
    if level.endswith("level shift"):
        mean_field.level_shift = 0.3
    if level.endswith("second order"):
        mean_field = mean_field.newton()
    mean_field.chkfile = None
    return mean_field


def rows_of(runs: Sequence[Run]) -> list[list[str]]:
    """Sum up each level."""
    rows = [["level", "served", "PySCF", "model", "handed over", "slower", "another state"]]
    for name in [*dict.fromkeys(run.level for run in runs), "all"]:
        part = [run for run in runs if name in (run.level, "all")]
        cycles = [(run.cold.cycles, run.warm.cycles + run.builds) for run in part if run.cold and run.warm]
        means = [f"{mean:.2f}" for mean in np.mean(cycles, axis=0)] if cycles else ["-", "-"]
        faults = sum(run.slower for run in part), sum(run.other_state for run in part)
        rows.append([name, str(len(cycles)), *means, *map(str, (len(part) - len(cycles), *faults))])
    return rows


def main(words: Sequence[str] | None = None) -> list[Run]:
    """Count cycles; print a table and all faults; write warm_start.json."""
    parser = command_line("warm_start", __doc__, output=Path("runs/warm_start"))
    parser.add_argument("--model", default="phisnet-water")
    parser.add_argument("--waters", type=positive(int), default=84, help="number of waters, each at every level")
    parser.add_argument("--structures", type=existing, help="any file that ASE reads, in place of waters")
    parser.add_argument("--levels", nargs="+", choices=list(LEVELS), default=list(LEVELS), metavar="LEVEL")
    chosen, console = parser.parse_args(words), Console()
    structures = read(chosen.structures, ":") if chosen.structures else waters(chosen.waters)
    with one_thread(), bar() as progress:
        calculator = PhiSNetCalculator(chosen.model)
        tracked = progress.track(list(enumerate(structures)), description="structures")
        runs = [compare(calculator, atoms, k, level) for k, atoms in tracked for level in chosen.levels]
    console.print(rich_table(rows_of(runs), "SCF cycles, the model's guess with its test"))
    for run in runs:
        if run.slower or run.other_state:
            console.print(str(run))
    write_json(chosen.output / "warm_start.json", [asdict(run) for run in runs])
    return runs


if __name__ == "__main__":
    main()
