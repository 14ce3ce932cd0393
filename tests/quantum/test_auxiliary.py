"""Matrices of potentials in an auxiliary basis, against PySCF's density fitting and against differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import molecule
from numpy.typing import NDArray
from pyscf import df, dft

from ase_mlwave.quantum import auxiliary
from ase_mlwave.quantum.auxiliary import monopoles, potential_matrices, three_centre_integrals
from ase_mlwave.quantum.basis import build_mole, shells
from ase_mlwave.units import BOHR

BASIS, AUXILIARY = "def2-svp", "def2-universal-jkfit"


def _geometry(name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    atoms = molecule(name)
    return atoms.numbers, atoms.positions / BOHR


def _coefficients(n: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_potential_of_a_density_is_its_coulomb_matrix() -> None:
    """A fitted density has the Coulomb matrix that PySCF's density fitting gives."""
    numbers, positions = _geometry("H2O")
    mole = build_mole(numbers, positions, BASIS)
    mean_field = dft.RKS(mole, xc="pbe").density_fit(auxbasis=AUXILIARY)
    density = mean_field.get_init_guess(mole, "minao")
    helper = df.addons.make_auxmol(mole, AUXILIARY)
    integrals = df.incore.aux_e2(mole, helper, "int3c2e")
    fitted = np.linalg.solve(helper.intor("int2c2e"), np.einsum("pqk,pq->k", integrals, density))
    matrix = potential_matrices(torch.from_numpy(positions), [numbers], BASIS, AUXILIARY, torch.from_numpy(fitted))
    np.testing.assert_allclose(matrix.view(mole.nao, -1).numpy(), mean_field.get_j(dm=density), atol=1e-9)


def test_charges_of_functions_are_what_far_potentials_show() -> None:
    """The potential of an s function is its charge over the distance, far away."""
    mole = build_mole([8], np.array([[0.0, 0.0, 1e6]]), "sto-3g", spin=None)
    helper = build_mole([8], np.zeros((1, 3)), AUXILIARY, spin=None)
    ((functions, integrals),) = three_centre_integrals(mole, helper)
    assert functions == slice(0, helper.nao)
    charges = monopoles(helper)
    assert np.count_nonzero(charges) == shells(AUXILIARY, 8).count(0)
    np.testing.assert_allclose(integrals[0] * 1e6, charges, rtol=1e-4, atol=1e-4)


def test_molecules_together_are_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where integrals come in parts."""
    water, ammonia = _geometry("H2O"), _geometry("NH3")
    sizes = [build_mole(*one, AUXILIARY).nao for one in (water, ammonia)]
    coefficients = _coefficients(sum(sizes))
    alone = [
        potential_matrices(torch.from_numpy(positions), [numbers], BASIS, AUXILIARY, some)
        for (numbers, positions), some in zip((water, ammonia), coefficients.split(sizes), strict=True)
    ]
    monkeypatch.setattr(auxiliary, "_CHUNK", 20_000)
    positions = torch.from_numpy(np.concatenate([water[1], ammonia[1]]))
    together = potential_matrices(positions, [water[0], ammonia[0]], BASIS, AUXILIARY, coefficients)
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)


def test_gradient_of_potential_matrices() -> None:
    numbers, places = _geometry("HCN")
    positions = torch.from_numpy(places).requires_grad_()
    coefficients = _coefficients(build_mole(numbers, places, AUXILIARY).nao).requires_grad_()
    weights = _coefficients(build_mole(numbers, places, BASIS).nao ** 2, seed=1)

    def value(r: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return (potential_matrices(r, [numbers], BASIS, AUXILIARY, c) * weights).sum()

    slopes = torch.autograd.grad(value(positions, coefficients), (positions, coefficients))
    torch.testing.assert_close(slopes[0].sum(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-10)
    step = 1e-4
    for which, index in ((0, (1, 2)), (0, (2, 0)), (1, (7,)), (1, (40,))):
        inputs = [positions.detach(), coefficients.detach()]
        shift = torch.zeros_like(inputs[which])
        shift[index] = step
        plus, minus = ([x + sign * shift if i == which else x for i, x in enumerate(inputs)] for sign in (1, -1))
        difference = (value(*plus) - value(*minus)) / (2 * step)
        torch.testing.assert_close(slopes[which][index], difference, rtol=1e-6, atol=1e-8)


def test_wrong_number_of_coefficients() -> None:
    numbers, positions = _geometry("H2O")
    with pytest.raises(ValueError, match="def2-universal-jkfit has 113 functions"):
        potential_matrices(torch.from_numpy(positions), [numbers], BASIS, AUXILIARY, torch.zeros(3))
