"""Start PySCF's SCF from the model's density matrix, and count the cycles that this saves.

The converged result is the same; only the way to it is shorter, and shorter still where each step knows how the
potential answers to the density (`precondition`). Whether the density is fit to be handed over is decided
from the prediction alone, without a Fock matrix, so the guess itself costs no cycle; where it is not, PySCF's own guess
is returned with a warning.
"""

from __future__ import annotations

import warnings

from ase.build import molecule
from ase.calculators.calculator import InputError
from pyscf import dft, gto, scf

from ase_mlwave import PhiSNetCalculator, precondition

calc = PhiSNetCalculator("phisnet-water")
atoms = molecule("H2O")
atoms.rattle(0.05, seed=1)


def mole(basis: str) -> gto.Mole:
    return gto.M(atom=[(atom.symbol, atom.position) for atom in atoms], basis=basis, verbose=0)


calculations = {
    "PBE/def2-SVP, the model's own level": lambda: dft.RKS(mole("def2-svp"), xc="pbe").density_fit(),
    "the same, unrestricted": lambda: dft.UKS(mole("def2-svp"), xc="pbe").density_fit(),
    "B3LYP/def2-SVP": lambda: dft.RKS(mole("def2-svp"), xc="b3lyp").density_fit(),
    "HF/cc-pVDZ, projected": lambda: scf.RHF(mole("cc-pvdz")),
}
print(f"{'calculation':38} {'default':>8} {'model':>6} {'both':>5} cycles")
for name, make in calculations.items():
    default, warm, both = make(), make(), precondition(make())
    for mean_field in (default, warm, both):
        mean_field.conv_tol = 1e-9
    default.kernel()
    guess = calc.initial_guess(warm)
    warm.kernel(dm0=guess)
    both.kernel(dm0=guess)
    assert abs(default.e_tot - warm.e_tot) < 1e-8
    assert abs(default.e_tot - both.e_tot) < 1e-8
    print(f"{name:38} {default.cycles:8d} {warm.cycles:6d} {both.cycles:5d}")

# A bond stretched beyond what the model has learned: PySCF's own guess, hence the same cycles as without the model.
atoms.set_distance(0, 1, 2.2, fix=0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    calc.initial_guess(scf.UHF(mole("def2-svp")))
print(f"stretched: {caught[0].message}")

# A molecule that the model does not know: an error before the SCF starts, or, on request, PySCF's own guess.
helium = scf.RHF(gto.M(atom="He 0 0 0", basis="def2-svp", verbose=0))
try:
    calc.initial_guess(helium)
except InputError as error:
    print(f"InputError: {error}")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    helium.kernel(dm0=calc.initial_guess(helium, fallback="minao"))
print(f"helium from PySCF's own guess: {helium.e_tot:.6f} Hartree")
