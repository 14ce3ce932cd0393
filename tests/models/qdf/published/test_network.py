from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import read

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.qdf.published import field, network
from ase_mlwave.models.qdf.published.config import PublishedConfig
from ase_mlwave.models.qdf.published.dense import dense, rectified_dense
from ase_mlwave.models.qdf.published.importing import import_published
from ase_mlwave.models.qdf.published.network import PublishedQDF
from ase_mlwave.units import BOHR, HARTREE

FORMULAS = ("H2O", "CH3OH", "HCN", "C6H6", "H2")


def built(model: ModelFolder, dtype: torch.dtype = torch.float64) -> PublishedQDF:
    net = model.build(dtype=dtype)
    assert isinstance(net, PublishedQDF)
    return net


def electronvolts(net: PublishedQDF, *atoms: Atoms) -> np.ndarray:
    return (net([record_from_atoms(one) for one in atoms]) * HARTREE).numpy()


def chain(n: int) -> Atoms:
    """Return a bent chain of n atoms, 1.3 Angstrom apart, too long for one block of neighbours."""
    turns = 0.2 * np.arange(n)
    positions = np.stack([1.3 * np.arange(n), np.sin(turns), np.cos(turns)], axis=1)
    return Atoms([("H", "C", "O", "N")[i % 4] for i in range(n)], positions)


# --- the original's numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-5), (torch.float32, 1e-4)])
def test_published_predictions_are_reproduced(reference: Path, dtype: torch.dtype, tolerance: float) -> None:
    """All 300, in eV; the published numbers are float32, whose spacing is 4e-6 to 8e-6 eV there."""
    model = import_published(reference / "published_qm9under14_6-31G_dim250.pth", reference / "orbitaldict_6-31G.json")
    structures = read(reference / "published_predictions_300.xyz", ":")
    published = np.array([atoms.info["published_prediction_eV"] for atoms in structures])
    assert len(published) == 300
    errors = np.abs(electronvolts(built(model, dtype), *structures)[:, 0] - published)
    assert errors.max() < tolerance


@pytest.mark.parametrize(("name", "dtype"), [("energy", torch.float64), ("levels", torch.float64)])
def test_independent_numbers_are_reproduced(
    request: pytest.FixtureRequest, expected: dict[str, Any], name: str, dtype: torch.dtype
) -> None:
    net = built(request.getfixturevalue(f"{name}_model"), dtype)
    values = electronvolts(net, *(molecule(formula) for formula in FORMULAS))
    np.testing.assert_allclose(values, [expected[name][formula]["eV"] for formula in FORMULAS], atol=1e-10)


@pytest.mark.parametrize("formula", FORMULAS)
def test_hohenberg_kohn_map_is_that_of_the_original(
    energy_model: ModelFolder, expected: dict[str, Any], formula: str
) -> None:
    net, record = built(energy_model), record_from_atoms(molecule(formula))
    potential = net.potential(net.density(record)).numpy()
    np.testing.assert_allclose(
        [potential[0], potential.mean()], expected["energy"][formula]["potential"], rtol=0, atol=1e-12
    )


def test_the_published_sphere_has_56_points() -> None:
    sphere = field.grid_sphere(0.75, 0.3).numpy()
    assert sphere.shape == (56, 3)
    assert np.linalg.norm(sphere, axis=1).max() <= 0.75
    assert sorted({round(float(abs(x)), 6) for x in sphere.ravel()}) == [0.15, 0.45]


def test_a_sphere_without_points_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no point"):
        field.grid_sphere(0.1, 0.3)


# --- laws ---------------------------------------------------------------------------------------------------------


def test_a_batch_is_its_molecules(energy_model: ModelFolder) -> None:
    net, batch = built(energy_model), [molecule(formula) for formula in FORMULAS]
    together = electronvolts(net, *batch)
    np.testing.assert_allclose(together, [electronvolts(net, one)[0] for one in batch], atol=1e-12)
    assert electronvolts(net).shape == (0, 1)


def test_a_pass_runs_on_the_meta_device(energy_model: ModelFolder, levels_model: ModelFolder, meta: str) -> None:
    """Where tensors have no values, whatever asks for one, or mixes in a tensor of the CPU, raises."""
    for model in (energy_model, levels_model):
        net = built(model).to(meta)
        records = [record_from_atoms(molecule(formula)) for formula in FORMULAS]
        assert net(records).shape == (len(records), len(net.config.outputs))
        assert net([]).device.type == meta
        assert net.density(records[0]).device.type == meta


def test_chunks_of_points_do_not_matter(levels_model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch = built(levels_model), [molecule(formula) for formula in FORMULAS]
    whole = electronvolts(net, *batch)
    monkeypatch.setattr(network, "_ROWS", 300)
    np.testing.assert_allclose(electronvolts(net, *batch), whole, atol=1e-12)


def test_orbitals_hold_the_electrons(energy_model: ModelFolder) -> None:
    net, record = built(energy_model), record_from_atoms(molecule("CH3OH"))
    psi = net.orbitals(record)
    assert psi.shape == (6 * 56, 8)
    np.testing.assert_allclose(psi.square().sum(dim=0), 18 / 8, atol=1e-12)
    assert float(net.density(record).sum()) == pytest.approx(18)


@pytest.mark.parametrize("width", [8, 60])
def test_energy_is_that_of_the_orbitals(width: int) -> None:
    """With fewer orbitals than columns psi is never made; the result must not show it."""
    torch.manual_seed(3)
    config = PublishedConfig(elements=("H", "C", "O"), level="none", n_inner=3, n_outer=3, width=width)
    net = PublishedQDF(config).cast(torch.float64).requires_grad_(False)
    record = record_from_atoms(molecule("CH3OH"))
    hidden = net.orbitals(record)
    for layer in net.functional:
        hidden = torch.relu(layer(hidden))
    wanted = net.output(hidden.sum(dim=0))
    torch.testing.assert_close(net([record])[0] * HARTREE, wanted, rtol=1e-10, atol=1e-10)


def test_blocks_of_neighbours_equal_the_whole(energy_model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    net, atoms = built(energy_model), chain(60)
    record = record_from_atoms(atoms)
    blocks = field.cut_into_blocks(record, 9.0 / BOHR)
    assert len(blocks) > 3
    assert max(len(near) for _, near in blocks) < 40  # neighbours only
    assert sorted(np.concatenate([centres for centres, _ in blocks])) == list(range(60))
    energy, psi, v = electronvolts(net, atoms), net.orbitals(record), net.reference_potential(record)
    monkeypatch.setattr(field, "ATOMS_IN_ONE_BLOCK", 100)
    np.testing.assert_allclose(energy, electronvolts(net, atoms), atol=1e-8)
    np.testing.assert_allclose(psi, net.orbitals(record), atol=1e-9)
    np.testing.assert_allclose(v, net.reference_potential(record), atol=1e-9)


def test_reference_potential_is_that_of_gaussians_at_the_nuclei(energy_model: ModelFolder) -> None:
    net, atoms = built(energy_model), molecule("HCN")
    record = record_from_atoms(atoms)
    points = net.points(record).numpy() * BOHR
    distances = np.linalg.norm(points[:, None] - atoms.positions, axis=-1)
    wanted = -(np.exp(-(distances**2)) @ atoms.numbers)
    np.testing.assert_allclose(net.reference_potential(record), wanted, atol=1e-12)


def test_a_point_on_an_atom_feels_nothing_of_it() -> None:
    """As published: the distance zero counts as infinite."""
    sphere, origin = field.grid_sphere(0.75, 0.3), torch.zeros(1, 3, dtype=torch.float64)
    squared = field.squared_distances(sphere, origin, sphere[:1])
    assert float(squared[0, 0]) > 1e10
    assert float(squared[0, 1:].max()) < 5


def test_dead_columns_change_neither_energy_nor_gradient() -> None:
    torch.manual_seed(0)
    hidden = torch.rand(30, 12, dtype=torch.float64)
    hidden[:, ::2] = 0
    weight, bias = torch.randn(7, 12, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    results = []
    for function in (rectified_dense, lambda h, w, b: torch.relu(h @ w.T + b)):
        inputs = hidden.clone().relu().requires_grad_(), weight.clone().requires_grad_()
        value = function(*inputs, bias)
        results.append((value, *torch.autograd.grad(value.square().sum(), inputs[1])))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("rectify", [False, True])
def test_the_fast_product_is_the_plain_one(rectify: bool) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(40, 9), torch.randn(6, 9), torch.randn(6)
    plain = dense(x.double(), weight.double(), bias.double(), rectify=rectify).float()
    for one in (x, x.T.contiguous().T, x.clone().requires_grad_()):
        torch.testing.assert_close(dense(one, weight, bias, rectify=rectify).detach(), plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rectify", [False, True])
def test_the_fast_product_has_the_plain_gradient(rectify: bool) -> None:
    torch.manual_seed(1)
    inputs = [torch.randn(*shape) for shape in ((40, 9), (6, 9), (6,))]
    gradients = []
    for dtype in (torch.float64, torch.float32):
        leaves = [one.to(dtype).requires_grad_() for one in inputs]
        value = dense(*leaves, rectify=rectify).square().sum()
        gradients.append([one.float() for one in torch.autograd.grad(value, leaves)])
    for plain, fast in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)


def test_all_columns_may_be_dead() -> None:
    bias = torch.tensor([1.0, -1.0])
    torch.testing.assert_close(rectified_dense(torch.zeros(3, 4), torch.ones(2, 4), bias), bias.relu().expand(3, 2))


def test_gradients_of_all_parameters_are_those_of_finite_differences() -> None:
    torch.manual_seed(4)
    config = PublishedConfig(elements=("H", "O"), level="none", n_inner=2, n_outer=2, width=20, functional_layers=2)
    net = PublishedQDF(config).cast(torch.float64)
    record = record_from_atoms(molecule("H2O"))
    net([record]).sum().backward()
    generator = np.random.default_rng(0)
    for name in ("coefficients", "exponents", "functional.0.weight", "functional.1.weight"):
        parameter = net.get_parameter(name)
        index = tuple(int(generator.integers(n)) for n in parameter.shape)
        assert parameter.grad is not None
        energies = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                parameter[index] += step
                energies.append(float(net([record])[0, 0]))
                parameter[index] -= step
        assert float(parameter.grad[index]) == pytest.approx((energies[0] - energies[1]) / 2e-6, abs=1e-7)
