"""`AmonsCalculator`: energies, forces and stress of a query from a kernel regression on its amons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError, PropertyNotImplementedError
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from ase_mlwave.amons.config import FitSettings
from ase_mlwave.amons.inference import Prediction, force_uncertainty, predict_batch
from ase_mlwave.amons.regression.environments import Geometry
from ase_mlwave.calculators.base import Member, MlwaveCalculator, Outcome
from ase_mlwave.calculators.checks import read_atoms
from ase_mlwave.calculators.members import model_names, pick_device
from ase_mlwave.calculators.outcome import exceeded
from ase_mlwave.data.record import Record
from ase_mlwave.data.stores import as_address
from ase_mlwave.errors import suggestion
from ase_mlwave.units import HARTREE, HARTREE_PER_BOHR

if TYPE_CHECKING:
    from ase_mlwave.calculators.amons_displaced import Displacements
    from ase_mlwave.calculators.amons_extension import Graphs, LabelSource
    from ase_mlwave.calculators.amons_study import AmonStudy, LearningPoint
    from ase_mlwave.reference.labelling import Progress
    from ase_mlwave.reference.levels import LevelOfTheory

__all__ = ["AmonsCalculator"]

#: Values of the option ``uncertainty``: of nothing, of the energy, of energy and forces.
_UNCERTAINTIES = ("none", "energy", "forces")
#: Atoms that are named as badly covered at most, and the share of the largest novelty that they have at least.
_NAMED, _SHARE = 5, 0.5


class AmonsCalculator(MlwaveCalculator):
    """Predict energies, forces and stress from the amons of a query.

    Parameters
    ----------
    model : str, path, or sequence of them
        A name in the zoo, a folder, or several models: a committee.
    uncertainty : str
        ``"energy"`` for the energy's standard deviation, ``"forces"`` for those of all force components, too (3N
        passes through the representation), ``"none"`` for neither.
    device, dtype, batch_size
        As in `MlwaveCalculator`; all is computed in float64, whatever ``dtype`` is.

    Raises
    ------
    TypeError, InputError
        As `MlwaveCalculator`; also for an unknown ``uncertainty``.

    Notes
    -----
    A sum over atoms of E_Z (dressed or free atoms) and of a Gaussian process on the atom's aSLATM environment; forces
    and stress are its derivatives. Molecules, and cells of one to three periods; the stress is that of cells with three
    vectors.
    ``calc.extras`` holds after each calculation ``"novelty"`` ((N,), distance of each environment from the training
    environments, in units of the largest distance between those), ``"badly_covered"`` (the least known atoms, worst
    first), ``"missing_amon"`` (past the threshold of a warning the SMILES of the smallest amon around those atoms that
    the model has not learned; else None), ``"energy_uncertainty"`` (eV), with ``uncertainty="forces"`` also
    ``"forces_uncertainty"`` ((N, 3), eV/Angstrom), and ``"amons"``, the SMILES of the training molecules.
    Source: Huang and von Lilienfeld, Nat. Chem. 12, 945 (2020).
    """

    name: ClassVar[str] = "amons"
    implemented_properties = ["energy", "free_energy", "forces", "stress"]
    default_parameters = {"uncertainty": "energy"}
    serves_cells: ClassVar[bool] = True

    study: AmonStudy | None = None
    """The query and its labelled amons, where `for_query` made the calculator."""
    source: LabelSource | None = None
    """Where `extend` gets labels, where `for_query` made the calculator."""

    @classmethod
    def for_query(
        cls,
        query: Any,
        *,
        reference: str | LevelOfTheory = "pbe/def2-svp",
        max_heavy: int = 5,
        max_contact_heavy: int | None = None,
        database: str | PathLike[str] = "amons.db",
        folder: str | PathLike[str] | None = None,
        settings: FitSettings | None = None,
        displaced: Displacements | int = 16,
        keep_geometry: bool | None = None,
        executor: Executor | None = None,
        n_workers: int = 1,
        progress: Callable[[Progress], None] | None = None,
        **options: Any,
    ) -> AmonsCalculator:
        """Learn a query: find its amons, label those that the database lacks, fit, and save the model.

        Parameters
        ----------
        query : Atoms, str, Path, rdkit.Chem.Mol or Record
            A structure, a SMILES, or a file.
        reference : str or LevelOfTheory
            Level of theory; one database holds one level.
        max_heavy, max_contact_heavy : int
            Heavy atoms of the largest amons: covalent ones, and pairs and triples that touch (None for none).
        database : str or path
            ASE database of labelled amons, shared by all queries: a ``.db`` file, or ``postgresql://...``; made if it
            does not exist.
        folder : str or path, optional
            Where the model is saved; by default a folder beside the database.
        settings : FitSettings, optional
            How the model is fitted.
        displaced : Displacements or int
            Displaced copies of every amon, at which forces are learned; 0 for energies alone, with 1/17 of the labels.
        keep_geometry : bool, optional
            Amons keep the query's coordinates, but for the hydrogens that cap cut bonds. By default those of molecules
            do where no displaced copies are made: energies are far better then, but such amons serve no other query.
            Those with displaced copies are relaxed with MMFF94 first, and shared.
        executor, n_workers, progress
            Where labels are computed, see `ase_mlwave.reference.labelling.label_geometries`; by default a progress bar
            where a person watches.
        **options
            Those of the constructor.

        Returns
        -------
        AmonsCalculator
            Ready for the query; ``calc.extras["amons"]`` lists what it was learned from.

        Raises
        ------
        InputError, CalculationFailed
            See `ase_mlwave.calculators.amons_study.study_query`.
        """
        from rich.console import Console

        from ase_mlwave.calculators.amons_extension import LabelSource  # needs RDKit, fitted models do not
        from ase_mlwave.calculators.amons_study import save_study, study_query
        from ase_mlwave.reference.bar import LabellingBar

        place, kept = as_address(database), None if folder is None else Path(folder)
        with ExitStack() as stack:
            if progress is None:
                name = reference if isinstance(reference, str) else reference.name
                progress = stack.enter_context(LabellingBar(Console(stderr=True), name))
            study = study_query(
                query,
                reference=reference,
                max_heavy=max_heavy,
                max_contact_heavy=max_contact_heavy,
                database=place,
                settings=settings,
                displaced=displaced,
                keep_geometry=keep_geometry,
                executor=executor,
                n_workers=n_workers,
                progress=progress,
            )
        device = pick_device(options.get("device"))
        calc = cls(save_study(study, kept, place, device), **options)
        calc.study, calc.source = study, LabelSource.of(reference, place, kept)
        calc.extras["amons"] = list(dict.fromkeys(str(record.info["smiles"]) for record in study.records))
        return calc

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
        geometry = self.study.query if atoms is None else _geometry(read_atoms(atoms, self.domain))
        if geometry is None:
            raise InputError("the query was given without coordinates. Write calc.learning_curve(atoms).")
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
            What labels, and where labels are kept. Needed, both, where the model was loaded from its folder.
        folder : str or path, optional
            Where the new model is saved; by default where `for_query` was told, else a new folder beside the database.
        executor : concurrent.futures.Executor, optional
            Where labels are computed; by default a thread of this process.

        Returns
        -------
        tuple of Record
            What was added, in atomic units, with ``info["smiles"]``: each amon as it is in the structure, and of
            molecules also relaxed with MMFF94. Where all amons around the badly covered atoms are known, the largest of
            them as it is in the structure. Empty, and no new model, where nothing can be added.

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
        from ase_mlwave.calculators import amons_extension as extension
        from ase_mlwave.calculators.amons_study import save_study

        if len(self.members) > 1:
            raise InputError("a committee cannot be extended; extend its members one by one.")
        network = self.members[0].network
        source = extension.LabelSource.of(reference, database, folder, instead=self.source)
        study = self.study or extension.remembered_study(network.config, source)
        system = self._given(atoms, study)
        (found,) = predict_batch(network, [_geometry(system)])
        finder = self._graphs().finder(system, study.query)
        study, added = extension.extend_study(study, finder, _worst(found), source, n=n, executor=executor)
        if added:
            device = pick_device(self.parameters["device"])
            model = model_names(save_study(study, source.folder, source.database, device))
            self._load_anew({**self.parameters, "model": model})
            self.parameters["model"] = model
            self.study, self.source = study, source
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

    def _given(self, atoms: Atoms | None, study: AmonStudy) -> Record:
        """Return the structure to extend for."""
        chosen = self.atoms if atoms is None else atoms
        if chosen is not None:
            return read_atoms(chosen, self.domain)
        if study.query is None:
            raise InputError("there is no structure to extend for. Write calc.extend(atoms).")
        return _record(study.query)

    def _advise(self, system: Record, outcome: Outcome) -> tuple[Outcome, str]:
        """Name the badly covered atoms, and the amon that would help."""
        from ase_mlwave.calculators.amons_extension import advise, structure_key

        worst = max((outcome.extras, *outcome.extras.get("members", ())), key=_largest_novelty)["badly_covered"]
        if not worst:
            return outcome, ""
        said = vars(self).setdefault("_said", {})
        key = (worst[0], structure_key(system), *(member.config.weights_sha256 for member in self.members))
        if key not in said:  # perception takes longer than a step of dynamics, and the text shall stay the same
            known = {smiles for member in self.members for smiles in member.network.config.amons}
            like = None if self.study is None else self.study.query
            finder = partial(self._graphs().finder, system, like)
            said[key] = advise(finder, system.numbers.tolist(), worst, known)
        missing, text = said[key]
        return replace(outcome, extras={**outcome.extras, "missing_amon": missing}), text

    def _graphs(self) -> Graphs:
        """Return what remembers the bonds of structures."""
        from ase_mlwave.calculators.amons_extension import Graphs

        graphs: Graphs = vars(self).setdefault("_bonds", Graphs())
        return graphs

    def _check_options(self, parameters: Mapping[str, Any]) -> None:
        given = parameters["uncertainty"]
        if given not in _UNCERTAINTIES:
            raise InputError(f"uncertainty is {given!r}. {suggestion(str(given), _UNCERTAINTIES)}")

    def _compute(self, member: Member, systems: list[Record], properties: tuple[str, ...]) -> list[Outcome]:
        geometries = [_geometry(system) for system in systems]
        if "stress" in properties:
            _refuse_stress_without_volume(geometries)
        wanted = self.parameters["uncertainty"]
        found = predict_batch(
            member.network,
            geometries,
            forces=bool({"forces", "stress"} & set(properties)),
            uncertainty=wanted != "none",
        )
        outcomes = []
        for geometry, result in zip(geometries, found, strict=True):
            extras = _extras(result) | {"amons": list(member.network.config.amons)}
            if wanted == "forces":
                extras["forces_uncertainty"] = force_uncertainty(member.network, geometry) * HARTREE_PER_BOHR
            outcomes.append(Outcome(_values(geometry, result), extras))
        return outcomes


def _geometry(system: Record) -> Geometry:
    cell = system.info.get("cell")
    return Geometry(system.numbers, system.positions, cell=cell, pbc=system.info.get("pbc"))


def _refuse_stress_without_volume(geometries: Sequence[Geometry]) -> None:
    if not all(_has_volume(geometry) for geometry in geometries):
        raise PropertyNotImplementedError(
            "the stress is that of cells with three periods; set atoms.cell and atoms.pbc."
        )


def _has_volume(geometry: Geometry) -> bool:
    return geometry.cell is not None and geometry.pbc is not None and bool(np.all(geometry.pbc))


def _values(geometry: Geometry, result: Prediction) -> dict[str, Any]:
    """Collect what ASE knows, in atomic units."""
    values: dict[str, Any] = {"energy": result.energy}
    if result.forces is not None:
        values["forces"] = result.forces
    if result.virial is not None and geometry.cell is not None and _has_volume(geometry):
        volume = abs(float(np.linalg.det(geometry.cell)))
        stress: NDArray[np.float64] = full_3x3_to_voigt_6_stress(result.virial / volume)
        values["stress"] = stress
    return values


def _extras(result: Prediction) -> dict[str, Any]:
    """Collect what ASE does not know."""
    extras: dict[str, Any] = {"novelty": result.novelty, "badly_covered": _worst(result), "missing_amon": None}
    if result.uncertainty is not None:
        extras["energy_uncertainty"] = result.uncertainty * HARTREE
    return extras


def _worst(result: Prediction) -> list[int]:
    """Return the badly covered atoms, the worst first."""
    order = np.argsort(-result.novelty, kind="stable")[:_NAMED]
    return [int(i) for i in order if result.novelty[i] > 0 and result.novelty[i] >= _SHARE * result.novelty[order[0]]]


def _largest_novelty(extras: Mapping[str, Any]) -> float:
    return float(np.max(extras["novelty"])) if "novelty" in extras else -1.0


def _record(geometry: Geometry) -> Record:
    periodic = geometry.cell is not None and geometry.pbc is not None
    info = {"cell": geometry.cell, "pbc": geometry.pbc} if periodic else {}
    return Record(geometry.numbers, geometry.positions, info=info)
