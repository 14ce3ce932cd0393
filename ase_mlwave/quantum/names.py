"""The gate for names of functionals and basis sets: what is not a plain, known name never reaches PySCF.

PySCF takes a basis for a name, for the path of a file, or for data as text, and evaluates numbers in such data as
Python expressions. Names come from files that others wrote (a model, a comment line, the metadata of a database), so
they are checked here first, PySCF's own data are loaded past the other two meanings, and its evaluation is off
meanwhile.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any

from ase.calculators.calculator import InputError
from ase.data import chemical_symbols
from pydantic import AfterValidator
from pyscf import gto
from pyscf.dft import libxc
from pyscf.gto import mole as pyscf_mole
from pyscf.gto.basis import parse_cp2k, parse_nwchem, parse_nwchem_ecp
from pyscf.scf import dispersion

from ase_mlwave.text import LONGEST_NAME, plain

__all__ = [
    "BasisName",
    "check_basis",
    "check_elements",
    "check_functional",
    "has_core_potential",
    "is_functional",
    "is_hartree_fock",
    "load_basis",
    "without_evaluation",
]

#: How Hartree-Fock is written; it is not a functional of the library.
_HARTREE_FOCK = "hf"

#: A basis is known if one of these elements has it (many lack hydrogen, some all but a few).
_PROBE_ELEMENTS = ("H", "C", "He", "Li", "Fe", "I")

#: A name, and the polarisation functions of a Pople basis: ``6-31g(2df,p)``.
_BASIS = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+*_-]{0,39})(?P<polarisation>\((?:\d?[spdf]){1,4}(?:,(?:\d?[spdf]){1,4})?\))?"
)
_POPLE = ("321", "431", "631")

_NUMBER = r"(?:\d{1,4}(?:\.\d{0,12})?|\.\d{1,12})"
_WORD = r"[a-z][a-z0-9_]{0,39}"
_TERM = rf"(?:{_NUMBER}\*{_WORD}|{_WORD}(?:\*{_NUMBER})?)"
_SUM = rf"-?{_TERM}(?:[+-]{_TERM}){{0,19}}"
#: A name, perhaps with parts joined by ``-`` (other numbers alone would be those of functionals in the library's list),
#: or names with factors, exchange and correlation parts by a comma.
_FUNCTIONAL = re.compile(
    r"b97-[123]|hcth-(?:93|120|147|407)|"
    rf"{_WORD}(?:-(?!\d+(?:-|$))[a-z0-9_]{{1,20}}){{0,3}}|{_SUM}(?:,(?:{_SUM})?)?|,{_SUM}"
)

#: PySCF looks whether a basis is a file before it looks for its name, from which it drops blanks; no path is that long.
_NO_PATH = " " * 10_000

#: What PySCF raises where a basis lacks an element (`BasisNotFoundError` among them).
_LACKING = (AttributeError, IndexError, KeyError, OSError, RuntimeError, TypeError, ValueError)

_EVALUATING = (pyscf_mole, parse_nwchem, parse_nwchem_ecp, parse_cp2k)
_LOCK = threading.Lock()
_state: dict[str, Any] = {"depth": 0, "before": ()}


@contextmanager
def without_evaluation() -> Iterator[None]:
    """Keep PySCF from evaluating text for the time of a ``with`` block; blocks may overlap in threads.

    Notes
    -----
    The second lock on the door: names are checked before they reach PySCF, but PySCF also takes names of its own
    (auxiliary basis sets, those of initial guesses) for files of the working directory, and parses them.
    """
    with _LOCK:
        if _state["depth"] == 0:
            _state["before"] = tuple(module.DISABLE_EVAL for module in _EVALUATING)
            for module in _EVALUATING:
                module.DISABLE_EVAL = True
        _state["depth"] += 1
    try:
        yield
    finally:
        with _LOCK:
            _state["depth"] -= 1
            if _state["depth"] == 0:
                for module, before in zip(_EVALUATING, _state["before"], strict=True):
                    module.DISABLE_EVAL = before


def is_functional(text: str) -> bool:
    """Tell whether a text passes `check_functional`."""
    try:
        check_functional(text)
    except InputError:
        return False
    return True


def is_hartree_fock(functional: str) -> bool:
    """Tell whether the method is Hartree-Fock, alone or with a dispersion correction (``"hf-d3bj"``)."""
    return functional.lower().partition("-")[0] == _HARTREE_FOCK


def check_functional(functional: str) -> None:
    """Refuse a functional that is not a plain name, or that this PySCF cannot run.

    Parameters
    ----------
    functional : str
        PySCF's name, such as ``"pbe"``, ``"b3lyp-d3bj"``, ``"0.5*hf+0.5*b88,lyp"``; or ``"hf"``.

    Raises
    ------
    InputError
        If it has another form, the name is unknown, PySCF does not support it, or a dispersion correction needs a
        package that is missing.
    """
    if not functional.strip():
        raise InputError("the level of theory names no functional. Write, for example, 'pbe/def2-svp'.")
    _refuse_odd(functional, "functional", _FUNCTIONAL, "such as 'pbe', 'b3lyp-d3bj' or '0.5*hf+0.5*b88,lyp'")
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
    except (AssertionError, KeyError, NotImplementedError, ValueError, IndexError) as error:
        raise InputError(f"PySCF knows no functional {functional!r}. {_nearest(functional, _functionals())}") from error


def check_basis(basis: str) -> None:
    """Refuse a basis that is not a plain name, or that PySCF does not have for any common element.

    Parameters
    ----------
    basis : str
        PySCF's name, such as ``"def2-svp"``.

    Raises
    ------
    InputError
        If it has another form (a path, data, a name with ``@``), or is unknown; the message names the nearest known
        one.
    """
    _refuse_odd(basis, "basis", _BASIS, "such as 'def2-svp' or '6-31g(d,p)'")
    if not any(_has_basis(basis, element) for element in _PROBE_ELEMENTS):
        raise InputError(f"PySCF knows no basis {basis!r}. {_nearest(basis, gto.basis.ALIAS)}")


def _basis_name(basis: str) -> str:
    try:
        check_basis(basis)
    except InputError as error:
        raise ValueError(str(error)) from error
    return basis


#: A setting that must be the name of a basis.
BasisName = Annotated[str, AfterValidator(_basis_name)]


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
        if has_core_potential(basis, symbol):
            raise InputError(
                f"the basis {basis!r} replaces the core of {symbol} by an effective core potential, which is not "
                "supported. Choose an all-electron basis."
            )


@lru_cache(maxsize=1024)
def load_basis(basis: str, symbol: str) -> list[Any]:
    """Load what PySCF has of its own for an element; never a file of that name.

    Parameters
    ----------
    basis : str
        A known basis.
    symbol : str
        Chemical symbol.

    Returns
    -------
    list
        Shells in PySCF's format, not to be changed.

    Raises
    ------
    ValueError
        If it is not a plain name, unknown, or lacks the element.
    """
    try:
        if not _is_known(basis):
            raise KeyError(basis)
        return list(_quietly(gto.basis.load, basis, symbol))
    except _LACKING as error:
        name = basis[:LONGEST_NAME]
        raise ValueError(
            f"PySCF has no basis {name!r} for {symbol}; see pyscf.gto.basis for those there are"
        ) from error


@lru_cache(maxsize=1024)
def has_core_potential(basis: str, symbol: str) -> bool:
    """Tell whether a basis replaces the core of an element by an effective core potential."""
    if not _is_known(basis):
        return False
    try:
        return bool(_quietly(gto.basis.load_ecp, basis, symbol))
    except _LACKING:
        return False


def _has_basis(basis: str, symbol: str) -> bool:
    try:
        return bool(load_basis(basis, symbol))
    except ValueError:
        return False


def _is_known(basis: str) -> bool:
    """Tell whether a name is a plain one that PySCF has data for."""
    parts = _BASIS.fullmatch(basis.lower())
    if parts is None:
        return False
    name = _plain(parts["name"])
    return name in gto.basis.ALIAS and (not parts["polarisation"] or name.startswith(_POPLE))


def _quietly(load: Any, basis: str, symbol: str) -> Any:
    with warnings.catch_warnings(), without_evaluation():
        warnings.simplefilter("ignore")  # PySCF recommends a further package for each unknown name
        return load(basis + _NO_PATH, symbol)


def _refuse_odd(given: str, what: str, form: re.Pattern[str], such_as: str) -> None:
    """Refuse what does not even look like a name, before any library sees it."""
    try:
        plain(given, f"the {what}")
    except ValueError as error:
        raise InputError(f"{error}. Write a name that PySCF knows, {such_as}.") from error
    if not given.isascii() or form.fullmatch(given.lower()) is None:
        raise InputError(f"the {what} {given!r} is not a plain name. Write one that PySCF knows, {such_as}.")


@lru_cache(maxsize=1)
def _functionals() -> tuple[str, ...]:
    """Return the short names of functionals first, then the library's own."""
    short = [name.lower() for name in libxc.XC_ALIAS]
    long = [name.lower() for name in libxc.XC_CODES]
    hybrids = [name.rpartition("_xc_")[2].replace("_", "-") for name in long if "_xc_" in name]
    return (*short, *hybrids, *long, _HARTREE_FOCK)


def _nearest(given: str, known: Iterable[str]) -> str:
    """Return a sentence with the most similar known names, compared without case, hyphens and underscores."""
    plain_names: dict[str, str] = {}
    for name in known:
        plain_names.setdefault(_plain(name), name)
    near = get_close_matches(_plain(given), [key for key in plain_names if key != _plain(given)], n=3, cutoff=0.5)
    if not near:
        return "No known name is near."
    return f"The nearest known: {', '.join(repr(plain_names[key]) for key in near)}."


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")
