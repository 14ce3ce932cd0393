"""Harmonic frequencies and infrared intensities by finite differences, of models and of coupled cluster itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.vibrations import Infrared

from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.models.folder import read_config
from ase_mlwave.reference.calculator import ReferenceCalculator
from ase_mlwave.reference.levels import LevelOfTheory
from benchmarks.common import read_json, relaxed, write_json

__all__ = ["relaxed_vibrations", "vibrations"]

#: Displacement, Angstrom; largest force of a minimum, eV/Angstrom, and the steps that it may take.
_DELTA, _FMAX, _STEPS = 0.01, 1e-3, 100


def vibrations(models: Mapping[str, Path | str], folder: Path) -> dict[str, dict[str, Any]]:
    """Relax water and compute its frequencies (cm^-1) and intensities ((D/Angstrom)^2 amu^-1), each method for itself.

    Dipoles of coupled cluster are CCSD's, without the relaxation of the orbitals.
    """
    level = next(read_config(str(path)).level for name, path in models.items() if name != "HF")
    calculators: dict[str, Calculator] = {
        level: ReferenceCalculator(LevelOfTheory.parse(f"{level} dipole=true")),
        "hf": ReferenceCalculator(read_config(str(models["HF"])).level),
    } | {name: PhiSNetCalculator(path, energy="wavefunction") for name, path in models.items()}
    results = {}
    for name, calculator in calculators.items():
        path = folder / "vibrations" / f"{name.replace('/', '_').replace(' ', '_')}.json"
        found = read_json(path) if name in (level, "hf") else None
        if found is None:
            found = relaxed_vibrations(calculator, path.with_suffix(""))
            write_json(path, found)
        results[name] = found
    return results


def relaxed_vibrations(calculator: Calculator, cache: Path) -> dict[str, Any]:
    """Relax water, and differentiate forces and dipoles of displaced geometries, which ``cache`` holds meanwhile."""
    atoms = relaxed(molecule("H2O"), calculator, _FMAX, _STEPS)
    infrared = Infrared(atoms, name=str(cache), delta=_DELTA)
    infrared.clean()
    infrared.run()
    frequencies = infrared.get_frequencies()
    intensities = np.asarray(infrared.intensities)
    infrared.clean()
    return {
        "distance_A": float(atoms.get_distance(0, 1)),
        "angle_deg": float(atoms.get_angle(1, 0, 2)),
        "dipole_D": float(np.linalg.norm(atoms.get_dipole_moment()) / units.Debye),
        "frequencies_cm": [float(value) for value in frequencies.real[-3:]],
        "intensities": [float(value) for value in intensities[-3:]],
    }
