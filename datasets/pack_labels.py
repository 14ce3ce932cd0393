"""Pack a database of labels: with matrices a few kilobytes a molecule, without them a few hundred bytes a geometry.

    python datasets/pack_labels.py runs/fine_tuning/ethanol/labels.db datasets/rmd17_ethanol.npz

The database is one of ``mlwave label`` or of a benchmark; without matrices it is of one molecule.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ase_mlwave.data.database import read_database
from ase_mlwave.data.packed import write_packed
from ase_mlwave.data.record import Record
from ase_mlwave.units import BOHR

#: Splits in the order in which they are written.
_SPLITS = ("train", "valid", "test", "")


def write_geometries(path: Path, records: Sequence[Record], description: str) -> None:
    """Write energies and forces of geometries of one molecule."""
    first = records[0]
    if any(not np.array_equal(record.numbers, first.numbers) or record.forces is None for record in records):
        raise SystemExit("error: labels without matrices must be of one molecule, with its atoms in one order")
    dipoles = [np.full(3, np.nan) if record.dipole is None else record.dipole for record in records]
    np.savez_compressed(
        path,
        Z=first.numbers.astype(np.int8),
        R=np.array([record.positions * BOHR for record in records]),
        E=np.array([record.energy for record in records]),
        F=np.array([record.forces for record in records]),
        split=np.array([str(record.info.get("split", "")) for record in records]),
        meta=np.array(description),
        **({} if np.isnan(dipoles).all() else {"dipole_e_Bohr": np.array(dipoles)}),
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    labels = read_database(given.database)
    records = sorted(labels, key=lambda record: _SPLITS.index(str(record.info.get("split", ""))))
    settings = ", ".join(f"{name} {value}" for name, value in labels.settings.items())
    description = f"level: {labels.level}; R Angstrom, E Hartree, F Hartree/Bohr; {settings}"
    with_matrices = [record.without_info("asked") for record in records if "hamiltonian" in record.matrices]
    if with_matrices:
        write_packed(given.target, with_matrices, str(labels.settings["basis"]), description)
    else:
        write_geometries(given.target, records, description)
    print(f"{len(with_matrices or records)} molecules -> {given.target} ({given.target.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
