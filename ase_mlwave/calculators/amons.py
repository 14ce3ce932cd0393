"""`AmonsCalculator`: energies, forces and stress of a query from a kernel regression on its amons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import InputError, PropertyNotImplementedError
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from ase_mlwave.calculators.base import Member, Outcome
from ase_mlwave.calculators.checks import check_choice, read_atoms
from ase_mlwave.calculators.corrections import CorrectingCalculator
from ase_mlwave.calculators.domain import exceeded
from ase_mlwave.calculators.members import model_names, pick_device
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.inference import Prediction, force_uncertainty, predict_batch
from ase_mlwave.models.amons.learning.settings import Labelling, StudySettings
from ase_mlwave.models.amons.model import AmonModel
from ase_mlwave.models.files import check_place
from ase_mlwave.options import sorted_options, takes
from ase_mlwave.systems.system import System

if TYPE_CHECKING:
    from ase_mlwave.models.amons.learning.active import ActiveLearning
    from ase_mlwave.models.amons.learning.study import AmonStudy, LearningPoint
    from ase_mlwave.reference.levels import LevelOfTheory

__all__ = ["AmonsCalculator"]

#: Values of the option ``uncertainty``: of nothing, of the energy, of energy and forces.
_UNCERTAINTIES = ("none", "energy", "forces")


class AmonsCalculator(CorrectingCalculator):
    """Predict energies, forces and stress from the amons of a query.

    Parameters
    ----------
    model : str, path, or sequence of them
        A name in the zoo, a folder, or several models: a committee.
    uncertainty : str
        ``"energy"`` for the energy's standard deviation, ``"forces"`` for those of all force components, too (3N
        passes through the representation), ``"none"`` for neither.
    device, dtype, batch_size, outside
        As in `MlwaveCalculator`; ``dtype`` can only be ``"float64"``, since the weights of a kernel regression are
        large and cancel.

    Raises
    ------
    TypeError, InputError
        As `MlwaveCalculator`; also for an unknown ``uncertainty``, and for ``dtype="float32"``.

    Notes
    -----
    A sum over atoms of E_Z (dressed or free atoms) and of a Gaussian process on the atom's aSLATM environment; forces
    and stress are its derivatives. Molecules, and cells of one to three periods; the stress is that of cells with three
    vectors, ``energies`` are the terms of the sum.
    A model that corrects a base level, such as GFN2-xTB, is that sum plus the base's energy and forces, which are
    computed with every prediction; it serves molecules, and has no ``energies`` and no ``stress``.
    ``calc.extras`` holds after each calculation ``"novelty"`` ((N,), distance of each environment from the training
    environments, in units of the largest distance between those), ``"badly_covered"`` (the least known atoms, worst
    first), ``"missing_amon"`` (past the threshold of a warning the SMILES of the smallest amon around those atoms that
    the model has not learned; else None), ``"energy_uncertainty"`` (eV), with ``uncertainty="forces"`` also
    ``"forces_uncertainty"`` ((N, 3), eV/Angstrom), and ``"amons"``, the SMILES of the training molecules.
    Source: Huang and von Lilienfeld, Nat. Chem. 12, 945 (2020).
    """

    name: ClassVar[str] = "amons"
    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]
    default_parameters = {"uncertainty": "energy"}
    serves_cells: ClassVar[bool] = True
    pairs_on_cpu: ClassVar[int] = 4096

    @classmethod
    @takes(StudySettings, Labelling)
    def for_query(cls, query: Any, **options: Any) -> AmonsCalculator:
        """Learn a query: find its amons, label those that the database lacks, fit, and save the model.

        Parameters
        ----------
        query : Atoms, str, Path, rdkit.Chem.Mol or Record, or a list of them
            A structure, a SMILES, or a file; several for one model of all of them.
        {options}
        **options
            Those of the constructor.

        Returns
        -------
        AmonsCalculator
            Ready for the query; ``calc.extras["amons"]`` lists what it was learned from.

        Raises
        ------
        TypeError
            If a keyword is unknown; the message names the nearest known one.
        InputError, CalculationFailed
            See `ase_mlwave.models.amons.learning.query.study_queries`.
        """
        from ase_mlwave.models.amons.learning.active import ActiveLearning  # needs RDKit, fitted models do not
        from ase_mlwave.models.amons.learning.query import study_queries

        call = f"{cls.__name__}.for_query"
        (settings, labelling), remaining = sorted_options(
            call, options, (StudySettings, Labelling), rest=cls.default_parameters
        )
        device = pick_device(remaining.get("device"))
        if settings.folder is not None:
            check_place(Path(settings.folder))
        with labelling.watched(settings.level.name) as observed:
            study = study_queries(query if isinstance(query, list | tuple) else [query], settings, observed)
        learning = ActiveLearning(study, settings)
        calc = cls(learning.save(device), **remaining)
        calc.learning = learning
        calc.extras["amons"] = list(dict.fromkeys(str(record.info["smiles"]) for record in study.records))
        return calc

    @cached_property
    def learning(self) -> ActiveLearning:
        """What is known of the model's origin; all of it where `for_query` made the calculator."""
        from ase_mlwave.models.amons.learning.active import ActiveLearning

        return ActiveLearning()

    @property
    def study(self) -> AmonStudy | None:
        """The query and its labelled amons, where `for_query` made the calculator."""
        return self.learning.study

    def learning_curve(self, atoms: Atoms | None = None) -> list[LearningPoint]:
        """Predict the query from its amons of growing size: the method's own test of convergence.

        Parameters
        ----------
        atoms : Atoms, optional
            The structure to predict; by default the query, if it has coordinates.

        Returns
        -------
        list of LearningPoint
            One for every size; sizes that lack an element of the structure are left out.

        Raises
        ------
        InputError
            If the calculator was not made by `for_query`, or there is no structure.
        """
        if self.study is None:
            raise InputError("only a calculator from AmonsCalculator.for_query knows its amons; make it that way.")
        geometry = self.study.query if atoms is None else read_atoms(atoms, self.domain)
        if geometry is None:
            raise InputError("there is no single query with coordinates. Write calc.learning_curve(atoms).")
        return self.study.learning_curve(geometry, pick_device(self.parameters["device"]))

    def extend(
        self,
        atoms: Atoms | None = None,
        *,
        n: int = 1,
        reference: str | LevelOfTheory | None = None,
        database: str | PathLike[str] | None = None,
        folder: str | PathLike[str] | None = None,
        executor: Executor | None = None,
    ) -> tuple[Record, ...]:
        """Label the amon that would help a structure, fit anew, and go on with that model.

        Parameters
        ----------
        atoms : Atoms, optional
            The structure; by default that of the last calculation, or the query.
        n : int
            Number of amons at most.
        reference, database : str or LevelOfTheory, str or path
            What labels, and where labels are kept. The first is needed where the model was loaded from its folder, the
            other, too, unless labels are those that all queries share.
        folder : str or path, optional
            Where the new model is saved; by default where `for_query` was told, else a new folder beside the database.
        executor : concurrent.futures.Executor, optional
            Where labels are computed; by default a thread of this process.

        Returns
        -------
        tuple of Record
            What was added, in atomic units, with ``info["smiles"]``: each amon prepared as those of the query are, with
            its coordinates in the structure, relaxed with MMFF94, or both. Where all amons around the badly covered
            atoms are known, pairs of amons that touch there, and then the largest amon as it is in the structure.
            Empty, and no new model, where nothing can be added.

        Raises
        ------
        InputError
            If there is no structure, or it is not known where labels come from, or the bonds are not certain.
        CalculationFailed
            If labels fail.

        Notes
        -----
        The energy jumps from one model to the next; the last calculation is forgotten. Labels are stored before the
        model is replaced, so an interruption leaves the old model in use and no label is lost
        (``test_interrupted_extension_leaves_the_old_model``).
        """
        if len(self.members) > 1:
            raise InputError("a committee cannot be extended; extend its members one by one.")
        network = self.members[0].network_as(AmonModel)
        learning = self.learning.of_model(network.config, reference, database, folder)
        system = self._target(atoms, learning.study)
        (prediction,) = predict_batch(network, [system])
        learning, added = learning.extended(system, prediction.worst_atoms, n=n, executor=executor)
        if added:
            model = model_names(learning.save(pick_device(self.parameters["device"])))
            self._load_anew({**self.parameters, "model": model})
            self.parameters["model"] = model
            self.learning = learning
            self.reset()
        return added

    def extend_if_uncertain(self, atoms: Atoms | None = None, **options: Any) -> tuple[Record, ...]:
        """Call `extend` if the last energy was less certain than the model's threshold.

        Parameters
        ----------
        atoms : Atoms, optional
            The structure; by default that of the last calculation.
        **options
            Those of `extend`.

        Returns
        -------
        tuple of Record
            What was added.

        Raises
        ------
        InputError
            As `extend`; also with ``uncertainty="none"``.

        Notes
        -----
        Attach it to dynamics for active learning: ``dynamics.attach(calc.extend_if_uncertain, interval=10)``. The total
        energy is conserved between extensions and jumps at each of them.
        """
        if self.parameters["uncertainty"] == "none":
            raise InputError("the uncertainty is not computed; make the calculator with uncertainty='energy'.")
        if atoms is not None:
            self.get_potential_energy(atoms)  # type: ignore[no-untyped-call]
        certain = self.atoms is None or not exceeded(self.extras, self.domain.thresholds)
        return () if certain else self.extend(atoms, **options)

    def _target(self, atoms: Atoms | None, study: AmonStudy | None) -> System:
        """Return the structure to extend for."""
        structure = self.atoms if atoms is None else atoms
        if structure is not None:
            return read_atoms(structure, self.domain)
        if study is None or study.query is None:
            raise InputError("there is no structure to extend for. Write calc.extend(atoms).")
        charge = 0 if study.molecule is None else sum(study.molecule.charges)
        return replace(study.query, charge=charge)

    def _advise(self, system: System, outcome: Outcome) -> tuple[Outcome, str]:
        """Name the badly covered atoms, and the amon that would help."""
        worst = max((outcome.extras, *outcome.extras.get("members", ())), key=_largest_novelty)["badly_covered"]
        if not worst:
            return outcome, ""
        learned = frozenset(smiles for member in self.members for smiles in member.network_as(AmonModel).config.amons)
        missing, text = self.learning.advise(system, worst, learned)
        return replace(outcome, extras={**outcome.extras, "missing_amon": missing}), text

    def _describe(self, member: Member, system: System) -> NDArray[np.float64]:
        network = member.network_as(AmonModel)
        batch = network.representation.collate([system], device=network.device)
        with torch.no_grad():
            rows = network.representation.environments_of(batch)
            full: NDArray[np.float64] = network.representation.expand(rows, batch.numbers).cpu().numpy()
        return full

    def _bytes_of(self, system: System, gradients: bool) -> float:
        """Estimate the memory of a structure in a batch: kernels are small, and slopes are summed up on the way."""
        return 3e4 * len(system) ** 2

    def _check_options(self, parameters: Mapping[str, Any]) -> None:
        check_choice("uncertainty", parameters["uncertainty"], _UNCERTAINTIES)
        if parameters["dtype"] == "float32":
            raise InputError(
                "amons are computed in float64 only: the weights of a kernel regression are large and cancel, so that "
                "float32 would cost accuracy. Leave dtype out."
            )

    def _compute(self, member: Member, systems: list[System], properties: tuple[str, ...]) -> list[Outcome]:
        if "stress" in properties:
            _refuse_stress_without_volume(systems)
        network, uncertainty = member.network_as(AmonModel), self.parameters["uncertainty"]
        predictions = predict_batch(
            network,
            systems,
            forces=bool({"forces", "stress"} & set(properties)),
            uncertainty=uncertainty != "none",
            neighbours=self.neighbours,
        )
        outcomes, amons = [], list(network.config.amons)
        contacts = self.contacts if len(systems) == 1 else None
        for system, result in zip(systems, predictions, strict=True):
            extras = _extras(result) | {"amons": amons}
            if uncertainty == "forces":
                extras["forces_uncertainty"] = force_uncertainty(network, system)
            outcomes.append(Outcome(_values(system, result.with_wall(system, contacts)), extras))
        return outcomes


def _refuse_stress_without_volume(systems: Sequence[System]) -> None:
    if any(system.n_periods < 3 for system in systems):
        raise PropertyNotImplementedError(
            "the stress is that of cells with three periods; set atoms.cell and atoms.pbc."
        )


def _values(system: System, result: Prediction) -> dict[str, Any]:
    """Collect what ASE knows, in atomic units."""
    values: dict[str, Any] = {"energy": result.energy, "energies": result.atomic_energies}
    if result.forces is not None:
        values["forces"] = result.forces
    if result.virial is not None and system.cell is not None and system.n_periods == 3:
        stress: NDArray[np.float64] = full_3x3_to_voigt_6_stress(result.virial / abs(np.linalg.det(system.cell)))
        values["stress"] = stress
    return values


def _extras(result: Prediction) -> dict[str, Any]:
    """Collect what ASE does not know."""
    extras: dict[str, Any] = {"novelty": result.novelty, "badly_covered": result.worst_atoms, "missing_amon": None}
    if result.uncertainty is not None:
        extras["energy_uncertainty"] = result.uncertainty
    return extras


def _largest_novelty(extras: Mapping[str, Any]) -> float:
    return float(np.max(extras["novelty"])) if "novelty" in extras else -1.0
