"""Tell why a label failed: the input, the convergence, or the machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor

from ase.calculators.calculator import (
    BadConfiguration,
    CalculatorSetupError,
    InputError,
    PropertyNotImplementedError,
)
from ase.calculators.calculator import EnvironmentError as CalculatorEnvironmentError

from ase_mlwave.data.failures import CONVERGENCE, ENVIRONMENT, INPUT
from ase_mlwave.errors import OutOfDomainError

__all__ = ["kind_of_error"]

_OF_MACHINE = (
    MemoryError,
    OSError,  # disk full, lost connection, missing program, time-out
    ImportError,
    EOFError,
    BrokenExecutor,
    BadConfiguration,
    CalculatorEnvironmentError,
)
_OF_INPUT = (InputError, PropertyNotImplementedError, CalculatorSetupError, OutOfDomainError)
#: What programs and drivers say where they have no class for it (CUDA, HDF5, SQLite, subprocesses).
_WORDS_OF_MACHINE = re.compile(
    r"out of memory|cannot allocate|unable to allocate|bad_alloc|no space left|disk( is)? full|disk quota|"
    r"connection (was |has been )?(lost|reset|refused|closed|aborted)|broken pipe|timed out|too many open files|"
    r"no module named|cannot open shared object|command not found|killed by signal|died with <signals|"
    r"(exit status|error code) (126|127|13[4-9]|-\d+)",  # no such program, or killed by a signal
    re.IGNORECASE,
)
_CLASSES_OF_MACHINE = ("OutOfMemoryError", "OperationalError", "InterfaceError", "CUDARuntimeError", "KilledWorker")


def kind_of_error(error: BaseException) -> str:
    """Tell what kind of failure an error is, by its class, its words, and those of the errors that it came from.

    Parameters
    ----------
    error : Exception
        From labelling one molecule.

    Returns
    -------
    str
        ``ENVIRONMENT`` where the machine failed somewhere in the chain; else ``INPUT`` where the molecule was refused;
        else ``CONVERGENCE``, also for programs that fail in a way of their own.
    """
    chain = list(_chain(error))
    if any(map(_is_of_machine, chain)):
        return ENVIRONMENT
    return INPUT if any(isinstance(one, _OF_INPUT) for one in chain) else CONVERGENCE


def _is_of_machine(error: BaseException) -> bool:
    named = any(kind.__name__ in _CLASSES_OF_MACHINE for kind in type(error).__mro__)
    return isinstance(error, _OF_MACHINE) or named or bool(_WORDS_OF_MACHINE.search(str(error)))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
