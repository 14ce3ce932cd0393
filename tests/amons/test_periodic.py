from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import InputError

from ase_mlwave.amons import amon_geometries, amons_of, find_amons
from ase_mlwave.amons.capping import CAP_LENGTHS
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
        (bulk("NaCl", "rocksalt", a=5.6), "covalent bonds between H, B, C.*has Na"),
        (bulk("Si", a=6.6), "not certain whether Si0 and Si1 are bonded: they are 2.86 A apart"),
        (bulk("C", "fcc", a=2.2), "more than it has bonds to give"),
        (Atoms("N", cell=[5, 5, 5], pbc=True), "no bond orders fit atoms"),
        (Atoms("Si", pbc=True), "vector 0, but that cell vector is zero"),
    ],
)
def test_what_is_no_covalent_crystal_is_refused(atoms: Atoms, message: str) -> None:
    with pytest.raises(InputError, match=message):
        amons_of(atoms, 2)


def test_contacts_between_images_are_refused() -> None:
    with pytest.raises(InputError, match="contacts between images"):
        amons_of(polyethylene(), 2, max_contact_heavy=4)
