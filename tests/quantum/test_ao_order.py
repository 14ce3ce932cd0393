"""The map between PySCF's AO order and e3nn irreps, against matrices of rotated and mirrored molecules."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from e3nn import o3
from pyscf import gto, scf
from torch import Tensor

from ase_mlwave.quantum.ao_order import coupling_basis, couplings, irreps_order, rotate_aos, to_e3nn
from ase_mlwave.quantum.basis import build_mole, shells
from ase_mlwave.quantum.integrals import one_electron_integrals
from ase_mlwave.quantum.rotations import wigner_matrices

NUMBERS = (8, 6, 1, 1)
POSITIONS = torch.tensor(
    [[0.1, -0.05, 2.25], [0.0, 0.1, 0.0], [0.05, 1.8, -1.1], [-0.2, -1.7, -1.0]], dtype=torch.float64
)
BASES = ["def2-svp", "def2-tzvp"]


def _rotation(improper: bool) -> Tensor:
    draw = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    rotation = torch.linalg.qr(draw)[0]
    wanted = -1.0 if improper else 1.0
    return rotation * wanted * torch.det(rotation).sign()


MIRROR = torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))
OPERATIONS = {
    "rotation": _rotation(False),
    "rotoreflection": _rotation(True),
    "mirror": MIRROR,
    "inversion": -torch.eye(3).double(),
}


@cache
def _molecule_shells(basis: str) -> tuple[int, ...]:
    return tuple(l for number in NUMBERS for l in shells(basis, number))


def _fock(positions: Tensor, basis: str) -> tuple[Tensor, Tensor]:
    """Return H and S after one Fock build on the SAP density: exact at every orientation, no convergence involved."""
    mole = build_mole(NUMBERS, positions.numpy(), basis)
    field = scf.RHF(mole)
    field.direct_scf = False
    return torch.from_numpy(field.get_fock(dm=field.get_init_guess(key="sap"))), torch.from_numpy(field.get_ovlp())


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_hamiltonian_of_rotated_molecule(basis: str, operation: str) -> None:
    R = OPERATIONS[operation]
    assert max(_molecule_shells(basis)) == (3 if basis == "def2-tzvp" else 2)
    H, S = _fock(POSITIONS, basis)
    rotated_H, rotated_S = _fock(POSITIONS @ R.T, basis)
    assert float((rotated_H - H).abs().max()) > 0.1, "the operation must change the matrix"
    U = rotate_aos(_molecule_shells(basis), R)
    torch.testing.assert_close(U @ S @ U.T, rotated_S, rtol=0, atol=1e-11)
    torch.testing.assert_close(U @ H @ U.T, rotated_H, rtol=0, atol=1e-9)


def test_hamiltonian_of_rotated_molecule_at_self_consistency() -> None:
    matrices = []
    for positions in (POSITIONS, POSITIONS @ OPERATIONS["rotoreflection"].T):
        field = scf.RHF(build_mole(NUMBERS, positions.numpy(), "def2-svp"))
        field.conv_tol, field.conv_tol_grad = 1e-13, 1e-9
        field.kernel()
        matrices.append(torch.from_numpy(field.get_fock()))
    U = rotate_aos(_molecule_shells("def2-svp"), OPERATIONS["rotoreflection"])
    torch.testing.assert_close(U @ matrices[0] @ U.T, matrices[1], rtol=0, atol=1e-7)


def test_one_electron_integrals_rotate() -> None:
    for R in OPERATIONS.values():
        before = one_electron_integrals(POSITIONS, NUMBERS, "def2-svp", sap=True)
        after = one_electron_integrals(POSITIONS @ R.T, NUMBERS, "def2-svp", sap=True)
        U = rotate_aos(_molecule_shells("def2-svp"), R)
        for name in ("overlap", "kinetic", "nuclear", "sap"):
            torch.testing.assert_close(U @ getattr(before, name) @ U.T, getattr(after, name), rtol=0, atol=1e-11)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("operation", ["rotation", "rotoreflection"])
def test_reordered_matrix_transforms_with_e3nn_irreps(basis: str, operation: str) -> None:
    """Use e3nn's own representation matrices, in the axes of ``to_e3nn``."""
    R = OPERATIONS[operation]
    in_their_axes = to_e3nn(to_e3nn(R).T).T
    probe = torch.tensor([0.3, -1.2, 0.7], dtype=torch.float64)
    torch.testing.assert_close(in_their_axes @ to_e3nn(probe), to_e3nn(R @ probe))
    all_shells = _molecule_shells(basis)
    irreps = o3.Irreps([(1, (l, (-1) ** l)) for l in all_shells])
    D = irreps.D_from_matrix(in_their_axes)
    order = irreps_order(all_shells)
    S, rotated = (
        torch.from_numpy(build_mole(NUMBERS, x.numpy(), basis).intor("int1e_ovlp"))
        for x in (POSITIONS, POSITIONS @ R.T)
    )
    torch.testing.assert_close(D @ S[order][:, order] @ D.T, rotated[order][:, order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("l", range(5))
def test_basis_functions_are_the_spherical_harmonics(l: int) -> None:
    mole = gto.M(atom="He 0 0 0", basis={"He": [[l, [0.8, 1.0]]]}, verbose=0)
    points = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    values = torch.from_numpy(mole.eval_gto("GTOval_sph", points.numpy()))[:, irreps_order([l])]
    harmonics = o3.spherical_harmonics(l, to_e3nn(points), normalize=True, normalization="norm")
    radius = points.norm(dim=-1)
    ratio = (values * harmonics).sum(-1) / (radius**l * torch.exp(-0.8 * radius**2))
    assert float(ratio[0]) > 0
    torch.testing.assert_close(ratio, ratio[:1].expand(20))
    torch.testing.assert_close(values, (values * harmonics).sum(-1, keepdim=True) * harmonics)


def test_order_is_a_permutation_with_an_inverse() -> None:
    order = irreps_order([0, 1, 2, 3, 1, 4])
    assert sorted(order.tolist()) == list(range(1 + 3 + 5 + 7 + 3 + 9))
    assert order[:4].tolist() == [0, 2, 3, 1]
    np.testing.assert_array_equal(order[np.argsort(order)], np.arange(28))


@pytest.mark.parametrize("max_order", [0, 1, 6])
def test_wigner_matrices_rotate_harmonics(max_order: int) -> None:
    R = torch.stack([OPERATIONS["rotation"], OPERATIONS["rotoreflection"], -torch.eye(3).double()])
    points = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    matrices = wigner_matrices(R, max_order)
    assert len(matrices) == max_order + 1
    for l, D in enumerate(matrices):
        before = o3.spherical_harmonics(l, points, normalize=True)
        after = o3.spherical_harmonics(l, torch.einsum("eij,ej->ei", R, points), normalize=True)
        torch.testing.assert_close(torch.einsum("eij,ej->ei", D, before), after, rtol=0, atol=1e-12)
        torch.testing.assert_close(D @ D.mT, torch.eye(2 * l + 1).double().expand_as(D), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("l1", "l2"), [(0, 0), (1, 0), (1, 1), (1, 2), (2, 3), (3, 3)])
@pytest.mark.parametrize("operation", ["rotation", "rotoreflection"])
def test_coupled_coefficients_transform_as_irreps(l1: int, l2: int, operation: str) -> None:
    R = to_e3nn(to_e3nn(OPERATIONS[operation]).T).T
    D = [matrix[0] for matrix in wigner_matrices(R[None], l1 + l2)]
    basis = coupling_basis(l1, l2)
    size = (2 * l1 + 1) * (2 * l2 + 1)
    flat = basis.reshape(size, size)
    torch.testing.assert_close(flat @ flat.T, torch.eye(size).double(), rtol=0, atol=1e-12)
    block = torch.randn(2 * l1 + 1, 2 * l2 + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before = torch.einsum("kmn,mn->k", basis, block)
    after = torch.einsum("kmn,mn->k", basis, D[l1] @ block @ D[l2].T)
    start = 0
    for L, parity in couplings(l1, l2):
        part = slice(start, start + 2 * L + 1)
        start += 2 * L + 1
        # D[L] has parity (-1)^L; the coefficients have that of the product of both shells.
        sign = parity * (-1) ** L if operation == "rotoreflection" else 1
        torch.testing.assert_close(after[part], sign * D[L] @ before[part], rtol=0, atol=1e-12)
    assert start == size


def test_matrices_that_are_not_orthogonal_are_refused() -> None:
    with pytest.raises(ValueError, match="orthogonal"):
        rotate_aos([0, 1], 1.1 * torch.eye(3))
