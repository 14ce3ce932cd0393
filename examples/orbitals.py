"""Write the predicted density and highest occupied orbital as cube files, and draw both."""

from __future__ import annotations

from functools import partial

import numpy as np
from ase.build import molecule
from matplotlib.figure import Figure

from ase_mlwave import PhiSNetCalculator, plot_density, plot_isosurface

atoms = molecule("H2O")  # in the y-z plane
calc = PhiSNetCalculator("phisnet-water")

energies, coefficients = calc.orbitals(atoms)
n_occupied = int(atoms.numbers.sum()) // 2
print("occupied orbitals (Hartree):", np.round(energies[:n_occupied], 4))
print(f"gap: {27.2114 * (energies[n_occupied] - energies[n_occupied - 1]):.2f} eV")

# Most molecular viewers open these.
calc.write_density(atoms, "density.cube", spacing=0.08)
calc.write_orbital(atoms, "homo.cube", n_occupied - 1, spacing=0.08)

figure = Figure(figsize=(10, 4.4), layout="constrained")
left, right = figure.subplots(1, 2)
plot_density(partial(calc.density, atoms), atoms, axes=left)
left.set_title("electron density in the molecule's plane")
plot_isosurface(partial(calc.orbital, atoms, n_occupied - 1), atoms, axes=right)
right.set_title(f"highest occupied orbital, {27.2114 * energies[n_occupied - 1]:.2f} eV".replace("-", "\N{MINUS SIGN}"))
figure.savefig("orbitals.png", dpi=120)
print("density.cube, homo.cube and orbitals.png written")
