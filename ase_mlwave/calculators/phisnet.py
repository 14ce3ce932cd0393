"""`PhiSNetCalculator`: energies, forces and wavefunctions from a predicted Hamiltonian."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, get_args

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import InputError
from numpy.typing import NDArray
from pyscf import gto

from ase_mlwave.calculators.base import Member, Outcome
from ase_mlwave.calculators.checks import check_choice, read_atoms
from ase_mlwave.calculators.domain import judge
from ase_mlwave.calculators.matrices import MatrixCalculator, state_of
from ase_mlwave.errors import OutOfDomainError
from ase_mlwave.models.phisnet.compiling import compile_layers
from ase_mlwave.models.phisnet.levels import (
    ENERGY_LEVELS,
    declares_level,
    default_level,
    errors_in_words,
    has_mean_field,
    learns_energies_apart,
)
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.molecules import (
    atoms_hessian,
    frontier,
    mean_field_of,
    mole_of,
    molecular_properties,
)
from ase_mlwave.properties import EXTRAS, MATRICES
from ase_mlwave.quantum.guesses import predicted_guess
from ase_mlwave.quantum.initial_guess import has_narrow_gap, is_much_closer
from ase_mlwave.quantum.integrals import IntegralProgram
from ase_mlwave.quantum.polarizability import polarizability
from ase_mlwave.systems.batch import collate
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

__all__ = ["ENERGY_LEVELS", "PhiSNetCalculator"]

Array = NDArray[np.float64]


#: Multiples of a model's penalty that a guess tries one after the other.
_LIFTS = (3, 10)


class PhiSNetCalculator(MatrixCalculator):
    """Predict the Hamiltonian matrix of a molecule, and everything that follows from it.

    Parameters
    ----------
    model : str, path, or sequence of them
        A name in the zoo (``"phisnet-water"``), a folder, or several models: a committee.
    energy : str, optional
        ``"wavefunction"`` (fastest), ``"functional"`` (more accurate: error of second order in that of the
        density), ``"response"`` (a tenth of that error at twice the cost, for functionals of the density and its
        gradient) or ``"scf"`` (the reference itself, in few cycles). By default the level that the model's measured
        errors support (``config.json``, ``defaults``); of a committee the most accurate of these. Forces are the
        derivative of that energy, the motion of the integration grid included (PySCF's own gradients leave it out by
        default).
    integrals : str
        Which program evaluates overlap, core Hamiltonian and baseline: ``"torch"`` (default), all molecules of a batch
        together on the model's device, or ``"pyscf"``, one after the other on the CPU; they agree to rounding.
    compile : bool
        Compile the network's layers by `torch.compile`, which takes minutes at the first structures; where that fails a
        warning says so, and they run as they are. Results agree to rounding.
    device, dtype, batch_size, outside
        As in `MlwaveCalculator`. ``dtype`` is the network's; matrices are always float64. On a GPU the levels
        ``"functional"`` and ``"scf"`` are computed there, too, where gpu4pyscf is installed.

    Raises
    ------
    TypeError, InputError
        As `MlwaveCalculator`; also for an unknown ``energy`` or ``integrals``.

    Notes
    -----
    ``calc.extras`` holds after each calculation ``"hamiltonian"``, ``"overlap"``, ``"density_matrix"`` ((M, M), Hartree
    and PySCF's AO order), ``"orbital_energies"`` ((M,), Hartree), ``"homo"``, ``"lumo"`` and ``"gap"`` (eV),
    ``"domain_distance"`` ((N,), how unlike the training data each atom is; past the model's thresholds come an
    `OutOfDomainWarning` and an `OutOfDomainError`), with ``energy="scf"`` ``"scf_cycles"``, and with ``"functional"``
    and ``"response"`` ``"energy_uncertainty"``: by how much the energy is too high, at most (eV); and the same
    ``"energy_uncertainty_per_atom"``, for which models have thresholds, too.
    Density, orbital energies, dipoles and charges are the predicted ones (``"response"``: the relaxed, ``"scf"``: the
    converged ones); the dipole of an ion is about the origin. Source: Unke et al. 2021 (arXiv:2106.02347).
    """

    name: ClassVar[str] = "phisnet"
    # ASE declares both as instance variables.
    implemented_properties = ["energy", "free_energy", "forces", "dipole", "charges"]
    default_parameters = {"energy": None, "integrals": "torch", "compile": False}
    deferred: ClassVar[frozenset[str]] = MATRICES | {"orbital_energies", "homo", "lumo", "gap"}

    def _check_options(self, parameters: Mapping[str, Any]) -> None:
        check_choice("integrals", parameters["integrals"], get_args(IntegralProgram))
        if not isinstance(parameters["compile"], bool):
            raise InputError(f"compile is {parameters['compile']!r}; give True or False")
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
        if changed.keys() & {"compile", "model", "device", "dtype"}:
            for member in self.members:
                compile_layers(member.network_as(PhiSNet), self.option("compile"))
        if changed.keys() & {"energy", "model"}:
            self._check_energy()
        return changed

    def _check_energy(self) -> None:
        """Refuse levels that a method without a mean field has not; warn of energies that were not learned."""
        energy, level = self.parameters["energy"], self.members[0].config.level
        if energy == "wavefunction":
            self._doubt_wavefunction()
        elif energy is not None and not has_mean_field(level):
            raise InputError(
                f"energy={energy!r} is computed by the mean field of a model's level of theory, and {level} has none. "
                "Take energy='wavefunction', or leave it out."
            )

    def _doubt_wavefunction(self) -> None:
        """Warn if a model's description says that energies of the level ``"wavefunction"`` are not for it."""
        best = self._model_default("energy")
        if best != "wavefunction" and any(map(_untrained, self.members)):
            errors = errors_in_words(self.members[0].config.errors, "wavefunction")
            measured = f" (mean errors: {errors})" if errors else ""
            warnings.warn(
                f"energy='wavefunction' is not what {self.parameters['model']} is good for{measured}: it learned no "
                f"such energies, or too badly. Take energy={best!r}, or leave it out.",
                stacklevel=4,
            )

    # --- energies, forces, dipole, charges --------------------------------------------------------------------------

    def _compute(self, member: Member, systems: list[System], properties: tuple[str, ...]) -> list[Outcome]:
        asked = tuple(name for name in properties if name not in self.deferred)
        results = molecular_properties(
            member.network_as(PhiSNet),
            systems,
            asked,
            energy=self.option("energy"),
            in_domain=lambda matrices: not judge(matrices, self.domain).refused,
            neighbours=self.neighbours,
            integrals=self.option("integrals"),
            orbitals=len(asked) < len(properties),
        )
        return [Outcome(values, matrices) for values, matrices in results]

    def _curvature(self, member: Member, system: System, progress: Callable[[int], None]) -> Array | None:
        network = member.network_as(PhiSNet)
        alone = self.option("energy") == "wavefunction" and network.config.energy_from == "atoms"
        if not alone or self.option("compile"):  # torch.compile differentiates once
            return None
        return atoms_hessian(network, system, progress)

    def _describe(self, member: Member, system: System) -> Array:
        network = member.network_as(PhiSNet)
        features: Array = network.invariants(collate([system], network.config.cutoff)).cpu().double().numpy()
        return features

    @property
    def extras(self) -> dict[str, Any]:
        """What the last calculation gave beside ASE's properties.

        Notes
        -----
        Where its energy was that of atoms alone, which needs no matrices, they are predicted when this is first looked
        at: dynamics that do not look take a third of the time (``test_matrices_wait_until_somebody_looks``).
        """
        if self._extras and self.atoms is not None and not self.deferred & self._extras.keys():
            system = read_atoms(self.atoms, self.domain)
            self._extras.update(self._predicted(system).extras)
        return self._extras

    def _bytes_of(self, system: System, gradients: bool) -> float:
        """Estimate the memory of a molecule in a batch: features of pairs, kept for gradients."""
        config = self._network.config
        features = 8 * config.features * (config.max_order + 1) ** 2 * config.n_modules * config.members
        return float(((20 if gradients else 1.5) * features + 1e5) * len(system) ** 2)

    # --- guesses, response ------------------------------------------------------------------------------------------

    def polarizability(self, atoms: Atoms, *, coupled: bool = True) -> Array:
        """Compute the static polarizability.

        Parameters
        ----------
        atoms : Atoms
            A molecule.
        coupled : bool
            Whether electrons see the change of each other's density (coupled-perturbed Kohn-Sham theory, by PySCF on
            the predicted orbitals; some seconds). If not: the sum over states, which is the derivative of the dipole by
            a field that is added to a Hamiltonian which does not answer; 40 to 80 % too large.

        Returns
        -------
        ndarray, (3, 3)
            Angstrom^3 (a polarizability volume: times 4 pi eps_0).

        Raises
        ------
        InputError, OutOfDomainError
            As `hamiltonian`; also if the model's level is no mean field, as that of coupled cluster.
        CalculationFailed
            If the response does not converge.

        Notes
        -----
        Orbitals are the predicted ones; at the levels ``"response"`` and ``"scf"`` those of the Fock matrix of the
        relaxed or converged density. Errors beside PySCF's are in ``docs/properties.md``; the basis set's is larger by
        far: def2-SVP has no diffuse functions, and half of water's polarizability.
        """
        level = self.members[0].config.level
        if not has_mean_field(level):
            raise InputError(f"{level} has no mean field that could answer to a field. Take a model that has one.")
        mean_field = mean_field_of(self._network, self._system(atoms), on_gpu=False)
        if self.option("energy") in ("response", "scf"):
            (outcome,) = self.predict_outcomes([atoms], ("energy",), extras=("density_matrix",))
            fock = np.asarray(mean_field.get_fock(dm=outcome.extras["density_matrix"]))
            energies, coefficients = mean_field.eig(fock, mean_field.get_ovlp())
        else:
            energies, coefficients = self.orbitals(atoms)
        return polarizability(mean_field, coefficients, energies, coupled=coupled) * BOHR**3

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
        no cycle. Past the threshold of the warning, `is_much_closer` compares it with PySCF's guess on a coarse grid.
        ``python -m benchmarks.warm_start`` counts cycles both ways: for waters at 14 levels 7.0 in place of 11.3, and
        one more in 2 of 308 calculations (RHF/STO-3G, and PBE with a level shift). With ``mf.diis_start_cycle = 0``
        PySCF's DIIS counts the first Fock matrix, too, and often needs a cycle less.
        """
        return predicted_guess(mf, self._predicted_state, fallback)

    def _predicted_state(self, mole: gto.Mole) -> tuple[Array, Array, gto.Mole]:
        """Predict density and orbital energies of a molecule that is known, whatever the option ``outside`` is.

        Almost dependent functions are lifted further where they make the gap narrow: a guess need not be smooth.
        """
        system = self._system(mole)
        outcome = self._predicted(system)
        verdict, extras = judge(outcome.extras, self.domain), outcome.extras
        if verdict.refused:
            self._judged(system, outcome, "error")
        density, energies, n_occupied = extras["density_matrix"], extras["orbital_energies"], system.n_electrons // 2
        for factor in _LIFTS:
            penalty = factor * self._network.config.overlap_penalty
            if not penalty or not has_narrow_gap(energies, n_occupied):
                break
            state = state_of(extras["hamiltonian"], extras["overlap"], n_occupied, penalty)
            density, energies = state.density.numpy(), state.orbital_energies.numpy()
        own = mole_of(self._network, system)
        if verdict.doubtful and not is_much_closer(density, own):
            raise OutOfDomainError(f"{system.formula}: unlike the training data, and its density no better a start")
        return density, energies, own

    def _combine(self, system: System, members: list[Outcome]) -> Outcome:
        """Average a committee; its density matrix and orbital energies are those of the mean Hamiltonian."""
        outcome = super()._combine(system, members)
        if len(members) == 1 or self.option("energy") in ("response", "scf") or "hamiltonian" not in outcome.extras:
            return outcome
        H, S, penalty = outcome.extras["hamiltonian"], outcome.extras["overlap"], self._network.config.overlap_penalty
        state = state_of(H, S, system.n_electrons // 2, penalty)
        energies = state.orbital_energies.numpy()
        named = {name: EXTRAS[name].to_ase(value) for name, value in frontier(energies, state.n_occupied).items()}
        extras = {"density_matrix": state.density.numpy(), "orbital_energies": energies, **named}
        return replace(outcome, extras={**outcome.extras, **extras})


def _untrained(member: Member) -> bool:
    """Tell whether a description says of a model that it learned no energies, or too badly."""
    return declares_level(member.config) and not learns_energies_apart(member.config)
