"""What is refused before a reference calculation starts."""

from __future__ import annotations

import numpy as np
from ase.calculators.calculator import InputError
from scipy.spatial.distance import pdist, squareform

from ase_mlwave.data.record import Record
from ase_mlwave.units import BOHR

__all__ = ["MIN_DISTANCE", "check_geometry"]

#: Nuclei nearer than this (Bohr) coincide; 0.1 Angstrom.
MIN_DISTANCE: float = 0.1 / BOHR


def check_geometry(record: Record) -> None:
    """Refuse coinciding nuclei, and a spin that the number of electrons does not allow.

    Parameters
    ----------
    record : Record
        Positions in Bohr.

    Raises
    ------
    InputError
        With the atoms or the number of electrons at fault.
    """
    if len(record) > 1:
        distances = squareform(pdist(record.positions))
        np.fill_diagonal(distances, np.inf)
        i, j = sorted(int(k) for k in np.unravel_index(distances.argmin(), distances.shape))
        if distances[i, j] < MIN_DISTANCE:
            raise InputError(
                f"atoms {i} and {j} of {record.formula} coincide: they are {distances[i, j] * BOHR:.3g} Angstrom "
                f"apart, and less than {MIN_DISTANCE * BOHR:.1g} Angstrom is refused. Mend the structure."
            )
    n_electrons = int(record.numbers.sum()) - record.charge
    if n_electrons < max(1, record.spin) or (n_electrons - record.spin) % 2:
        raise InputError(
            f"{record.formula} with charge {record.charge} has {n_electrons} electrons, which cannot leave "
            f"{record.spin} unpaired. Give a charge and a spin (number of unpaired electrons) that fit."
        )
