"""Densities and orbitals on grids: norms, PySCF's own evaluation, and files that ASE reads."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from ase.io.cube import read_cube
from pyscf import dft, scf
from pyscf.dft import numint

from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.cubes import CubeGrid, density_on_points, orbitals_on_points, write_cube
from ase_mlwave.units import BOHR

POSITIONS = np.array([[0.1, 0.05, 0.22], [0.0, 1.55, -0.9], [0.1, -1.4, -0.95]])
GRID = CubeGrid(spacing=0.35, margin=5.0)


@cache
def _water() -> scf.hf.RHF:
    field = scf.RHF(build_mole((8, 1, 1), POSITIONS, "def2-svp"))
    field.kernel()
    return field


def test_density_and_orbitals_integrate_to_their_norms() -> None:
    field = _water()
    grid = dft.gen_grid.Grids(field.mol).build()
    rho = density_on_points(field.make_rdm1(), field.mol, grid.coords)
    assert rho.shape == grid.weights.shape
    assert rho @ grid.weights == pytest.approx(10.0, abs=1e-4)
    psi = orbitals_on_points(field.mo_coeff, field.mol, grid.coords)
    np.testing.assert_allclose(psi.T @ (psi * grid.weights[:, None]), np.eye(24), atol=1e-3)
    np.testing.assert_allclose(2 * (psi[:, :5] ** 2).sum(1), rho, atol=1e-10)
    values = field.mol.eval_gto("GTOval", grid.coords)
    np.testing.assert_allclose(rho, numint.eval_rho(field.mol, values, field.make_rdm1()), atol=1e-10)


def test_cube_files_hold_geometry_and_values(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    field = _water()
    rho = partial(density_on_points, field.make_rdm1(), field.mol)
    psi = partial(orbitals_on_points, field.mo_coeff[:, [4]], field.mol)
    write_cube(tmp_path / "density.cube", rho, field.mol, GRID, "Electron density, e/Bohr^3")
    write_cube(tmp_path / "homo.cube", psi, field.mol, GRID)
    assert capfd.readouterr() == ("", "")
    with (tmp_path / "density.cube").open() as file:
        density = read_cube(file, verbose=True)
    with (tmp_path / "homo.cube").open() as file:
        orbital = read_cube(file, verbose=True)
    for cube in (density, orbital):
        np.testing.assert_array_equal(cube["atoms"].numbers, [8, 1, 1])
        np.testing.assert_allclose(cube["atoms"].positions / BOHR, POSITIONS, atol=1e-5)
        assert (np.diagonal(cube["spacing"]) / BOHR <= 0.35 + 1e-6).all()
    volume = abs(np.linalg.det(density["spacing"])) / BOHR**3
    assert (orbital["data"] ** 2).sum() * volume == pytest.approx(1.0, abs=0.01)
    assert (tmp_path / "density.cube").read_text().startswith("Electron density, e/Bohr^3\n")
    # The density's cusp at the nucleus is too sharp for such a grid: compare values, not the integral.
    index = np.array([14, 17, 20])
    point = POSITIONS.min(0) - 5.0 + index * np.diagonal(density["spacing"]) / BOHR
    expected = rho(point[None])[0]
    assert density["data"][tuple(index)] == pytest.approx(expected, rel=1e-3)


def test_density_integrates_at_the_spacing_it_needs(tmp_path: Path) -> None:
    """Without the cusps, hydrogen's density alone, a coarse file is enough; with oxygen's 1s it misses electrons."""
    field = _water()
    hydrogen = np.diag([float(label.split()[1] == "H") for label in field.mol.ao_labels()])
    overlap = field.mol.intor_symmetric("int1e_ovlp")
    found = {}
    for name, matrix in {"all": field.make_rdm1(), "hydrogen": hydrogen}.items():
        path = tmp_path / f"{name}.cube"
        write_cube(path, partial(density_on_points, matrix, field.mol), field.mol, CubeGrid(spacing=0.25, margin=6.0))
        with path.open() as file:
            cube = read_cube(file)
        electrons = cube["data"].sum() * np.linalg.det(cube["spacing"]) / BOHR**3
        found[name] = abs(electrons - np.sum(matrix * overlap))
    assert found["hydrogen"] < 2e-3
    assert found["all"] > 2e-2


def test_wrong_input_is_refused() -> None:
    field = _water()
    with pytest.raises(ValueError, match="must be positive"):
        CubeGrid(spacing=0.0)
    with pytest.raises(ValueError, match="density has shape"):
        density_on_points(np.eye(3), field.mol, np.zeros((1, 3)))
    with pytest.raises(ValueError, match="orbitals in columns"):
        orbitals_on_points(field.mo_coeff[:, 0], field.mol, np.zeros((1, 3)))
    with pytest.raises(ValueError, match="points have shape"):
        orbitals_on_points(field.mo_coeff, field.mol, np.zeros(3))
