"""`PhiSNetCalculator`: energies, forces and wavefunctions from a predicted Hamiltonian."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, CalculatorError, InputError
from numpy.typing import NDArray
from pyscf import gto
from torch import Tensor

from ase_mlwave.calculators.base import Member, MlwaveCalculator, Outcome
from ase_mlwave.calculators.checks import check_choice, cube_grid, read_atoms
from ase_mlwave.calculators.domain import judge
from ase_mlwave.calculators.moles import check_fallback, pyscf_guess, read_mole
from ase_mlwave.data.record import Record
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.domain.wall import repulsion
from ase_mlwave.models.phisnet.energy import electronic_states
from ase_mlwave.models.phisnet.inference import PredictedBatch, predict_batch
from ase_mlwave.models.phisnet.levels import ENERGY_LEVELS, default_level, says_its_level, told_errors
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.cubes import density_on_points, orbitals_on_points, write_cube
from ase_mlwave.quantum.density import orbitals
from ase_mlwave.quantum.functional import converge, kohn_sham_functional
from ase_mlwave.quantum.initial_guess import adapt_density, check_target, doubt
from ase_mlwave.quantum.populations import dipole_moment, mulliken_charges
from ase_mlwave.reference.levels import LevelOfTheory

__all__ = ["ENERGY_LEVELS", "PhiSNetCalculator"]

Array = NDArray[np.float64]


class PhiSNetCalculator(MlwaveCalculator):
    """Predict the Hamiltonian matrix of a molecule, and everything that follows from it.

    Parameters
    ----------
    model : str, path, or sequence of them
        A name in the zoo (``"phisnet-water"``), a folder, or several models: a committee.
    energy : str, optional
        ``"wavefunction"`` (fastest), ``"functional"`` (more accurate: error of second order in that of the
        density) or ``"scf"`` (the reference itself, in few cycles). By default the level that the model's measured
        errors support (``config.json``, ``defaults``); of a committee the most accurate of these. Forces are the
        derivative of that energy, the motion of the integration grid included (PySCF's own gradients leave it out by
        default).
    device, dtype, batch_size
        As in `MlwaveCalculator`. ``dtype`` is the network's; matrices are always float64.

    Raises
    ------
    TypeError, InputError
        As `MlwaveCalculator`; also for an unknown ``energy``.

    Notes
    -----
    ``calc.extras`` holds after each calculation ``"hamiltonian"``, ``"overlap"``, ``"density_matrix"`` ((M, M), Hartree
    and PySCF's AO order), ``"orbital_energies"`` ((M,), Hartree), ``"domain_distance"`` ((N,), how unlike the training
    data each atom is; past the model's thresholds come an `OutOfDomainWarning` and an `OutOfDomainError`) and, with
    ``energy="scf"``, ``"scf_cycles"``.
    Dipoles and charges come from the predicted density (``"scf"``: the converged one); the dipole of an ion is about
    the origin. Source: Unke et al. 2021 (arXiv:2106.02347).
    """

    name: ClassVar[str] = "phisnet"
    # ASE declares both as instance variables.
    implemented_properties = ["energy", "free_energy", "forces", "dipole", "charges"]
    default_parameters = {"energy": None}

    def _check_options(self, parameters: Mapping[str, Any]) -> None:
        level = parameters["energy"]
        if level is not None:
            check_choice("energy", level, ENERGY_LEVELS)

    def _load(self, model: str, device: torch.device, dtype: torch.dtype) -> Member:
        member = super()._load(model, device, dtype)
        check_choice(f"the default energy of {model}", default_level(member.config), ENERGY_LEVELS)
        return member

    def _model_default(self, name: str) -> Any:
        if name != "energy":
            return super()._model_default(name)
        return max((default_level(member.config) for member in self.members), key=list(ENERGY_LEVELS).index)

    def set(self, **options: Any) -> dict[str, Any]:
        """Change options as `MlwaveCalculator.set` does; warn of energies that the model never learned."""
        changed = super().set(**options)
        if changed.keys() & {"energy", "model"} and self.parameters["energy"] == "wavefunction":
            self._doubt_wavefunction()
        return changed

    def _doubt_wavefunction(self) -> None:
        """Warn if a model's description says that energies of the level ``"wavefunction"`` are not for it."""
        best = self._model_default("energy")
        if best != "wavefunction" and any(says_its_level(member.config) for member in self.members):
            errors = told_errors(self.members[0].config.errors, "wavefunction")
            known = f" (mean errors: {errors})" if errors else ""
            warnings.warn(
                f"energy='wavefunction' is not what {self.parameters['model']} is good for{known}: it learned no such "
                f"energies, or too badly. Take energy={best!r}, or leave it out.",
                stacklevel=4,
            )

    # --- energies, forces, dipole, charges --------------------------------------------------------------------------

    def _compute(self, member: Member, systems: list[Record], properties: tuple[str, ...]) -> list[Outcome]:
        level = self.option("energy")
        forces = "forces" in properties
        energies = forces or "energy" in properties
        batch = predict_batch(member.network_as(PhiSNet), systems, gradients=forces and level != "scf")
        densities = [_numpy(state.density) for state in batch.states]
        extras = [_extras(batch, b) for b in range(len(systems))]
        values: list[dict[str, Any]] = [{} for _ in systems]
        if level == "scf" and properties:
            for b, system in enumerate(systems):
                mean_field = self._mean_field(member, system)
                result = converge(mean_field, self._start(mean_field, extras[b]), forces=forces)
                densities[b] = result.density
                extras[b] |= {"density_matrix": result.density, "orbital_energies": result.orbital_energies}
                extras[b]["scf_cycles"] = result.cycles
                values[b] |= {"energy": result.energy} | ({"forces": result.forces} if forces else {})
        elif energies:
            quick = level == "wavefunction"
            total = batch.wavefunction_energies() if quick else self._functional(member, batch, systems)
            gradients = batch.gradient(total).split(list(batch.molecules.n_atoms)) if forces else ()
            for b, energy in enumerate(total.detach().tolist()):
                wall = repulsion(systems[b].numbers, systems[b].positions) if quick else None
                values[b]["energy"] = energy + (wall.energy if wall else 0.0)
                if forces:
                    values[b]["forces"] = (wall.forces if wall else 0.0) - _numpy(gradients[b])
        for b, system in enumerate(systems):
            if "dipole" in properties or "charges" in properties:
                mole = self._mole(member, system)
                values[b]["dipole"] = dipole_moment(densities[b], mole)
                values[b]["charges"] = mulliken_charges(densities[b], mole)
        return [Outcome(v, e) for v, e in zip(values, extras, strict=True)]

    def _start(self, mean_field: Any, extras: Mapping[str, Any]) -> Array | None:
        """Return the predicted density where it is fit to start an SCF, else None, for PySCF's own guess."""
        density: Array = extras["density_matrix"]
        n_occupied = mean_field.mol.nelectron // 2
        doubtful = judge(extras, self.domain).refused or doubt(mean_field, extras["orbital_energies"], n_occupied)
        return None if doubtful else density

    def _functional(self, member: Member, batch: PredictedBatch, systems: list[Record]) -> Tensor:
        """Evaluate the level of theory's functional at the predicted densities, (B,), Hartree."""
        terms = [
            kohn_sham_functional(positions, state.density, self._mean_field(member, system))
            for positions, state, system in zip(batch.positions, batch.states, systems, strict=True)
        ]
        return torch.stack(terms)

    def _mole(self, member: Member, system: Record) -> gto.Mole:
        basis = member.network_as(PhiSNet).config.basis
        return build_mole(system.numbers, system.positions, basis, system.charge, system.spin)

    def _mean_field(self, member: Member, system: Record) -> Any:
        return LevelOfTheory.parse(member.config.level).mean_field(self._mole(member, system))

    # --- matrices ---------------------------------------------------------------------------------------------------

    def hamiltonian(self, x: Atoms | gto.Mole) -> Array:
        """Predict the Hamiltonian matrix.

        Parameters
        ----------
        x : Atoms or pyscf.gto.Mole
            A molecule; a ``Mole`` must have the model's basis.

        Returns
        -------
        ndarray, (M, M)
            float64, Hartree, PySCF's AO order; the mean over a committee.

        Raises
        ------
        InputError
            If the molecule is outside what the model was made for, or the ``Mole`` has another basis.
        OutOfDomainError
            If it is unlike anything the model was trained on.
        """
        return self._matrices(x, same_basis=True)[0]

    def overlap(self, x: Atoms | gto.Mole) -> Array:
        """Compute the exact overlap matrix in the model's basis, (M, M); arguments and errors as `hamiltonian`."""
        return self._matrices(x, same_basis=True)[1]

    def density_matrix(self, x: Atoms | gto.Mole) -> Array:
        """Predict the density matrix P = 2 C_occ C_occ^T, (M, M); arguments and errors as `hamiltonian`.

        Notes
        -----
        tr[P S] is the number of electrons to rounding (``test_density_matrix_has_the_electrons``).
        """
        return self._matrices(x, same_basis=True)[2]

    def orbitals(self, x: Atoms | gto.Mole) -> tuple[Array, Array]:
        """Predict the molecular orbitals.

        Parameters
        ----------
        x : Atoms or pyscf.gto.Mole
            As in `hamiltonian`.

        Returns
        -------
        orbital_energies : ndarray, (M,)
            Hartree, ascending; the lowest N_electrons / 2 are doubly occupied.
        coefficients : ndarray, (M, M)
            Orbitals in columns, PySCF's AO order, C^T S C = 1.

        Raises
        ------
        InputError
            As `hamiltonian`.
        """
        H, S, _ = self._matrices(x, same_basis=True)
        coefficients, energies = orbitals(torch.from_numpy(H), torch.from_numpy(S))
        return energies.numpy(), coefficients.numpy()

    def initial_guess(self, mf: Any, *, fallback: str | None = None) -> Array:
        """Predict a density matrix from which PySCF's SCF converges to the same state in fewer cycles.

        Parameters
        ----------
        mf : PySCF mean-field object
            RKS, RHF, UKS or UHF (density split evenly), density-fitted or gpu4pyscf kin; any spherical basis (another
            basis than the model's: the density is projected).
        fallback : str, optional
            A PySCF guess (``"minao"``, ``"atom"``, ...) to return with a warning where the model cannot serve or its
            density is doubtful. By default the first is an error, and for the second PySCF's own guess
            (``mf.init_guess``) is returned, with a warning.

        Returns
        -------
        ndarray, (M, M) or (2, M, M)
            ``dm0`` for ``mf.kernel(dm0=...)``; its electron number is exact.

        Raises
        ------
        InputError
            If ``fallback`` is no guess of PySCF's; or if the molecule is an open shell, charged, or has elements
            unknown to the model, and there is no fallback.
        CalculationFailed
            If the model's linear algebra or PySCF's own guess fails.

        Notes
        -----
        The density is handed over only if every atom is within the model's limit (whatever ``outside`` is) and the
        predicted orbitals raise no `doubt`, which is decided from the prediction alone: it costs no Fock matrix, hence
        no cycle. ``python -m benchmarks.warm_start`` counts cycles both ways: for waters at 14 levels 7.0 in place of
        11.3, and one more in 2 of 308 calculations (RHF/STO-3G, and PBE with a level shift).
        """
        check_fallback(fallback)
        reason: str | None
        category: type[UserWarning] = UserWarning
        try:
            check_target(mf)
            system = self._system(mf.mol)
            outcome = self._predicted(system)
            if judge(outcome.extras, self.domain).refused:
                reason, category = "the molecule is unlike anything that it was trained on", OutOfDomainWarning
            else:
                extras = self._judged(system, outcome).extras
                reason = doubt(mf, extras["orbital_energies"], mf.mol.nelectron // 2)
                if reason is None:
                    return adapt_density(extras["density_matrix"], self._mole(self.members[0], system), mf)
        except CalculatorError as error:
            if not isinstance(getattr(mf, "mol", None), gto.Mole) or not np.isfinite(mf.mol.atom_coords()).all():
                raise  # nobody can guess for these
            if fallback is None:
                message = f"{str(error).rstrip('.')}. Or give fallback='minao', for PySCF's own guess."
                raise type(error)(message) from error
            reason = str(error)
        name = fallback or mf.init_guess
        warnings.warn(f"the model cannot guess, PySCF's {name!r} guess is used: {reason}", category, stacklevel=2)
        return pyscf_guess(mf, fallback)

    # --- cube files -------------------------------------------------------------------------------------------------

    def write_density(self, x: Atoms | gto.Mole, path: str | PathLike[str], *, spacing: float = 0.1) -> None:
        """Write the predicted electron density as a cube file.

        Parameters
        ----------
        x : Atoms or pyscf.gto.Mole
            As in `hamiltonian`.
        path : str or path
            File to write.
        spacing : float
            Largest distance of grid points, Angstrom.
        """
        grid = cube_grid(spacing)
        mole = self._mole(self.members[0], self._system(x))
        density = self._matrices(x, same_basis=True)[2]
        write_cube(path, partial(density_on_points, density, mole), mole, grid, "Electron density, e/Bohr^3")

    def write_orbital(
        self, x: Atoms | gto.Mole, path: str | PathLike[str], index: int, *, spacing: float = 0.1
    ) -> None:
        """Write a predicted molecular orbital as a cube file; ``index`` counts from 0, by energy."""
        grid = cube_grid(spacing)
        mole = self._mole(self.members[0], self._system(x))
        energies, coefficients = self.orbitals(x)
        if not isinstance(index, (int, np.integer)) or not 0 <= index < len(energies):
            raise InputError(f"there is no orbital {index}; this molecule has 0 to {len(energies) - 1}")
        orbital = coefficients[:, [index]]
        write_cube(path, partial(orbitals_on_points, orbital, mole), mole, grid, "Orbital, Bohr^(-3/2)")

    def _system(self, x: Atoms | gto.Mole) -> Record:
        """Check a molecule and read it as a record, Bohr."""
        if isinstance(x, gto.Mole):
            return read_mole(x, self.domain)
        if not isinstance(x, Atoms):
            raise InputError(f"expected ase.Atoms or a PySCF Mole, got {type(x).__name__}")
        return read_atoms(x, self.domain)

    def _matrices(self, x: Atoms | gto.Mole, *, same_basis: bool) -> tuple[Array, Array, Array]:
        """Predict H, S and P of one molecule; the mean H of a committee."""
        system = self._system(x)
        if same_basis and isinstance(x, gto.Mole):
            own = self._mole(self.members[0], system)
            if x.nao != own.nao or not np.allclose(x.intor("int1e_ovlp"), own.intor("int1e_ovlp"), atol=1e-8):
                basis = self.members[0].network_as(PhiSNet).config.basis
                raise InputError(
                    f"the Mole's basis is not the model's, {basis!r} (spherical); give Atoms, or use initial_guess, "
                    "which projects the density to another basis"
                )
        extras = self._judged(system, self._predicted(system)).extras
        return extras["hamiltonian"], extras["overlap"], extras["density_matrix"]

    def _predicted(self, system: Record) -> Outcome:
        """Predict the matrices of one molecule, those of a committee averaged; not judged yet."""
        try:
            batches = [predict_batch(member.network_as(PhiSNet), [system]) for member in self.members]
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise CalculationFailed(f"the predicted matrix cannot be diagonalised: {error}") from error
        return self._combine(system, [Outcome({}, _extras(batch, 0)) for batch in batches])

    def _combine(self, system: Record, members: list[Outcome]) -> Outcome:
        """Average a committee; its density matrix and orbital energies are those of the mean Hamiltonian."""
        outcome = super()._combine(system, members)
        if len(members) == 1 or self.option("energy") == "scf" or "hamiltonian" not in outcome.extras:
            return outcome
        H, S = (torch.from_numpy(outcome.extras[name]) for name in ("hamiltonian", "overlap"))
        n_electrons = int(system.numbers.sum()) - system.charge
        (state,) = electronic_states((H,), (S,), (n_electrons // 2,))
        extras = {"density_matrix": _numpy(state.density), "orbital_energies": _numpy(state.orbital_energies)}
        return replace(outcome, extras={**outcome.extras, **extras})


def _extras(batch: PredictedBatch, b: int) -> dict[str, Any]:
    """Collect the matrices of one molecule for ``calc.extras``."""
    return {
        "hamiltonian": _numpy(batch.hamiltonians[b]),
        "overlap": _numpy(batch.integrals[b].overlap),
        "density_matrix": _numpy(batch.states[b].density),
        "orbital_energies": _numpy(batch.states[b].orbital_energies),
        "domain_distance": _numpy(batch.distances[b]),
    }


def _numpy(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().double().numpy()
    return array
