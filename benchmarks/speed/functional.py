"""Energy and forces of a model at the level of the functional, beside PySCF's converged ones."""

from __future__ import annotations

import argparse
import statistics
import warnings
from functools import partial

from ase import Atoms
from ase.build import molecule
from pyscf import dft

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.calculators.base import MlwaveCalculator
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.units import BOHR
from benchmarks.common import cpu_seconds

#: Of 20, 31 and 39 atoms: paracetamol, menthol, lidocaine; and 22 and 33: dopamine, ibuprofen.
SMILES = (
    "CC(=O)Nc1ccc(O)cc1",
    "CC1CCC(C(C)C)C(O)C1",
    "CCN(CC)CC(=O)Nc1c(C)cccc1C",
    "NCCc1ccc(O)c(O)c1",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
)
#: What is computed first, and does not count.
WARM = "CH4"
RATIO = "PySCF / ours"


def functional(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time both once for each molecule (the first few, with --molecules), and give the median ratio."""
    name = chosen.model or "phisnet-chno"
    calculator = PhiSNetCalculator(name, energy="functional", device=chosen.device, dtype=chosen.dtype)
    wavefunction = PhiSNetCalculator(name, device=chosen.device, dtype=chosen.dtype, outside="warn")
    found: dict[str, dict[str, float]] = {}
    for smiles in SMILES[: chosen.molecules]:
        atoms = atoms_from_record(from_smiles(smiles, chosen.seed))
        if not found:
            calculator.predict([molecule(WARM)])  # what is loaded once
        found[f"{atoms.get_chemical_formula()}, {len(atoms)} atoms"] = _times(calculator, wavefunction, atoms)
    return found | {"median": {RATIO: statistics.median(times[RATIO] for times in found.values())}}


def _times(calculator: MlwaveCalculator, wavefunction: PhiSNetCalculator, atoms: Atoms) -> dict[str, float]:
    """Seconds of the CPU: of ours, of its matrices alone, and of PySCF's SCF with its usual settings and gradient."""
    mole = build_mole(atoms.numbers, atoms.positions / BOHR, "def2-svp", 0, 0)
    solver = dft.RKS(mole, xc="pbe").density_fit()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)
        _, matrices = cpu_seconds(partial(wavefunction.density_matrix, atoms))
        _, energy = cpu_seconds(partial(calculator.predict, [atoms], ("energy",)))
        _, ours = cpu_seconds(partial(calculator.predict, [atoms]))
    _, scf = cpu_seconds(solver.kernel)
    _, gradient = cpu_seconds(solver.nuc_grad_method().kernel)
    return {
        "ours: matrices, s": matrices,
        "ours: energy, s": energy,
        "ours: energy and forces, s": ours,
        "PySCF: SCF to 1e-9, s": scf,
        "PySCF: gradient, s": gradient,
        RATIO: (scf + gradient) / ours,
    }
