"""Second derivatives of water by PySCF alone: of the energy by positions, and by electric fields.

``python -m tests.calculators.responses`` (a minute) writes ``files/water_responses.json``, which tests compare with.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import Bohr, Hartree
from pyscf import dft

from tests.calculators.protocols import water
from tests.calculators.waters import pyscf_molecule

FILE = Path(__file__).parent / "files" / "water_responses.json"
#: Of finite differences, Hartree/(e Bohr).
FIELD = 2e-3


def distorted_water() -> Atoms:
    return water(1.0, 100.0, 0.95)


def mean_field(atoms: Atoms) -> Any:
    """Make PBE/def2-SVP with density fitting, tightly converged."""
    mf = dft.RKS(pyscf_molecule(atoms), xc="pbe").density_fit()
    mf.conv_tol, mf.conv_tol_grad = 1e-11, 1e-6
    return mf


def hessian(atoms: Atoms) -> np.ndarray:
    """Differentiate the energy analytically, (3N, 3N), eV/Angstrom^2, on a fine grid, since PySCF's does not move."""
    mf = mean_field(atoms)
    mf.grids.level = 5
    mf.kernel()
    n_rows = 3 * len(atoms)
    return mf.Hessian().kernel().transpose(0, 2, 1, 3).reshape(n_rows, n_rows) * Hartree / Bohr**2


def polarizability(atoms: Atoms) -> np.ndarray:
    """Differentiate dipoles of converged densities in electric fields, (3, 3), Angstrom^3."""
    dipoles = []
    for axis, sign in product(np.eye(3), (1, -1)):
        mf = mean_field(atoms)
        core = mf.get_hcore() + sign * FIELD * np.einsum("x,xpq->pq", axis, mf.mol.intor("int1e_r"))
        mf.get_hcore = lambda *_, core=core: core
        mf.kernel()
        dipoles.append(mf.dip_moment(unit="AU", verbose=0))
    return np.array([(a - b) / (2 * FIELD) for a, b in zip(dipoles[::2], dipoles[1::2], strict=True)]) * Bohr**3


if __name__ == "__main__":
    found = {"hessian": hessian(distorted_water()), "polarizability": polarizability(distorted_water())}
    FILE.write_text(
        json.dumps({key: value.tolist() for key, value in found.items()}, indent=1) + "\n", encoding="utf-8"
    )
