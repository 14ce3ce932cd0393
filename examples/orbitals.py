"""Write the predicted density and highest occupied orbital as cube files, and draw both in two planes."""

from __future__ import annotations

import numpy as np
from ase.build import molecule
from ase.io.cube import read_cube
from matplotlib.figure import Figure

from ase_mlwave import PhiSNetCalculator

atoms = molecule("H2O")  # in the y-z plane
calc = PhiSNetCalculator("phisnet-water")

energies, coefficients = calc.orbitals(atoms)
n_occupied = int(atoms.numbers.sum()) // 2
print("occupied orbitals (Hartree):", np.round(energies[:n_occupied], 4))
print(f"gap: {27.2114 * (energies[n_occupied] - energies[n_occupied - 1]):.2f} eV")

# Most molecular viewers open these.
calc.write_density(atoms, "density.cube", spacing=0.08)
calc.write_orbital(atoms, "homo.cube", n_occupied - 1, spacing=0.08)

with open("density.cube") as file:
    density = read_cube(file)
with open("homo.cube") as file:
    homo = read_cube(file)

# Slices of the box: the density in the molecule's plane, the orbital in the plane between the hydrogens (y = 0).
origin, steps = density["origin"], np.diag(density["spacing"])
x, y, z = (o + s * np.arange(n) for o, s, n in zip(origin, steps, density["data"].shape, strict=True))
figure = Figure(figsize=(9.5, 4.2), layout="constrained")
left, right = figure.subplots(1, 2)
plane = density["data"][np.abs(x).argmin()]
image = left.contourf(y, z, np.log10(plane.T.clip(1e-4)), levels=np.linspace(-4, 0, 17), cmap="magma", extend="max")
left.plot(atoms.positions[:, 1], atoms.positions[:, 2], "o", mfc="none", mec="w")
left.set(title="electron density, x = 0", xlabel="y (A)", ylabel="z (A)", aspect="equal")
figure.colorbar(image, ax=left, label="log10 of e/Bohr$^3$")
plane = homo["data"][:, np.abs(y).argmin()]
top = np.abs(plane).max()
image = right.contourf(x, z, plane.T, levels=top * np.arange(-9.5, 10) / 9.5, cmap="RdBu_r")
right.plot(atoms.positions[:1, 0], atoms.positions[:1, 2], "ko", mfc="none")
right.set(title="highest occupied orbital, y = 0", xlabel="x (A)", ylabel="z (A)", aspect="equal")
figure.colorbar(image, ax=right, label="Bohr$^{-3/2}$")
figure.savefig("orbitals.png", dpi=120)
print("density.cube, homo.cube and orbitals.png written")
