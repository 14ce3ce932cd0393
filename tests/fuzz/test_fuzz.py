"""Random inputs, the same ones in every run: `make fuzz` tries 1,000, the quick tests a few of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ase_mlwave import AmonsCalculator, PhiSNetCalculator, QDFCalculator
from ase_mlwave.calculators.outcome import Outcome
from tests.fuzz.inputs import batch_sizes, mean_fields, options, property_lists, structures
from tests.fuzz.law import Violations, absurdity, domain_told, unknown_option

pytest.importorskip("tblite")

MODELS: dict[str, Callable[[], Any]] = {
    "phisnet": lambda: PhiSNetCalculator("phisnet-water"),
    "phisnet, functional": lambda: PhiSNetCalculator("phisnet-water", energy="functional"),
    "qdf": lambda: QDFCalculator("qdf-chno"),
    "qdf, committee": lambda: QDFCalculator(["qdf-chno", "qdf-chno-2"]),
    "amons": lambda: AmonsCalculator("amons-chno"),
}
#: Share of the inputs that each test gets, of 1,000.
SHARES = {"phisnet": 200, "phisnet, functional": 50, "qdf": 200, "qdf, committee": 50, "amons": 200}
MATRICES, GUESSES, OPTIONS = 100, 100, 100


def many(share: int) -> int:
    """Return a share of the inputs that ``FUZZ_INPUTS`` asks for."""
    return max(1, round(share * int(os.environ.get("FUZZ_INPUTS", "1000")) / 1000))


def runs(count: int) -> Callable[[Any], Any]:
    """Return what makes a test draw that many examples: the same in every run, or those of ``FUZZ_SEED``."""
    other = os.environ.get("FUZZ_SEED")
    chosen = settings(
        max_examples=count,
        derandomize=other is None,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: chosen(test if other is None else seed(int(other))(test))


def conclude(violations: Violations) -> None:
    """Fail if anything was found; say what in any case."""
    print(violations.report())
    assert not violations.found, "\n".join([violations.report(), *violations.found])


def fuzz_predictions(calc: Any, count: int) -> Violations:
    """Predict whatever for whatever, in a batch or as ASE asks for it, after a calculation of something else."""
    found = Violations()

    @runs(count)
    @given(structures(calc.domain.elements), property_lists(), batch_sizes(), st.booleans())
    def attempt(given_: tuple[Any, str], properties: Any, batch_size: Any, single: bool) -> None:
        atoms, made = given_
        what = f"predict [{_words(atoms)}: {made}], {properties!r}, batch_size={batch_size!r}"

        def ask() -> Outcome:
            if not single or atoms is None:  # which to ASE means: those of last time
                return calc.predict_outcomes([atoms], properties, batch_size=batch_size)[0]
            calc.get_potential_energy(molecule("H2O"))
            energy = calc.get_potential_energy(atoms)
            return Outcome({"energy": energy}, dict(calc.extras))

        def law(outcome: Outcome, warned: bool) -> str:
            told = domain_told(outcome.extras, calc.domain, warned)
            return told or absurdity(atoms, outcome.values, warned)

        found.check(what, ask, law)

    attempt()
    return found


def fuzz_matrices(calc: Any, count: int) -> Violations:
    """Ask for matrices and orbitals of whatever."""
    found = Violations()

    @runs(count)
    @given(structures(calc.domain.elements))
    def attempt(given_: tuple[Any, str]) -> None:
        atoms, made = given_
        for name in ("hamiltonian", "density_matrix", "orbitals"):
            found.check(f"{name} [{_words(atoms)}: {made}]", lambda name=name: getattr(calc, name)(atoms), law)

    def law(result: Any, warned: bool) -> str:
        arrays = result if isinstance(result, tuple) else (result,)
        return "" if all(np.isfinite(array).all() for array in arrays) else "a matrix is not finite"

    attempt()
    return found


def fuzz_guesses(calc: Any, count: int) -> Violations:
    """Start PySCF's mean fields from whatever the model guesses."""
    found = Violations()

    @runs(count)
    @given(mean_fields())
    def attempt(given_: tuple[Any, str]) -> None:
        mf, made = given_

        def law(guess: Any, warned: bool) -> str:
            if not np.isfinite(guess).all():
                return "a guess is not finite"
            if warned:  # it is PySCF's own, whose electrons are not exact
                return ""
            total = guess if guess.ndim == 2 else guess.sum(0)
            electrons = float(np.einsum("ij,ji->", total, mf.get_ovlp()))
            return "" if abs(electrons - mf.mol.nelectron) < 1e-6 else f"a guess has wrong electrons: {electrons:.6f}"

        for fallback in (None, "minao"):
            found.check(
                f"initial_guess({made}, fallback={fallback!r})",
                lambda fallback=fallback: calc.initial_guess(mf, fallback=fallback),
                law if fallback is None else lambda *_: "",
            )

    attempt()
    return found


def fuzz_options(calc: Any, count: int) -> Violations:
    """Set whatever option to whatever."""
    found = Violations()

    @runs(count)
    @given(options)
    def attempt(chosen: dict[str, Any]) -> None:
        before = dict(calc.parameters)

        def law(changed: Any, warned: bool) -> str:
            calc.set(**before)
            return ""

        allowed = unknown_option(chosen, calc.default_parameters)
        found.check(f"{type(calc).__name__}.set(**{chosen!r})", lambda: calc.set(**chosen), law, allowed)
        if dict(calc.parameters) != before:
            found.found.append(f"refused options stay   <- {chosen!r}")

    attempt()
    return found


def _words(atoms: Any) -> str:
    if not isinstance(atoms, Atoms):
        return repr(atoms)
    try:
        info = f" {atoms.info}" if atoms.info else ""
        return f"{atoms.symbols}{info} {np.asarray(atoms.positions).tolist() if len(atoms) < 5 else ''}"
    except Exception as error:
        return f"atoms that ASE cannot write ({type(error).__name__})"


@pytest.mark.fuzz
@pytest.mark.parametrize("model", SHARES)
def test_predictions(model: str) -> None:
    conclude(fuzz_predictions(MODELS[model](), many(SHARES[model])))


@pytest.mark.fuzz
def test_matrices() -> None:
    conclude(fuzz_matrices(MODELS["phisnet"](), many(MATRICES)))


@pytest.mark.fuzz
def test_initial_guesses() -> None:
    conclude(fuzz_guesses(MODELS["phisnet"](), many(GUESSES)))


@pytest.mark.fuzz
@pytest.mark.parametrize("model", ["phisnet", "qdf", "amons"])
def test_options(model: str) -> None:
    conclude(fuzz_options(MODELS[model](), many(OPTIONS // 3)))


@pytest.mark.parametrize("model", ["phisnet", "qdf", "amons"])
def test_a_few_predictions(model: str) -> None:
    conclude(fuzz_predictions(MODELS[model](), 15))


def test_a_few_matrices_and_guesses() -> None:
    calc = MODELS["phisnet"]()
    conclude(fuzz_matrices(calc, 8))
    conclude(fuzz_guesses(calc, 8))


def test_the_law_can_be_broken() -> None:
    """The fuzz finds what it looks for: other errors, silence, absurdities, endless calls, what is not finite."""
    found = Violations()
    water = Atoms("OHH", [[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])

    def sound(result: Any, warned: bool) -> str:
        return absurdity(water, result, warned)

    def fail() -> None:
        raise AttributeError("lower")

    for result in ({"energy": float("nan")}, {"energy": -1.0}, {"forces": np.full((3, 3), 1e4)}):
        found.check("water", lambda result=result: result, sound)
    found.check("water", fail, sound)
    kinds = [line.split(":")[0].split("   <-")[0] for line in found.found]
    assert kinds == ["energy is not finite", "silent absurdity", "silent absurdity", "AttributeError"]
    right = PhiSNetCalculator("phisnet-water").predict([water])[0]
    assert sound(right, False) == ""
    assert sound(right | {"energy": right["energy"] - 5}, False).startswith("silent absurdity")
