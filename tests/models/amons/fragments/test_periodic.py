from __future__ import annotations

import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from ase.calculators.calculator import InputError
from ase.collections import s22
from ase.spacegroup import crystal
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from ase_mlwave.models.amons import amon_geometries, amons_of, find_amons
from ase_mlwave.models.amons.fragments.capping import CAP_LENGTHS
from ase_mlwave.models.amons.fragments.periodic import unroll
from ase_mlwave.units import BOHR


def sheet(symbols: str, length: float) -> Atoms:
    """Return one cell of a honeycomb, Angstrom."""
    cell = [[length, 0, 0], [-length / 2, length * 3**0.5 / 2, 0], [0, 0, 15]]
    return Atoms(symbols, scaled_positions=[(0, 0, 0.5), (1 / 3, 2 / 3, 0.5)], cell=cell, pbc=(True, True, False))


def boron_nitride(repeat: int = 1) -> Atoms:
    return sheet("BN", 2.504).repeat((repeat, repeat, 1))


def doped(*sites: int) -> Atoms:
    atoms = boron_nitride(3)
    atoms.numbers[list(sites)] = 6
    return atoms


def bonded_to(atoms: Atoms, site: int) -> int:
    distances = atoms.get_distances(site, range(len(atoms)), mic=True)
    distances[site] = np.inf
    return int(distances.argmin())


def polyethylene() -> Atoms:
    up, down = (
        [(0, 0, 0.42), (0, 0.88, 1.07), (0, -0.88, 1.07)],
        [(1.27, 0, -0.42), (1.27, 0.88, -1.07), (1.27, -0.88, -1.07)],
    )
    return Atoms("CH2CH2", [*up, *down], cell=[2.54, 0, 0], pbc=(True, False, False))


def polythiophene(n_finite: int | None = None) -> Atoms:
    """Return all-parallel polythiophene: a chain, or a finite one with hydrogens on its ends."""
    ring = molecule("C4H4S")
    sulfur = int(np.flatnonzero(ring.numbers == 16)[0])
    ends = [i for i in range(len(ring)) if ring.numbers[i] == 6 and ring.get_distance(i, sulfur) < 1.8]
    caps = [int(ring.get_distances(i, range(len(ring))).argsort()[1]) for i in ends]
    assert all(ring.numbers[cap] == 1 for cap in caps)
    along = ring.positions[ends[1]] - ring.positions[ends[0]]
    step = along * (1 + 1.45 / np.linalg.norm(along))
    bare = ring.copy()
    del bare[caps]
    if n_finite is None:
        other = np.cross(step, [1.0, 0, 0])
        return Atoms(bare, cell=[step, other, np.cross(step, other)], pbc=(True, False, False))
    chain = Atoms()
    for unit in range(n_finite):
        part = ring.copy() if unit in (0, n_finite - 1) else bare.copy()
        if unit == 0:
            del part[caps[1]]
        elif unit == n_finite - 1:
            del part[caps[0]]
        part.translate(unit * step)
        chain += part
    return chain


def test_silicon_gives_the_silanes_and_each_place_of_a_cell_once() -> None:
    counts = {amon.smiles: amon.count for amon in find_amons(bulk("Si"), 4)}
    assert counts == {
        "[SiH4]": 2,
        "[SiH3][SiH3]": 4,
        "[SiH3][SiH2][SiH3]": 2 * 6,
        "[SiH3][SiH]([SiH3])[SiH3]": 2 * 4,
        "[SiH3][SiH2][SiH2][SiH3]": 4 * 3 * 3,
    }


def test_supercell_has_the_same_amons_in_more_places() -> None:
    small = {amon.smiles: amon.count for amon in find_amons(bulk("Si"), 3)}
    large = {amon.smiles: amon.count for amon in find_amons(bulk("Si", cubic=True), 3)}
    assert large == {smiles: 4 * count for smiles, count in small.items()}


def test_distorted_crystal_has_the_amons_of_the_perfect_one() -> None:
    distorted = bulk("Si", cubic=True)
    distorted.rattle(0.1, seed=1)
    perfect = {amon.smiles: amon.count for amon in find_amons(bulk("Si", cubic=True), 3)}
    assert {amon.smiles: amon.count for amon in find_amons(distorted, 3)} == perfect
    assert len(amon_geometries(distorted, 3)) > len(amon_geometries(bulk("Si", cubic=True), 3))
    assert len(amon_geometries(distorted, 3, max_conformers=4)) == 3 * 4


def test_cell_moves_and_atoms_wrap_without_a_difference() -> None:
    atoms = bulk("Si")
    atoms.translate((4.1, 5.2, -6.3))
    wrapped = atoms.copy()
    wrapped.wrap()
    assert not np.allclose(wrapped.positions, atoms.positions)
    assert find_amons(atoms, 4) == find_amons(wrapped, 4) == find_amons(bulk("Si"), 4)


def test_diamond_has_its_ring() -> None:
    counts = {amon.smiles: amon.count for amon in find_amons(bulk("C", "diamond", a=3.57), 6)}
    assert counts["C1CCCCC1"] == 4


def test_boron_nitride_gives_boranes_and_amines() -> None:
    counts = {amon.smiles: amon.count for amon in find_amons(boron_nitride(), 6)}
    assert counts["BN"] == 3
    assert counts["B1NBNBN1"] == 1
    assert (counts["B"], counts["N"], counts["NB(N)N"], counts["BN(B)B"]) == (1, 1, 1, 1)


def test_pair_of_carbon_atoms_in_boron_nitride_is_a_double_bond() -> None:
    pair = doped(0, bonded_to(boron_nitride(3), 0))
    amons = set(amons_of(pair, 4))
    assert {"C=C", "C=C(N)N", "BC(B)=C", "BC=CN"} <= amons
    assert {"BN", "NBN", "BNB"} <= amons


def test_single_dopant_is_a_radical_that_must_be_allowed() -> None:
    with pytest.raises(InputError, match="unpaired electrons: C0"):
        amons_of(doped(0), 3)
    records = amon_geometries(doped(0), 4, allow_radicals=True)
    assert {"N[C](N)N", "[CH3]", "BN"} <= {record.info["smiles"] for record in records}
    for record in records:
        assert record.spin == int((record.numbers == 6).sum())


def test_four_coordinate_boron_and_nitrogen_are_charged_pairs() -> None:
    assert amons_of(bulk("BN", "zincblende", a=3.615), 2) == ("[BH3-][NH3+]",)


def test_graphene_gives_conjugated_hydrocarbons() -> None:
    assert amons_of(sheet("C2", 2.46), 6) == ("C=C", "C=CC=C", "C=CC(=C)C=C", "C=CC=CC=C", "c1ccccc1")


def test_polyethylene_gives_the_alkanes() -> None:
    amons = find_amons(polyethylene(), 5)
    assert [amon.smiles for amon in amons] == ["C", "CC", "CCC", "CCCC", "CCCCC"]
    assert [amon.count for amon in amons] == [2] * 5


def test_chain_has_the_amons_of_a_long_molecule() -> None:
    assert amons_of(polythiophene(), 6) == amons_of(polythiophene(4), 6)


def test_caps_lie_along_the_cut_bonds() -> None:
    atoms = bulk("Si")
    bond = atoms.get_distance(0, 1)
    (silane,) = {record.info["smiles"]: record for record in amon_geometries(atoms, 1)}.values()
    caps = silane.positions[1:] - silane.positions[0]
    np.testing.assert_allclose(np.linalg.norm(caps, axis=1), CAP_LENGTHS[14], rtol=1e-12)
    (disilane,) = (r for r in amon_geometries(atoms, 2) if r.info["n_heavy"] == 2)
    assert np.linalg.norm(disilane.positions[1] - disilane.positions[0]) * BOHR == pytest.approx(bond, abs=1e-9)
    cosines = caps @ caps.T / CAP_LENGTHS[14] ** 2
    np.testing.assert_allclose(cosines[~np.eye(4, dtype=bool)], -1 / 3, atol=1e-12)


def test_perfect_crystal_has_one_geometry_per_conformer() -> None:
    records = amon_geometries(bulk("Si"), 4)
    names = [record.info["smiles"] for record in records]
    assert names.count("[SiH3][SiH2][SiH2][SiH3]") == 2  # gauche and anti
    assert len(names) == 6


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (bulk("NaCl", "rocksalt", a=5.6), "has Na, but fragments of crystals.*covalent bonds between H"),
        (bulk("Si", a=6.6), "not certain whether Si0 and Si1 are bonded: they are 2.86 A apart"),
        (bulk("C", "fcc", a=2.2), r"more neighbours than they have bonds to give: C0 \(12\)"),
        (Atoms("N", cell=[5, 5, 5], pbc=True), r"lack bonds: N0 \(3\)"),
        (Atoms("Si", pbc=True), "vector 0, but that cell vector is zero"),
    ],
)
def test_what_is_no_covalent_crystal_is_refused(atoms: Atoms, message: str) -> None:
    with pytest.raises(InputError, match=message):
        amons_of(atoms, 2)


@pytest.mark.parametrize(
    "smiles",
    [
        "CC[N+](=O)[O-]", "CS(=O)(=O)CC", "CCN=[N+]=[N-]", "[NH3+]CC(=O)[O-]", "C[N+](C)(C)[O-]", "CC[N+]#[C-]", "CC#N",
        "[C-]#[O+]", "CP(=O)(OC)OC", "NS(N)(=O)=O", "O=S=O", "Cc1cccc[n+]1[O-]",
    ],
)  # fmt: skip
def test_cell_around_a_molecule_makes_no_difference(smiles: str) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=3) == 0
    atoms = Atoms([atom.GetSymbol() for atom in mol.GetAtoms()], mol.GetConformer().GetPositions())
    boxed = atoms.copy()
    boxed.center(vacuum=4.0)
    boxed.positions += (2.0, 3.0, 4.0)  # some atoms over the cell's border
    boxed.wrap(pbc=True)
    boxed.pbc = True
    assert amons_of(boxed, 5) == amons_of(atoms, 5)


def test_charged_cell_is_refused() -> None:
    atoms = bulk("Si")
    atoms.info["charge"] = 1
    with pytest.raises(InputError, match="charge 1 a cell"):
        amons_of(atoms, 2)


def test_crowded_layers_are_laid_out_at_once() -> None:
    """Puckered layers of three-coordinate phosphorus, whose rings RDKit's search does not finish."""
    cell = (3.3136, 10.478, 4.3763, 90, 90, 90)
    atoms = crystal(["P"], [(0, 0.10168, 0.08056)], spacegroup=64, cellpar=cell)
    start = time.process_time()
    assert amons_of(atoms, 4)[:2] == ("PP", "PPP")
    assert len(unroll(atoms, 9).molecule) > 600
    assert time.process_time() - start < 5.0  # 0.3 s measured


def test_growth_is_bounded() -> None:
    with pytest.raises(InputError, match=r"more than 50,000 atoms around one cell.*smaller max_heavy"):
        amons_of(bulk("Si"), 40)


def test_sheet_with_odd_rings_is_served() -> None:
    """One bond turned by 90 degrees: two rings of five and two of seven."""
    atoms = graphene(size=(9, 9, 1), vacuum=8.0)
    atoms.pbc = (True, True, False)
    i, j = 0, bonded_to(atoms, 0)
    along = atoms.get_distance(i, j, mic=True, vector=True)
    centre, across = atoms.positions[i] + along / 2, np.array([-along[1], along[0], 0]) * 0.48
    atoms.positions[i], atoms.positions[j] = centre - across, centre + across
    assert amons_of(atoms, 4) == ("C=C", "C=CC=C")


def urea() -> Atoms:
    """Return the tetragonal cell of urea, two molecules: four images around each touch it."""
    sites = [(0, 0.5, 0.5953), (0, 0.5, 0.326), (0.1459, 0.6459, 0.1766), (0.2575, 0.7575, 0.2827)]
    sites.append((0.1441, 0.6441, -0.038))
    return crystal("OCNHH", sites, spacegroup=113, cellpar=[5.565, 5.565, 4.684, 90, 90, 90])


def test_contacts_between_images_are_those_of_a_larger_cell() -> None:
    one, two = (
        {amon.smiles: amon.count for amon in find_amons(atoms, 3, max_contact_heavy=4) if "." in amon.smiles}
        for atoms in (urea(), urea().repeat((1, 1, 2)))
    )
    assert {"N.N", "C=O.N", "N.NC=O"} <= one.keys()
    assert two == {smiles: 2 * count for smiles, count in one.items()}


def test_contacts_in_a_box_are_those_of_the_molecules() -> None:
    dimer = s22["Formamide_dimer"]
    boxed = dimer.copy()
    boxed.center(vacuum=6.0)
    boxed.pbc = True
    found = [{a.smiles: a.count for a in find_amons(atoms, 3, max_contact_heavy=6)} for atoms in (dimer, boxed)]
    assert found[0] == found[1]
    assert any("." in smiles for smiles in found[0])


def test_chain_does_not_touch_itself() -> None:
    assert amons_of(polyethylene(), 2, max_contact_heavy=4) == amons_of(polyethylene(), 2)
