"""Laws of the network, in float64 and for both products."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from ase_mlwave.models.phisnet.config import PRESETS, PhiSNetConfig
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.quantum.ao_order import rotate_aos
from ase_mlwave.quantum.basis import n_functions, shells
from tests.models.phisnet.systems import (
    MATRICES,
    PRODUCTS,
    Geometry,
    assert_equal,
    geometry,
    joined,
    matrices,
    network,
    predict,
)

model_of = cache(network)


def _operation(kind: str) -> Tensor:
    draw = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    rotation = torch.linalg.qr(draw)[0]
    rotation = rotation * torch.det(rotation)
    mirror = torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))
    return {"rotation": rotation, "mirror": mirror, "rotoreflection": rotation @ mirror, "inversion": -mirror @ mirror}[
        kind
    ]


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("kind", ["rotation", "mirror", "rotoreflection", "inversion"])
def test_network_is_equivariant(product: str, kind: str) -> None:
    model, (numbers, positions) = model_of(product), geometry("OCHH")
    R = _operation(kind)
    U = rotate_aos([l for z in numbers for l in shells("def2-svp", int(z))], R)
    before, after = predict(model, (numbers, positions)), predict(model, (numbers, positions @ R.numpy().T))
    for name in MATRICES:
        assert_equal(matrices(after, name)[0], U @ matrices(before, name)[0] @ U.T)
    assert_equal(after.atomic_energies, before.atomic_energies)


@pytest.mark.parametrize("product", PRODUCTS)
def test_chiral_molecule_is_told_from_its_image(product: str) -> None:
    """The matrix of the mirror image is the mirrored one, so without mirroring it the two differ."""
    model, (numbers, positions) = model_of(product), geometry("OCHH")
    before = matrices(predict(model, (numbers, positions)), "hamiltonian")[0]
    after = matrices(predict(model, (numbers, positions * [1, -1, 1])), "hamiltonian")[0]
    assert float((before - after).abs().max()) > 1e-3


@pytest.mark.parametrize("product", PRODUCTS)
def test_translation_changes_nothing(product: str) -> None:
    model, (numbers, positions) = model_of(product), geometry("OCHH")
    before, after = (
        predict(model, (numbers, positions)),
        predict(model, (numbers, positions + np.array([3.0, -1.0, 0.5]))),
    )
    for name in MATRICES:
        assert_equal(matrices(after, name)[0], matrices(before, name)[0])


@pytest.mark.parametrize("product", PRODUCTS)
def test_permutation_of_atoms_permutes_the_matrix(product: str) -> None:
    model, (numbers, positions) = model_of(product), geometry("OHCH")
    order = np.array([2, 3, 0, 1])
    counts = [n_functions("def2-svp", int(z)) for z in numbers]
    starts = np.cumsum([0, *counts])
    functions = torch.tensor([f for atom in order for f in range(starts[atom], starts[atom + 1])])
    before, after = predict(model, (numbers, positions)), predict(model, (numbers[order], positions[order]))
    for name in MATRICES:
        assert_equal(matrices(after, name)[0], matrices(before, name)[0][functions][:, functions])
    assert_equal(after.atomic_energies, before.atomic_energies[torch.from_numpy(order)])


@pytest.mark.parametrize("product", PRODUCTS)
def test_matrices_are_symmetric(product: str) -> None:
    output = predict(model_of(product), geometry("OCHH"))
    for name in MATRICES:
        matrix = matrices(output, name)[0]
        assert torch.equal(matrix, matrix.T)


@pytest.mark.parametrize("product", PRODUCTS)
def test_molecules_far_apart_do_not_feel_one_another(product: str) -> None:
    model = model_of(product)
    (z_1, r_1), (z_2, r_2) = geometry("OHH", 1), geometry("CHHO", 2)
    apart = r_2 + np.array([r_1[:, 0].max() - r_2[:, 0].min() + model.config.cutoff + 0.01, 0.0, 0.0])
    joined = predict(model, (np.concatenate([z_1, z_2]), np.concatenate([r_1, apart])))
    single = predict(model, (z_1, r_1), (z_2, r_2))
    for name in MATRICES:
        first, second = matrices(single, name)
        whole = matrices(joined, name)[0]
        n = len(first)
        assert_equal(whole[:n, :n], first)
        assert_equal(whole[n:, n:], second)
        assert not whole[:n, n:].any()
    assert_equal(joined.atomic_energies, single.atomic_energies)


@pytest.mark.parametrize("product", PRODUCTS)
def test_interaction_fades_before_the_cutoff(product: str) -> None:
    model = model_of(product)
    (z_1, r_1), (z_2, r_2) = geometry("OH", 1), geometry("CH", 2)
    near = r_2 - r_2[0] + r_1[0] + np.array([model.config.cutoff - 0.02, 0.0, 0.0])
    joined = matrices(predict(model, (np.concatenate([z_1, z_2]), np.concatenate([r_1, near]))), "hamiltonian")[0]
    first, second = matrices(predict(model, (z_1, r_1), (z_2, r_2)), "hamiltonian")
    n = len(first)
    assert float(joined[:n, n:].abs().max()) > 0
    oxygen = n_functions("def2-svp", 8)
    assert float(joined[:oxygen, n : n + n_functions("def2-svp", 6)].abs().max()) < 1e-12
    assert len(second) + n == len(joined)


@pytest.mark.parametrize("product", PRODUCTS)
def test_batch_gives_what_its_members_give_alone(product: str) -> None:
    model = model_of(product)
    members = [geometry("OHH", 1), geometry("O", 2), geometry("CHHO", 3), geometry("HH", 4), geometry("OHH", 5)]
    together = predict(model, *members)
    alone = [predict(model, member) for member in members]
    for name in MATRICES:
        for matrix, single in zip(matrices(together, name), alone, strict=True):
            assert_equal(matrix, matrices(single, name)[0])
    assert_equal(together.atomic_energies, torch.cat([single.atomic_energies for single in alone]))


@pytest.mark.parametrize("product", PRODUCTS)
def test_overlap_depends_on_pairs_alone(product: str) -> None:
    model, (numbers, positions) = model_of(product), geometry("OCHH")
    whole = matrices(predict(model, (numbers, positions)), "overlap")[0]
    pair = matrices(predict(model, (numbers[:2], positions[:2])), "overlap")[0]
    assert_equal(whole[: len(pair), : len(pair)], pair)
    interacting = matrices(predict(model, (numbers, positions)), "hamiltonian")[0]
    lonely = matrices(predict(model, (numbers[:2], positions[:2])), "hamiltonian")[0]
    assert float((interacting[: len(lonely), : len(lonely)] - lonely).abs().max()) > 1e-3


def _special_geometries() -> dict[str, Geometry]:
    axes = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2], [-2, 0, 0], [0, 0, -2]])
    line = np.array([[0.0, 0, 0], [1.3, 1.3, 1.3], [-1.3, -1.3, -1.3], [2.6, 2.6, 2.6]])
    return {"axes": (np.array([6, 1, 1, 1, 8, 1]), axes), "line": (np.array([6, 8, 8, 1]), line)}


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("name", ["axes", "line"])
def test_derivatives_are_finite_where_atoms_align(product: str, name: str) -> None:
    model, (numbers, positions) = model_of(product), _special_geometries()[name]
    moving = torch.tensor(positions, requires_grad=True)
    output = model(joined([(numbers, positions)], model.config.cutoff).at(moving))
    (gradient,) = torch.autograd.grad(output.hamiltonian.flat.square().sum(), moving, create_graph=True)
    second = torch.autograd.grad(gradient.square().sum(), [moving, *model.heads.parameters()], allow_unused=True)
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient.detach().abs().max()) > 1e-3
    assert all(bool(torch.isfinite(part).all()) for part in second if part is not None)


@pytest.mark.parametrize("product", PRODUCTS)
def test_gradient_equals_finite_differences(product: str) -> None:
    model = model_of(product, features=4)
    numbers, positions = geometry("OHH", 3)
    batch = joined([(numbers, positions)], model.config.cutoff)
    weights = torch.randn(24 * 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def scalar(moving: Tensor) -> Tensor:
        output = model(batch.at(moving))
        total: Tensor = (output.hamiltonian.flat * weights).sum() + output.atomic_energies.sum()
        return total

    assert gradcheck(scalar, (torch.tensor(positions, requires_grad=True),), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("product", PRODUCTS)
def test_single_precision_is_close(product: str) -> None:
    precise = network(product)
    expected = matrices(predict(precise, geometry("OCHH")), "hamiltonian")[0]
    actual = matrices(predict(precise.cast(torch.float32), geometry("OCHH")), "hamiltonian")[0]
    assert actual.dtype == torch.float64
    assert_equal(actual, expected, 1e-4)
    assert not torch.equal(actual, expected)


def test_unknown_element_is_refused() -> None:
    numbers, positions = geometry("OHH")
    for wrong in (7, 92):
        with pytest.raises(ValueError, match=r"elements \['(N|U)'\] are unknown to this model, which has"):
            predict(model_of("edge_frame"), (np.where(numbers == 8, wrong, numbers), positions))


def test_orders_that_the_basis_needs_are_asked_for() -> None:
    with pytest.raises(ValueError, match="couples to orders"):
        PhiSNet(PhiSNetConfig(elements=("O",), max_order=3, features=2, n_modules=1))
    with pytest.raises(ValueError, match="couples to orders"):
        PhiSNet(PhiSNetConfig(elements=("H",), max_unnatural_order=0, features=2, n_modules=1))


def test_presets_are_valid() -> None:
    for preset in PRESETS.values():
        assert PhiSNetConfig(elements=("H", "O"), **preset).features >= 64


@pytest.mark.parametrize("product", PRODUCTS)
def test_blocks_beyond_their_own_cutoff_are_zero(product: str) -> None:
    """Nearer than 3 Bohr to it they fade, and what is nearer still is as without it."""
    numbers, positions = np.array([8, 1]), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    model, short = (network(product, block_cutoff=cutoff) for cutoff in (None, 6.0))
    for distance, factor in ((2.9, 1.0), (4.5, 0.5), (6.0, 0.0)):
        positions[1, 2] = distance
        for name in MATRICES:
            whole, cut = (matrices(predict(m, (numbers, positions)), name)[0] for m in (model, short))
            n = n_functions("def2-svp", 8)
            assert_equal(cut[:n, :n], whole[:n, :n])
            torch.testing.assert_close(cut[:n, n:], factor * whole[:n, n:], rtol=1e-10, atol=1e-12)
