"""Check names of functionals and basis sets before any work, naming the nearest known one."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache

from ase.calculators.calculator import InputError
from ase.data import chemical_symbols
from pyscf import gto
from pyscf.dft import libxc
from pyscf.lib.exceptions import BasisNotFoundError
from pyscf.scf import dispersion

__all__ = ["HARTREE_FOCK", "check_basis", "check_elements", "check_functional", "is_hartree_fock"]

#: How Hartree-Fock is written; it is not a functional of the library.
HARTREE_FOCK = "hf"

#: A basis is known if one of these elements has it (many lack hydrogen, some all but a few).
_PROBE_ELEMENTS = ("H", "C", "He", "Li", "Fe", "I")


def is_hartree_fock(functional: str) -> bool:
    """Tell whether the method is Hartree-Fock, alone or with a dispersion correction (``"hf-d3bj"``)."""
    return functional.lower().partition("-")[0] == HARTREE_FOCK


def check_functional(functional: str) -> None:
    """Refuse a functional that this PySCF cannot run.

    Parameters
    ----------
    functional : str
        PySCF's name, such as ``"pbe"``, ``"b3lyp-d3bj"``, ``"0.5*hf+0.5*b88,lyp"``; or ``"hf"``.

    Raises
    ------
    InputError
        If the name is unknown, PySCF does not support it, or a dispersion correction needs a package that is missing.
    """
    if not functional.strip():
        raise InputError("the level of theory names no functional. Write, for example, 'pbe/def2-svp'.")
    try:
        base, _, correction = dispersion.parse_dft(functional)
    except NotImplementedError as error:
        raise InputError(
            f"PySCF cannot run the functional {functional!r}: {error} {_nearest(functional, _functionals())}"
        ) from error
    if correction and dispersion.dftd3 is None:
        raise InputError(
            f"{functional!r} has a dispersion correction, which PySCF computes with the package pyscf-dispersion. "
            f"Install it (pip install pyscf-dispersion), or use {base!r} without the correction."
        )
    if is_hartree_fock(functional):
        return
    try:
        libxc.parse_xc(base)
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"PySCF knows no functional {functional!r}. {_nearest(functional, _functionals())}") from error


def check_basis(basis: str) -> None:
    """Refuse a basis that PySCF does not have for any common element.

    Parameters
    ----------
    basis : str
        PySCF's name, such as ``"def2-svp"``.

    Raises
    ------
    InputError
        If the name is unknown; the message names the nearest known one.
    """
    if not any(_has_basis(basis, element) for element in _PROBE_ELEMENTS):
        raise InputError(f"PySCF knows no basis {basis!r}. {_nearest(basis, gto.basis.ALIAS)}")


def check_elements(basis: str, numbers: Iterable[int]) -> None:
    """Refuse elements that the basis lacks, or treats with an effective core potential.

    Parameters
    ----------
    basis : str
        A known basis.
    numbers : iterable of int
        Atomic numbers.

    Raises
    ------
    InputError
        If an element is not served.
    """
    for symbol in (chemical_symbols[number] for number in sorted(set(map(int, numbers)))):
        if not _has_basis(basis, symbol):
            raise InputError(f"the basis {basis!r} has no functions for {symbol}. Choose a basis that does.")
        if _has_core_potential(basis, symbol):
            raise InputError(
                f"the basis {basis!r} replaces the core of {symbol} by an effective core potential, which is not "
                "supported. Choose an all-electron basis."
            )


@lru_cache(maxsize=1024)
def _has_basis(basis: str, element: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PySCF recommends a further package for each unknown name
            return bool(gto.basis.load(basis, element))
    except (BasisNotFoundError, KeyError, OSError, RuntimeError, ValueError, IndexError):
        return False


@lru_cache(maxsize=1024)
def _has_core_potential(basis: str, element: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(gto.basis.load_ecp(basis, element))
    except (BasisNotFoundError, KeyError, OSError, RuntimeError, ValueError, IndexError):
        return False


@lru_cache(maxsize=1)
def _functionals() -> tuple[str, ...]:
    """Return the short names of functionals first, then the library's own."""
    short = [name.lower() for name in libxc.XC_ALIAS]
    long = [name.lower() for name in libxc.XC_CODES]
    hybrids = [name.rpartition("_xc_")[2].replace("_", "-") for name in long if "_xc_" in name]
    return (*short, *hybrids, *long, HARTREE_FOCK)


def _nearest(given: str, known: Iterable[str]) -> str:
    """Return a sentence with the most similar known names, compared without case, hyphens and underscores."""
    plain: dict[str, str] = {}
    for name in known:
        plain.setdefault(_plain(name), name)
    near = get_close_matches(_plain(given), [key for key in plain if key != _plain(given)], n=3, cutoff=0.5)
    if not near:
        return "No known name is near."
    return f"The nearest known: {', '.join(repr(plain[key]) for key in near)}."


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")
