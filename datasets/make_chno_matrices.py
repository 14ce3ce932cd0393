"""Label CHNO geometries with Kohn-Sham matrices: an endless queue, one file a label, resumable at any time.

    python datasets/make_chno_matrices.py label SOURCE WORK --guess MODEL   # until it is stopped; --device cuda
    python datasets/make_chno_matrices.py pack WORK datasets/chno_matrices_02.npz

SOURCE is a folder with ``chno5_geometries.npz``, ``chno5_pbe_def2svp.npz``, ``chno_matrices_281.npz``, ``qm7.npz``,
``qm9_under14.npz`` and ``methanol/``. What lies in WORK or in the parts beside this script is not done again.
Geometries are drawn from seeds that come from their kind and index, so that any machine draws the same.
"""

from __future__ import annotations

import argparse
import hashlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.data import covalent_radii
from ase.io import read
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from numpy.typing import NDArray
from pyscf import dft, gto
from rdkit import Chem
from scipy.spatial.transform import Rotation
from tblite.ase import TBLite

from ase_mlwave import PhiSNetCalculator, precondition
from ase_mlwave.data.packed import write_packed
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.data.splits import formula_split
from ase_mlwave.quantum.gpu import PYSCF_DEVICES, to_numpy
from ase_mlwave.units import BOHR

Task = tuple[str, int, bool]
"""Kind and index of a geometry, and whether forces are wanted."""

#: Shares of the kinds in the queue: since part 09 mostly six heavy atoms and more, where models err most.
SHARES = {"qm9": 0.40, "qm7": 0.25, "chno5": 0.15, "pair": 0.12, "stretch": 0.05, "alcohol": 0.03}
DESCRIPTION = (
    "RKS PBE/def2-SVP, density fitting (PySCF 2.14 default auxiliary basis), grid level 3, conv_tol 1e-8 from grid "
    "level 1; R Angstrom, E Hartree, F Hartree/Bohr (without the response of the grid); PySCF spherical AO order"
)
_BONDED = 1.25
_VDW_RADII = {1: 1.1, 6: 1.7, 7: 1.55, 8: 1.52}  # Angstrom


class Source:
    """The geometries to start from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.small = dict(np.load(folder / "chno5_geometries.npz"))  # an archive reads an array whenever it is asked
        self.qm7, self.qm9 = dict(np.load(folder / "qm7.npz")), dict(np.load(folder / "qm9_under14.npz"))

    def small_molecule(self, row: int) -> Atoms:
        """Return a row of ``chno5_geometries.npz``."""
        atoms = slice(self.small["offsets"][row], self.small["offsets"][row + 1])
        return Atoms(self.small["Z"][atoms], self.small["R"][atoms])

    def padded(self, kind: str, row: int) -> Atoms:
        """Return a row of QM7 or QM9."""
        data = self.qm7 if kind == "qm7" else self.qm9
        n = int(data["n_atoms"][row])
        return Atoms(data["Z"][row, :n], data["R"][row, :n].astype(float))


def graph_of(atoms: Atoms) -> str:
    """Write a molecule's graph without bond orders, so that equal molecules have equal text."""
    mol = Chem.RWMol()
    for z in atoms.numbers:
        mol.AddAtom(Chem.Atom(int(z)))
    for i, j in zip(*np.nonzero(np.triu(bonds_of(atoms))), strict=True):
        mol.AddBond(int(i), int(j), Chem.BondType.SINGLE)
    for atom in mol.GetAtoms():
        atom.SetNoImplicit(True)
    return str(Chem.MolToSmiles(mol))


def bonds_of(atoms: Atoms) -> NDArray[np.bool_]:
    """Return which atoms (N, N) are bonded, by distance."""
    radii = covalent_radii[atoms.numbers]
    near = atoms.get_all_distances() < _BONDED * (radii[:, None] + radii)
    return np.asarray(near & ~np.eye(len(atoms), dtype=bool))


def queue(source: Source, done: set[tuple[str, int]]) -> Iterator[Task]:
    """Interleave the kinds by their shares; molecules of QM9's published test set are left out."""
    rng = np.random.default_rng(20261126)
    test = np.flatnonzero(source.qm9["split"] == "under14_test")
    forbidden = {graph_of(source.padded("qm9", int(row))) for row in test}
    matrices = np.load(source.folder / "chno_matrices_281.npz")["index"]
    labelled = {*np.load(source.folder / "chno5_pbe_def2svp.npz")["index"].tolist(), *matrices.tolist()}
    forces = set(np.load(Path(__file__).parent / "chno_pbe_def2svp.npz")["index"].tolist())

    def large(kind: str, fewest: int, limit: int) -> list[Task]:
        found: list[Task] = []
        for row in rng.permutation(len(getattr(source, kind)["n_atoms"])).tolist():
            atoms = source.padded(kind, row)
            fits = set(atoms.symbols) <= set("CHNO") and (atoms.numbers > 1).sum() >= fewest and len(found) < limit
            known = kind == "qm7" and row + 100_000 in labelled
            if fits and not known and graph_of(atoms) not in forbidden:
                found.append((kind, row, True))
        return found

    lists = {
        "chno5": [("chno5", row, row not in forces) for row in range(len(source.small["T"])) if row not in labelled],
        "qm7": large("qm7", 6, 1500),
        "qm9": large("qm9", 8, 600),
        "pair": [("pair", k, True) for k in range(500)],
        "stretch": [("stretch", k, True) for k in range(200)],
        "alcohol": [("alcohol", k, True) for k in range(100)],
    }
    credit = dict.fromkeys(lists, 0.0)
    while lists:
        for kind in lists:
            credit[kind] += SHARES[kind]
        chosen = max(lists, key=lambda kind: credit[kind])
        credit[chosen] -= sum(SHARES[kind] for kind in lists)
        task = lists[chosen].pop(0)
        if not lists[chosen]:
            del lists[chosen]
        if task[:2] not in done:
            yield task


def geometry(kind: str, index: int, source: Source) -> tuple[Atoms, float]:
    """Draw a geometry; return it with its temperature (K; of stretched bonds minus a hundred times the factor)."""
    seed = int(hashlib.sha256(f"{kind}{index}".encode()).hexdigest()[:8], 16)
    rng = np.random.default_rng(seed)
    if kind == "chno5":
        return source.small_molecule(index), float(source.small["T"][index])
    if kind in ("qm7", "qm9"):
        temperature = int(rng.choice([300, 500, 700, 1000]))
        return shaken(source.padded(kind, index), temperature, seed, 250), temperature
    if kind == "pair":
        waters = [molecule("H2O")] * int(rng.integers(2, 6)) if index % 4 == 0 else []
        partner = [molecule("H2O")] if index % 4 == 1 else []
        parts = waters or [*partner, *(small_partner(rng, source) for _ in range(2 - len(partner)))]
        joined, temperature = in_contact(parts, rng), int(rng.choice([200, 300, 500]))
        return shaken(joined, temperature, seed, 200), temperature
    if kind == "stretch":
        return stretched(rng, source)
    frames: list[Atoms] = read(source.folder / "methanol" / "ethanol_methanol_train.xyz", ":")
    chosen = frames[int(rng.integers(len(frames)))]
    return Atoms(chosen.numbers, chosen.positions), 300.0


def shaken(atoms: Atoms, temperature: float, seed: int, steps: int) -> Atoms:
    """Run Langevin dynamics with GFN2-xTB, 1 fs a step."""
    rng = np.random.default_rng(seed)
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * temperature, rng=rng)
    time_step, friction = 1.0 * units.fs, 0.02 / units.fs
    Langevin(atoms, time_step, temperature_K=temperature, friction=friction, rng=rng, logfile=None).run(steps)
    return Atoms(atoms.numbers, atoms.positions)


def small_partner(rng: np.random.Generator, source: Source) -> Atoms:
    """Draw a molecule of at most four heavy atoms whose sum formula is trained on."""
    while True:
        atoms = source.small_molecule(int(rng.integers(len(source.small["T"]))))
        if (atoms.numbers > 1).sum() <= 4 and split_of(Record(atoms.numbers, atoms.positions)) == "train":
            return atoms


def in_contact(parts: list[Atoms], rng: np.random.Generator) -> Atoms:
    """Turn molecules at random and move each up to those before until van der Waals spheres overlap."""

    def turned(atoms: Atoms) -> NDArray[np.float64]:
        turn = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
        return np.asarray((atoms.positions - atoms.positions.mean(axis=0)) @ turn.T)

    joined = Atoms(parts[0].numbers, turned(parts[0]))
    for part in parts[1:]:
        places, direction = turned(part), rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        radii = [np.array([_VDW_RADII[z] for z in each.numbers.tolist()]) for each in (joined, part)]
        reach = radii[0][:, None] + radii[1]
        for distance in np.arange(12.0, 0.0, -0.05):
            moved = places + distance * direction
            apart = np.linalg.norm(joined.positions[:, None] - moved, axis=-1)
            if (apart / reach).min() < 0.85:
                break
        joined += Atoms(part.numbers, moved)
    return joined


def stretched(rng: np.random.Generator, source: Source) -> tuple[Atoms, float]:
    """Stretch a bond that is no part of a ring to at most twice its length."""
    while True:
        atoms = source.small_molecule(int(rng.integers(len(source.small["T"]))))
        graph = nx.from_numpy_array(bonds_of(atoms).astype(int))
        bridges = list(nx.bridges(graph))
        if not bridges or nx.number_connected_components(graph) > 1:
            continue
        first, second = bridges[int(rng.integers(len(bridges)))]
        graph.remove_edge(first, second)
        factor = rng.uniform(1.15, 2.0)
        along = atoms.positions[second] - atoms.positions[first]
        atoms.positions[sorted(nx.node_connected_component(graph, second))] += (factor - 1) * along
        return atoms, -float(int(100 * factor))


def label(atoms: Atoms, guess: PhiSNetCalculator | None = None, *, forces: bool, device: str = "cpu") -> Record:
    """Converge on a coarse grid first, from the model's density where there is one, then on the fine one.

    With ``device="cuda"`` gpu4pyscf converges from PySCF's guess on the fine grid alone, which is faster there.
    """
    mole = gto.M(atom=list(zip(atoms.symbols, atoms.positions, strict=True)), basis="def2-svp", verbose=0)

    def mean_field(level: int, tolerance: float) -> Any:
        mf = dft.RKS(mole, xc="pbe").density_fit()
        mf.chkfile, mf.grids.level, mf.conv_tol = None, level, tolerance
        return mf

    if device == "cuda":
        found = mean_field(3, 1e-9).to_gpu()
        found.kernel()
        return labels_of(atoms, found, forces=forces)
    coarse, fine = precondition(mean_field(1, 1e-7)), precondition(mean_field(3, 1e-8))
    coarse.kernel(dm0=None if guess is None else guess.initial_guess(coarse, fallback="minao"))
    if not coarse.converged:
        coarse = coarse.newton()
        coarse.kernel()
    fine.with_df = coarse.with_df
    density = coarse.make_rdm1()
    fine.kernel(dm0=density)
    fine.converged &= coarse.converged
    return labels_of(atoms, fine, forces=forces)


def labels_of(atoms: Atoms, mean_field: Any, *, forces: bool) -> Record:
    """Collect the labels of a converged mean field of PySCF or gpu4pyscf."""
    if not mean_field.converged:
        raise RuntimeError("the SCF did not converge")
    fock = to_numpy(mean_field.get_fock(dm=mean_field.make_rdm1()))
    pulls = -to_numpy(mean_field.nuc_grad_method().kernel()) if forces else None
    matrices = {"hamiltonian": (fock + fock.T) / 2}
    energy = float(mean_field.e_tot)
    return Record(atoms.numbers, atoms.positions / BOHR, energy=energy, forces=pulls, matrices=matrices)


def positions_key(positions: NDArray[np.float64]) -> bytes:
    """Name a geometry to a thousandth of an Angstrom."""
    return np.round(positions * 1000).astype(np.int64).tobytes()


def split_of(record: Record) -> str:
    """Divide by sum formula; water is always trained on."""
    return "train" if record.formula == "H2O" else formula_split(record)


def label_all(source: Source, work: Path, guess: str | None, device: str) -> None:
    """Work through the queue."""
    work.mkdir(parents=True, exist_ok=True)
    parts = [read_dataset(path) for path in sorted(Path(__file__).parent.glob("chno_matrices_*.npz"))]
    done = {(str(record.info["kind"]), int(record.info["index"])) for part in parts for record in part}
    done |= {(kind, int(index)) for kind, index in (path.stem.rsplit("_", 1) for path in work.glob("*_*.*"))}
    frames = {positions_key(record.positions * BOHR) for part in parts for record in part}
    calculator = None if guess is None else PhiSNetCalculator(guess, outside="warn")
    for kind, index, forces in queue(source, done):

        def made(kind: str = kind, index: int = index, forces: bool = forces) -> tuple[Record, float] | None:
            atoms, temperature = geometry(kind, index, source)
            if positions_key(atoms.positions) in frames:  # frames of alcohols may be drawn twice
                return None
            return label(atoms, calculator, forces=forces, device=device), temperature

        write_label(work, kind, index, made)


def write_label(work: Path, kind: str, index: int, made: Callable[[], tuple[Record, float] | None]) -> None:
    """Write a label with its temperature (K), or why there is none: one molecule must not stop the others."""
    target = work / f"{kind}_{index}.npz"
    try:
        found = made()
    except Exception as error:
        target.with_suffix(".failed").write_text(repr(error), encoding="utf-8")
        print(f"{kind} {index} failed: {error!r}", flush=True)
        return
    if found is None:
        return
    record, temperature = found
    info = {"kind": kind, "index": index, "temperature": temperature, "split": split_of(record)}
    scratch = work / f".{kind}-{index}.npz"
    write_packed(scratch, [replace(record, info=info)], "def2-svp", DESCRIPTION)
    scratch.rename(target)
    print(f"{kind} {index}: {record.formula}", flush=True)


def pack(work: Path, target: Path) -> None:
    """Join the finished labels of a folder to one part."""
    records = [record for path in sorted(work.glob("*_*.npz")) for record in read_dataset(path)]
    write_packed(target, records, "def2-svp", DESCRIPTION)
    print(f"{len(records)} molecules -> {target} ({target.stat().st_size / 1e6:.1f} MB)")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    first = verbs.add_parser("label")
    first.add_argument("source", type=Path)
    first.add_argument("work", type=Path)
    first.add_argument("--guess", help="a PhiSNet that starts the SCF")
    first.add_argument("--device", choices=PYSCF_DEVICES, default="cpu", help="cuda: by gpu4pyscf")
    first.set_defaults(run=lambda given: label_all(Source(given.source), given.work, given.guess, given.device))
    second = verbs.add_parser("pack")
    second.add_argument("work", type=Path)
    second.add_argument("target", type=Path)
    second.set_defaults(run=lambda given: pack(given.work, given.target))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    given.run(given)


if __name__ == "__main__":
    main()
