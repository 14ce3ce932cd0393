"""`QDFCalculator`: energies, forces and densities from a quantum deep field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from ase.data import atomic_numbers
from numpy.typing import ArrayLike, NDArray

from ase_mlwave.calculators.base import Member, Outcome
from ase_mlwave.calculators.checks import cube_grid, read_atoms, read_points
from ase_mlwave.calculators.corrections import CorrectingCalculator, base_of
from ase_mlwave.models.domain.surroundings import describe
from ase_mlwave.models.qdf.config import MAX_GRID_LEVEL
from ase_mlwave.models.qdf.inference import density_on_points, energy_hessian, measure_distances, predict_batch
from ase_mlwave.models.qdf.model import QDF
from ase_mlwave.models.qdf.published.network import PublishedQDF
from ase_mlwave.models.qdf.published.outputs import ENERGY, named_outputs
from ase_mlwave.properties import EXTRAS
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.cubes import write_cube
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

__all__ = ["QDFCalculator"]

Array = NDArray[np.float64]

#: Least grid level at which the electrons of a density are counted: coarser ones, good enough for energies, miss up to
#: 0.1 e of what the density integrates to.
_COUNTING_LEVEL = 4


class QDFCalculator(CorrectingCalculator):
    """Predict the density of a molecule on a field of points, and the energy as a learned functional of it.

    Parameters
    ----------
    model : str, path, or sequence of them
        A name in the zoo, a folder, or several models: a committee.
    grid_level : int, optional
        Size of the integration grid, 0 to 5; the model's own by default. Larger grids cost more, and leave less of the
        dependence on the molecule's orientation.
    device, dtype, batch_size, outside
        As in `MlwaveCalculator`.

    Raises
    ------
    TypeError, InputError
        As `MlwaveCalculator`; also for an unknown ``grid_level``.

    Notes
    -----
    The energy is the total energy at the model's level of theory; an isolated atom has the model's reference for it.
    A model that corrects a base level, such as GFN2-xTB, is that plus the base's energy and forces, which are computed
    with every prediction; it has no ``energies``, and ``"atomic_energies"`` are parts of the correction.
    Models of the published field (``mlwave import-qdf``) give atomization energies, negative, and no forces; all their
    outputs are in ``calc.extras["outputs"]`` (name -> eV).
    ``energies`` are the integrals over the cells of atoms. ``calc.extras`` holds after each calculation
    ``"atomic_energies"`` ((N,), eV: the same under their first name), ``"cell_electrons"`` ((N,), electrons of every
    cell before they are scaled to the nuclear charge), ``"domain_distance"`` ((N,), how unlike the training data each
    atom is) and, where the model has it, ``"energy_uncertainty"`` (eV, standard deviation); past the model's thresholds
    for these come an `OutOfDomainWarning` and an `OutOfDomainError`.
    The energy changes under rotation by what the grid leaves of the integral: 1 to 2 meV a molecule for the shipped
    models (``python -m benchmarks.orientation``). ``dtype="float32"`` is faster: the field and the networks run in it,
    sums over cells and the repulsion of nuclei stay in float64.
    Source: Tsubaki and Mizoguchi, PRL 125, 206401 (2020).
    """

    name: ClassVar[str] = "qdf"
    implemented_properties = ["energy", "free_energy", "energies", "forces"]
    default_parameters = {"grid_level": None}
    pairs_on_cpu: ClassVar[int] = 1  # one molecule has points enough; several are slower, in gigabytes

    def _check_options(self, parameters: Mapping[str, Any]) -> None:
        level = parameters["grid_level"]
        if level is not None and (not isinstance(level, int) or not 0 <= level <= MAX_GRID_LEVEL):
            raise InputError(f"grid_level is {level!r}; give a whole number from 0 to {MAX_GRID_LEVEL}, or None.")

    def _compute(self, member: Member, systems: list[System], properties: tuple[str, ...]) -> list[Outcome]:
        if isinstance(member.network, PublishedQDF):
            outputs = named_outputs(member.network, systems, properties)
            return [Outcome({"energy": one[ENERGY]} if ENERGY in one else {}, {"outputs": one}) for one in outputs]
        outcomes = []
        network, level = member.network_as(QDF), self.parameters["grid_level"]
        options = {"forces": "forces" in properties, "grid_level": level, "neighbours": self.neighbours}
        for result in predict_batch(network, systems, **options):
            values = {"energy": result.energy, "energies": result.atomic_energies}
            values |= {} if result.forces is None else {"forces": result.forces}
            extras: dict[str, Any] = {
                "atomic_energies": result.atomic_energies,
                "cell_electrons": result.cell_electrons,
            }
            if result.distances is not None:
                extras["domain_distance"] = result.distances
            if result.deviation is not None:
                extras["energy_uncertainty"] = result.deviation
            outcomes.append(Outcome(values, extras))
        return outcomes

    def _curvature(self, member: Member, system: System, progress: Callable[[int], None]) -> Array | None:
        if isinstance(member.network, PublishedQDF) or base_of(member) is not None:
            return None
        network = member.network_as(QDF)
        return energy_hessian(network, system, grid_level=self.parameters["grid_level"], progress=progress)

    def _describe(self, member: Member, system: System) -> Array:
        return describe(system, sorted(atomic_numbers[symbol] for symbol in member.config.elements))

    def _bytes_of(self, system: System, gradients: bool) -> float:
        """Estimate the memory of a structure in a batch: so many points an atom, each with its neighbours alone."""
        return (3e7 if gradients else 2e7) * len(system)

    def outputs(self, atoms: Atoms) -> dict[str, float]:
        """Predict all outputs of a model of the published field, such as HOMO and LUMO.

        Parameters
        ----------
        atoms : Atoms
            A molecule.

        Returns
        -------
        dict of str to float
            Name -> eV; the mean over a committee.

        Raises
        ------
        InputError
            If the molecule is outside what the model was made for, or the field is not the published one.
        """
        system = read_atoms(atoms, self.domain)
        networks = [member.network for member in self.members if isinstance(member.network, PublishedQDF)]
        if len(networks) < len(self.members):
            raise InputError(
                "only models of the published field have named outputs. Ask for the energy and forces instead."
            )
        rows = [EXTRAS["outputs"].to_ase(named_outputs(network, [system])[0]) for network in networks]
        shared = [name for name in rows[0] if all(name in row for row in rows)]
        return {name: float(np.mean([row[name] for row in rows])) for name in shared}

    def density(self, atoms: Atoms, points: ArrayLike) -> Array:
        """Evaluate the learned electron density.

        Parameters
        ----------
        atoms : Atoms
            A molecule.
        points : array_like, (..., 3)
            Angstrom.

        Returns
        -------
        ndarray, (...)
            e/Angstrom^3, positive; the mean over a committee. Zero beyond the model's cutoff from all atoms.

        Raises
        ------
        InputError
            If the molecule is outside what the model was made for, or the points are not finite (..., 3) numbers.
        OutOfDomainError
            If the molecule is unlike anything the model was trained on.

        Notes
        -----
        Its integral is the number of electrons within 1e-3 e, whatever the ``grid_level`` of the energies
        (``test_density_holds_the_electrons``). It is what makes the energies right, not the density of the level of
        theory: that has cusps which these orbitals do not have. Counting electrons costs about 6 ms an atom and call:
        give all points at once. `ase_mlwave.plotting.planes` draws it;
        ``examples/density.py`` puts it beside PySCF's.
        """
        system = read_atoms(atoms, self.domain)
        grid = read_points(points)
        self._judge_alone(system)
        values = self._density(system, grid.reshape(-1, 3)) / BOHR**3
        return values.reshape(grid.shape[:-1])

    def write_density(self, atoms: Atoms, path: str | PathLike[str], *, spacing: float = 0.1) -> None:
        """Write the learned electron density as a cube file.

        Parameters
        ----------
        atoms : Atoms
            A molecule.
        path : str or path
            File to write.
        spacing : float
            Largest distance of grid points, Angstrom.

        Raises
        ------
        InputError
            If the molecule is outside what the model was made for, the spacing is not positive, or there is no folder
            for the file.
        OutOfDomainError
            If the molecule is unlike anything the model was trained on.

        Notes
        -----
        The sum over the file is the number of electrons within 1e-3 e up to a spacing of 0.15 Angstrom
        (``test_cube_file_holds_the_electrons``).
        """
        grid = cube_grid(path, spacing)
        system = read_atoms(atoms, self.domain)
        self._judge_alone(system)
        mole = build_mole(system.numbers, system.positions, "sto-3g", system.charge, system.spin)
        write_cube(path, lambda points: self._density(system, points), mole, grid, "Electron density, e/Bohr^3")

    def _judge_alone(self, system: System) -> None:
        """Warn or raise where a structure is outside the domain, without computing anything else."""
        networks = [member.network for member in self.members if isinstance(member.network, QDF)]
        measured = [measure_distances(network, system) for network in networks]
        extras = [{} if distances is None else {"domain_distance": distances} for distances in measured]
        if extras:
            self._judged(system, self._combine(system, [Outcome({}, each) for each in extras]))

    def _density(self, system: System, points: Array) -> Array:
        """Average the members' densities, e/Bohr^3, on points (G, 3), Bohr."""
        if any(isinstance(member.network, PublishedQDF) for member in self.members):
            raise InputError(
                "a model of the published field knows its density on its own points only. Take a model with "
                "field='quadrature'."
            )
        level = self.parameters["grid_level"]
        densities = []
        for member in self.members:
            network = member.network_as(QDF)
            counting = max(_COUNTING_LEVEL, network.config.grid_level if level is None else level)
            densities.append(density_on_points(network, system, points, grid_level=counting))
        return np.asarray(np.mean(densities, axis=0))
