"""Compare the deviations that models of amons claim with the errors that they make.

    python -m benchmarks.amons_calibration --output calibration
    python -m benchmarks.amons_calibration --output calibration --defaults

Every query is learned from its amons with up to 3, 4, ... heavy atoms, labelled with GFN2-xTB, and predicted; so are
its amons that are larger than those, as held-out molecules. If the claims are right, 68% of the errors are smaller than
the deviation and 95% smaller than twice that, the root mean square of error / deviation is 1, and where a model claims
less than the threshold of its warning, errors are small. Writes a table, a picture and the numbers. Some minutes on one
core, with a database of amons from before less.

With ``--defaults`` what a user gets: `AmonsCalculator.for_query` with its defaults, or with another number of displaced
copies, on small molecules such as those of FreeSolv and on peptides. Finished molecules are not done again.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
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
from benchmarks.common import (
    EV_IN_KCAL,
    command_line,
    one_thread,
    picture,
    positive,
    read_json,
    relaxed,
    rich_table,
    write_json,
)
from benchmarks.structures import SMILES

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


class Summary(NamedTuple):
    """What claims are worth."""

    n: int  # number of predictions
    within_one: float  # share of errors smaller than the deviation; 0.68 if all is well
    within_two: float  # share of errors smaller than twice the deviation; 0.95
    rms: float  # root mean square of error / deviation; 1
    likelihood: float  # mean negative logarithm of the likelihood of errors in kcal/mol
    warned: float  # share of predictions past the threshold of the warning
    error_warned: float  # their mean absolute error, kcal/mol; NaN if there is none
    error_unwarned: float  # that of the others


def summarise(claims: Sequence[Claim]) -> Summary:
    """Compare claims with errors; at least one, with deviations above 0."""
    error, deviation = _numbers(claims)
    z = error / deviation
    limits = np.array([query_thresholds(claim.n_atoms)["energy_uncertainty"] * EV_IN_KCAL for claim in claims])
    warned = deviation > limits
    likelihood = (z**2 / 2 + np.log(deviation)).mean() + np.log(2 * np.pi) / 2
    mean = [float(error[some].mean()) if some.any() else float("nan") for some in (warned, ~warned)]
    shares = ((z < 1).mean(), (z < 2).mean(), np.sqrt((z**2).mean()), likelihood, warned.mean())
    return Summary(len(claims), *map(float, shares), *mean)


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


def by_size(chosen: argparse.Namespace, database: Path, console: Console) -> None:
    """Learn every query from amons of growing size; write calibration.json and .png, and show a table."""
    claims: list[Claim] = []
    options = {"reference": "gfn2-xtb", "max_heavy": chosen.max_heavy, "database": database}
    for smiles in SMILES["calibration"][: chosen.queries]:
        atoms, energy = built(smiles)
        study = study_query(atoms, StudySettings(settings=LEARNED["energies"], **options))
        claims += claims_of(smiles, study, energy)
        console.print(f"{smiles}: {len(study.records)} amons, {study.n_new} of them new")
    write_json(chosen.output / "calibration.json", [asdict(claim) for claim in claims])
    draw(claims, chosen.output / "calibration.png")
    rows = [["learned", "molecules", "k", "n", "< 1", "< 2", "rms", "-log L", "warned", "error", "unwarned"]]
    for learned in LEARNED:
        for held_out in (False, True):
            some = [claim for claim in claims if claim.learned == learned and claim.held_out == held_out]
            for size in [*sorted({claim.max_heavy for claim in some}), None]:
                row = summarise([claim for claim in some if size in (None, claim.max_heavy)])
                cells = [f"{figure:.2f}" for figure in row[1:]]
                what = "larger amons" if held_out else "queries"
                rows.append([learned, what, "all" if size is None else str(size), str(row.n), *cells])
    console.print(rich_table(rows, left=2))


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


def at_defaults(chosen: argparse.Namespace, database: Path, console: Console) -> None:
    """Go through small molecules and peptides; keep and show what each claims and errs."""
    name = "defaults" if chosen.displaced is None else f"defaults-{chosen.displaced}"
    path = chosen.output / f"{name}.json"
    claims = [Claim(**content) for content in read_json(path, [])]
    done, everything = {claim.query for claim in claims}, (*SMILES["small"], *SMILES["peptides"])
    for smiles in (smiles for smiles in everything[: chosen.queries] if smiles not in done):
        claims.append(claim_at_defaults(smiles, database, chosen.displaced))
        console.print(f"{smiles}: error {claims[-1].error:.2f}, claimed {claims[-1].deviation:.2f} kcal/mol")
        write_json(path, [asdict(claim) for claim in claims])
    rows = [["molecules", "n", "error", "median", "< 1", "< 2", "warned", "error", "unwarned"]]
    for what, kind in (("small", SMILES["small"]), ("peptides", SMILES["peptides"]), ("all", everything)):
        some = [claim for claim in claims if claim.query in kind]
        if some:
            errors, row = _numbers(some)[0], summarise(some)
            figures = (errors.mean(), np.median(errors), row.within_one, row.within_two, row.warned)
            cells = [f"{figure:.2f}" for figure in (*figures, row.error_warned, row.error_unwarned)]
            rows.append([what, str(row.n), *cells])
    console.print(rich_table(rows))


def draw(claims: Sequence[Claim], path: Path) -> None:
    """Draw errors against claims, and how many errors are smaller than a multiple of their claim."""
    span, multiples = np.array([0.05, 100.0]), np.linspace(0, 4, 200)
    with picture(path, (9.5, 4.2), panels=2, dpi=150) as (left, right):
        left.fill_between(span, 0 * span + 1e-3, span, color="0.9", lw=0, label="one deviation, two")
        left.fill_between(span, span, 2 * span, color="0.95", lw=0)
        right.plot(multiples, 2 * norm.cdf(multiples) - 1, color="0.5", label="normal distribution")
        for learned, colour in zip(LEARNED, ("C0", "C1"), strict=True):
            for held_out, marker, style in ((False, "o", "-"), (True, ".", ":")):
                some = [claim for claim in claims if claim.learned == learned and claim.held_out == held_out]
                what = f"{'larger amons' if held_out else 'queries'}, {learned}"
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
    parser.add_argument("--database", type=Path, help="labelled amons (default: amons.db in the output folder)")
    parser.add_argument("--queries", type=positive(int), help="how many of the molecules (default: all)")
    parser.add_argument("--defaults", action="store_true", help="learn small molecules and peptides as a user does")
    parser.add_argument("--displaced", type=int, help="with --defaults: displaced copies (default: for_query's)")
    chosen = parser.parse_args(words)
    chosen.output.mkdir(parents=True, exist_ok=True)
    with one_thread():
        run = at_defaults if chosen.defaults else by_size
        run(chosen, chosen.database or chosen.output / "amons.db", Console(width=120))


if __name__ == "__main__":
    main()
