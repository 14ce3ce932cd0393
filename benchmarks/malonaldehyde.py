"""Measure what learns CCSD(T) energies of malonaldehyde from a few hundred: kernels, on Hartree-Fock theory or not.

    python -m benchmarks.malonaldehyde qm22_malonaldehyde_ccsdt_cbs.npz [--points 93 250 500]

The archive has ``numbers`` (9,), ``positions_angstrom`` (B, 9, 3) and ``energy_hartree`` (B,), those of QM-22. Written
are ``better.db``, with the splits, and ``geometries.extxyz``, the first training geometries and those to validate on,
for ``mlwave label``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.units import Bohr
from numpy.typing import NDArray
from pyscf import scf

from ase_mlwave.console import Console
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.models.amons.fitting import fit_amons
from ase_mlwave.models.amons.inference import predict_batch
from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.quantum.basis import build_mole
from benchmarks import common
from benchmarks.common import existing, positive

Energies = NDArray[np.float64]
_KCAL = 627.5095
#: Energies up to this are looked at, Hartree above the minimum, 31 kcal/mol.
_HIGHEST = 0.05
#: HF/def2-SVP energy of the minimum, Hartree: where energies begin, so that H needs no shift.
_LOWEST = -265.4286
#: Rows of the archive beside the minimum, and beside the saddle of proton transfer; in no split.
_MINIMUM, _SADDLE = 460, 1001


def records_of(path: Path) -> tuple[dict[str, list[Record]], list[Record]]:
    """Draw the splits, and take the two geometries of the barrier."""
    with np.load(path) as arrays:
        numbers, positions = arrays["numbers"].astype(int), arrays["positions_angstrom"].astype(float) / Bohr
        energies = arrays["energy_hartree"]
    order = np.random.default_rng(14).permutation(np.where(energies < _HIGHEST)[0])

    def record(row: int, split: str) -> Record:
        energy = float(energies[row]) + _LOWEST
        return Record(numbers=numbers, positions=positions[row], energy=energy, info={"split": split})

    rows = {"train": order[:500], "valid": order[500:540], "test": order[540:1040]}
    return {name: [record(i, name) for i in some] for name, some in rows.items()}, [
        record(i, "path") for i in (_MINIMUM, _SADDLE)
    ]


def hartree_fock(records: Sequence[Record]) -> Energies:
    """Compute HF/def2-SVP energies (B,), Hartree."""
    molecules = [build_mole(record.numbers, record.positions, "def2-svp") for record in records]
    return np.array([scf.RHF(mole).density_fit().set(verbose=0).kernel() for mole in molecules])


def kernel(training: Sequence[Record], queries: Sequence[Record]) -> Energies:
    """Fit the kernel of `AmonsCalculator` to energies, and predict (B,), Hartree."""
    free = dict.fromkeys((1, 6, 8), 0.0)
    fit = fit_amons(training, "ccsd(t)/cbs", representation=SlatmConfig.for_forces(("C", "H", "O")), free_atoms=free)
    parts = [queries[start : start + 50] for start in range(0, len(queries), 50)]
    return np.array([one.energy for part in parts for one in predict_batch(fit.model, part, forces=False)])


def row(name: str, n: int, found: Energies, wanted: Sequence[Record]) -> list[str]:
    """Give errors and the barrier, kcal/mol; the last two are minimum and saddle."""
    errors = _KCAL * np.abs(found - [record.energy for record in wanted])[:-2]
    figures = (errors.mean(), np.median(errors), errors.max(), _KCAL * (found[-1] - found[-2]))
    return [name, f"{n}", f"{len(errors)}", *(f"{value:.2f}" for value in figures)]


def main() -> None:
    """Write the data, fit, and print the table."""
    parser = common.command_line("malonaldehyde", __doc__, output=Path("runs/malonaldehyde"))
    parser.add_argument("data", type=existing, help="archive of QM-22")
    parser.add_argument("--points", type=positive(int), nargs="+", default=[93, 250, 500], help="to learn from")
    parser.add_argument("--low", type=int, default=500, help="of them, with energies of Hartree-Fock theory")
    parser.add_argument("--low-test", type=int, default=500, help="test geometries with such energies")
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    parts, path = records_of(chosen.data)
    training, test = parts["train"], parts["test"]
    files = {
        "better.db": (*training, *parts["valid"], *test),
        "geometries.extxyz": tuple(replace(one, energy=None) for one in (*training[: chosen.low], *parts["valid"])),
    }
    for name, some in files.items():
        if not (chosen.output / name).exists():
            write_dataset(chosen.output / name, Dataset(some, "ccsd(t)/cbs" if name == "better.db" else "", "QM-22"))
    cells = [["learner", "geometries", "tests", "mean", "median", "largest", "barrier"]]
    cells += [row("kernel", n, kernel(training[:n], [*test, *path]), [*test, *path]) for n in chosen.points]
    beside, queries = training[: chosen.low], [*test[: chosen.low_test], *path]
    low, cheap = hartree_fock(beside), hartree_fock(queries)
    shift = np.mean([float(one.energy or 0.0) - e for one, e in zip(beside, low, strict=True)])
    cells.append(row("Hartree-Fock theory, its mean shifted", len(beside), cheap + shift, queries))
    added = [replace(one, energy=float(one.energy or 0.0) - e) for one, e in zip(beside, low, strict=True)]
    for n in (n for n in chosen.points if n <= len(added)):
        cells.append(row("kernel on Hartree-Fock theory", n, cheap + kernel(added[:n], queries), queries))
    Console().print(common.rich_table(cells, "kcal/mol"))


if __name__ == "__main__":
    main()
