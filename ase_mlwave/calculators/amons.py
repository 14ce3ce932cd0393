"""`AmonsCalculator`: energies, forces and stress of a query from a kernel regression on its amons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError, PropertyNotImplementedError
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from ase_mlwave.calculators.amons_active import ActiveCalculator, geometry_of, worst_atoms
from ase_mlwave.calculators.base import Member, Outcome
from ase_mlwave.calculators.checks import check_choice, read_atoms
from ase_mlwave.calculators.members import pick_device
from ase_mlwave.data.record import Record
from ase_mlwave.data.stores import as_address
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.inference import Prediction, force_uncertainty, predict_batch
from ase_mlwave.models.amons.model import AmonModel
from ase_mlwave.models.amons.regression.environments import Geometry
from ase_mlwave.models.domain.wall import repulsion
from ase_mlwave.units import HARTREE, HARTREE_PER_BOHR

if TYPE_CHECKING:
    from ase_mlwave.models.amons.learning.copies import Displacements
    from ase_mlwave.models.amons.learning.study import LearningPoint
    from ase_mlwave.reference.labelling import Progress
    from ase_mlwave.reference.levels import LevelOfTheory

__all__ = ["AmonsCalculator"]

#: Values of the option ``uncertainty``: of nothing, of the energy, of energy and forces.
_UNCERTAINTIES = ("none", "energy", "forces")


class AmonsCalculator(ActiveCalculator):
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

    @classmethod
    def for_query(
        cls,
        query: Any,
        *,
        reference: str | LevelOfTheory = "pbe/def2-svp",
        max_heavy: int | None = None,
        max_contact_heavy: int | None = None,
        database: str | PathLike[str] = "amons.db",
        folder: str | PathLike[str] | None = None,
        settings: FitSettings | None = None,
        displaced: Displacements | int = 32,
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
            Heavy atoms of the largest amons: covalent ones, by default 7, which hold a benzene ring and what is bonded
            to it, or up to 10 where aromatic rings are fused; and pairs and clusters that touch, by default 6 for
            several molecules and for cells, and 4 within one molecule. With 0 there are none of these, and a warning
            tells of contacts that are left out.
        database : str or path
            ASE database of labelled amons, shared by all queries: a ``.db`` file, or ``postgresql://...``; made if it
            does not exist.
        folder : str or path, optional
            Where the model is saved; by default a folder beside the database.
        settings : FitSettings, optional
            How the model is fitted.
        displaced : Displacements or int
            Displaced copies of every amon, at which forces are learned; 0 for energies alone, with a thirtieth of the
            labels.
        keep_geometry : bool, optional
            Amons keep the query's coordinates, but for the hydrogens that cap cut bonds: energies are far better then,
            but such amons serve no other query. Or they are relaxed with MMFF94, and shared. By default molecules have
            the former where no displaced copies are made, and else both, with copies of the relaxed ones.
        executor, n_workers, progress
            Where labels are computed, see `ase_mlwave.reference.labelling.label_geometries`; by default a progress bar
            where a person watches. Before labels are computed, a line on stderr says how many there are and about how
            long they take.
        **options
            Those of the constructor.

        Returns
        -------
        AmonsCalculator
            Ready for the query; ``calc.extras["amons"]`` lists what it was learned from.

        Raises
        ------
        InputError, CalculationFailed
            See `ase_mlwave.models.amons.learning.study.study_query`.
        """
        from ase_mlwave.console import Console
        from ase_mlwave.models.amons.learning.extension import LabelSource  # needs RDKit, fitted models do not
        from ase_mlwave.models.amons.learning.study import save_study, study_query
        from ase_mlwave.reference.bar import LabellingBar

        place, kept = as_address(database), None if folder is None else Path(folder)
        with ExitStack() as stack:
            console = Console(stderr=True, soft_wrap=True, highlight=False)
            if progress is None:
                name = reference if isinstance(reference, str) else reference.name
                progress = stack.enter_context(LabellingBar(console, name))
            announce = progress.say if isinstance(progress, LabellingBar) else console.print
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
                announce=announce,
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
        geometry = self.study.query if atoms is None else geometry_of(read_atoms(atoms, self.domain))
        if geometry is None:
            raise InputError("the query was given without coordinates. Write calc.learning_curve(atoms).")
        return self.study.learning_curve(geometry, pick_device(self.parameters["device"]))

    def _check_options(self, parameters: Mapping[str, Any]) -> None:
        check_choice("uncertainty", parameters["uncertainty"], _UNCERTAINTIES)
        if parameters["dtype"] == "float32":
            raise InputError(
                "amons are computed in float64 only: the weights of a kernel regression are large and cancel, so that "
                "float32 would cost accuracy. Leave dtype out."
            )

    def _compute(self, member: Member, systems: list[Record], properties: tuple[str, ...]) -> list[Outcome]:
        geometries = [geometry_of(system) for system in systems]
        if "stress" in properties:
            _refuse_stress_without_volume(geometries)
        network, wanted = member.network_as(AmonModel), self.parameters["uncertainty"]
        found = predict_batch(
            network,
            geometries,
            forces=bool({"forces", "stress"} & set(properties)),
            uncertainty=wanted != "none",
        )
        outcomes = []
        for geometry, result in zip(geometries, found, strict=True):
            extras = _extras(result) | {"amons": list(network.config.amons)}
            if wanted == "forces":
                extras["forces_uncertainty"] = force_uncertainty(network, geometry) * HARTREE_PER_BOHR
            outcomes.append(Outcome(_values(geometry, result), extras))
        return outcomes


def _refuse_stress_without_volume(geometries: Sequence[Geometry]) -> None:
    if not all(_has_volume(geometry) for geometry in geometries):
        raise PropertyNotImplementedError(
            "the stress is that of cells with three periods; set atoms.cell and atoms.pbc."
        )


def _has_volume(geometry: Geometry) -> bool:
    return geometry.cell is not None and geometry.pbc is not None and bool(np.all(geometry.pbc))


def _values(geometry: Geometry, result: Prediction) -> dict[str, Any]:
    """Collect what ASE knows, in atomic units; atoms nearer than bonds are pushed apart."""
    wall = repulsion(geometry.numbers, geometry.positions, geometry.cell, geometry.pbc)
    values: dict[str, Any] = {"energy": result.energy + wall.energy}
    if result.forces is not None:
        values["forces"] = result.forces + wall.forces
    if result.virial is not None and geometry.cell is not None and _has_volume(geometry):
        volume = abs(float(np.linalg.det(geometry.cell)))
        stress: NDArray[np.float64] = full_3x3_to_voigt_6_stress((result.virial + wall.virial) / volume)
        values["stress"] = stress
    return values


def _extras(result: Prediction) -> dict[str, Any]:
    """Collect what ASE does not know."""
    extras: dict[str, Any] = {"novelty": result.novelty, "badly_covered": worst_atoms(result), "missing_amon": None}
    if result.uncertainty is not None:
        extras["energy_uncertainty"] = result.uncertainty * HARTREE
    return extras
