"""What must come of any input: a sound result, or an error of a documented class, within a minute."""

from __future__ import annotations

import resource
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculatorError, PropertyNotImplementedError

from ase_mlwave.errors import UnknownOptionError

__all__ = ["Violations", "absurdity", "domain_told", "unknown_option"]

#: What a calculator may raise: InputError, CalculationFailed (OutOfDomainError), SCFError; a missing property.
DOCUMENTED = (CalculatorError, PropertyNotImplementedError)
#: Seconds, and bytes, that one call may take at most.
PATIENCE, MEMORY = 60, 2 * 2**30

#: Energies less GFN2-xTB's at PBE/def2-SVP, eV: what is left of molecules in their domain is below 0.3 eV an atom.
_SHIFTS = {1: -2.461, 6: -976.416, 7: -1407.805, 8: -1932.662}
#: eV an atom beyond which an energy is absurd (GFN2-xTB itself is 0.9 off for N2 at 1.25 Angstrom), and eV/Angstrom
#: beyond which a force is.
_ABSURD_ENERGY, _ABSURD_FORCE = 1.5, 200.0


class _Hang(BaseException):
    pass


class Violations:
    """Try calls, and collect what breaks the law."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.tried = 0
        self.refused: Counter[str] = Counter()

    def check(self, what: str, call: Callable[[], Any], law: Callable[[Any, bool], str], allowed: Any = ()) -> None:
        """Try a call.

        Parameters
        ----------
        what : str
            The input, in words.
        call : callable
            Gives a result.
        law : callable
            Given the result, and whether there was a warning, says what is wrong with it; empty if nothing is.
        allowed : tuple of type
            Errors besides the documented ones.
        """
        self.tried += 1
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            try:
                with _patience():
                    wrong = law(call(), bool(seen))
            except (*DOCUMENTED, *allowed) as error:
                self.refused[type(error).__name__] += 1
                wrong = "" if str(error).strip() else f"{type(error).__name__} without a word"
            except _Hang:
                wrong = "hang"
            except Exception as error:
                wrong = f"{type(error).__name__}: {str(error)[:200]}"
        noise = [str(w.message) for w in seen if not issubclass(w.category, UserWarning)]
        if noise and not wrong:
            wrong = f"warns like a program with a fault: {noise[0][:200]}"
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        if grown > MEMORY and not wrong:
            wrong = f"memory: {grown / 2**30:.1f} GiB"
        if wrong:
            self.found.append(f"{wrong}   <- {what}")

    def report(self) -> str:
        """Say how many calls were tried, and what was found, by kind."""
        kinds = sorted({line.split(":")[0].split("   <-")[0] for line in self.found})
        counts = ", ".join(f"{kind}: {sum(line.startswith(kind) for line in self.found)}" for kind in kinds)
        return f"{self.tried} inputs, refused {dict(self.refused)}, {len(self.found)} violations ({counts})"


@contextmanager
def _patience() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def domain_told(extras: Any, domain: Any, warned: bool) -> str:
    """Say whether a measure lies past a threshold in silence, or past a limit without an error."""
    for limits, enough in ((domain.thresholds, warned), (domain.limits, False)):
        for name, limit in limits.items():
            if name in extras and not enough and float(np.max(extras[name])) > limit:
                return f"silent outside the domain: {name} {float(np.max(extras[name])):.3g}"
    return ""


def absurdity(atoms: Atoms, values: Any, warned: bool) -> str:
    """Say what is wrong with results: not finite, or, without a warning, far from GFN2-xTB."""
    for name, value in values.items():
        if not np.isfinite(value).all():
            return f"{name} is not finite"
    if warned:
        return ""
    if "forces" in values and np.abs(values["forces"]).max() > _ABSURD_FORCE:
        return f"silent absurdity: forces of {np.abs(values['forces']).max():.3g} eV/Angstrom"
    if "energy" in values and len(atoms) > 1 and not atoms.pbc.any():
        cheap = _cheap_energy(atoms)
        off = (values["energy"] - cheap) / len(atoms)
        if abs(off) > _ABSURD_ENERGY:
            return f"silent absurdity: {off:+.2f} eV/atom off GFN2-xTB"
    return ""


def _cheap_energy(atoms: Atoms) -> float:
    """Estimate the energy at PBE/def2-SVP with GFN2-xTB, eV; NaN where that fails."""
    from tblite.ase import TBLite

    bare = Atoms(atoms.numbers, atoms.positions)
    bare.calc = TBLite(method="GFN2-xTB", verbosity=0)
    try:
        energy = float(bare.get_potential_energy())
    except Exception:  # it is only a second opinion
        return float("nan")
    return energy + sum(_SHIFTS[z] for z in bare.numbers.tolist())


def unknown_option(options: dict[str, Any], known: Any) -> tuple[type[Exception], ...]:
    """Return what an unknown keyword raises, if there is one."""
    return () if set(options) <= {"model", *known} else (UnknownOptionError,)
