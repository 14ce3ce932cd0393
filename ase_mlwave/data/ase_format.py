"""Molecules in ``.npz`` files as a format of ASE's: ``ase.io.read("waters.npz", ":")``, ``ase gui waters.npz``.

ASE finds this module by its entry point (``ase.ioformats`` in ``pyproject.toml``) when it first reads or writes any
file. It imports the package then, which tells ASE the calculators' names: this is how ``ase run phisnet`` knows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase.utils.plugins import ExternalIOFormat

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["npz_format", "read_mlwave_npz"]

npz_format = ExternalIOFormat(desc="Labelled molecules, such as rMD17's", code="+S", module=__name__, ext="npz")


def read_mlwave_npz(filename: str, index: slice = slice(None)) -> list[Atoms]:
    """Read molecules with their energies and forces.

    Parameters
    ----------
    filename : str
        As for `ase_mlwave.data.readers.read_dataset`, and so are the errors.
    index : slice
        Which.

    Returns
    -------
    list of Atoms
        eV and Angstrom.
    """
    from ase_mlwave.data.convert import atoms_from_record  # ASE is importing its own formats when it loads this module
    from ase_mlwave.data.readers import read_dataset

    return [atoms_from_record(record) for record in read_dataset(filename).records[index]]
