"""Measure energies of molecules with groups that no model was trained on, and whether a warning comes.

    python -m benchmarks.unseen references unseen_groups.extxyz
    python -m benchmarks.unseen run qdf-chno-gfn2 amons-chno-gfn2 --output results

``references`` relaxes the molecules of ``unseen.yaml`` with GFN2-xTB (tblite) and labels them; the database beside the
file keeps what was done. ``run`` predicts these (``datasets/unseen_groups.extxyz``), and molecules of the usual groups
and unseen formulas (the split ``test`` of ``datasets/chno_pbe_def2svp.npz``), which should give no warning. Energies
are total ones, as the calculators give them. Writes unseen.md.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from ase import Atoms
from ase.calculators.calculator import InputError

from ase_mlwave.calculators import load_calculator
from ase_mlwave.calculators.base import MlwaveCalculator
from ase_mlwave.console import Console
from ase_mlwave.data.convert import atoms_from_record, record_from_atoms
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.writers import check_output, write_dataset
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.amons.fragments.perception import bonded_pairs
from ase_mlwave.reference.calculator import ReferenceCalculator
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.reference.molecules import starting_geometries
from benchmarks.common import add_shared, command_line, existing, markdown_table, one_thread, relaxed, rich_table
from benchmarks.references import label

#: Error of an energy that asks for a warning, eV.
LARGE = 0.5
#: Largest force of a geometry, eV/Angstrom, and the steps of its relaxation.
_FMAX, _STEPS = 0.02, 300
_DATASETS = Path(__file__).parents[1] / "datasets"
_NAMES = Path(__file__).with_name("unseen.yaml")


def named() -> dict[str, str]:
    """Give the molecules that are asked for, and their splits: ``valid`` and ``test`` in turns."""
    names = " ".join(yaml.safe_load(_NAMES.read_text(encoding="utf-8")).values()).split()
    return {name: ("valid", "test")[index % 2] for index, name in enumerate(names)}


def geometry(name: str, split: str) -> Record | None:
    """Relax a molecule with GFN2-xTB; None where it becomes another one."""
    (start,) = starting_geometries(name)
    if start.charge or start.spin:
        raise InputError(f"{name} has charge {start.charge} and spin {start.spin}; the models know neutral singlets")
    atoms = Atoms(start.numbers, atoms_from_record(start).positions)
    found = relaxed(atoms, ReferenceCalculator("gfn2-xtb"), _FMAX, _STEPS)
    if bonded_pairs(found)[0] != bonded_pairs(atoms)[0]:
        return None
    return record_from_atoms(Atoms(found.numbers, found.positions), name=name.partition(":")[2], split=split)


def references(chosen: argparse.Namespace, console: Console) -> None:
    """Make geometries, label them, and write the data set."""
    check_output(chosen.file)
    made = {name: geometry(name, split) for name, split in named().items()}
    starts = [record for record in made.values() if record is not None]
    level = LevelOfTheory.parse(chosen.level)
    found = label(starts, chosen.file.with_suffix(".labels.db"), level, chosen.workers)
    kept = tuple(one.without_info("asked") for one in found if one is not None)
    write_dataset(chosen.file, Dataset(kept, level.name, "unseen groups"))
    lost = [name for name, record in made.items() if record is None]
    console.print(f"{len(kept)} of {len(made)} molecules -> {chosen.file}; became others: {', '.join(lost) or 'none'}")


@dataclass(frozen=True)
class Prediction:
    """What a model says of one molecule."""

    name: str
    split: str  # valid, test, or the name of the everyday molecules
    energy: float  # error, eV, with its sign
    forces: float  # mean absolute error, eV/Angstrom
    verdict: str  # "", "warned" or "refused"

    @property
    def large(self) -> bool:
        """Whether the error asks for a warning."""
        return not abs(self.energy) <= LARGE


def predictions(calculator: MlwaveCalculator, data: Dataset, everyday: Dataset) -> Iterator[Prediction]:
    """Predict all molecules, those past a limit too."""
    for dataset, usual in ((data, False), (everyday, True)):
        for record in dataset:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", OutOfDomainWarning)
                (found,) = calculator.predict_outcomes(
                    [atoms_from_record(record)], ["energy", "forces"], outside="warn"
                )
            wanted = atoms_from_record(record)
            verdict = "refused" if found.verdict.refused else "" if found.verdict.inside else "warned"
            yield Prediction(
                str(record.info.get("name", record.formula)),
                "usual" if usual else str(record.info.get("split", "")),
                float(found.values["energy"] - wanted.get_potential_energy()),
                float(np.abs(found.values["forces"] - wanted.get_forces()).mean()),
                verdict,
            )


def summary(model: str, found: Sequence[Prediction]) -> list[list[str]]:
    """Count large errors and warnings, a row for each group of molecules."""
    rows = []
    for split in dict.fromkeys(one.split for one in found):
        group = [one for one in found if one.split == split]
        large, others = [one for one in group if one.large], [one for one in group if not one.large]
        errors = np.abs([one.energy for one in group])
        forces = np.mean([one.forces for one in group])
        noticed = [sum(bool(one.verdict) for one in part) for part in (large, others)]
        refused = sum(one.verdict == "refused" for one in large)
        row = [f"{len(group)}", f"{np.median(errors):.2f}", f"{1e3 * forces:.0f}", f"{len(large)}", f"{noticed[0]}"]
        rows.append([f"{model}, {split}", *row, f"{refused}", f"{noticed[1]} of {len(others)}"])
    return rows


_HEAD = [
    "",
    "molecules",
    "median error, eV",
    "forces, meV/A",
    "above 0.5 eV",
    "of these noticed",
    "refused",
    "others warned",
]


def run(chosen: argparse.Namespace, console: Console) -> None:
    """Measure models, and write two tables: counts, and every molecule."""
    data, everyday = read_dataset(chosen.data), read_dataset(chosen.everyday).split("test")
    found = {}
    for model in chosen.models:
        found[model] = list(predictions(load_calculator(model, outside="warn"), data, everyday))
        console.print(rich_table([_HEAD, *summary(model, found[model])]))
    counts = [_HEAD, *(row for model, some in found.items() for row in summary(model, some))]
    several = [some for some in zip(*found.values(), strict=True) if some[0].split != "usual"]
    rows = [["molecule", "split", *found]]
    rows += [
        [f"`{some[0].name}`", some[0].split, *(f"{one.energy:+.2f} {one.verdict}" for one in some)] for some in several
    ]
    chosen.output.mkdir(parents=True, exist_ok=True)
    text = f"{markdown_table(counts)}\n\nErrors of energies, eV.\n\n{markdown_table(rows)}\n"
    (chosen.output / "unseen.md").write_text(text, encoding="utf-8")


def main(words: Sequence[str] | None = None) -> None:
    parser = command_line("unseen", __doc__)
    tasks = parser.add_subparsers(required=True)
    one = tasks.add_parser("references", help="make and label the molecules")
    one.add_argument("file", type=Path, help="data set to write, .extxyz or .db")
    one.add_argument("--level", default="pbe/def2-svp", help="level of theory")
    add_shared(one, workers=...)
    one.set_defaults(task=references)
    two = tasks.add_parser("run", help="measure models on them")
    two.add_argument("models", nargs="+", help="names in the zoo or folders")
    two.add_argument(
        "--data", type=existing, default=_DATASETS / "unseen_groups.extxyz", help="molecules of unseen groups"
    )
    two.add_argument(
        "--everyday", type=existing, default=_DATASETS / "chno_pbe_def2svp.npz", help="molecules of usual ones"
    )
    add_shared(two, output=...)
    two.set_defaults(task=run)
    chosen = parser.parse_args(words)
    with one_thread():
        chosen.task(chosen, Console())


if __name__ == "__main__":
    main()
