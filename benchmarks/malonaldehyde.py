"""Measure what learns CCSD(T) energies of malonaldehyde from a few hundred: kernels, on Hartree-Fock theory or not.

    python -m benchmarks.malonaldehyde qm22_malonaldehyde_ccsdt_cbs.npz [--points 93 250 500] [--network FOLDER]
        [--energy response] [--wavefunction FOLDER]

The archive has ``numbers`` (9,), ``positions_angstrom`` (B, 9, 3) and ``energy_hartree`` (B,), those of QM-22. Written
are ``better.db``, with the splits, and ``geometries.db``, the first training geometries and those to validate on,
for ``mlwave label``. ``--network`` is a PhiSNet of Hartree-Fock theory, or ``phisnet-chno``: a kernel on the energy of
its density needs no SCF. ``--wavefunction`` is one that learned ``better.db``. All are followed along a path of proton
transfer, too.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from ase.units import Bohr
from pyscf import scf

from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.console import Console
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.folder import read_config
from ase_mlwave.properties import LABELS
from ase_mlwave.quantum.basis import build_mole
from benchmarks import common
from benchmarks.common import KCAL_PER_MOL, existing, positive
from benchmarks.kernels import Energies, Level, kept, kernel
from benchmarks.proton_path import draw, near, transfer

#: What a cheaper level lacks at most of a training energy, less the median of all, Hartree: 63 kcal/mol. More is the
#: energy of a nonsensical density of a network, and no label.
_NONSENSE = 0.1
_EV = LABELS["energy"]
#: Energies up to this are looked at, Hartree above the minimum, 31 kcal/mol.
_HIGHEST = 0.05
#: HF/def2-SVP energy of the minimum, Hartree: where energies begin, so that H needs no shift.
_LOWEST = -265.4286
#: Rows of the archive beside the minimum, and beside the saddle of proton transfer; in no split.
_MINIMUM, _SADDLE = 460, 1001


def records_of(path: Path) -> tuple[dict[str, list[Record]], list[Record], list[Record]]:
    """Draw the splits, take the two geometries of the barrier, and all not learned from or chosen by."""
    with np.load(path) as arrays:
        numbers, positions = arrays["numbers"].astype(int), arrays["positions_angstrom"].astype(float) / Bohr
        energies = arrays["energy_hartree"]
    order = np.random.default_rng(14).permutation(np.where(energies < _HIGHEST)[0])

    def record(row: int, split: str) -> Record:
        energy = float(energies[row]) + _LOWEST
        return Record(numbers=numbers, positions=positions[row], energy=energy, info={"split": split})

    rows = {"train": order[:500], "valid": order[500:540], "test": order[540:1040]}
    splits = {name: [record(i, name) for i in some] for name, some in rows.items()}
    return splits, [record(i, "path") for i in (_MINIMUM, _SADDLE)], [record(i, "path") for i in order[540:]]


def hartree_fock(records: Sequence[Record]) -> Energies:
    """Compute HF/def2-SVP energies (B,), Hartree."""
    molecules = [build_mole(record.numbers, record.positions, "def2-svp") for record in records]
    return np.array([scf.RHF(mole).density_fit().set(verbose=0).kernel() for mole in molecules])


def of_network(folder: Path, energy: str, records: Sequence[Record]) -> Energies:
    """Predict energies of a PhiSNet (B,), Hartree."""
    calculator = PhiSNetCalculator(folder, energy=energy, outside="warn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)
        found = calculator.predict([atoms_from_record(record) for record in records], ("energy",))
    energies: Energies = np.array([one["energy"] for one in found]) / _EV.to_ase(1.0)
    return energies


@dataclass(frozen=True)
class Queries:
    """What is predicted: test geometries, those of the barrier, others near the path, and the path.

    Parameters
    ----------
    test, barrier, beside, path : sequence of Record
        With labels, but for ``path``.
    """

    test: Sequence[Record]
    barrier: Sequence[Record]
    beside: Sequence[Record]
    path: Sequence[Record]

    @property
    def records(self) -> list[Record]:
        """All of them, in this order."""
        return [*self.test, *self.barrier, *self.beside, *self.path]

    def parts(self, values: Energies) -> list[Energies]:
        """Divide what was predicted for all."""
        return np.split(values, np.cumsum([len(self.test), len(self.barrier), len(self.beside)]))

    def row(self, name: str, n: int, found: Energies) -> list[str]:
        """Give errors and the barrier, kcal/mol."""
        test, barrier, _, _ = self.parts(found)
        errors = KCAL_PER_MOL * np.abs(test - [record.energy for record in self.test])
        figures = (errors.mean(), np.median(errors), errors.max(), KCAL_PER_MOL * (barrier[1] - barrier[0]))
        return [name, f"{n}", f"{len(errors)}", *(f"{value:.2f}" for value in figures)]


def on_base(
    name: str, base: tuple[Energies, Energies], training: Sequence[Record], queries: Queries, points: Sequence[int]
) -> tuple[list[list[str]], Energies]:
    """Measure a cheaper level, and kernels on it.

    Parameters
    ----------
    name : str
        Of the level.
    base : tuple of ndarray
        Its energies of training geometries and of queries, Hartree.
    training : sequence of Record
        With labels.
    queries : Queries
        What is predicted.
    points : sequence of int
        Numbers of training geometries.

    Returns
    -------
    rows : list of list of str
        Of the table.
    found : ndarray
        Energies of the queries by the kernel of the most points, Hartree.
    """
    low, cheap = base
    lacking = np.array([float(one.energy or 0.0) for one in training]) - low
    sound = np.abs(lacking - np.median(lacking)) < _NONSENSE
    added = [replace(one, energy=float(e)) for one, e in zip(training, lacking, strict=True)]
    shift = lacking[sound].mean()
    rows, found = [queries.row(f"{name}, its mean shifted", int(sound.sum()), cheap + shift)], cheap + shift
    for n in sorted(n for n in points if n <= len(added)):
        some = [one for one, kept in zip(added[:n], sound, strict=False) if kept]
        found = cheap + kernel(some, queries.records)
        rows.append(queries.row(f"kernel on {name}", len(some), found))
    return rows, found


def options() -> argparse.ArgumentParser:
    """Say what may be chosen."""
    parser = common.command_line("malonaldehyde", __doc__, output=Path("runs/malonaldehyde"))
    parser.add_argument("data", type=existing, help="archive of QM-22")
    parser.add_argument("--points", type=positive(int), nargs="+", default=[93, 250, 500], help="to learn from")
    parser.add_argument("--low", type=int, default=500, help="of them, with energies of Hartree-Fock theory")
    parser.add_argument("--low-test", type=int, default=500, help="test geometries with such energies")
    parser.add_argument("--near", type=int, default=60, help="geometries of the archive near the path")
    parser.add_argument("--network", type=Path, help="PhiSNet, of Hartree-Fock theory or another level")
    parser.add_argument("--energy", choices=("functional", "response"), default="functional", help="of that network")
    parser.add_argument("--wavefunction", type=Path, help="PhiSNet of CCSD(T)")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    """Write the data, fit, print the table, draw the path."""
    chosen = options().parse_args(words)
    chosen.output.mkdir(parents=True, exist_ok=True)
    parts, barrier, archive = records_of(chosen.data)
    training = parts["train"]
    files = {
        "better.db": (*training, *parts["valid"], *parts["test"]),
        "geometries.db": tuple(replace(one, energy=None) for one in (*training[: chosen.low], *parts["valid"])),
    }
    for name, some in files.items():
        if not (chosen.output / name).exists():
            write_dataset(chosen.output / name, Dataset(some, "ccsd(t)/cbs" if name == "better.db" else "", "QM-22"))
    path = transfer(*barrier)
    queries = Queries(parts["test"][: chosen.low_test], barrier, near(path, archive)[: chosen.near], path)
    cells = [["learner", "geometries", "tests", "mean", "median", "largest", "barrier"]]
    curves: dict[str, Energies] = {}
    for n in sorted(chosen.points):
        curves["kernel"] = kernel(training[:n], queries.records)
        cells.append(queries.row("kernel", n, curves["kernel"]))
    beside = training[: chosen.low]
    levels: dict[tuple[str, str], Level] = {("Hartree-Fock theory", "hartree_fock"): hartree_fock}
    if chosen.network is not None:
        weights = read_config(str(chosen.network)).weights_sha256[:12]
        name, file = f"the network's {chosen.energy}", f"{chosen.energy}_{weights}"
        levels[name, file] = partial(of_network, chosen.network, chosen.energy)
    for (name, file), slow in levels.items():
        level = kept(chosen.output / f"{file}.json", slow)
        base = level(beside), level(queries.records)
        rows, curves[f"kernel on {name}"] = on_base(name, base, beside, queries, chosen.points)
        curves.setdefault(name, base[1])
        cells += rows
    if chosen.wavefunction is not None:
        curves["wavefunction"] = of_network(chosen.wavefunction, "wavefunction", queries.records)
        cells.append(queries.row("wavefunction", len(training), curves["wavefunction"]))
    Console().print(common.rich_table(cells, "kcal/mol"))
    picture = chosen.output / "malonaldehyde.png"
    shown = {name: queries.parts(values)[1:] for name, values in curves.items()}
    draw(shown, barrier[0], queries.beside, path, picture)


if __name__ == "__main__":
    with common.one_thread():
        main()
