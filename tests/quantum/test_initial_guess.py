"""Densities as the start of other calculations: exact where it can be exact, refused where it cannot work."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from ase.calculators.calculator import InputError
from pyscf import dft, gto, scf
from pyscf.pbc import dft as periodic_dft
from pyscf.pbc import gto as periodic_gto

from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.functional import converge, kohn_sham_energy
from ase_mlwave.quantum.initial_guess import SMALLEST_GAP, adapt_density, check_target, doubt

NUMBERS = (6, 8, 1, 1)
POSITIONS = np.array([[0.0, 0.1, 0.0], [0.1, -0.05, 2.25], [0.05, 1.8, -1.1], [-0.2, -1.7, -1.0]])


@cache
def _source() -> tuple[np.ndarray, gto.Mole, float]:
    mole = build_mole(NUMBERS, POSITIONS, "def2-svp")
    result = converge(dft.RKS(mole, xc="pbe").density_fit(), forces=False)
    return result.density, mole, result.energy


def _target(basis: str = "def2-svp", **options: Any) -> gto.Mole:
    atoms = [(int(z), r) for z, r in zip(NUMBERS, POSITIONS, strict=True)]
    return gto.M(atom=atoms, unit="Bohr", basis=basis, verbose=0, **options)


def _on_few_points(mean_field: Any) -> Any:
    """Take a coarse grid: what the tests say holds on any, as long as it is the same one."""
    mean_field.grids.level = 0
    return mean_field


def _electrons(density: np.ndarray, mole: gto.Mole) -> float:
    return float((density * mole.intor("int1e_ovlp")).sum())


@pytest.mark.parametrize("kind", [scf.RHF, dft.RKS, scf.UHF, dft.UKS])
@pytest.mark.parametrize("fitted", [True, False])
def test_same_basis_keeps_the_density(kind: Any, fitted: bool) -> None:
    density, source, _ = _source()
    field = kind(_target())
    adapted = adapt_density(density, source, field.density_fit() if fitted else field)
    if adapted.ndim == 3:
        np.testing.assert_array_equal(adapted[0], adapted[1])
        adapted = adapted.sum(0)
    np.testing.assert_allclose(adapted, density, atol=1e-10)


@pytest.mark.parametrize("basis", ["def2-tzvp", "6-31g*", "sto-3g"])
@pytest.mark.parametrize("cart", [False, True])
def test_projected_density_is_idempotent(basis: str, cart: bool) -> None:
    density, source, _ = _source()
    field = _on_few_points(dft.RKS(_target(basis, cart=cart), xc="pbe").density_fit())
    adapted = adapt_density(density, source, field)
    S = field.get_ovlp()
    assert _electrons(adapted, field.mol) == pytest.approx(16.0, abs=1e-10)
    np.testing.assert_allclose(adapted @ S @ adapted, 2 * adapted, atol=1e-9)
    minimum = converge(field, forces=False).energy
    assert 0 < kohn_sham_energy(field, adapted) - minimum < 0.1


def test_projection_into_a_larger_space_is_exact() -> None:
    """Cartesian def2-SVP spans the spherical one, so nothing may be lost."""
    density, source, energy = _source()
    field = dft.RKS(_target(cart=True), xc="pbe").density_fit()
    field.with_df.auxbasis = dft.RKS(source, xc="pbe").density_fit().with_df.auxbasis
    adapted = adapt_density(density, source, field)
    coefficients = source.cart2sph_coeff()
    np.testing.assert_allclose(adapted, coefficients @ density @ coefficients.T, atol=1e-9)
    # The fitting basis is Cartesian too and a little larger, hence not to rounding.
    assert kohn_sham_energy(field, adapted) == pytest.approx(energy, abs=1e-4)


def test_projection_into_a_dependent_basis() -> None:
    """Every function twice: the overlap matrix is singular, the space the same, so nothing may be lost."""
    density, source, energy = _source()
    basis = {symbol: 2 * gto.basis.load("def2-svp", symbol) for symbol in ("O", "C", "H")}
    field = dft.RKS(_target(basis), xc="pbe").density_fit()
    field.with_df.auxbasis = dft.RKS(source, xc="pbe").density_fit().with_df.auxbasis
    adapted = adapt_density(density, source, field)
    S = field.get_ovlp()
    assert np.linalg.eigvalsh(S).min() < 1e-12
    assert _electrons(adapted, field.mol) == pytest.approx(16.0, abs=1e-10)
    np.testing.assert_allclose(S @ adapted @ S @ adapted @ S, 2 * S @ adapted @ S, atol=1e-8)
    assert kohn_sham_energy(field, adapted) == pytest.approx(energy, abs=1e-7)


def test_a_basis_too_small_for_the_density_is_refused() -> None:
    density, source, _ = _source()
    tiny = {"O": [[0, [1e3, 1.0]]], "C": [[0, [1e3, 1.0]]], "H": [[0, [1e3, 1.0]]]}
    with pytest.raises(InputError, match=r"4 functions\) cannot hold the density"):
        adapt_density(density, source, dft.RKS(_target(tiny)))


def test_projection_agrees_with_pyscf_up_to_normalisation() -> None:
    density, source, _ = _source()
    target = _target("def2-tzvp")
    theirs = scf.addons.project_dm_nr2nr(source, density, target)
    ours = adapt_density(density, source, dft.RKS(target))
    assert _electrons(theirs, target) < 16.0 - 1e-3
    np.testing.assert_allclose(ours, theirs, atol=2e-2)


@pytest.mark.parametrize(
    ("basis", "kind", "xc"),
    [
        ("def2-svp", dft.RKS, "pbe"),
        ("def2-svp", dft.UKS, "pbe"),
        ("def2-svp", dft.RKS, "b3lyp"),
        ("def2-tzvp", dft.RKS, "pbe"),
    ],
)
def test_a_good_density_saves_cycles_and_gives_the_same_energy(basis: str, kind: Any, xc: str) -> None:
    density, source, _ = _source()

    def field() -> Any:
        mean_field = _on_few_points(kind(_target(basis), xc=xc).density_fit())
        mean_field.conv_tol = 1e-9
        return mean_field

    cold = converge(field(), forces=False)
    warm = converge(field(), adapt_density(density, source, field()), forces=False)
    assert warm.energy == pytest.approx(cold.energy, abs=1e-8)
    assert warm.cycles is not None
    assert cold.cycles is not None
    assert warm.cycles < cold.cycles


def test_electron_number_is_exact_even_if_the_density_is_not() -> None:
    density, source, _ = _source()
    adapted = adapt_density(density * 1.001, source, scf.UHF(_target()))
    assert _electrons(adapted, source) == pytest.approx(16.0, abs=1e-11)


def test_other_order_of_atoms_is_refused() -> None:
    density, source, _ = _source()
    order = [1, 0, 2, 3]
    swapped = build_mole(np.array(NUMBERS)[order], POSITIONS[order], "def2-svp")
    with pytest.raises(InputError, match="same atoms in another order"):
        adapt_density(density, source, dft.RKS(swapped))
    like_atoms = build_mole(NUMBERS, POSITIONS[[0, 1, 3, 2]], "def2-svp")
    with pytest.raises(InputError, match="same atoms in another order"):
        adapt_density(density, source, dft.RKS(like_atoms))


def test_another_molecule_is_refused() -> None:
    density, source, _ = _source()
    with pytest.raises(InputError, match="another geometry"):
        adapt_density(density, source, dft.RKS(build_mole(NUMBERS, POSITIONS * 1.01, "def2-svp")))
    with pytest.raises(InputError, match="belongs to COHH"):
        adapt_density(density, source, dft.RKS(build_mole((8, 1, 1), POSITIONS[1:], "def2-svp")))
    with pytest.raises(InputError, match="charge 2"):
        adapt_density(density, source, dft.RKS(_target(charge=2)))
    with pytest.raises(InputError, match="38 basis functions"):
        adapt_density(density[:5, :5], source, dft.RKS(_target()))
    with pytest.raises(InputError, match="effective core potentials"):
        adapt_density(density, source, dft.RKS(_target("ccpvdz", ecp={"C": "bfd", "O": "bfd"})))


def _levels(gap: float) -> np.ndarray:
    """Return eight occupied orbital energies and three empty ones."""
    return np.concatenate([np.linspace(-1.0, -0.3, 8), -0.3 + gap + np.array([0.0, 0.2, 0.3])])


def test_only_a_wide_gap_raises_no_doubt() -> None:
    for kind in (dft.RKS, scf.UHF):
        assert doubt(kind(_target()), _levels(1.01 * SMALLEST_GAP), 8) is None
        assert "gap is below 0.08 Hartree" in str(doubt(kind(_target()), _levels(0.99 * SMALLEST_GAP), 8))
        assert "gap is below" in str(doubt(kind(_target()), _levels(-0.01), 8))
        assert "not finite" in str(doubt(kind(_target()), _levels(np.nan), 8))
        assert doubt(kind(_target()), _levels(0.5), 11) is None


def test_a_state_chosen_by_hand_raises_doubt() -> None:
    symmetric = dft.RKS(_target(symmetry=True))
    assert doubt(symmetric, _levels(0.3), 8) is None
    symmetric.irrep_nelec = {"A": 16}
    mixed, plain, excited = scf.UHF(_target()), scf.UHF(_target()), scf.RHF(_target())
    mixed.init_guess_breaksym = "mix"
    plain.init_guess_breaksym = False
    occupations = np.repeat([2.0, 0.0], [8, 30])
    scf.addons.mom_occ_(excited, np.eye(38), occupations)
    for field in (symmetric, symmetric.newton(), excited):
        assert "occupied in a way of their own" in str(doubt(field, _levels(0.3), 8))
    assert "'mix' asks for broken symmetry" in str(doubt(mixed, _levels(0.3), 8))
    assert doubt(plain, _levels(0.3), 8) is None


def test_targets_that_cannot_use_the_density_are_refused() -> None:
    with pytest.raises(InputError, match="9 alpha and 7 beta"):
        check_target(dft.UKS(_target(spin=2)))
    with pytest.raises(InputError, match="8 alpha and 7 beta"):
        check_target(scf.UHF(_target(charge=1, spin=1)))
    with pytest.raises(InputError, match="restricted open-shell"):
        check_target(scf.ROHF(_target(spin=2)))
    with pytest.raises(InputError, match="two-component"):
        check_target(scf.GHF(_target()))
    with pytest.raises(InputError, match="Allowed: RHF"):
        check_target(_target())
    triplet = scf.UHF(_target())
    triplet.nelec = (9, 7)
    with pytest.raises(InputError, match="9 alpha and 7 beta"):
        check_target(triplet)
    with pytest.raises(InputError, match="ghost"):
        check_target(dft.RKS(gto.M(atom="He 0 0 0; ghost-He 0 0 3", basis="sto-3g", verbose=0)))
    with pytest.raises(InputError, match="no electrons"):
        check_target(scf.RHF(gto.M(atom="H 0 0 0", charge=1, basis="sto-3g", verbose=0)))
    cell = periodic_gto.M(atom="He 0 0 0", a=np.eye(3) * 4, basis="sto-3g", verbose=0)
    with pytest.raises(InputError, match="periodic"):
        check_target(periodic_dft.RKS(cell))
    with pytest.raises(InputError, match="periodic"):
        check_target(periodic_dft.KRKS(cell, kpts=np.zeros((1, 3))))


def test_gpu_kin_are_recognised_by_name() -> None:
    """Stand-ins with the class names of gpu4pyscf's own family, which does not derive from PySCF's."""
    density, source, _ = _source()

    def stand_in(*names: str) -> Any:
        kind: type = object
        for name in names:
            kind = type(name, (kind,), {})
        field = kind()
        field.mol = _target()
        return field

    assert adapt_density(density, source, stand_in("SCF", "RHF", "RKS", "DFRKS")).shape == (38, 38)
    assert adapt_density(density, source, stand_in("SCF", "UHF", "UKS", "DFUKS")).shape == (2, 38, 38)
