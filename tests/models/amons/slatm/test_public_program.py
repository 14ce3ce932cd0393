"""The representation against numbers of the public implementation, and against a plain evaluation of the formulas."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.neighborlist import neighbor_list

from ase_mlwave.models.amons.slatm.representation import Slatm
from tests.models.amons.slatm.systems import full_rows, random_molecule, slatm

FILES = Path(__file__).parent / "files"
PERIODIC = json.loads((FILES / "slatm_periodic.json").read_text())["periodic"]
SYSTEMS = ("Si_diamond", "hBN_monolayer", "NaCl")


def in_order(representation: Slatm, found: np.ndarray, types: list[list[int]]) -> np.ndarray:
    """Give columns in the order of others' types."""
    table, begin, columns = representation.table, 0, {}
    for kind in representation.types:
        size = table.block_width(kind)
        columns[kind] = columns[kind[::-1]] = np.arange(begin, begin + size)
        begin += size
    return found[:, np.concatenate([columns[tuple(kind)] for kind in types])]


def periodic(name: str) -> Atoms:
    return Atoms(**{key: PERIODIC[name][key] for key in ("symbols", "positions", "cell", "pbc")})


def public_periodic(name: str) -> np.ndarray:
    with np.load(FILES / "slatm_periodic.npz") as file:
        return file[f"{name}_local"]


def by_loops(representation: Slatm, atoms: Atoms) -> np.ndarray:
    """Evaluate the formulas pair by pair and triangle by triangle on whole grids, in extended precision."""
    real = np.longdouble
    x2 = np.linspace(real("0.1"), real("4.8"), 157)
    x3 = np.linspace(-20, 200, 128).astype(real) * (np.arctan(real(1)) / 45)
    scale = real("0.03") / (np.sqrt(8 * np.arctan(real(1))) * real("0.05"))
    index, others, vectors = neighbor_list("ijD", atoms, 4.8)
    vectors = vectors.astype(real)
    table, result = representation.table, np.zeros((len(atoms), representation.width), dtype=real)
    for centre, z in enumerate(atoms.numbers):
        near = [(atoms.numbers[j], v) for j, v in zip(others[index == centre], vectors[index == centre], strict=True)]
        result[centre, 0] = z
        for other, v in near:
            begin = table.column(z, sorted((z, other)))
            values = int(z * other) / real(2) * scale * x2**-6 * gaussian(x2, np.sqrt(v @ v))
            result[centre, begin : begin + 157] += values
        for (one, u), (two, v) in combinations(near, 2):
            a, b, c = (np.sqrt(w @ w) for w in (u, v, u - v))
            if c > 4.8:
                continue
            begin = table.column(z, (min(one, two), z, max(one, two)))
            cosines = (u @ (u - v)) / (a * c) * (v @ (v - u)) / (b * c)
            angle = np.arctan2(np.linalg.norm(np.cross(u, v).astype(float)), u @ v)
            factor = int(one * z * two) / real(3) * scale * (1 + np.cos(x3) * cosines) / (a * b * c) ** 3
            result[centre, begin : begin + 128] += factor * gaussian(x3, angle)
    return result.astype(np.float64)


def gaussian(x: np.ndarray, centre: float) -> np.ndarray:
    return np.exp(-((x - centre) ** 2) / (2 * np.longdouble("0.05") ** 2))


# --- molecules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(3))
def test_molecules_equal_the_public_program(index: int) -> None:
    with np.load(FILES / "qmllib.npz") as file:
        atoms = Atoms(file[f"numbers_{index}"], positions=file[f"positions_{index}"])
        types = [[z for z in row if z] for row in file[f"types_{index}"].tolist()]
        expected = file[f"rows_{index}"]
    representation = slatm(*sorted(set(atoms.symbols)), smooth=False)
    found = in_order(representation, full_rows(representation, atoms), types)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_random_molecules_equal_the_installed_public_program(seed: int) -> None:
    representations = pytest.importorskip("qmllib.representations", reason="qmllib has no wheel for this platform")
    elements = ("H", "C", "N", "O", "S", "F", "Cl", "Br")
    atoms = random_molecule(elements, 12, seed)
    representation = slatm(*elements, smooth=False)
    types = [list(kind) for kind in representation.types]
    expected = np.array(representations.generate_slatm(atoms.numbers, atoms.positions, types, local=True))
    np.testing.assert_allclose(full_rows(representation, atoms), expected, rtol=0, atol=1e-12)


def test_a_molecule_within_a_larger_set_of_elements_has_the_same_blocks() -> None:
    water = molecule("H2O")
    small, large = slatm("H", "O", smooth=False), slatm("H", "C", "O", "S", smooth=False)
    of_small = full_rows(small, water)
    types = [list(kind) for kind in small.types]
    np.testing.assert_array_equal(in_order(large, full_rows(large, water), types), of_small)
    assert np.count_nonzero(full_rows(large, water)) == np.count_nonzero(of_small)


# --- periodic systems -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SYSTEMS)
def test_crystals_equal_the_public_program_on_their_image_clusters(name: str) -> None:
    atoms = periodic(name)
    representation = slatm(*set(atoms.symbols), smooth=False)
    found = in_order(representation, full_rows(representation, atoms), PERIODIC[name]["mbtypes"])
    # The public program takes the inverse cosine, which at the linear triangles of hBN is precise to 1e-8 rad only; see
    # test_crystals_equal_the_formulas for what is exact there.
    linear = name == "hBN_monolayer"
    np.testing.assert_allclose(found, public_periodic(name), rtol=0, atol=1e-11 if linear else 1e-12)
    assert np.linalg.norm(found, axis=1) == pytest.approx(PERIODIC[name]["norm_per_atom"], rel=1e-12)
    assert np.count_nonzero(np.abs(found - public_periodic(name)) > 1e-12) < 50


@pytest.mark.parametrize("name", SYSTEMS)
def test_crystals_equal_the_formulas(name: str) -> None:
    atoms = periodic(name)
    representation = slatm(*set(atoms.symbols), smooth=False)
    table = representation.table
    expected = by_loops(representation, atoms)
    found = full_rows(representation, atoms)
    begin = 0
    for kind in representation.types:
        size = table.block_width(kind)
        for row, z in enumerate(atoms.numbers):
            column = table.column(z, kind)
            block = expected[row, column : column + size] if column is not None else 0.0
            np.testing.assert_allclose(found[row, begin : begin + size], block, rtol=0, atol=2e-13)
        begin += size
