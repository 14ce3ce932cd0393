"""Draw geometries of everyday molecules of H, C, N, O, F, S and Cl, relaxed and hot, for labels of GFN2-xTB.

    python datasets/make_everyday_gfn2.py everyday.extxyz          # five minutes of one core
    mlwave label everyday.extxyz everyday.db --level gfn2-xtb      # one minute
    mlwave train examples/amons-gfn2/train.yaml
    python datasets/make_everyday_gfn2.py drugs.extxyz --drugs     # ten drugs that are held out

Rings, chains and functional groups of at most ten heavy atoms, with up to three common groups in place of hydrogens,
all by RDKit from a seed. Of each molecule one geometry is relaxed loosely by GFN2-xTB, two come from dynamics of MMFF94
at 300 and 1,000 K: its gradients cost microseconds, its bonds and angles are stiff as they should be, and what labels
is GFN2-xTB. Splits go by sum formula.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml
from ase import Atoms, units
from ase.calculators.calculator import InputError
from ase.data import covalent_radii
from ase.optimize import BFGS
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdForceFieldHelpers
from tblite.ase import TBLite

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.splits import formula_split
from ase_mlwave.data.writers import check_output, write_dataset
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.units import BOHR

_NAMES = Path(__file__).with_name("everyday.yaml")
#: SMILES of what groups are put on, of groups, of what stays alone, and of drugs that are held out.
CORES, GROUPS, ALONE, DRUGS = (text.split() for text in yaml.safe_load(_NAMES.read_text(encoding="utf-8")).values())
AROMATIC = [core for core in CORES if core.startswith("c1")]
_AROMATIC_SHARE = 0.35  # of the draws, besides their share of all cores
MOST_HEAVY = 10
TEMPERATURES = (300, 1000)
#: Dynamics of MMFF94: time step (fs), friction (1/fs), steps.
_STEP, _FRICTION, _N_STEPS = 1.0, 0.02, 300
_BONDED = 1.25
_KCAL = units.kcal / units.mol

Array = NDArray[np.float64]


class Field:
    """MMFF94 of a molecule, in eV and Angstrom."""

    def __init__(self, smiles: str) -> None:
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        molecule.AddConformer(Chem.Conformer(molecule.GetNumAtoms()), assignId=True)
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(molecule)
        self.field = rdForceFieldHelpers.MMFFGetMoleculeForceField(molecule, properties)

    def energy(self, positions: Array) -> float:
        """Return the energy, eV."""
        return float(self.field.CalcEnergy(positions.ravel().tolist())) * _KCAL

    def forces(self, positions: Array) -> Array:
        """Return the forces (N, 3), eV/Angstrom; the gradient takes the distances that RDKit's last energy left."""
        self.energy(positions)
        return -np.reshape(self.field.CalcGrad(positions.ravel().tolist()), (-1, 3)) * _KCAL

    def dynamics(self, atoms: Atoms, temperature: float, rng: np.random.Generator) -> Array:
        """Return positions (N, 3) at the end of Langevin dynamics (BAOAB: B. Leimkuhler and C. Matthews 2013)."""
        masses = atoms.get_masses()[:, None]
        width = np.sqrt(units.kB * temperature / masses)
        step, kept = _STEP * units.fs, np.exp(-_FRICTION * _STEP)
        x = atoms.positions.copy()
        v = width * rng.normal(size=x.shape)
        f = self.forces(x)
        for _ in range(_N_STEPS):
            v += step / 2 * f / masses
            x += step / 2 * v
            v = kept * v + np.sqrt(1 - kept**2) * width * rng.normal(size=x.shape)
            x += step / 2 * v
            f = self.forces(x)
            v += step / 2 * f / masses
        return x


def attached(core: Chem.Mol, site: int, group: str) -> Chem.Mol | None:
    """Put a group in place of a hydrogen of an atom; None where chemists would not."""
    part = Chem.MolFromSmiles(group)
    place = core.GetAtomWithIdx(site)
    first = part.GetAtomWithIdx(0).GetNeighbors()[0]
    polar = first.GetSymbol() not in {"C", "F"}
    if not place.GetTotalNumHs() or place.GetSymbol() not in {"C", "N"}:
        return None
    if place.GetSymbol() == "N" and (
        first.GetSymbol() != "C" or group.startswith(("*CF", "*CCl", "*CO", "*CN", "*CS"))
    ):
        return None  # nothing but carbon on nitrogen, and no aminals
    neighbours = {other.GetSymbol() for other in place.GetNeighbors()}
    if polar and place.GetHybridization() == Chem.HybridizationType.SP3 and neighbours - {"C", group[1:2]}:
        return None  # no hemiacetals and their like; CHCl2 is none
    both = Chem.RWMol(Chem.CombineMols(core, part))
    shift = core.GetNumAtoms()
    both.AddBond(site, shift + first.GetIdx(), Chem.BondType.SINGLE)
    if place.GetNumExplicitHs():  # the hydrogen that a SMILES writes: [nH]
        both.GetAtomWithIdx(site).SetNumExplicitHs(place.GetNumExplicitHs() - 1)
    both.RemoveAtom(shift)
    with rdBase.BlockLogs():
        failed = Chem.SanitizeMol(both, catchErrors=True)
    return None if failed else both.GetMol()


def smiles_of_molecules(number: int, seed: int) -> Iterator[str]:
    """Yield different canonical SMILES: the cores and what stands alone, then cores with one to three groups."""
    rng = np.random.default_rng(seed)
    known: set[str] = set()
    for text in (*CORES, *ALONE):
        smiles = Chem.CanonSmiles(text)
        if smiles not in known:
            known.add(smiles)
            yield smiles
    while len(known) < number:
        cores = AROMATIC if rng.random() < _AROMATIC_SHARE else CORES
        found: Chem.Mol | None = Chem.MolFromSmiles(cores[rng.integers(len(cores))])
        for _ in range(rng.choice([1, 2, 3], p=[0.4, 0.45, 0.15])):
            if found is not None:
                found = attached(found, int(rng.integers(found.GetNumAtoms())), GROUPS[rng.integers(len(GROUPS))])
        if found is None or found.GetNumHeavyAtoms() > MOST_HEAVY:
            continue
        smiles = Chem.MolToSmiles(found)
        if smiles not in known:
            known.add(smiles)
            yield smiles


def bonds_of(atoms: Atoms) -> NDArray[np.bool_]:
    """Return which atoms (N, N) are bonded, by distance."""
    radii = covalent_radii[atoms.numbers]
    near = atoms.get_all_distances() < _BONDED * (radii[:, None] + radii)
    return np.asarray(near & ~np.eye(len(atoms), dtype=bool))


def geometries(smiles: str, seed: int) -> list[tuple[Atoms, int]]:
    """Draw a molecule's geometries, with temperatures (K; 0 is relaxed); those with its bonds alone."""
    try:
        start = from_smiles(smiles, seed)
        field = Field(start.info["smiles"]) if len(start) > 2 else None
    except (InputError, RuntimeError, AttributeError):  # no geometry, or no parameters
        return []
    atoms = Atoms(start.numbers, start.positions * BOHR)
    relaxed = atoms.copy()
    relaxed.calc = TBLite(method="GFN2-xTB", verbosity=0)
    BFGS(relaxed, logfile=None, maxstep=0.1).run(fmax=0.2, steps=40)
    found = [(relaxed.positions, 0)]
    if field is not None:
        found += [(field.dynamics(atoms, t, np.random.default_rng([seed, t])), t) for t in TEMPERATURES]
    drawn = [(Atoms(atoms.numbers, positions), temperature) for positions, temperature in found]
    return [(one, t) for one, t in drawn if np.array_equal(bonds_of(one), bonds_of(atoms))]


def records_of(smiles: str, seed: int) -> Iterator[Record]:
    """Yield a molecule's geometries as records, with their split."""
    for atoms, temperature in geometries(smiles, seed):
        record = record_from_atoms(atoms, smiles=smiles, temperature=temperature)
        yield record.with_info(split=formula_split(record))


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, and write the geometries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="file to write, .extxyz or .db")
    parser.add_argument("--molecules", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of molecules and dynamics")
    parser.add_argument("--drugs", action="store_true", help="ten drugs instead, all of the split test")
    given = parser.parse_args(words)
    check_output(given.target)
    chosen = map(Chem.CanonSmiles, DRUGS) if given.drugs else smiles_of_molecules(given.molecules, given.seed)
    records = [one for place, smiles in enumerate(chosen) for one in records_of(smiles, given.seed + place)]
    if given.drugs:
        records = [record.with_info(split="test") for record in records]
    write_dataset(given.target, Dataset(tuple(records), "", "everyday molecules"))
    print(f"{len(records)} geometries -> {given.target}")


if __name__ == "__main__":
    main()
