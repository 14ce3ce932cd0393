"""Label CHNO molecules of 8 to 13 heavy atoms, two small ones joined by a bond; resumable at any time.

    python datasets/make_chno_joined.py label SOURCE WORK --last 400 [--device cuda] [--guess MODEL]
    python datasets/make_chno_joined.py pack WORK datasets/chno_joined.npz                # energies and forces of all
    python datasets/make_chno_joined.py pack WORK datasets/chno_matrices_12.npz --matrices 44

SOURCE as for ``make_chno_matrices.py``, and ``conformers_chno_dev.npz``, of whose sum formulas none is made. Two
indices in a row are the same molecule with two turns about the new bond; matrices are kept of the first ones of each
two. Sum formulas of the split ``test`` are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.optimize import BFGS
from make_chno_matrices import DESCRIPTION, Source, bonds_of, label, shaken, split_of, write_label
from scipy.spatial.transform import Rotation
from tblite.ase import TBLite

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.data.packed import write_packed
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.quantum.gpu import PYSCF_DEVICES
from ase_mlwave.units import BOHR

#: Heavy atoms of a joined molecule and of its larger part, and its atoms in all.
_HEAVY, _LARGEST_PART, _MOST_ATOMS = range(8, 14), 7, 24
#: Smallest distance between the parts, in sums of covalent radii.
_APART = 1.5
_TEMPERATURES = (300, 500, 700)


def formulas_of_conformers(source: Source) -> set[str]:
    """Return the sum formulas of the conformer benchmark."""
    with np.load(source.folder / "conformers_chno_dev.npz") as data:
        parts = np.split(data["numbers"], np.cumsum(data["natoms"])[:-1])
    return {Record(part, np.zeros((len(part), 3))).formula for part in parts}


def part(rng: np.random.Generator, source: Source) -> Atoms:
    """Draw a molecule of two to seven heavy atoms whose sum formula is trained on."""
    while True:
        if rng.random() < 0.7:
            atoms = source.padded("qm7", int(rng.integers(len(source.qm7["n_atoms"]))))
        else:
            atoms = source.small_molecule(int(rng.integers(len(source.small["T"]))))
        fits = set(atoms.symbols) <= set("CHNO") and 2 <= (atoms.numbers > 1).sum() <= _LARGEST_PART
        if fits and split_of(Record(atoms.numbers, atoms.positions)) == "train":
            return atoms


def free_hydrogens(atoms: Atoms) -> list[tuple[int, int]]:
    """Return hydrogens with the heavy atom that each is bonded to."""
    bonds = bonds_of(atoms)
    return [
        (int(h), int(np.flatnonzero(bonds[h])[0]))
        for h in np.flatnonzero(atoms.numbers == 1)
        if bonds[h].sum() == 1 and atoms.numbers[np.flatnonzero(bonds[h])[0]] > 1
    ]


def joined(first: Atoms, second: Atoms, rng: np.random.Generator, turn: float) -> Atoms | None:
    """Replace a hydrogen of each by a bond, turned about it by ``turn`` (rad) or the next angle that has room."""
    pairs = [
        (one, other)
        for one in free_hydrogens(first)
        for other in free_hydrogens(second)
        if 6 in (first.numbers[one[1]], second.numbers[other[1]])
    ]
    if not pairs:
        return None
    (h, a), (g, b) = pairs[int(rng.integers(len(pairs)))]
    along, back = first.positions[h] - first.positions[a], second.positions[g] - second.positions[b]
    along, back = along / np.linalg.norm(along), back / np.linalg.norm(back)
    align, _ = Rotation.align_vectors([-along], [back])
    length = covalent_radii[first.numbers[a]] + covalent_radii[second.numbers[b]]
    keep, rest = np.delete(np.arange(len(first)), h), np.delete(np.arange(len(second)), g)
    for k in range(12):
        turned = Rotation.from_rotvec((turn + k * np.pi / 6) * along) * align
        places = turned.apply(second.positions - second.positions[b]) + first.positions[a] + length * along
        apart = np.linalg.norm(first.positions[keep][:, None] - places[rest], axis=-1)
        reach = covalent_radii[first.numbers[keep]][:, None] + covalent_radii[second.numbers[rest]]
        ratio = apart / reach
        ratio[list(keep).index(a), list(rest).index(b)] = np.inf
        if ratio.min() > _APART:
            return Atoms(
                [*first.numbers[keep], *second.numbers[rest]], np.concatenate([first.positions[keep], places[rest]])
            )
    return None


def geometry(index: int, source: Source, forbidden: set[str]) -> tuple[Atoms, int]:
    """Draw a geometry with its temperature (K); bonds are those of the joined molecule before dynamics."""
    seed = int(hashlib.sha256(f"joined{index // 2}".encode()).hexdigest()[:8], 16)
    rng = np.random.default_rng(seed)
    while True:
        first, second = part(rng, source), part(rng, source)
        turns = rng.uniform(0, 2 * np.pi) + np.array([0, rng.uniform(np.pi / 3, 5 * np.pi / 3)])
        choice = int(rng.integers(2**31))
        heavy = int((first.numbers > 1).sum() + (second.numbers > 1).sum())
        if heavy not in _HEAVY or len(first) + len(second) - 2 > _MOST_ATOMS:
            continue
        both = [joined(first, second, np.random.default_rng(choice), turn) for turn in turns]
        atoms = both[index % 2]
        if atoms is None or None in both:
            continue
        record = Record(atoms.numbers, atoms.positions)
        if record.formula not in forbidden and split_of(record) != "test":
            break
    wanted = bonds_of(atoms)
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    BFGS(atoms, logfile=None, maxstep=0.1).run(fmax=0.3, steps=100)
    temperature = int(rng.choice(_TEMPERATURES))
    moved = shaken(Atoms(atoms.numbers, atoms.positions), temperature, seed + index % 2, 250)
    if (bonds_of(moved) != wanted).any():
        raise RuntimeError("bonds changed")
    return moved, temperature


def label_all(given: argparse.Namespace) -> None:
    """Work through the indices that WORK lacks."""
    source = Source(given.source)
    forbidden = formulas_of_conformers(source)
    calculator = None if given.guess is None else PhiSNetCalculator(given.guess, outside="warn")
    given.work.mkdir(parents=True, exist_ok=True)
    for index in range(given.first, given.last):
        if list(given.work.glob(f"joined_{index}.*")):
            continue

        def made(index: int = index) -> tuple[Record, float]:
            atoms, temperature = geometry(index, source, forbidden)
            return label(atoms, calculator, forces=True, device=given.device), temperature

        write_label(given.work, "joined", index, made)


def pack(given: argparse.Namespace) -> None:
    """Join the finished labels of a folder to one part, with matrices of some or with forces of all."""
    indices = sorted(int(path.stem.split("_")[1]) for path in given.work.glob("joined_*.npz"))
    if given.matrices:
        indices = [index for index in indices if index % 2 == 0][: given.matrices]
    records = [record for index in indices for record in read_dataset(given.work / f"joined_{index}.npz")]
    if given.matrices:
        write_packed(given.target, records, "def2-svp", DESCRIPTION)
    else:
        np.savez_compressed(
            given.target,
            Z=np.concatenate([record.numbers for record in records]).astype(np.int8),
            R=np.concatenate([record.positions * BOHR for record in records]),
            E=np.array([record.energy for record in records]),
            F=np.concatenate([np.asarray(record.forces) for record in records]),
            T=np.array([record.info["temperature"] for record in records], dtype=np.int16),
            offsets=np.cumsum([0, *(len(record) for record in records)]),
            smiles=np.array([""] * len(records)),
            meta=np.array(DESCRIPTION),
            index=np.array(indices),
            split=np.array([record.info["split"] for record in records]),
        )
    print(f"{len(records)} molecules -> {given.target} ({given.target.stat().st_size / 1e6:.1f} MB)")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    first = verbs.add_parser("label")
    first.add_argument("source", type=Path)
    first.add_argument("work", type=Path)
    first.add_argument("--first", type=int, default=0)
    first.add_argument("--last", type=int, default=400)
    first.add_argument("--guess", help="a PhiSNet that starts the SCF on the CPU")
    first.add_argument("--device", choices=PYSCF_DEVICES, default="cpu", help="cuda: by gpu4pyscf")
    first.set_defaults(run=label_all)
    second = verbs.add_parser("pack")
    second.add_argument("work", type=Path)
    second.add_argument("target", type=Path)
    second.add_argument("--matrices", type=int, help="how many molecules, with matrices; by default all without")
    second.set_defaults(run=pack)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    given.run(given)


if __name__ == "__main__":
    main()
