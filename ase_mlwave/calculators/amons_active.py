"""Active learning: a calculator that labels the amon it lacks for a structure, fits anew, and goes on."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError

from ase_mlwave.calculators.base import MlwaveCalculator, Outcome
from ase_mlwave.calculators.checks import read_atoms
from ase_mlwave.calculators.domain import exceeded
from ase_mlwave.calculators.members import model_names, pick_device
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.inference import Prediction, predict_batch
from ase_mlwave.models.amons.model import AmonModel
from ase_mlwave.models.amons.regression.environments import Geometry

if TYPE_CHECKING:
    from ase_mlwave.models.amons.learning.extension import Graphs, LabelSource
    from ase_mlwave.models.amons.learning.study import AmonStudy
    from ase_mlwave.reference.levels import LevelOfTheory

__all__ = ["ActiveCalculator", "geometry_of", "worst_atoms"]

#: Atoms that are named as badly covered at most, and the share of the largest novelty that they have at least.
_NAMED, _SHARE = 5, 0.5


class ActiveCalculator(MlwaveCalculator):
    """Learn the amons that are missing; `ase_mlwave.calculators.amons.AmonsCalculator` computes.

    Parameters
    ----------
    model, device, dtype, batch_size
        As in `MlwaveCalculator`.
    """

    study: AmonStudy | None = None
    """The query and its labelled amons, where `for_query` made the calculator."""
    source: LabelSource | None = None
    """Where `extend` gets labels, where `for_query` made the calculator."""

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
        from ase_mlwave.models.amons.learning import extension as extension
        from ase_mlwave.models.amons.learning.study import save_study

        if len(self.members) > 1:
            raise InputError("a committee cannot be extended; extend its members one by one.")
        network = self.members[0].network_as(AmonModel)
        source = extension.LabelSource.of(reference, database, folder, instead=self.source)
        study = self.study or extension.remembered_study(network.config, source)
        system = self._given(atoms, study)
        (found,) = predict_batch(network, [geometry_of(system)])
        finder = self._graphs().finder(system, study.molecule)
        study, added = extension.extend_study(study, finder, worst_atoms(found), source, n=n, executor=executor)
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
        charge = 0 if study.molecule is None else sum(study.molecule.charges)
        return replace(_record(study.query), charge=charge)

    def _advise(self, system: Record, outcome: Outcome) -> tuple[Outcome, str]:
        """Name the badly covered atoms, and the amon that would help."""
        from ase_mlwave.models.amons.learning.extension import advise, structure_key

        worst = max((outcome.extras, *outcome.extras.get("members", ())), key=_largest_novelty)["badly_covered"]
        if not worst:
            return outcome, ""
        said = vars(self).setdefault("_said", {})
        key = (worst[0], structure_key(system), *(member.config.weights_sha256 for member in self.members))
        if key not in said:  # perception takes longer than a step of dynamics, and the text shall stay the same
            known = {smiles for member in self.members for smiles in member.network_as(AmonModel).config.amons}
            like = None if self.study is None else self.study.molecule
            finder = partial(self._graphs().finder, system, like)
            largest = None if self.study is None else max(int(r.info["n_heavy"]) for r in self.study.records)
            said[key] = advise(finder, system.numbers.tolist(), worst, known, largest)
        missing, text = said[key]
        return replace(outcome, extras={**outcome.extras, "missing_amon": missing}), text

    def _graphs(self) -> Graphs:
        """Return what remembers the bonds of structures."""
        from ase_mlwave.models.amons.learning.extension import Graphs

        graphs: Graphs = vars(self).setdefault("_bonds", Graphs())
        return graphs


def geometry_of(system: Record) -> Geometry:
    """Return a structure as the regression takes it."""
    cell = system.info.get("cell")
    return Geometry(system.numbers, system.positions, cell=cell, pbc=system.info.get("pbc"))


def worst_atoms(result: Prediction) -> list[int]:
    """Return the badly covered atoms, the worst first."""
    order = np.argsort(-result.novelty, kind="stable")[:_NAMED]
    return [int(i) for i in order if result.novelty[i] > 0 and result.novelty[i] >= _SHARE * result.novelty[order[0]]]


def _largest_novelty(extras: Mapping[str, Any]) -> float:
    return float(np.max(extras["novelty"])) if "novelty" in extras else -1.0


def _record(geometry: Geometry) -> Record:
    periodic = geometry.cell is not None and geometry.pbc is not None
    info = {"cell": geometry.cell, "pbc": geometry.pbc} if periodic else {}
    return Record(geometry.numbers, geometry.positions, info=info)
