"""One-electron integrals by both programs: values against PySCF, derivatives against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pyscf import gto, scf
from torch import Tensor
from torch.autograd import gradcheck

from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.density import density_matrix
from ase_mlwave.quantum.integrals import (
    IntegralName,
    IntegralProgram,
    attach_derivatives,
    batch_integrals,
    derivative_arrays,
    integral_arrays,
    nuclear_repulsion,
    one_electron_integrals,
)

NUMBERS = (8, 6, 1, 1)  # formaldehyde, distorted: no two derivatives are equal by symmetry
POSITIONS = np.array([[0.1, -0.05, 2.25], [0.0, 0.1, 0.0], [0.05, 1.8, -1.1], [-0.2, -1.7, -1.0]])
PROGRAMS: tuple[IntegralProgram, ...] = ("torch", "pyscf")
NAMES: tuple[IntegralName, ...] = ("overlap", "kinetic", "nuclear", "sap")


def _sap_of_pyscf(mole: gto.Mole) -> np.ndarray:
    """Build V_SAP with PySCF's own routine, as its initial guess does."""
    fits = {
        symbol: np.asarray(gto.basis.load("sapgrasplarge", symbol)[0][1:], dtype=float)
        for symbol in {mole.atom_symbol(i) for i in range(mole.natm)}
    }
    return scf.hf.make_sap(mole, fits)


@pytest.mark.parametrize("basis", ["def2-svp", "def2-tzvp"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_values_equal_pyscf(basis: str, program: IntegralProgram) -> None:
    mole = build_mole(NUMBERS, POSITIONS, basis)
    integrals = one_electron_integrals(torch.from_numpy(POSITIONS), NUMBERS, basis, sap=True, integrals=program)
    np.testing.assert_allclose(integrals.overlap.numpy(), mole.intor("int1e_ovlp"), atol=1e-13)
    np.testing.assert_allclose(integrals.core.numpy(), scf.hf.get_hcore(mole), atol=1e-12)
    assert integrals.sap is not None
    np.testing.assert_allclose(integrals.sap.numpy(), _sap_of_pyscf(mole), atol=1e-12)


def test_sap_density_is_that_of_pyscf() -> None:
    mole = build_mole(NUMBERS, POSITIONS, "def2-svp")
    integrals = one_electron_integrals(torch.from_numpy(POSITIONS), NUMBERS, "def2-svp", sap=True)
    assert integrals.sap is not None
    P, _ = density_matrix(integrals.core + integrals.sap, integrals.overlap, 8)
    np.testing.assert_allclose(P.numpy(), scf.RHF(mole).get_init_guess(key="sap"), atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_derivative_arrays_equal_finite_differences(name: IntegralName) -> None:
    analytic = derivative_arrays(build_mole(NUMBERS, POSITIONS, "def2-tzvp"), [name])[name]
    step = 1e-3
    for atom, axis in [(0, 2), (1, 0), (3, 1)]:
        stencil = []
        for shift in (-2, -1, 1, 2):
            moved = POSITIONS.copy()
            moved[atom, axis] += shift * step
            mole = build_mole(NUMBERS, moved, "def2-tzvp")
            stencil.append(_sap_of_pyscf(mole) if name == "sap" else integral_arrays(mole, [name])[name])
        numerical = (stencil[0] - 8 * stencil[1] + 8 * stencil[2] - stencil[3]) / (12 * step)
        np.testing.assert_allclose(analytic[atom, axis], numerical, atol=2e-9)


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_vanish_under_translation(name: IntegralName) -> None:
    derivatives = derivative_arrays(build_mole(NUMBERS, POSITIONS, "def2-svp"), [name])[name]
    np.testing.assert_allclose(derivatives.sum(0), 0.0, atol=1e-11)
    assert np.abs(derivatives).max() > 0.1


def test_cartesian_molecules_have_derivatives_too() -> None:
    mole = gto.M(atom="O 0 0 0; H 0 0 1.8; H 1.7 0 -0.3", unit="B", basis="6-31g*", cart=True, verbose=0)
    moved = mole.set_geom_(mole.atom_coords() + np.array([[0, 0, 1e-4], [0, 0, 0], [0, 0, 0]]), inplace=False)
    back = mole.set_geom_(mole.atom_coords() - np.array([[0, 0, 1e-4], [0, 0, 0], [0, 0, 0]]), inplace=False)
    analytic = derivative_arrays(mole, NAMES)
    for name in NAMES:
        numerical = (integral_arrays(moved, NAMES)[name] - integral_arrays(back, NAMES)[name]) / 2e-4
        np.testing.assert_allclose(analytic[name][0, 2], numerical, atol=2e-6)


def _weights(size: int) -> Tensor:
    return torch.randn(4, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) / size


@pytest.mark.parametrize("program", PROGRAMS)
def test_gradient_with_respect_to_positions(program: IntegralProgram) -> None:

    def function(positions: Tensor) -> Tensor:
        integrals = one_electron_integrals(positions, NUMBERS, "sto-3g", sap=True, integrals=program)
        matrices = (integrals.overlap, integrals.kinetic, integrals.nuclear, integrals.sap)
        # The weights are not symmetric: nothing may rely on a symmetric gradient.
        return torch.stack([(w * m).sum() for w, m in zip(_weights(12), matrices, strict=True)])

    positions = torch.from_numpy(POSITIONS).requires_grad_()
    assert gradcheck(function, (positions,), atol=1e-6)


@pytest.mark.parametrize("program", PROGRAMS)
def test_gradient_is_differentiable_in_the_weights(program: IntegralProgram) -> None:
    """What training on forces does: the force is linear in P, and P depends on the network."""
    positions = torch.from_numpy(POSITIONS[::3].copy()).requires_grad_()

    def force(weights: Tensor) -> Tensor:
        integrals = one_electron_integrals(positions, (8, 1), "sto-3g", sap=True, integrals=program)
        assert integrals.sap is not None
        energy = (weights * (integrals.core + integrals.sap - integrals.overlap)).sum()
        return torch.autograd.grad(energy, positions, create_graph=True)[0]

    assert gradcheck(force, (_weights(6)[0].requires_grad_(),))


def test_second_position_derivative_of_pyscf_is_nan() -> None:
    positions = torch.from_numpy(POSITIONS).requires_grad_()
    overlap = one_electron_integrals(positions, NUMBERS, "sto-3g", integrals="pyscf").overlap
    (gradient,) = torch.autograd.grad(overlap.square().sum(), positions, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), positions)
    assert bool(second.isnan().all())


@pytest.mark.parametrize("sap", [False, True])
def test_both_programs_agree_on_a_batch(sap: bool) -> None:
    molecules = [NUMBERS, (8, 1, 1), NUMBERS]
    positions = torch.from_numpy(np.concatenate([POSITIONS, POSITIONS[1:], 1.1 * POSITIONS])).requires_grad_()
    energies = []
    for program in PROGRAMS:
        batch = batch_integrals(positions, molecules, "def2-svp", sap=sap, smeared=True, integrals=program)
        energies.append(sum((i.core @ i.overlap).trace() for i in batch) + sum(i.smeared.sum() for i in batch))
        assert all((i.sap is not None) == sap for i in batch)
    gradients = [torch.autograd.grad(energy, positions)[0] for energy in energies]
    torch.testing.assert_close(energies[0], energies[1], rtol=1e-11, atol=0)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-10)


def test_attached_derivatives_equal_direct_ones() -> None:
    mole = build_mole(NUMBERS, POSITIONS, "def2-svp")
    values, derivatives = integral_arrays(mole, NAMES), derivative_arrays(mole, NAMES)
    positions = torch.from_numpy(POSITIONS).requires_grad_()
    direct = one_electron_integrals(positions, NUMBERS, "def2-svp", sap=True)
    weights = _weights(38)[0]
    for name in NAMES:
        pair = torch.from_numpy(np.stack([values[name]] * 2)), torch.from_numpy(np.stack([derivatives[name]] * 2))
        attached = attach_derivatives(torch.stack([positions, positions]), *pair)
        torch.testing.assert_close(attached[0], getattr(direct, name), rtol=0, atol=1e-12)
        (expected,) = torch.autograd.grad((weights * getattr(direct, name)).sum(), positions, retain_graph=True)
        (batched,) = torch.autograd.grad((weights * attached).sum(), positions)
        torch.testing.assert_close(batched, 2 * expected)
    with pytest.raises(ValueError, match="derivatives have shape"):
        attach_derivatives(positions, pair[0], pair[1])


def test_nuclear_repulsion_equals_pyscf() -> None:
    mole = build_mole(NUMBERS, POSITIONS, "sto-3g")
    positions = torch.from_numpy(POSITIONS).requires_grad_()
    energy = nuclear_repulsion(positions, torch.tensor(NUMBERS))
    assert float(energy.detach()) == pytest.approx(mole.energy_nuc(), abs=1e-12)
    (gradient,) = torch.autograd.grad(energy, positions)
    np.testing.assert_allclose(gradient.numpy(), scf.RHF(mole).nuc_grad_method().grad_nuc(), atol=1e-12)


def test_nuclear_repulsion_ignores_padding() -> None:
    padded = torch.zeros(2, 6, 3, dtype=torch.float64)
    padded[:, :4] = torch.from_numpy(POSITIONS)
    numbers = torch.zeros(2, 6, dtype=torch.int64)
    numbers[:, :4] = torch.tensor(NUMBERS)
    padded.requires_grad_()
    energies = nuclear_repulsion(padded, numbers)
    expected = nuclear_repulsion(torch.from_numpy(POSITIONS), torch.tensor(NUMBERS))
    torch.testing.assert_close(energies, expected.expand(2))
    (gradient,) = torch.autograd.grad(energies.sum(), padded)
    assert bool(gradient.isfinite().all())
    with pytest.raises(ValueError, match="give"):
        nuclear_repulsion(padded, numbers[:, :3])


@pytest.mark.parametrize("program", PROGRAMS)
def test_float32_positions_give_float64_integrals(program: IntegralProgram) -> None:
    positions = torch.from_numpy(POSITIONS).float().requires_grad_()
    overlap = one_electron_integrals(positions, NUMBERS, "sto-3g", integrals=program).overlap
    assert overlap.dtype == torch.float64
    (gradient,) = torch.autograd.grad(overlap.square().sum(), positions)
    assert gradient.dtype == torch.float32


def test_wrong_input_is_refused() -> None:
    positions = torch.from_numpy(POSITIONS)
    with pytest.raises(ValueError, match="atomic numbers"):
        one_electron_integrals(positions[:3], NUMBERS, "sto-3g")
    with pytest.raises(ValueError, match="finite"):
        one_electron_integrals(positions * torch.nan, NUMBERS, "sto-3g")
    with pytest.raises(ValueError, match="effective core potential"):
        one_electron_integrals(positions[:1], [53], "def2-svp")
    mole = build_mole(NUMBERS, POSITIONS, "sto-3g")
    with pytest.raises(ValueError, match="there are overlap"):
        integral_arrays(mole, ["dipole"])  # type: ignore[list-item]
    heavy = gto.M(atom="H 0 0 0; I 0 0 3", unit="B", basis="def2-svp", ecp="def2-svp", verbose=0)
    with pytest.raises(ValueError, match="all-electron"):
        derivative_arrays(heavy, ["overlap"])
