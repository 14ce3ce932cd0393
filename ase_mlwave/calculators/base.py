"""The ASE contract, once: options, models, checks, caching and copies; `batched` computes.

A calculator derives from `MlwaveCalculator`, says its ``name``, ``implemented_properties`` and ``default_parameters``,
and writes one method in atomic units, ``_compute``.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import InputError, PropertyNotImplementedError, all_changes
from numpy.typing import NDArray

from ase_mlwave.calculators.batched import BatchedModels
from ase_mlwave.calculators.checks import charge_and_spin, check_batch_size, property_names, read_atoms, read_each
from ase_mlwave.calculators.domain import check_outside
from ase_mlwave.calculators.members import Member, ModelName, common_domain, model_names, pick_device, pick_dtype
from ase_mlwave.calculators.outcome import Outcome
from ase_mlwave.calculators.second_derivatives import SecondDerivatives
from ase_mlwave.errors import OutOfDomainError, UnknownOptionError, suggestion
from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.memory import Batches
from ase_mlwave.plugin import register
from ase_mlwave.properties import EXTRAS, MATRICES
from ase_mlwave.systems.neighbours import NeighbourList
from ase_mlwave.systems.structures import check_arrays
from ase_mlwave.systems.system import System

__all__ = ["Member", "MlwaveCalculator", "Outcome"]


class MlwaveCalculator(BatchedModels, SecondDerivatives):
    """Fulfil ASE's calculator contract for a learned electronic structure.

    Parameters
    ----------
    model : str, path, or sequence of them
        A name in the zoo, a folder, or several models of one kind: a committee, whose mean is the result.
    device : str, optional
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...; by default CUDA where there is a device, else the CPU.
    dtype : str
        Precision of the network, ``"float64"`` or ``"float32"``.
    batch_size : int, optional
        Structures that `predict` computes at a time; by default what fits the free memory of the device, and on CPUs
        the caches.
    outside : str
        What happens with a structure that is unlike anything the model was trained on: ``"error"``, an
        `OutOfDomainError`; or ``"warn"``, results with an `OutOfDomainWarning`.
    **options
        Those of the class, see its ``default_parameters``.

    Raises
    ------
    TypeError
        If a keyword is unknown; the message names the nearest known one.
    InputError
        If the model, device or precision is not available, or the models of a committee have nothing in common, or
        differ in their levels of theory.

    Notes
    -----
    Charge and number of unpaired electrons come from ``atoms.info["charge"]`` and ``atoms.info["spin"]`` (0 where
    absent); initial charges and magnetic moments are not used. The laws that every calculator keeps are the tests of
    ``tests/calculators/contract.py``.
    """

    name: ClassVar[str]
    """Name in ASE's registries, and the kind of model that the class loads."""
    default_parameters = {"device": None, "dtype": "float64", "batch_size": None, "outside": "error"}
    """Options and their defaults; a subclass lists only its own."""
    ignored_changes = {"initial_charges", "initial_magmoms"}
    """What may change in ``Atoms`` without a new calculation."""
    nolabel: ClassVar[bool] = True
    """Nothing is written, so that ``ase run`` gives no name of files."""
    serves_cells: ClassVar[bool] = False
    """Whether periodic structures are served; otherwise they are refused."""
    pairs_on_cpu: ClassVar[int] = 512
    """Ordered pairs of atoms that a CPU computes at a time: networks are up to twice as fast where they fit the caches,
    and take an eighth of the memory."""

    deferred: ClassVar[frozenset[str]] = frozenset()
    """Extras that may cost more than what is asked for, and are computed when they are asked for."""

    neighbours: NeighbourList
    """Remembers pairs of atoms from one step of a simulation to the next; each calculator has its own."""
    contacts: NeighbourList
    """Remembers those that are nearer than bonds are long, or little further."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Complete the subclass's options and enter it in ASE's registry."""
        super().__init_subclass__(**kwargs)
        own = cls.__dict__.get("default_parameters", {})
        cls.default_parameters = {**own, **super(cls, cls).default_parameters, **own}  # own options first, and they win
        keyword, parameter = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter
        cls.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [parameter("model", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
            + [parameter(key, keyword, default=value) for key, value in cls.default_parameters.items()]
        )
        if isinstance(cls.__dict__.get("name"), str):
            register(cls.name, cls)

    def __init__(self, model: ModelName | Sequence[ModelName], **options: Any) -> None:
        self._extras: dict[str, Any] = {}
        self.neighbours, self.contacts = NeighbourList(), NeighbourList(skin=1.0)
        super().__init__()  # type: ignore[no-untyped-call]
        self.set(model=model, **options)

    def set(self, **options: Any) -> dict[str, Any]:
        """Change options; the next property is computed anew, and models are loaded again only where they must be.

        Parameters
        ----------
        **options
            As in the constructor.

        Returns
        -------
        dict
            The options that changed.

        Raises
        ------
        TypeError, InputError
            As the constructor; nothing has changed then.
        """
        unknown = [key for key in options if key != "model" and key not in self.default_parameters]
        if unknown:
            known = ["model", *self.default_parameters]
            is_state = unknown[0] in ("charge", "spin", "multiplicity")
            hint = f"Set atoms.info[{unknown[0]!r}]." if is_state else suggestion(unknown[0], known)
            raise UnknownOptionError(f"{type(self).__name__} has no option {unknown[0]!r}. {hint}")
        if "model" in options:
            options["model"] = model_names(options["model"])
        if isinstance(options.get("device"), torch.device):
            options["device"] = str(options["device"])
        changed = {k: v for k, v in options.items() if k not in self.parameters or self.parameters[k] != v}
        if not changed:
            return {}
        parameters = {**self.parameters, **changed}
        check_batch_size(parameters["batch_size"])
        check_outside(parameters["outside"])
        self._check_options(parameters)
        if changed.keys() & {"model", "device", "dtype"}:
            self._load_anew(parameters)
        self.parameters = type(self.parameters)(parameters)
        self.reset()
        return changed

    def option(self, name: str) -> Any:
        """Return an option's value; where that is None, the default that the models' descriptions say."""
        value = self.parameters[name]
        return self._model_default(name) if value is None else value

    def _model_default(self, name: str) -> Any:
        """Return the default of an option that all members' descriptions have in common; None if there is none."""
        stated = [member.config.defaults.get(name) for member in self.members]
        return stated[0] if all(value == stated[0] for value in stated) else None

    def _load_anew(self, parameters: Mapping[str, Any]) -> None:
        """Replace the models, all or none."""
        members = self._load_members(parameters)
        self.domain = replace(common_domain(members), periodic=self.serves_cells)
        self.members, self.batches = members, Batches(pick_device(parameters["device"]), self.pairs_on_cpu)

    def _check_options(self, parameters: Mapping[str, Any]) -> None:
        """Raise ``InputError`` if an option of the subclass has a value that is not allowed."""

    def _load(self, model: str, device: torch.device, dtype: torch.dtype) -> Member:
        """Load one model: a folder of the zoo's format whose kind is the calculator's ``name``."""
        folder = ModelFolder.load(model)
        if folder.config.kind != self.name:
            raise InputError(
                f"{model} is a model of kind {folder.config.kind!r}, but {type(self).__name__} needs {self.name!r}."
            )
        return Member(folder.build(device, dtype), folder.config)

    def _load_members(self, parameters: Mapping[str, Any]) -> tuple[Member, ...]:
        device, dtype = pick_device(parameters["device"]), pick_dtype(parameters["dtype"])
        model = parameters["model"]
        return tuple(self._load(name, device, dtype) for name in ([model] if isinstance(model, str) else model))

    @property
    def extras(self) -> dict[str, Any]:
        """What the last calculation gave beside ASE's properties."""
        return self._extras

    # --- ASE's side -------------------------------------------------------------------------------------------------

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute properties of one structure: `predict`'s case of one, kept in ``results`` and ``extras``."""
        atoms = self.atoms if atoms is None else atoms
        if system_changes:
            self.reset()
        checked = self._checked_properties(properties)
        try:
            system = read_atoms(atoms, self.domain, self.contacts)
            (outcome,) = self._evaluate([system], checked, keep=lambda name: True)
        except OutOfDomainError as error:
            self._extras.update(error.extras)
            raise
        self.atoms = atoms.copy() if atoms is not None else None
        self.results.update(outcome.values)
        self._extras.update(outcome.extras)

    def predict(
        self,
        structures: Sequence[Atoms],
        properties: Sequence[str] = ("energy", "forces"),
        *,
        batch_size: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[dict[str, Any]]:
        """Compute properties of many structures in batches.

        Parameters
        ----------
        structures : sequence of Atoms
            Any mixture of molecules; not changed, and neither are ``results`` and ``extras``.
        properties : sequence of str
            Names of ``implemented_properties``.
        batch_size : int, optional
            Structures at a time; that of the constructor by default. A batch that does not fit the memory of a CUDA
            device is halved.
        progress : callable, optional
            Called with the number of structures done since the last call.

        Returns
        -------
        list of dict
            For each structure the properties in ASE's units: floats and float64 arrays.

        Raises
        ------
        InputError
            If a structure is refused; the message gives its index, and nothing has been computed.
        PropertyNotImplementedError
            If a property is not among ``implemented_properties``.
        OutOfDomainError
            If a structure is unlike anything the model was trained on; the message gives its index. With
            ``outside="warn"`` that is a warning.
        """
        names = property_names(properties)
        checked, systems = self._checked_properties(names), self._checked_structures(structures, batch_size)
        outcomes = self._evaluate(systems, checked, batch_size, progress, keep=lambda name: False)
        return [{name: outcome.values[name] for name in names} for outcome in outcomes]

    def predict_outcomes(
        self,
        structures: Sequence[Atoms],
        properties: Sequence[str] = ("energy", "forces"),
        *,
        batch_size: int | None = None,
        progress: Callable[[int], None] | None = None,
        outside: str | None = None,
        extras: Sequence[str] | None = None,
        collect: Callable[[Outcome], None] | None = None,
    ) -> list[Outcome]:
        """Compute as `predict` does, and keep what ``calc.extras`` would hold, a committee's spreads for example.

        Parameters
        ----------
        structures, properties, batch_size, progress
            As in `predict`, and so are the errors.
        outside : str, optional
            In place of the calculator's option.
        extras : sequence of str, optional
            Names of what is kept; by default all but matrices, which fill the memory of any machine.
        collect : callable, optional
            Called with each outcome, in order, as soon as its batch is done: what an interrupt or a structure that
            fails then leaves (``test_outcomes_are_collected_up_to_one_that_fails``).

        Returns
        -------
        list of Outcome
            For each structure ``values``, ASE's properties in ASE's units (more than asked for where they cost
            nothing), ``extras``, and ``verdict``: whether it is like the training data.

        Raises
        ------
        InputError
            If there are no extras of such a name; as `predict` otherwise.
        """
        checked, systems = self._checked_properties(properties), self._checked_structures(structures, batch_size)
        named = None if extras is None else frozenset(property_names(extras))
        keep = (lambda name: name not in MATRICES) if named is None else named.__contains__
        asked = (*checked, *filter(keep, sorted(self.deferred)))
        outcomes = self._evaluate(systems, asked, batch_size, progress, outside, keep=keep, collect=collect)
        available = outcomes[0].extras if outcomes else named or ()
        for name in (named or frozenset()).difference(available):
            raise InputError(f"{type(self).__name__} gave no extra {name!r}. {suggestion(name, EXTRAS)}")
        return outcomes

    def descriptors(self, atoms: Atoms) -> NDArray[np.float64]:
        """Describe every atom by the features that its model sees in its surroundings.

        Parameters
        ----------
        atoms : Atoms
            A structure of the model's elements, inside its domain or not.

        Returns
        -------
        ndarray, (N, F)
            Of a committee those of its members side by side. PhiSNet: the invariant features of the last layer, of
            which ``domain_distance`` is made; quantum deep fields: the surroundings of which it is made; amons: aSLATM,
            with the blocks of all elements.

        Raises
        ------
        InputError
            As `predict`.
        PropertyNotImplementedError
            If models of this kind have none.

        Notes
        -----
        Rotation, reflection and translation change nothing, permutations permute the rows
        (``test_descriptors_are_invariant``).
        """
        system = read_atoms(atoms, self.domain)
        return np.concatenate([self._describe(member, system) for member in self.members], axis=1)

    def _describe(self, member: Member, system: System) -> NDArray[np.float64]:
        """Return the features of a member, (N, F)."""
        raise PropertyNotImplementedError(f"{type(self).__name__} has no descriptors.")

    def predict_systems(self, systems: Sequence[System], properties: Sequence[str]) -> list[Outcome]:
        """Compute as `predict` does: the door of engines that have arrays and no ``Atoms``.

        Parameters
        ----------
        systems : sequence of System
            Checked (`ase_mlwave.calculators.checks.read_arrays`).
        properties : sequence of str
            As in `predict`, and so are the errors.

        Returns
        -------
        list of Outcome
            Values in ASE's units, no extras.
        """
        return self._evaluate(list(systems), self._checked_properties(properties), keep=lambda name: False)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Return what has changed since the last calculation, charge and spin included."""
        check_arrays(atoms)  # ASE would stumble over them when it compares
        if self.atoms is None or not _same_geometry(self.atoms, atoms):  # dynamics asks three times a step
            changes: list[str] = super().check_state(atoms, tol)  # type: ignore[no-untyped-call]
        else:
            changes = []
        if self.atoms is not None:
            pairs = zip(("charge", "spin"), charge_and_spin(self.atoms), charge_and_spin(atoms), strict=True)
            changes += [key for key, before, now in pairs if before != now]
        return changes

    def reset(self) -> None:
        """Forget the last calculation."""
        super().reset()  # type: ignore[no-untyped-call]
        self._extras = {}

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Return the options as JSON that rebuilds the calculator: ``type(calc)(**calc.todict())``."""
        defaults = self.default_parameters
        return {k: v for k, v in self.parameters.items() if not skip_default or k == "model" or v != defaults[k]}

    def get_spin_polarized(self) -> bool:
        """Return False: the models are closed-shell."""
        return False

    def __deepcopy__(self, memo: dict[int, Any]) -> MlwaveCalculator:
        """Copy options and results; the models are shared, whatever has become of their folders since."""
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        shared = {"members": self.members, "domain": self.domain}
        own = {key: value for key, value in vars(self).items() if key not in shared}
        vars(twin).update(copy.deepcopy(own, memo), **shared)
        return twin

    def __copy__(self) -> MlwaveCalculator:
        """Copy as `copy.deepcopy` does: two calculators never share results."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        """Carry the models along, so that they need not be where they were loaded from."""
        return vars(self) | {"members": [member.packed() for member in self.members]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the models again, on a device that is there."""
        vars(self).update(state)
        device, dtype = pick_device(self.parameters["device"]), pick_dtype(self.parameters["dtype"])
        self.members = tuple(Member.unpacked(packed, device, dtype) for packed in state["members"])
        self.batches = Batches(device, self.pairs_on_cpu)

    # --- what is given ----------------------------------------------------------------------------------------------

    def _checked_properties(self, properties: Sequence[str]) -> tuple[str, ...]:
        """Return what to compute for the properties asked for, or raise PropertyNotImplementedError."""
        names = property_names(properties)
        for name in names:
            if name not in self.implemented_properties:
                way = "It is no property of ASE's: calc.extras and predict_outcomes(...) have it where the model does."
                hint = way if name in EXTRAS else suggestion(name, self.implemented_properties)
                raise PropertyNotImplementedError(f"{type(self).__name__} has no {name!r}. {hint}")
        return tuple(dict.fromkeys("energy" if name == "free_energy" else name for name in names))

    def _checked_structures(self, structures: Sequence[Atoms], batch_size: int | None) -> list[System]:
        """Check the arguments of `predict` and convert the structures to atomic units."""
        given: object = structures
        if isinstance(given, Atoms):
            raise InputError("predict needs a list of Atoms, got one Atoms object. Write predict([atoms]).")
        if not isinstance(given, Iterable):
            raise InputError(f"predict needs a list of Atoms, got {type(given).__name__}.")
        check_batch_size(batch_size)
        return read_each(lambda atoms: read_atoms(atoms, self.domain), structures)


def _same_geometry(before: Atoms, after: Atoms) -> bool:
    """Tell whether all that a calculation takes from ASE's arrays is the same bit by bit; far faster than ASE's way."""
    return all(
        np.array_equal(*pair)
        for pair in (
            (before.positions, after.positions),
            (before.numbers, after.numbers),
            (before.pbc, after.pbc),
            (before.cell.array, after.cell.array),
        )
    )
