"""Put the learned density of formamide beside PySCF's, in numbers, in words and in a picture.

Usage: ``python examples/density.py [MODEL]``; the model is a name in the zoo or a folder, by default qdf-chno.

The learned density is what a quantum deep field makes its energies from. Nobody showed it a density: it was fitted to
energies and forces, and told how many electrons there are in every atom's cell and (loosely) where the nuclei attract
them. So it is a density in that it is positive, smooth, turns with the molecule and holds all electrons; it is not the
density of the method that the energies came from, as the figures printed here say. For that one, take
``PhiSNetCalculator`` (``examples/orbitals.py``) or PySCF.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.units import Bohr
from matplotlib.figure import Figure
from pyscf import dft, gto

from ase_mlwave import Plane, QDFCalculator, plot_density, plot_signed
from ase_mlwave.quantum.cubes import density_on_points

model = sys.argv[1] if len(sys.argv) > 1 else "qdf-chno"
calc = QDFCalculator(model)
positions = [[1.208, 0.243, 0], [0.163, -0.385, 0], [-1.088, 0.163, 0], [-1.187, 1.180, 0], [-1.927, -0.416, 0]]
atoms = Atoms("OCNH3", [*positions, [0.119, -1.515, 0]])  # the minimum of PBE/def2-SVP

mol = gto.M(atom=[(a.symbol, a.position) for a in atoms], basis="def2-svp", verbose=0)
mf = dft.RKS(mol, xc="pbe").density_fit()
free_atoms = mf.get_init_guess(key="atom")
mf.kernel(free_atoms)


def pyscf_density(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Evaluate a density matrix on points (..., 3), Angstrom, in e/Angstrom^3."""
    return density_on_points(matrix, mol, points.reshape(-1, 3) / Bohr).reshape(points.shape[:-1]) / Bohr**3


learned, pbe = partial(calc.density, atoms), partial(pyscf_density, mf.make_rdm1())

# Integrals on PySCF's own grid of points and weights around the atoms.
points, weights = mf.grids.coords * Bohr, mf.grids.weights * Bohr**3
values = {
    "PBE/def2-SVP": pbe(points),
    "learned": learned(points),
    "free atoms, added up": pyscf_density(free_atoms, points),
}
nearest = np.linalg.norm(points[:, None] - atoms.positions, axis=2).min(1)
n_electrons = atoms.numbers.sum()

print(f"formamide, {n_electrons} electrons; the difference from PBE/def2-SVP is int |rho - rho_PBE| dr per electron,")
print("in all space, and the parts of it within 0.4 A of a nucleus, up to 1.2 A (bonds), and beyond\n")
print(f"{'density':22}electrons  dipole (D)   difference  =  nuclei + bonds + outside")
for name, rho in values.items():
    dipole = atoms.numbers @ atoms.positions - (weights * rho) @ points
    apart = weights * np.abs(rho - values["PBE/def2-SVP"]) / n_electrons
    parts = [apart[(nearest >= a) & (nearest < b)].sum() for a, b in ((0, 0.4), (0.4, 1.2), (1.2, np.inf))]
    print(
        f"{name:22}{weights @ rho:9.4f}  {np.linalg.norm(dipole) / 0.2081943:10.2f}   {apart.sum():10.3f}  "
        f"=  {parts[0]:6.3f} + {parts[1]:5.3f} + {parts[2]:7.3f}"
    )

# Half of the integral: what is too much in one place is missing in another.
misplaced, unbonded = (
    0.5 * weights @ np.abs(values[name] - values["PBE/def2-SVP"]) for name in ("learned", "free atoms, added up")
)
print(f"\nIn words: {misplaced:.2f} of the {n_electrons} electrons of the learned density are not where PBE has them.")
print(f"Free atoms, merely added up, misplace {unbonded:.2f}: that much of the density is chemistry.")
if misplaced < unbonded:
    print("So the learned density is nearer to PBE's than free atoms are, though nobody showed it one.")
else:
    print("So the learned density is farther from PBE's than free atoms are: it serves the energy, and nothing else.")

plane = Plane.through(atoms, (0, 1, 2))
figure = Figure(figsize=(12, 3.6), layout="constrained")
left, middle, right = figure.subplots(1, 3)
plot_density(pbe, atoms, plane, axes=left, label=None)
plot_density(learned, atoms, plane, axes=middle)
difference = "learned - PBE (e/Å$^3$)"
plot_signed(lambda r: learned(r) - pbe(r), atoms, plane, axes=right, limits=(1e-3, 10), label=difference)
left.set_title("PBE/def2-SVP")
middle.set(title=f"learned: {Path(model).name}", ylabel="")
right.set(title=f"difference: {misplaced:.2f} of {n_electrons} electrons", ylabel="")
figure.savefig("density.png", dpi=120)
calc.write_density(atoms, "density.cube")
print("density.png and density.cube written")
