"""Time aSLATM against the public implementation (qmllib, compiled) on molecules of QM9's size, in one run.

    python -m benchmarks.slatm --output results
    python -m benchmarks.slatm --structures FILE --molecules 1000

CPU-seconds of one thread, medians; both programs take turns, and both start from numbers and positions. Without
``--structures`` the molecules are distorted geometries (RDKit's MMFF94, extra ``smiles``) of twenty molecules of nine
heavy atoms. "Full layout" spreads the rows over the columns of all types, zeros included, as the public program returns
them; "compact" is what the regression takes. Derivatives have no counterpart there. Run it from the root of the
repository.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import InputError
from ase.io import read
from rich.console import Console
from rich.table import Table

from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.models.amons.slatm.representation import Slatm
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.units import BOHR

#: Nine heavy atoms each, C, N, O, F, and nine hydrogens on average, as in QM9.
SMILES = (
    "CC(C)CC(=O)CCO",
    "Cc1ccccc1CO",
    "NCCc1ccccc1",
    "O=C1CCCC2CC1C2",
    "c1ccc2[nH]ccc2c1",
    "N#CCCC(=O)NCC",
    "CC#CC1OC1C1CC1",
    "FC(F)(F)CCCOC",
    "CC#CC(O)CCC=O",
    "OCC1OCCC1C=O",
    "CC(=O)Nc1ccno1",
    "O=CC1CC2OC2C1=O",
    "N#CC1CC(O)C1C#N",
    "Cn1cnc(C=O)c1N",
    "OC(=O)C1CC1CC#C",
    "CC12CC1C(=O)OC2C",
    "FC1=NC(F)=NC=C1C",
    "CN1CCN(C)CC1=O",
    "O=C1C=CC(=O)C=C1C",
    "CC(O)C1CC1CC=O",
)


def molecules(n: int, seed: int = 0) -> list[Atoms]:
    """Build n distorted molecules of the list, Angstrom."""
    known = [from_smiles(smiles, seed) for smiles in SMILES[: min(n, len(SMILES))]]
    rng = np.random.default_rng(seed)
    chosen = [known[i % len(known)] for i in range(n)]
    return [Atoms(r.numbers, r.positions * BOHR + rng.normal(scale=0.03, size=r.positions.shape)) for r in chosen]


def medians(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Time functions in turns, after one call each that does not count; CPU-seconds."""
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            seconds[name].append(_cpu_seconds(function))
    return {name: float(np.median(values)) for name, values in seconds.items()}


def _cpu_seconds(function: Callable[[], Any]) -> float:
    """Time a function; again until the clock moves, which ticks where a limit of CPU time is set (``ulimit -t``)."""
    begin, calls = time.process_time(), 0
    while True:
        function()
        calls += 1
        elapsed = time.process_time() - begin
        if elapsed > 0:
            return elapsed / calls


class Contest:
    """Both programs on the same molecules.

    Parameters
    ----------
    systems : sequence of Atoms
        Molecules.
    """

    def __init__(self, systems: Sequence[Atoms]) -> None:
        from qmllib.representations import generate_slatm, get_slatm_mbtypes

        self._public: Callable[..., Any] = generate_slatm
        self.systems = [(atoms.numbers, atoms.positions) for atoms in systems]
        self.numbers = torch.from_numpy(np.concatenate([numbers for numbers, _ in self.systems]))
        self.types = get_slatm_mbtypes([numbers for numbers, _ in self.systems])
        elements = tuple(sorted({symbol for atoms in systems for symbol in atoms.symbols}))
        self.exact = Slatm(SlatmConfig(elements=elements, smooth=False))
        self.smooth = Slatm(SlatmConfig(elements=elements))

    def public(self) -> list[np.ndarray]:
        """Represent all molecules with the public program."""
        return [np.array(self._public(z, r, self.types, local=True)) for z, r in self.systems]

    def rows(self, slatm: Slatm) -> torch.Tensor:
        """Represent all molecules, compact."""
        with torch.no_grad():
            return slatm.environments_of(slatm.collate([(z, r / BOHR) for z, r in self.systems]))

    def full(self) -> torch.Tensor:
        """Represent all molecules, full layout."""
        return self.exact.expand(self.rows(self.exact), self.numbers)

    def forces(self) -> torch.Tensor:
        """Turn a gradient by the environments into one by positions, the environments included."""
        batch = self.smooth.collate([(z, r / BOHR) for z, r in self.systems])
        with torch.no_grad():
            x = self.smooth.environments_of(batch)
        return self.smooth.pullback(batch, x)[0]

    def difference(self) -> float:
        """Give the largest difference between the programs' distances of environments of one element."""
        some = self.systems[:20]
        slatm, found = self.exact, 0.0
        for z, r in some:
            ours = slatm.environments_of(slatm.collate([(z, r / BOHR)]))
            theirs = torch.from_numpy(np.array(self._public(z, r, self.types, local=True)))
            for element in set(z.tolist()):
                chosen = torch.from_numpy(z == element)
                if chosen.sum() > 1:
                    apart = torch.pdist(ours[chosen]) - torch.pdist(theirs[chosen])
                    found = max(found, float(apart.abs().max()))
        return found


def measure(systems: Sequence[Atoms], repeats: int) -> dict[str, float]:
    """Measure everything."""
    contest = Contest(systems)
    seconds = medians(
        {
            "public program": contest.public,
            "compact": lambda: contest.rows(contest.exact),
            "full layout": contest.full,
            "compact, smooth": lambda: contest.rows(contest.smooth),
            "compact, smooth, and pulled back to positions": contest.forces,
        },
        repeats,
    )
    figures = {"molecules": float(len(systems)), "atoms": float(len(contest.numbers))}
    figures |= {f"{name}, CPU s": value for name, value in seconds.items()}
    figures |= {f"public / {n}": seconds["public program"] / seconds[n] for n in ("compact", "full layout")}
    figures["largest difference of distances"] = contest.difference()
    return figures


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.slatm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--structures", type=Path, help="molecules in any format that ASE reads")
    parser.add_argument("--molecules", type=int, default=1000, help="how many; of a file the first")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("runs/slatm"), help="folder for slatm.json")
    chosen = parser.parse_args(words)
    if chosen.molecules < 1 or chosen.repeats < 1:
        parser.error("--molecules and --repeats must be positive")
    if find_spec("qmllib") is None:
        parser.error("needs the public program: pip install qmllib (it has wheels for Linux on x86-64)")
    if chosen.structures is not None and not chosen.structures.is_file():
        parser.error(f"there is no file {chosen.structures}")
    return chosen


def main() -> None:
    """Run all, print a table and write slatm.json."""
    chosen = options()
    torch.set_num_threads(1)
    try:
        systems = (
            molecules(chosen.molecules)
            if chosen.structures is None
            else list(read(chosen.structures, f":{chosen.molecules}"))
        )
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    figures = measure(systems, chosen.repeats)
    table = Table("figure", "value", title="aSLATM, float64, one thread")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / "slatm.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
