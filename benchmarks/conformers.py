"""Compare energies of conformers with PBE/def2-SVP: mean absolute error about each molecule's mean, kcal/mol.

    python -m benchmarks.conformers phisnet-chno --energy functional --molecules 6 --conformers 4
    python -m benchmarks.conformers phisnet-chno --energy wavefunction --molecules 90 --conformers 99
    python -m benchmarks.conformers amons-chno qdf-chno

Any calculator by its model's name, beside GFN2-xTB, ANI-1x and DLPNO-CCSD(T), whose energies the file has, on the same
conformers. The error of a molecule is the mean over its conformers of |(E - E_PBE) - mean of (E - E_PBE)|, that of a
method the mean over molecules. Few, small molecules by default: ``functional`` takes minutes for a conformer of 50
atoms. Energies are kept in the output folder, so that a run that was broken off goes on, and more molecules or models
cost what is new. conformers.md has the errors by size, too.
"""

from __future__ import annotations

import argparse
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculatorError
from pyscf import lib

from ase_mlwave.calculators import load_calculator
from ase_mlwave.calculators.base import MlwaveCalculator
from ase_mlwave.console import Console
from ase_mlwave.errors import OutOfDomainWarning
from benchmarks.common import (
    bar,
    command_line,
    cpu_seconds,
    existing,
    markdown_table,
    one_thread,
    positive,
    read_json,
    rich_table,
    write_json,
)
from benchmarks.conformer_set import Array, Conformers, read_conformers

#: The method that all others are compared with.
REFERENCE = "pbe/def2-svp"
#: Width of the bins of sizes, atoms.
_BIN = 10
#: Energy of a conformer: kcal/mol and CPU-seconds, or the reason why there is none.
Known = dict[str, dict[str, Any]]


def chosen_molecules(molecules: Sequence[Conformers], chosen: argparse.Namespace) -> list[Conformers]:
    """Choose the smallest molecules or random ones, of each conformers spread evenly; those with one are left out."""
    several = [one for one in molecules if len(one.structures) > 1]
    if chosen.random:
        several = [several[k] for k in np.random.default_rng(chosen.seed).permutation(len(several))]
    else:
        several.sort(key=lambda one: one.n_atoms)
    found = []
    for one in several[: chosen.molecules]:
        n = len(one.structures)
        rows = np.unique(np.linspace(0, n - 1, min(n, chosen.conformers)).round().astype(int))
        energies = {method: values[rows] for method, values in one.energies.items()}
        found.append(Conformers(one.name, tuple(one.structures[row] for row in rows), energies))
    return found


def about_mean(energies: Array, reference: Array) -> float:
    """Mean absolute error of one molecule's conformers about its mean."""
    error = energies - reference
    return float(np.abs(error - error.mean()).mean())


def energy(calculator: MlwaveCalculator, atoms: Atoms) -> dict[str, Any]:
    """Compute one energy, kcal/mol, and the CPU-seconds that it took; the reason where there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OutOfDomainWarning)  # the errors say how well it serves there
            value, seconds = cpu_seconds(lambda: calculator.predict([atoms], properties=("energy",))[0]["energy"])
    except CalculatorError as error:
        return {"failure": str(error)}
    return {"energy": float(value) * units.mol / units.kcal, "seconds": seconds}


def computed(
    calculator: MlwaveCalculator, molecules: Sequence[Conformers], path: Path, label: str
) -> list[list[dict[str, Any]]]:
    """Compute what is not known yet of a model; written after each conformer."""
    known: Known = read_json(path, {})
    settings = [[m.config.weights_sha256, m.config.settings] for m in calculator.members]
    name = hashlib.sha256(repr([settings, calculator.parameters.get("energy")]).encode()).hexdigest()[:16]
    found = []
    with bar() as progress:
        task = progress.add_task(label, total=sum(len(one.structures) for one in molecules))
        for molecule in molecules:
            found.append([])
            for atoms in molecule.structures:
                content = atoms.numbers.tobytes() + atoms.positions.tobytes()
                key = f"{name} {hashlib.sha256(content).hexdigest()[:16]}"
                if key not in known:
                    known[key] = energy(calculator, atoms)
                    write_json(path, known)
                found[-1].append(known[key])
                progress.advance(task)
    return found


def row_of(label: str, errors: Sequence[float], failures: int = 0, seconds: float | None = None) -> list[str]:
    """Write one method's figures."""
    figures = [f"{np.mean(errors):.3f}", f"{np.median(errors):.3f}", f"{np.max(errors):.2f}"] if errors else ["-"] * 3
    return [label, str(len(errors)), *figures, str(failures), "-" if seconds is None else f"{seconds:.2f}"]


def by_size(molecules: Sequence[Conformers], measured: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Average the errors of molecules of up to 20, 30, 40 atoms and so on, a row for each ten that has any."""
    bins: dict[int, list[Conformers]] = {}
    for one in sorted(molecules, key=lambda one: one.n_atoms):
        bins.setdefault(-(-one.n_atoms // _BIN) * _BIN, []).append(one)
    rows = [["atoms", "molecules", *measured]]
    for end, some in bins.items():
        columns = [[m["errors"][one.name] for one in some if one.name in m["errors"]] for m in measured.values()]
        means = [f"{np.mean(errors):.2f}" if errors else "-" for errors in columns]
        rows.append([f"{end - _BIN + 1} to {end}", str(len(some)), *means])
    return rows


def main(words: Sequence[str] | None = None) -> list[list[str]]:
    """Compare; print a table; write conformers.md and conformers.json."""
    shared = {"seed": ..., "device": ..., "dtype": ..., "output": Path("runs/conformers")}
    parser = command_line("conformers", __doc__, **shared)
    data = Path("../shared/data/conformers_chno_dev.npz")
    parser.add_argument("models", nargs="+", help="names in the zoo or folders, of any kind")
    parser.add_argument("--data", type=existing, default=data, help="a set of conformers")
    parser.add_argument("--energy", help="level of a PhiSNet: wavefunction, functional or scf; by default the model's")
    parser.add_argument("--molecules", type=positive(int), default=6, help="the smallest ones, at most")
    parser.add_argument("--random", action="store_true", help="draw the molecules at random instead")
    parser.add_argument("--conformers", type=positive(int), default=4, help="of each molecule, at most; 2 or more")
    words_outside = "past a model's limits: its energy (warn, the default) or a failure (error)"
    parser.add_argument("--outside", choices=("warn", "error"), default="warn", help=words_outside)
    chosen = parser.parse_args(words)
    lib.num_threads(1)
    with one_thread():
        molecules = chosen_molecules(read_conformers(chosen.data), chosen)
        rows = [["method", "molecules", "mean error, kcal/mol", "median", "largest", "failures", "CPU s a conformer"]]
        measured: dict[str, Any] = {}
        for model in chosen.models:
            options = {"outside": chosen.outside} | ({} if chosen.energy is None else {"energy": chosen.energy})
            calculator = load_calculator(model, device=chosen.device, dtype=chosen.dtype, **options)
            label = f"{model}, {chosen.energy}" if chosen.energy else model
            found = computed(calculator, molecules, chosen.output / "kept.json", label)
            errors, failures, seconds = _errors(molecules, found)
            rows.append(row_of(label, list(errors.values()), failures, seconds))
            measured[label] = {"errors": errors, "failures": failures}
        for method in molecules[0].energies if molecules else ():
            if method != REFERENCE:
                errors = {one.name: about_mean(one.energies[method], one.energies[REFERENCE]) for one in molecules}
                rows.append(row_of(method, list(errors.values())))
                measured[method] = {"errors": errors}
    sizes = [one.n_atoms for one in molecules]
    n_conformers = sum(len(one.structures) for one in molecules)
    title = f"{n_conformers} conformers of {len(molecules)} molecules of {min(sizes)} to {max(sizes)} atoms"
    Console().print(rich_table(rows, title))
    write_json(chosen.output / "conformers.json", {"what": title, "methods": measured})
    sizes_table = markdown_table(by_size(molecules, measured))
    text = f"{title}\n\n{markdown_table(rows)}\n\nMean errors by size, kcal/mol\n\n{sizes_table}\n"
    (chosen.output / "conformers.md").write_text(text, encoding="utf-8")
    return rows


def _errors(
    molecules: Sequence[Conformers], found: Sequence[Sequence[Mapping[str, Any]]]
) -> tuple[dict[str, float], int, float | None]:
    """Give the error of each molecule with at least two energies, the number of failures, and seconds a conformer."""
    errors, seconds, failures = {}, [], 0
    for molecule, energies in zip(molecules, found, strict=True):
        rows = [row for row, one in enumerate(energies) if "energy" in one]
        failures += len(energies) - len(rows)
        seconds += [energies[row]["seconds"] for row in rows]
        if len(rows) > 1:
            values = np.array([energies[row]["energy"] for row in rows])
            errors[molecule.name] = about_mean(values, molecule.energies[REFERENCE][rows])
    return errors, failures, float(np.mean(seconds)) if seconds else None


if __name__ == "__main__":
    main()
