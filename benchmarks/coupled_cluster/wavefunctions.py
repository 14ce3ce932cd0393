"""What a wavefunction learned without being told: dipoles, orbital energies and densities beside coupled cluster's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from numpy.typing import NDArray
from pyscf import cc, dft, scf

from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.data.record import Record
from ase_mlwave.models.folder import read_config
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.populations import dipole_moment
from benchmarks.common import bar

__all__ = ["properties"]

Array = NDArray[np.float64]
#: Ionisations that are compared with orbital energies.
_IONISATIONS = 3
_DEBYE = units.Bohr / units.Debye


@dataclass(frozen=True)
class Wavefunction:
    """What is compared of one method at one geometry: P (M, M), and its highest levels, Hartree, descending."""

    density: Array
    levels: Array


def properties(
    models: Mapping[str, Path | str], records: Sequence[Record], folder: Path
) -> dict[str, dict[str, float]]:
    """Compare wavefunctions of models, and of Hartree-Fock theory, with CCSD's.

    Parameters
    ----------
    models : mapping of str to path or name
        PhiSNets in one basis.
    records : sequence of Record
        Geometries.
    folder : Path
        Where what PySCF computes is kept.

    Returns
    -------
    dict
        Method -> mean absolute errors: dipoles (Debye, length of the difference), negative orbital energies against
        ionisation energies of IP-EOM-CCSD (eV, and their mean with its sign), and half the integral of the absolute
        difference of densities, which is the number of electrons that are elsewhere.
    """
    calculators = {
        name: PhiSNetCalculator(path, energy="wavefunction", outside="warn") for name, path in models.items()
    }
    basis = str(read_config(str(next(iter(models.values())))).settings["basis"])
    sums: dict[str, list[dict[str, float]]] = {name: [] for name in ("PySCF HF", *models)}
    with bar() as progress:
        for record in progress.track(records, description="wavefunctions"):
            mole = build_mole(record.numbers, record.positions, basis, record.charge, record.spin)
            exact, hartree_fock = _references(mole, folder / "wavefunctions" / f"{record.geometry_hash()[:16]}.npz")
            found = {"PySCF HF": hartree_fock}
            for name, calculator in calculators.items():
                eps, _ = calculator.orbitals(mole)
                n = mole.nelectron // 2
                found[name] = Wavefunction(calculator.density_matrix(mole), eps[:n][::-1][:_IONISATIONS])
            grid = _grid(mole)
            for name, one in found.items():
                sums[name].append(_compared(one, exact, mole, grid))
    return {name: {key: float(np.mean([one[key] for one in some])) for key in some[0]} for name, some in sums.items()}


def _references(mole: Any, path: Path) -> tuple[Wavefunction, Wavefunction]:
    """Compute CCSD's density and ionisation energies, and Hartree-Fock's, once."""
    if not path.is_file():
        mean_field = scf.RHF(mole).run(conv_tol=1e-10)
        solver = cc.CCSD(mean_field).run()
        solver.solve_lambda()
        ionisations = np.sort(np.atleast_1d(solver.ipccsd(nroots=_IONISATIONS)[0]))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            density=solver.make_rdm1(ao_repr=True),
            levels=-ionisations,
            hf_density=mean_field.make_rdm1(),
            hf_levels=mean_field.mo_energy[: mole.nelectron // 2][::-1][:_IONISATIONS],
        )
    with np.load(path) as kept:
        return Wavefunction(kept["density"], kept["levels"]), Wavefunction(kept["hf_density"], kept["hf_levels"])


def _grid(mole: Any) -> tuple[Array, Array]:
    """Return basis functions on a grid, (G, M), and its weights."""
    grids = dft.gen_grid.Grids(mole)
    grids.level = 1
    grids.build()
    return dft.numint.eval_ao(mole, grids.coords), grids.weights


def _compared(one: Wavefunction, exact: Wavefunction, mole: Any, grid: tuple[Array, Array]) -> dict[str, float]:
    dipoles = [dipole_moment(wavefunction.density, mole) for wavefunction in (one, exact)]
    differences = units.Hartree * (one.levels - exact.levels)
    values, weights = grid
    density = np.einsum("gp,pq,gq->g", values, one.density - exact.density, values, optimize=True)
    return {
        "dipole_D": float(_DEBYE * np.linalg.norm(dipoles[0] - dipoles[1])),
        "homo_eV": float(abs(differences[0])),
        "orbitals_eV": float(np.abs(differences).mean()),
        "orbitals_signed_eV": float(differences.mean()),
        "displaced_electrons": float(0.5 * weights @ np.abs(density)),
    }
