"""Pack a database of labels with their Kohn-Sham matrices: a few kilobytes a molecule.

    python datasets/pack_labels.py runs/fine_tuning/ethanol/labels.db datasets/rmd17_ethanol.npz

The database is one of ``mlwave label`` or of a benchmark.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ase_mlwave.data.database import read_database
from ase_mlwave.data.packed import write_packed

_DESCRIPTION = "RKS {}, density fitting (PySCF's default auxiliary basis); R Angstrom, E Hartree, F Hartree/Bohr; {}"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    labels = read_database(given.database)
    records = [record.without_info("asked") for record in labels if "hamiltonian" in record.matrices]
    settings = ", ".join(f"{name} {value}" for name, value in labels.settings.items())
    description = _DESCRIPTION.format(labels.level.upper().replace("DEF2", "def2"), settings)
    write_packed(given.target, records, str(labels.settings["basis"]), description)
    print(f"{len(records)} molecules -> {given.target} ({given.target.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
