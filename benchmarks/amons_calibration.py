"""Compare the deviations that models of amons claim with the errors that they make.

    python -m benchmarks.amons_calibration --output calibration
    python -m benchmarks.amons_calibration --output calibration --defaults
    python -m benchmarks.amons_calibration --output calibration --defaults --biomolecules --displaced 0

Every query is learned from its amons with up to 3, 4, ... heavy atoms, labelled with GFN2-xTB, and predicted; so are
its amons that are larger than those, as held-out molecules. Writes a table, a picture and the numbers. Some minutes on
one core.

With ``--defaults`` what a user gets: `AmonsCalculator.for_query` with its defaults, or with another number of displaced
copies, on small molecules such as those of FreeSolv and on peptides, or on the biomolecules of ``benchmarks.amons``.
Finished molecules are not done again.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray
from scipy.stats import norm

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.console import Console
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.inference import predict_batch
from ase_mlwave.models.amons.learning.query import study_query
from ase_mlwave.models.amons.learning.settings import StudySettings
from ase_mlwave.models.amons.learning.study import AmonStudy
from ase_mlwave.models.amons.thresholds import query_thresholds
from ase_mlwave.reference.calculator import ReferenceCalculator
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.units import HARTREE
from benchmarks.amons.classes import CLASSES
from benchmarks.common import command_line, one_thread, picture, positive, read_json, relaxed, rich_table, write_json
from benchmarks.structures import SMILES

#: One eV in kcal/mol.
EV_IN_KCAL = units.mol / units.kcal
#: What is learned -> settings of the fits.
LEARNED = {"energies": FitSettings(directions=0), "energies and forces": FitSettings(directions=12)}
_SMALLEST = 3


@dataclass(frozen=True)
class Claim:
    """One prediction, kcal/mol."""

    query: str  # SMILES of the query that the model is for
    learned: str  # key of ``LEARNED``, or ``"defaults"``
    max_heavy: int  # heavy atoms of the largest amons that the model knows
    n_atoms: int  # of the molecule
    held_out: bool  # whether the molecule is a larger amon instead of the query
    error: float  # predicted minus reference energy
    deviation: float  # standard deviation that the model claims


def summarise(claims: Sequence[Claim]) -> dict[str, float]:
    """Compare claims with errors; at least one, with deviations above 0.

    Mean and median error; shares of errors smaller than the deviation, and than twice that (0.68, 0.95 if all is well);
    root mean square of error / deviation (1); share of predictions past the threshold of the warning, mean error of
    these and of the others (NaN if there are none).
    """
    error, deviation = _numbers(claims)
    z = error / deviation
    limits = np.array([query_thresholds(claim.n_atoms)["energy_uncertainty"] * EV_IN_KCAL for claim in claims])
    warned = deviation > limits
    past, rest = (float(error[some].mean()) if some.any() else float("nan") for some in (warned, ~warned))
    figures = {"error": error.mean(), "median": np.median(error), "< 1": (z < 1).mean(), "< 2": (z < 2).mean()}
    figures |= {"rms": np.sqrt((z**2).mean()), "warned": warned.mean(), "their error": past, "of others": rest}
    return {"n": len(claims), **{name: float(value) for name, value in figures.items()}}


def show(parts: Mapping[str, Sequence[Claim]], console: Console) -> None:
    """Print a table with a row for each group that has claims."""
    found = {name: summarise(claims) for name, claims in parts.items() if claims}
    names = next(iter(found.values()))
    rows = [[name, *(f"{v:.2f}" if v % 1 else f"{v:g}" for v in one.values())] for name, one in found.items()]
    console.print(rich_table([["molecules", *names], *rows]))


def _numbers(claims: Sequence[Claim]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.abs([claim.error for claim in claims]), np.array([claim.deviation for claim in claims])


def built(smiles: str) -> tuple[Atoms, float]:
    """Build a molecule, relax it with GFN2-xTB, and return it with its energy, eV."""
    atoms = relaxed(atoms_from_record(from_smiles(smiles, 1)), ReferenceCalculator("gfn2-xtb"), 0.1, 60)
    return Atoms(atoms.numbers, atoms.positions), float(atoms.get_potential_energy())


def claims_of(name: str, study: AmonStudy, energy: float) -> Iterator[Claim]:
    """Predict a query (whose energy is in eV), and amons that are larger than those learned.

    For every size of amons, with all elements of the query among them, and every molecule.
    """
    sizes = sorted({int(record.info["n_heavy"]) for record in study.records})
    for learned, settings in LEARNED.items():
        for size in (size for size in sizes if size >= _SMALLEST):
            known = [record for record in study.records if record.info["n_heavy"] <= size]
            elements = {z for record in known for z in record.numbers.tolist()}
            if study.query is None or not set(study.query.numbers.tolist()) <= elements:
                continue
            larger = [record for record in study.records if record.info["n_heavy"] > size]
            molecules = [study.query, *larger]
            exact = [energy, *(record.energy * HARTREE for record in larger if record.energy is not None)]
            model = replace(study, settings=settings).fit(size).model
            for place, found in enumerate(predict_batch(model, molecules, uncertainty=True)):
                error = (found.energy * HARTREE - exact[place]) * EV_IN_KCAL
                deviation = (found.uncertainty or 0.0) * HARTREE * EV_IN_KCAL
                yield Claim(name, learned, size, len(molecules[place]), place > 0, error, deviation)


def groups(claims: Sequence[Claim]) -> dict[str, list[Claim]]:
    """Sort claims by what was learned, and whether they are of queries or of larger amons."""
    found: dict[str, list[Claim]] = {f"{what}, {one}": [] for one in LEARNED for what in ("queries", "larger amons")}
    for claim in claims:
        found[f"{'larger amons' if claim.held_out else 'queries'}, {claim.learned}"].append(claim)
    return found


def by_size(chosen: argparse.Namespace, console: Console) -> None:
    """Learn every query from amons of growing size."""
    claims: list[Claim] = []
    options = {"reference": "gfn2-xtb", "max_heavy": chosen.max_heavy, "database": chosen.output / "amons.db"}
    for smiles in SMILES["calibration"][: chosen.queries]:
        atoms, energy = built(smiles)
        study = study_query(atoms, StudySettings(settings=LEARNED["energies"], **options))
        claims += claims_of(smiles, study, energy)
        console.print(f"{smiles}: {len(study.records)} amons, {study.n_new} of them new")
    write_json(chosen.output / "calibration.json", [asdict(claim) for claim in claims])
    draw(claims, chosen.output / "calibration.png")
    show(groups(claims), console)


def claim_at_defaults(smiles: str, database: Path, displaced: int | None) -> Claim:
    """Learn a molecule as a user does, and compare its energy with the reference."""
    query, energy = built(smiles)
    given: dict[str, Any] = {} if displaced is None else {"displaced": displaced}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)
        calc = AmonsCalculator.for_query(query, reference="gfn2-xtb", database=database, **given)
        found = float(calc.get_potential_energy(query))
    assert calc.study is not None
    largest = max(int(record.info["n_heavy"]) for record in calc.study.records)
    deviation = float(calc.extras["energy_uncertainty"]) * EV_IN_KCAL
    return Claim(smiles, "defaults", largest, len(query), False, (found - energy) * EV_IN_KCAL, deviation)


def at_defaults(chosen: argparse.Namespace, console: Console) -> None:
    """Go through molecules; keep and show what each claims and errs."""
    kinds: dict[str, Sequence[str]] = {"small": SMILES["small"], "peptides": SMILES["peptides"]}
    if chosen.biomolecules:
        kinds = {"biomolecules": tuple(CLASSES["biomolecules"].molecules.values())}
    name = "biomolecules" if chosen.biomolecules else "defaults"
    name += "" if chosen.displaced is None else f"-{chosen.displaced}"
    path = chosen.output / f"{name}.json"
    claims = [Claim(**content) for content in read_json(path, [])]
    done, everything = {claim.query for claim in claims}, tuple(chain(*kinds.values()))
    for smiles in (smiles for smiles in everything[: chosen.queries] if smiles not in done):
        claims.append(claim_at_defaults(smiles, chosen.output / "amons.db", chosen.displaced))
        console.print(f"{smiles}: error {claims[-1].error:.2f}, claimed {claims[-1].deviation:.2f} kcal/mol")
        write_json(path, [asdict(claim) for claim in claims])
    shown = kinds if len(kinds) == 1 else {**kinds, "all": everything}
    show({what: [claim for claim in claims if claim.query in kind] for what, kind in shown.items()}, console)


def draw(claims: Sequence[Claim], path: Path) -> None:
    """Draw errors against claims, and how many errors are smaller than a multiple of their claim."""
    span, multiples = np.array([0.05, 100.0]), np.linspace(0, 4, 200)
    with picture(path, (9.5, 4.2), panels=2, dpi=150) as (left, right):
        left.fill_between(span, 0 * span + 1e-3, span, color="0.9", lw=0, label="one deviation, two")
        left.fill_between(span, span, 2 * span, color="0.95", lw=0)
        right.plot(multiples, 2 * norm.cdf(multiples) - 1, color="0.5", label="normal distribution")
        styles = (("C0", "o", "-"), ("C0", ".", ":"), ("C1", "o", "-"), ("C1", ".", ":"))
        for (what, some), (colour, marker, style) in zip(groups(claims).items(), styles, strict=True):
            error, deviation = _numbers(some)
            left.loglog(deviation, error, marker, color=colour, ms=4, alpha=0.6, label=what)
            shares = [float((error < multiple * deviation).mean()) for multiple in multiples]
            right.plot(multiples, shares, style, color=colour, label=what)
        limit = query_thresholds(None)["energy_uncertainty"] * EV_IN_KCAL
        left.axvline(limit, color="k", lw=0.8, ls="--", label="warning (up to 20 atoms)")
        left.set(xlabel="claimed deviation, kcal/mol", ylabel="error, kcal/mol", xlim=span, ylim=(1e-2, 100))
        right.set(xlabel="claimed deviations", ylabel="share of smaller errors", xlim=(0, 4), ylim=(0, 1))
        left.legend(fontsize=7, loc="upper left")
        right.legend(fontsize=7, loc="lower right")


def main(words: Sequence[str] | None = None) -> None:
    parser = command_line("amons_calibration", __doc__, output=..., max_heavy=5)
    parser.add_argument("--queries", type=positive(int), help="how many of the molecules (default: all)")
    parser.add_argument("--defaults", action="store_true", help="learn molecules as a user does")
    parser.add_argument("--biomolecules", action="store_true", help="with --defaults: learn biomolecules instead")
    parser.add_argument("--displaced", type=int, help="with --defaults: displaced copies (default: for_query's)")
    chosen = parser.parse_args(words)
    chosen.output.mkdir(parents=True, exist_ok=True)
    with one_thread():
        (at_defaults if chosen.defaults else by_size)(chosen, Console(width=120))


if __name__ == "__main__":
    main()
