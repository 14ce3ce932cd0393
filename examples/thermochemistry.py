"""Dimethyl ether and ethanol as ideal gases: entropies, and the free energy of one turning into the other.

Geometries and vibrations are those of energies of atoms (hundredths of a second each), the energies at these geometries
PBE/def2-SVP's to hundredths of a kJ/mol (``"response"``, two seconds each). What is missing is the basis set's and the
functional's, 13 kJ/mol in H, and in S ethanol's other conformers: rigid rotors and harmonic oscillators know one.
"""

from __future__ import annotations

from ase import Atoms, units
from ase.build import molecule
from ase.optimize import BFGS
from ase.thermochemistry import IdealGasThermo

from ase_mlwave import PhiSNetCalculator

FAST = PhiSNetCalculator("phisnet-chno", energy="wavefunction")
ACCURATE = PhiSNetCalculator("phisnet-chno", energy="response")
KJ_PER_MOL = units.kJ / units.mol
TEMPERATURE, PRESSURE = 298.15, 1e5  # K, Pa


def gas(atoms: Atoms, symmetry: int) -> tuple[float, float, float]:
    """Return enthalpy, entropy and free energy (eV, eV/K); ``symmetry`` counts rotations onto itself."""
    atoms.calc = FAST
    BFGS(atoms, logfile=None).run(fmax=2e-3, steps=200)
    vibrations = FAST.vibrations(atoms).get_energies()[6:]
    if abs(vibrations.imag).max() > 0:
        raise SystemExit(f"{atoms.get_chemical_formula()}: an imaginary frequency, no minimum")
    (result,) = ACCURATE.predict([atoms], ["energy"])
    thermo = IdealGasThermo(
        vib_energies=vibrations.real,
        geometry="nonlinear",
        potentialenergy=result["energy"],
        atoms=atoms,
        symmetrynumber=symmetry,
        spin=0,
    )
    enthalpy = thermo.get_enthalpy(TEMPERATURE, verbose=False)
    entropy = thermo.get_entropy(TEMPERATURE, PRESSURE, verbose=False)
    return enthalpy, entropy, enthalpy - TEMPERATURE * entropy


found = {"dimethyl ether": gas(molecule("CH3OCH3"), 2), "ethanol": gas(molecule("CH3CH2OH"), 1)}
for name, (_, entropy, _) in found.items():
    print(f"{name:15} S {1e3 * entropy / KJ_PER_MOL:6.1f} J/(mol K)")
change = [(after - before) / KJ_PER_MOL for before, after in zip(*found.values(), strict=True)]
print(f"ether -> ethanol: H {change[0]:.1f}, -TS {-TEMPERATURE * change[1]:.1f}, G {change[2]:.1f} kJ/mol")
print("measured: S 266 and 283 J/(mol K), H -51, G -56 kJ/mol at 298 K and 1 bar")
