"""Compare the deviations that models of amons claim with the errors that they make.

    python -m benchmarks.amons_calibration --output calibration
    python -m benchmarks.amons_calibration --output calibration --defaults

Every query is learned from its amons with up to 3, 4, ... heavy atoms, labelled with GFN2-xTB, and predicted; so are
its amons that are larger than those, as held-out molecules. If the claims are right, 68% of the errors are smaller than
the deviation and 95% smaller than twice that, the root mean square of error / deviation is 1, and where a model claims
less than the threshold of its warning, errors are small. Writes a table, a picture and the numbers. Some minutes on one
core, with a database of amons from before less. Run it from the root of the repository.

With ``--defaults`` what a user gets: `AmonsCalculator.for_query` with its defaults, or with another number of displaced
copies, on small molecules such as those of FreeSolv and on peptides. Finished molecules are not done again.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.optimize import BFGS
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.inference import predict_batch
from ase_mlwave.models.amons.learning.query import study_query
from ase_mlwave.models.amons.learning.settings import StudySettings
from ase_mlwave.models.amons.learning.study import AmonStudy
from ase_mlwave.models.amons.regression.environments import Geometry
from ase_mlwave.models.amons.thresholds import query_thresholds
from ase_mlwave.reference.calculator import ReferenceCalculator
from ase_mlwave.units import HARTREE

__all__ = ["QUERIES", "Claim", "Summary", "claims_of", "summarise"]

#: Molecules with 7 to 10 heavy atoms: chains, rings, aromatic ones, and most functional groups of C, H, N and O.
QUERIES = (
    *("O=CCc1ccccc1", "CC(=O)Nc1ccccc1", "CCCCCCO", "CC(C)CC(N)C(=O)O", "OCC1OC(O)CC1O", "CCOC(=O)CC#N", "Cc1ccncc1C"),
    *("O=C1CCCCC1", "CC(=O)CC(C)=O", "COc1ccccc1", "NCCc1cnc[nH]1", "CCN(CC)CC=O", "O=C(O)CCC(=O)O", "C=CC(=O)OCC"),
    *("Nc1ccccn1", "CC1=CC(=O)CC1", "NC(=O)CNC=O", "CC(C)(C)C=O", "c1ccc2[nH]ccc2c1", "COCCOCCO", "CCCC(C)=NO"),
    *("C=CN1CCCC1=O", "CC1CCC(=O)O1", "CCC(C)CCN"),
)
#: Of FreeSolv's kind: esters, amides, halides, heteroaromatic rings, sulfides, nitro groups, alcohols, ethers.
MOLECULES = (
    *("CCOC(=O)CC", "CCN(C)C(=O)c1ccccc1", "Cc1ccccc1Cl", "N#Cc1ccc(F)cc1", "CCCCBr", "CCc1ncccc1C", "CSc1ccccc1"),
    *("OCC1CCCCC1", "COCCOC(C)C", "CC(=O)CC(C)C", "Oc1cccc2ccccc12", "CC(Cl)C(Cl)Cl", "Cn1ccnc1CO", "CC(C)SC(C)C"),
    *("CC1=CCC(CC1)C(C)=C", "NCCc1ccc(O)cc1", "COc1ccccc1OC", "CC(=O)OCCc1ccccc1", "CCCC[N+](=O)[O-]", "COCC(F)(F)F"),
    *("CN1CCOCC1", "Cc1ccc([N+](=O)[O-])cc1"),
)
#: Two to five residues.
PEPTIDES = (
    *("NCC(=O)NCC(=O)O", "CC(=O)NC(C)C(=O)NC", "CC(N)C(=O)NC(CO)C(=O)NCC(=O)O"),
    *("CC(C)C(N)C(=O)NC(C)C(=O)NCC(=O)NC(CO)C(=O)O", "NCC(=O)NC(C)C(=O)NC(C(C)C)C(=O)NCC(=O)NC(C)C(=O)O"),
)
#: What is learned -> settings of the fits.
LEARNED = {"energies": FitSettings(directions=0), "energies and forces": FitSettings(directions=12)}
_KCAL = 23.0605
_SMALLEST = 3


@dataclass(frozen=True)
class Claim:
    """One prediction, kcal/mol."""

    query: str
    """SMILES of the query that the model is for."""
    learned: str
    """Key of ``LEARNED``."""
    max_heavy: int
    """Heavy atoms of the largest amons that the model knows."""
    n_atoms: int
    """Of the molecule."""
    held_out: bool
    """Whether the molecule is a larger amon instead of the query."""
    error: float
    """Predicted minus reference energy."""
    deviation: float
    """Standard deviation that the model claims."""


@dataclass(frozen=True)
class Summary:
    """What claims are worth."""

    n: int
    """Number of predictions."""
    within_one: float
    """Share of errors smaller than the deviation; 0.68 if all is well."""
    within_two: float
    """Share of errors smaller than twice the deviation; 0.95."""
    rms: float
    """Root mean square of error / deviation; 1."""
    likelihood: float
    """Mean negative logarithm of the likelihood of errors in kcal/mol."""
    warned: float
    """Share of predictions past the threshold of the warning."""
    error_warned: float
    """Their mean absolute error, kcal/mol; NaN if there is none."""
    error_unwarned: float
    """That of the others."""


def summarise(claims: Sequence[Claim]) -> Summary:
    """Compare claims with errors.

    Parameters
    ----------
    claims : sequence of Claim
        At least one, with deviations above 0.

    Returns
    -------
    Summary
    """
    error = np.abs([claim.error for claim in claims])
    deviation = np.array([claim.deviation for claim in claims])
    z = error / deviation
    limits = np.array([query_thresholds(claim.n_atoms)["energy_uncertainty"] * _KCAL for claim in claims])
    warned = deviation > limits
    return Summary(
        n=len(claims),
        within_one=float((z < 1).mean()),
        within_two=float((z < 2).mean()),
        rms=float(np.sqrt((z**2).mean())),
        likelihood=float((z**2 / 2 + np.log(deviation)).mean() + np.log(2 * np.pi) / 2),
        warned=float(warned.mean()),
        error_warned=float(error[warned].mean()) if warned.any() else float("nan"),
        error_unwarned=float(error[~warned].mean()) if not warned.all() else float("nan"),
    )


def claims_of(name: str, study: AmonStudy, energy: float) -> Iterator[Claim]:
    """Predict a query, and amons that are larger than those learned.

    Parameters
    ----------
    name : str
        Of the query.
    study : AmonStudy
        Its labelled amons.
    energy : float
        Of the query, eV.

    Yields
    ------
    Claim
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
            molecules = [study.query, *(Geometry(record.numbers, record.positions) for record in larger)]
            exact = [energy, *(record.energy * HARTREE for record in larger if record.energy is not None)]
            model = replace(study, settings=settings).fit(size).model
            for place, found in enumerate(predict_batch(model, molecules, uncertainty=True)):
                error = (found.energy * HARTREE - exact[place]) * _KCAL
                deviation = (found.uncertainty or 0.0) * HARTREE * _KCAL
                yield Claim(name, learned, size, len(molecules[place]), place > 0, error, deviation)


def built(smiles: str) -> tuple[Atoms, float]:
    """Build a molecule, relax it with GFN2-xTB, and return it with its energy, eV."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    rdForceFieldHelpers.MMFFOptimizeMolecule(mol)
    symbols = [atom.GetSymbol() for atom in mol.GetAtoms()]
    atoms = Atoms(symbols, mol.GetConformer().GetPositions(), calculator=ReferenceCalculator("gfn2-xtb"))
    BFGS(atoms, logfile=None).run(fmax=0.1, steps=60)
    return atoms, float(atoms.get_potential_energy())


def claim_at_defaults(smiles: str, database: Path, displaced: int | None) -> Claim:
    """Learn a molecule as a user does, and compare its energy with the reference."""
    atoms, energy = built(smiles)
    given: dict[str, Any] = {} if displaced is None else {"displaced": displaced}
    query = Atoms(atoms.numbers, atoms.positions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)
        calc = AmonsCalculator.for_query(query, reference="gfn2-xtb", database=database, **given)
        found = float(calc.get_potential_energy(query))
    assert calc.study is not None
    largest = max(int(record.info["n_heavy"]) for record in calc.study.records)
    deviation = float(calc.extras["energy_uncertainty"]) * _KCAL
    return Claim(smiles, "defaults", largest, len(query), False, (found - energy) * _KCAL, deviation)


def run_defaults(chosen: argparse.Namespace, database: Path, console: Console) -> None:
    """Go through small molecules and peptides; keep and show what each claims and errs."""
    name = "defaults" if chosen.displaced is None else f"defaults-{chosen.displaced}"
    path = chosen.output / f"{name}.json"
    claims = [Claim(**content) for content in json.loads(path.read_text())] if path.is_file() else []
    done = {claim.query for claim in claims}
    for smiles in (smiles for smiles in (*MOLECULES, *PEPTIDES)[: chosen.queries] if smiles not in done):
        claims.append(claim_at_defaults(smiles, database, chosen.displaced))
        text = f"{smiles}: error {claims[-1].error:.2f}, claimed {claims[-1].deviation:.2f} kcal/mol"
        console.print(text, markup=False, highlight=False)
        path.write_text(json.dumps([asdict(claim) for claim in claims], indent=1) + "\n", encoding="utf-8")
    shown = Table("molecules", "n", "error", "median", "< 1", "< 2", "warned", "error", "unwarned")
    for what, kind in (("small", MOLECULES), ("peptides", PEPTIDES), ("all", (*MOLECULES, *PEPTIDES))):
        some = [claim for claim in claims if claim.query in kind]
        if some:
            errors, row = _numbers(some)[0], summarise(some)
            figures = (errors.mean(), np.median(errors), row.within_one, row.within_two, row.warned)
            cells = [f"{figure:.2f}" for figure in (*figures, row.error_warned, row.error_unwarned)]
            shown.add_row(what, str(row.n), *cells)
    console.print(shown)


def picture(claims: Sequence[Claim]) -> Figure:
    """Draw errors against claims, and how many errors are smaller than a multiple of their claim."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    span = np.array([0.05, 100.0])
    left.fill_between(span, 0 * span + 1e-3, span, color="0.9", lw=0, label="one deviation, two")
    left.fill_between(span, span, 2 * span, color="0.95", lw=0)
    multiples = np.linspace(0, 4, 200)
    right.plot(multiples, 2 * norm.cdf(multiples) - 1, color="0.5", label="normal distribution")
    for learned, colour in zip(LEARNED, ("C0", "C1"), strict=True):
        for held_out, marker in ((False, "o"), (True, ".")):
            some = [claim for claim in claims if claim.learned == learned and claim.held_out == held_out]
            what = "larger amons" if held_out else "queries"
            error, deviation = _numbers(some)
            left.loglog(deviation, error, marker, color=colour, ms=4, alpha=0.6, label=f"{what}, {learned}")
            style = ":" if held_out else "-"
            shares = [float((error < multiple * deviation).mean()) for multiple in multiples]
            right.plot(multiples, shares, style, color=colour, label=f"{what}, {learned}")
    limit = query_thresholds(None)["energy_uncertainty"] * _KCAL
    left.axvline(limit, color="k", lw=0.8, ls="--", label="warning (up to 20 atoms)")
    left.set(xlabel="claimed deviation, kcal/mol", ylabel="error, kcal/mol", xlim=span, ylim=(1e-2, 100))
    right.set(xlabel="claimed deviations", ylabel="share of smaller errors", xlim=(0, 4), ylim=(0, 1))
    left.legend(fontsize=7, loc="upper left")
    right.legend(fontsize=7, loc="lower right")
    return figure


def table(claims: Sequence[Claim]) -> Table:
    """Make the table of all settings."""
    shown = Table("learned", "molecules", "k", "n", "< 1", "< 2", "rms", "-log L", "warned", "error", "unwarned")
    for learned in LEARNED:
        for held_out in (False, True):
            some = [claim for claim in claims if claim.learned == learned and claim.held_out == held_out]
            for size in [*sorted({claim.max_heavy for claim in some}), None]:
                chosen = [claim for claim in some if size in (None, claim.max_heavy)]
                row = summarise(chosen)
                figures = (row.within_one, row.within_two, row.rms, row.likelihood, row.warned)
                errors = (row.error_warned, row.error_unwarned)
                what = "larger amons" if held_out else "queries"
                cells = [f"{figure:.2f}" for figure in figures] + [f"{error:.2f}" for error in errors]
                shown.add_row(learned, what, "all" if size is None else str(size), str(row.n), *cells)
    return shown


def _numbers(claims: Sequence[Claim]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.abs([claim.error for claim in claims]), np.array([claim.deviation for claim in claims])


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for calibration.json and calibration.png")
    parser.add_argument("--database", type=Path, help="labelled amons (default: amons.db in the output folder)")
    parser.add_argument("--max-heavy", type=int, default=5, help="heavy atoms of the largest amons")
    parser.add_argument("--queries", type=int, help="how many of the molecules (default: all)")
    parser.add_argument("--defaults", action="store_true", help="learn small molecules and peptides as a user does")
    parser.add_argument("--displaced", type=int, help="with --defaults: displaced copies (default: for_query's)")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    chosen = options(words)
    chosen.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    console, claims = Console(width=120), []
    database = chosen.database or chosen.output / "amons.db"
    if chosen.defaults:
        run_defaults(chosen, database, console)
        return
    for smiles in QUERIES[: chosen.queries]:
        atoms, energy = built(smiles)
        where: dict[str, Any] = {"reference": "gfn2-xtb", "database": database}
        study = study_query(atoms, StudySettings(max_heavy=chosen.max_heavy, settings=LEARNED["energies"], **where))
        claims += list(claims_of(smiles, study, energy))
        console.print(f"{smiles}: {len(study.records)} amons, {study.n_new} of them new", markup=False)
    content = [asdict(claim) for claim in claims]
    (chosen.output / "calibration.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    picture(claims).savefig(chosen.output / "calibration.png", dpi=150)
    console.print(table(claims))


if __name__ == "__main__":
    main()
