"""Symmetries of the representation, batches, blocks, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, graphene, molecule
from scipy.spatial.transform import Rotation

from ase_mlwave.models.amons.slatm import spectra
from ase_mlwave.units import BOHR
from tests.models.amons.slatm.systems import geometry, random_molecule, rows, slatm

ELEMENTS = ("H", "C", "N", "O")
MOLECULES = [random_molecule(ELEMENTS, n, seed=n) for n in (9, 4, 13)] + [molecule("C2H2"), molecule("CO2"), Atoms("N")]

smooth_and_not = pytest.mark.parametrize("smooth", [True, False])


def same(one: torch.Tensor, other: torch.Tensor, tolerance: float = 1e-11) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


@smooth_and_not
def test_rotation_reflection_and_translation_change_nothing(smooth: bool) -> None:
    representation = slatm(*ELEMENTS, smooth=smooth)
    atoms = MOLECULES[2]
    reference = rows(representation, atoms)
    for matrix in Rotation.random(3, random_state=1).as_matrix():
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions = sign * atoms.positions @ matrix.T + np.array([30.0, -20.0, 10.0])
            same(rows(representation, moved), reference)


@smooth_and_not
def test_environments_move_with_their_atoms_under_permutation(smooth: bool) -> None:
    representation = slatm(*ELEMENTS, smooth=smooth)
    atoms = MOLECULES[2]
    order = np.random.default_rng(0).permutation(len(atoms))
    same(rows(representation, atoms[order]), rows(representation, atoms)[order])


@smooth_and_not
def test_a_batch_is_its_systems(smooth: bool) -> None:
    representation = slatm(*ELEMENTS, smooth=smooth)
    layer = graphene(vacuum=None)
    systems = [*MOLECULES, layer, *MOLECULES[:2]]
    together = rows(representation, *systems)
    one_by_one = torch.cat([rows(representation, atoms) for atoms in systems])
    same(together, one_by_one, 1e-13)


def test_a_batch_does_not_depend_on_the_size_of_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    representation = slatm(*ELEMENTS)
    with torch.no_grad():
        whole = rows(representation, *MOLECULES)
        monkeypatch.setattr(spectra, "_GAUSSIANS_ON_CPU", 10)
        same(rows(representation, *MOLECULES), whole, 1e-13)


def test_environments_are_those_of_the_batch_of_one() -> None:
    representation = slatm(*ELEMENTS)
    atoms = MOLECULES[0]
    single = representation.environments(atoms.numbers, torch.from_numpy(atoms.positions) / BOHR)
    same(single, rows(representation, atoms), 0)


@pytest.mark.parametrize(("smooth", "distance"), [(True, 4.81), (False, 4.81), (True, 50.0)])
def test_atoms_beyond_the_cutoff_do_not_see_each_other(smooth: bool, distance: float) -> None:
    representation = slatm(*ELEMENTS, smooth=smooth)
    one, other = molecule("CH4"), molecule("NH3")
    gap = one.positions[:, 0].max() - other.positions[:, 0].min() + distance
    shifted = other.copy()
    shifted.translate([gap, 0, 0])
    same(rows(representation, one + shifted), rows(representation, one, other), 1e-13)


def test_an_atom_alone_has_only_its_charge() -> None:
    row = rows(slatm(*ELEMENTS), Atoms("N"))
    assert row[0, 0] == 7
    assert row[0, 1:].count_nonzero() == 0


@smooth_and_not
@pytest.mark.parametrize("name", ["bulk", "layer"])
def test_cell_equals_its_supercell(name: str, smooth: bool) -> None:
    cell = bulk("NaCl", "rocksalt", a=5.1) if name == "bulk" else graphene("BN", a=2.5, vacuum=None)
    rng = np.random.default_rng(3)
    cell.positions += rng.normal(scale=0.1, size=(2, 3))
    representation = slatm(*set(cell.symbols), smooth=smooth)
    repeated = cell.repeat((3, 2, 1))
    repeated.positions += rng.integers(-2, 3, (len(repeated), 3)) * cell.pbc @ repeated.cell.array  # unwrapped
    same(rows(representation, repeated), rows(representation, cell).repeat(6, 1))


def test_a_large_cell_equals_the_molecule() -> None:
    representation = slatm(*ELEMENTS)
    boxed = MOLECULES[0].copy()
    boxed.set_cell(np.diag([12.0, 13.0, 14.0]))
    boxed.pbc = True
    same(rows(representation, boxed), rows(representation, MOLECULES[0]))


def test_distances_are_those_of_the_full_layout() -> None:
    representation = slatm(*ELEMENTS)
    x = rows(representation, *MOLECULES)
    numbers = torch.cat([torch.from_numpy(atoms.numbers) for atoms in MOLECULES])
    full = representation.expand(x, numbers)
    assert full.shape == (len(numbers), 4 + 10 * 157 + 40 * 128)
    assert x.shape[1] == representation.width == 1 + 4 * 157 + 10 * 128
    for z in (1, 6, 7, 8):
        same(torch.pdist(x[numbers == z]), torch.pdist(full[numbers == z]))


def test_columns_of_fewer_elements_are_found_among_those_of_more() -> None:
    ethanol, large = molecule("CH3CH2OH"), slatm("H", "C", "N", "O", "F")
    for elements in (("H", "C", "O"), ("H", "C", "O", "F"), ("H", "C", "N", "O", "F")):
        small = slatm(*elements)
        columns = small.table.columns_in(large.table)
        assert (np.diff(columns) > 0).all()
        rest = np.setdiff1d(np.arange(large.width), columns)
        assert torch.equal(rows(large, ethanol)[:, columns], rows(small, ethanol))
        assert not rows(large, ethanol)[:, rest].any()


def test_smooth_and_abrupt_cutoffs_agree_where_nothing_is_near_them() -> None:
    water = molecule("H2O")
    abrupt, smooth = (rows(slatm("H", "O", smooth=s), water) for s in (False, True))
    pairs = slice(0, 1 + 2 * 157)
    same(smooth[:, pairs], abrupt[:, pairs])
    assert (smooth - abrupt).abs().max() < 0.01 * abrupt.abs().max()  # angles are softened


def test_elements_that_the_representation_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"elements \['S', 'Cl'\] are unknown to this representation of \['H', 'O'\]"):
        slatm("H", "O").collate([geometry(Atoms("H")), geometry(Atoms("ClS", positions=[[0, 0, 0], [0, 0, 2]]))])


def test_single_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"positions must be float64, got torch.float32"):
        slatm("H").environments([1], torch.zeros(1, 3))


@pytest.mark.gpu
@smooth_and_not
def test_gpu_equals_cpu(smooth: bool) -> None:
    representation = slatm(*ELEMENTS, smooth=smooth)
    batch = representation.collate([geometry(atoms) for atoms in (*MOLECULES, graphene(vacuum=None))])
    on_gpu = batch.to("cuda")
    x = representation.environments_of(batch)
    same(representation.environments_of(on_gpu).cpu(), x, 1e-12)
    gradient = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    for one, other in zip(
        representation.pullback(on_gpu, gradient.cuda()), representation.pullback(batch, gradient), strict=True
    ):
        same(one.cpu(), other, 1e-10)
    directions = torch.randn(2, *batch.positions.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    for one, other in zip(
        representation.pushforward(on_gpu, directions.cuda()),
        representation.pushforward(batch, directions),
        strict=True,
    ):
        same(one.cpu(), other, 1e-10)
