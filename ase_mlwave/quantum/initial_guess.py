"""Turn a closed-shell density of one PySCF molecule into the initial density of any mean-field calculation.

The density must never make an SCF worse, so what cannot work is refused here, before the SCF starts, and what is
doubtful is named (`doubt`), so that PySCF's own guess can be taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from ase.calculators.calculator import InputError
from numpy.typing import NDArray
from pyscf import dft, gto

from ase_mlwave.quantum.functional import evaluate_functional

__all__ = ["SMALLEST_GAP", "adapt_density", "check_target", "doubt", "has_narrow_gap", "is_much_closer"]

Array = NDArray[np.float64]

#: Gap between occupied and empty predicted orbitals below which a density is doubtful, Hartree; see `doubt`.
SMALLEST_GAP = 0.08
#: Share of the residual of PySCF's guess below which a density is much closer; see `is_much_closer`.
_MUCH_CLOSER = 0.1
#: Eigenvalue of the overlap matrix below which a direction of the target basis is left out, as PySCF does.
_SMALLEST_EIGENVALUE = 1e-6
#: Norm that the worst occupied orbital must keep when it is projected.
_SMALLEST_NORM = 0.1
#: Largest distance between an atom of the source and of the target, Bohr.
_TOLERANCE = 1e-4
_UNSUPPORTED = {
    "GHF": "generalised (two-component) methods",
    "DHF": "four-component methods",
    "ROHF": "restricted open-shell methods; for a closed shell use RHF or RKS",
}


def adapt_density(density: Array, source: gto.Mole, mean_field: Any) -> Array:
    """Express a density matrix as the ``dm0`` of a mean-field object.

    Parameters
    ----------
    density : ndarray, (M, M)
        Closed-shell P in the basis of ``source``.
    source : pyscf.gto.Mole
        The molecule that the density belongs to.
    mean_field : PySCF mean-field object
        RKS, RHF, UKS or UHF, density-fitted or not, or their gpu4pyscf kin. Its molecule has the same atoms in the
        same order; its basis may differ, spherical or Cartesian.

    Returns
    -------
    ndarray, (M', M') or (2, M', M')
        In the basis of ``mean_field.mol``; spin densities (half and half) for UKS and UHF. The electron number
        tr[P S] is that of the molecule, exactly.

    Raises
    ------
    InputError
        If the target is no closed-shell molecule of the kinds above, or atoms, order, geometry, charge or effective
        core potentials differ, or the shape of ``density`` is wrong.

    Notes
    -----
    The same basis functions: the density as it is (``test_same_basis_keeps_the_density``). Another basis: the
    occupied orbitals are projected, as in PySCF's ``project_dm_nr2nr``, and orthonormalised in the target basis, so
    that P S P = 2 P holds there too and the energy is variational (``test_projected_density_is_idempotent``); almost
    linearly dependent directions are left out (``test_projection_into_a_dependent_basis``). Scaling
    the projected density instead costs as many SCF cycles but starts below the minimum: methanol, by 0.02 Hartree in
    6-31G* and by 0.5 Hartree in STO-3G.
    """
    check_target(mean_field)
    target = mean_field.mol
    _check_same_molecule(source, target)
    density = np.asarray(density, dtype=np.float64)
    if density.shape != (source.nao, source.nao) or not np.isfinite(density).all():
        raise InputError(
            f"the density has shape {density.shape} (or is not finite); the source molecule has {source.nao} basis "
            f"functions: give a finite ({source.nao}, {source.nao}) matrix"
        )
    adapted = density if _same_functions(source, target) else _project(density, source, target)
    electrons = np.vdot(adapted, target.intor_symmetric("int1e_ovlp"))
    adapted = adapted * (target.nelectron / electrons)
    return np.stack([0.5 * adapted] * 2) if _has_base(mean_field, "UHF") else adapted


def doubt(mean_field: Any, orbital_energies: Array, n_occupied: int) -> str | None:
    """Say why a predicted closed-shell density may start an SCF worse than PySCF's own guess does.

    Parameters
    ----------
    mean_field : PySCF mean-field object
        One that `check_target` allows.
    orbital_energies : ndarray, (M,)
        Those of the predicted Hamiltonian, ascending, Hartree.
    n_occupied : int
        Number of doubly occupied orbitals.

    Returns
    -------
    str or None
        The reason, as the end of a sentence; None if there is none.

    Notes
    -----
    It needs no Fock matrix, hence no SCF cycle: a test that builds F[P] costs a cycle exactly where the guess fails.
    Where the predicted gap is wide, the occupied space of an erroneous Hamiltonian is still almost the right one, and
    a closed shell is the state that PySCF's broken-symmetry guess for UHF and UKS ends in, too; a narrow gap means a
    stretched bond, a near-degeneracy, or a prediction gone wrong (``benchmarks.warm_start`` measures it). Orbitals
    that the user occupies by hand (``irrep_nelec``, PySCF's ``mom_occ_``) or a symmetry that the user breaks by hand
    (``init_guess_breaksym``) are another state than the one predicted.
    """
    inner = getattr(mean_field, "_scf", mean_field)  # of a second-order solver
    if getattr(inner, "irrep_nelec", None) or "get_occ" in vars(inner):
        return "its orbitals are occupied in a way of their own"
    if getattr(mean_field, "init_guess_breaksym", None) not in (None, 0, 1):
        return f"init_guess_breaksym={mean_field.init_guess_breaksym!r} asks for broken symmetry"
    if not np.isfinite(orbital_energies).all():
        return "the predicted orbital energies are not finite"
    if has_narrow_gap(orbital_energies, n_occupied):
        return f"the predicted gap is below {SMALLEST_GAP:g} Hartree, as in stretched bonds or where a prediction fails"
    return None


def has_narrow_gap(orbital_energies: NDArray[np.float64], n_occupied: int) -> bool:
    """Tell whether highest occupied and lowest virtual orbital are closer than `SMALLEST_GAP`."""
    return bool(n_occupied < len(orbital_energies) and np.diff(orbital_energies)[n_occupied - 1] < SMALLEST_GAP)


def is_much_closer(density: Array, mole: gto.Mole) -> bool:
    """Tell whether a density is much closer to self-consistency than PySCF's guess "minao".

    Parameters
    ----------
    density : ndarray, (M, M)
        Of doubly occupied orbitals.
    mole : pyscf.gto.Mole
        Its molecule and basis.

    Returns
    -------
    bool
        Whether the residual ||S^-1/2 (F P S - S P F) S^-1/2||, of PBE, is below a tenth of that of the guess.

    Notes
    -----
    It costs two Fock matrices on the coarsest grid (a fifth of a cycle each, or less), and is for molecules that are
    unlike the training data: distorted waters have a hundredth of the guess's residual, and half of the cycles are
    saved; CO, O3 and HNO3 have a fifth to a half, and cycles are lost.
    """
    mean_field = dft.RKS(mole, xc="pbe").density_fit()
    mean_field.grids.level = 0
    overlap = mean_field.get_ovlp()
    factor = scipy.linalg.cholesky(overlap, lower=True)
    norms = []
    for P in (density, np.asarray(mean_field.get_init_guess(key="minao"))):
        FPS = evaluate_functional(mean_field, P)[1] @ P @ overlap
        half = scipy.linalg.solve_triangular(factor, FPS - FPS.T, lower=True)
        norms.append(np.linalg.norm(scipy.linalg.solve_triangular(factor, half.T, lower=True)))
    return bool(norms[0] < _MUCH_CLOSER * norms[1])


def check_target(mean_field: Any) -> None:
    """Refuse mean-field objects that a closed-shell density cannot start.

    Parameters
    ----------
    mean_field : PySCF mean-field object
        Any.

    Raises
    ------
    InputError
        If it is periodic, not of RHF, RKS, UHF or UKS kind, open-shell, or has ghost atoms or no electrons.
    """
    kind = type(mean_field).__name__
    mole = getattr(mean_field, "mol", None)
    if hasattr(mole, "lattice_vectors"):
        raise InputError("no initial guess for periodic systems: the model knows molecules only; build a gto.Mole")
    for name, text in _UNSUPPORTED.items():
        if _has_base(mean_field, name):
            raise InputError(f"no initial guess for {kind}: not made for {text}. Allowed: RHF, RKS, UHF, UKS")
    if mole is None or not (_has_base(mean_field, "RHF") or _has_base(mean_field, "UHF")):
        raise InputError(f"no initial guess for {kind}: it is no mean-field object. Allowed: RHF, RKS, UHF, UKS")
    alpha, beta = getattr(mean_field, "nelec", None) or mole.nelec
    if alpha != beta:
        raise InputError(
            f"no initial guess for open shells: the calculation has {alpha} alpha and {beta} beta electrons. Use "
            "PySCF's own guess, or start from a closed shell (spin=0)"
        )
    if alpha == 0:
        raise InputError("no initial guess: the molecule has no electrons; check its charge")
    ghosts = [i for i in range(mole.natm) if gto.is_ghost_atom(mole.atom_symbol(i))]
    if ghosts:
        raise InputError(f"no initial guess with ghost atoms (indices {ghosts}); use PySCF's own guess")


def _has_base(mean_field: Any, name: str) -> bool:
    """Compare by class name, which PySCF's and gpu4pyscf's separate families share."""
    return any(base.__name__ == name for base in type(mean_field).__mro__)


def _check_same_molecule(source: gto.Mole, target: gto.Mole) -> None:
    """Require the same atoms in the same order and place, the same charge and effective core potentials."""
    symbols = [[mole.atom_pure_symbol(i) for i in range(mole.natm)] for mole in (source, target)]
    if sorted(symbols[0]) != sorted(symbols[1]):
        raise InputError(
            f"the density belongs to {''.join(symbols[0])} but the calculation is for {''.join(symbols[1])}"
        )
    distances = np.linalg.norm(source.atom_coords()[:, None] - target.atom_coords(), axis=-1)
    if symbols[0] != symbols[1] or np.diagonal(distances).max() > _TOLERANCE:
        difference = "the same atoms in another order" if _is_permutation(symbols, distances) else "another geometry"
        raise InputError(
            f"the density belongs to {difference}: the largest distance of equal indices is "
            f"{np.diagonal(distances).max():.4f} Bohr, allowed {_TOLERANCE}. Compute it for mean_field.mol itself"
        )
    if source.charge != target.charge:
        raise InputError(f"the density has charge {source.charge} but the calculation has charge {target.charge}")
    cores = [[mole.atom_nelec_core(i) for i in range(mole.natm)] for mole in (source, target)]
    if cores[0] != cores[1]:
        raise InputError(
            f"effective core potentials replace {sum(cores[1])} electrons in the calculation and {sum(cores[0])} in "
            "the density; use a basis that treats the same electrons"
        )


def _is_permutation(symbols: list[list[str]], distances: Array) -> bool:
    nearest = distances.argmin(axis=1)
    return bool(
        distances.min(axis=1).max() <= _TOLERANCE
        and len(set(nearest.tolist())) == len(nearest)
        and all(symbols[0][i] == symbols[1][j] for i, j in enumerate(nearest))
    )


def _same_functions(source: gto.Mole, target: gto.Mole) -> bool:
    """Tell whether both molecules have the same basis functions in the same order."""
    if source.nao != target.nao or source.cart != target.cart:
        return False
    cross = gto.intor_cross("int1e_ovlp", source, target)
    overlaps = [mole.intor_symmetric("int1e_ovlp") for mole in (source, target)]
    return all(np.allclose(cross, overlap, rtol=0, atol=1e-6) for overlap in overlaps)


def _project(density: Array, source: gto.Mole, target: gto.Mole) -> Array:
    """Project occupied orbitals on the target basis and orthonormalise them there (Loewdin): P = 2 C C^T."""
    overlap = source.intor_symmetric("int1e_ovlp")
    orbitals = scipy.linalg.eigh(overlap @ density @ overlap, overlap)[1][:, source.nao - source.nelectron // 2 :]
    if source.cart != target.cart:
        # Integrals between both kinds do not exist in PySCF: expand spherical functions in Cartesian ones.
        spherical = source if target.cart else target
        expansion = spherical.cart2sph_coeff(normalized="sp")
        cartesian = spherical.copy()
        cartesian.cart = True
        if target.cart:
            cross = gto.intor_cross("int1e_ovlp", target, cartesian) @ expansion
        else:
            cross = expansion.T @ gto.intor_cross("int1e_ovlp", cartesian, source)
    else:
        cross = gto.intor_cross("int1e_ovlp", target, source)
    target_overlap = target.intor_symmetric("int1e_ovlp")
    values, vectors = scipy.linalg.eigh(target_overlap)
    independent = values > _SMALLEST_EIGENVALUE
    orthonormal = vectors[:, independent] / np.sqrt(values[independent])
    # The nearest orthonormal orbitals: U V^T of the projections U s V^T.
    left_vectors, singular, right_vectors = scipy.linalg.svd(orthonormal.T @ cross @ orbitals, full_matrices=False)
    if len(singular) < orbitals.shape[1] or singular[-1] < _SMALLEST_NORM:
        raise InputError(
            f"the basis of the calculation ({target.nao} functions) cannot hold the density: an occupied orbital loses "
            "almost all of its norm. Use a larger basis"
        )
    occupied = orthonormal @ left_vectors @ right_vectors
    projected: Array = 2.0 * occupied @ occupied.T
    return projected
