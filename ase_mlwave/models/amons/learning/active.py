"""Active learning: what a model was learned from, what it lacks for a structure, and how it learns that."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from ase.calculators.calculator import InputError

from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.config import AmonConfig
from ase_mlwave.models.amons.learning.advice import Graphs, advise, structure_key
from ase_mlwave.models.amons.learning.extension import extend_study, remembered_study
from ase_mlwave.models.amons.learning.labels import Labeller
from ase_mlwave.models.amons.learning.settings import Labelling, StudySettings
from ase_mlwave.models.amons.learning.study import AmonStudy
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.systems.system import System

__all__ = ["ActiveLearning"]


@dataclass(frozen=True)
class ActiveLearning:
    """Hold what is known of a model's origin.

    Parameters
    ----------
    study : AmonStudy, optional
        The query and its labelled amons, where they are known.
    settings : StudySettings, optional
        Where labels come from and go to, where that is known.
    graphs : Graphs
        Remembers the bonds of structures.
    advice : dict
        What was said of structures: finding fragments takes longer than a step of dynamics, and the text of a warning
        shall stay the same.
    """

    study: AmonStudy | None = None
    settings: StudySettings | None = None
    graphs: Graphs = field(default_factory=Graphs)
    advice: dict[Any, tuple[str | None, str]] = field(default_factory=dict)

    def advise(self, system: System, worst: Sequence[int], known: frozenset[str]) -> tuple[str | None, str]:
        """Find the amon that would help, and say so.

        Parameters
        ----------
        system : System
            The structure.
        worst : sequence of int
            Its badly covered atoms, the worst first.
        known : frozenset of str
            SMILES of the training amons.

        Returns
        -------
        smiles : str or None
            None where all amons around those atoms are known, or none can be named.
        text : str
            For a warning, with a space before it.
        """
        key = (worst[0], structure_key(system), known)
        if key not in self.advice:
            finder = partial(self.graphs.finder, system, self.study.molecule if self.study else None)
            largest = max(int(r.info["n_heavy"]) for r in self.study.records) if self.study else None
            self.advice[key] = advise(finder, system.numbers.tolist(), worst, known, largest)
        return self.advice[key]

    def of_model(
        self,
        config: AmonConfig,
        reference: str | LevelOfTheory | None,
        database: str | PathLike[str] | None,
        folder: str | PathLike[str] | None,
    ) -> ActiveLearning:
        """Complete what is known by what the user gave, and by what the database has of the model's amons.

        Raises
        ------
        InputError
            If that does not say where labels come from, or the database is not the model's.
        """
        words = {"reference": reference, "database": database, "folder": folder}
        given = {name: value for name, value in words.items() if value is not None}
        if self.settings is None and "reference" not in given:
            raise InputError(
                "it is not known where this model's labels come from: it was loaded from a folder. Give reference= "
                "(the level of theory, such as 'pbe/def2-svp') and, unless all your queries share it, database= (the "
                "file with its labelled amons)."
            )
        settings = (self.settings or StudySettings(base=config.base)).model_copy(update=given)
        return replace(self, study=self.study or remembered_study(config, settings), settings=settings)

    def extended(
        self, system: System, worst: Sequence[int], *, n: int, executor: Executor | None
    ) -> tuple[ActiveLearning, tuple[Record, ...]]:
        """Label the amons that would help a structure; parameters as for `extend_study`, after `of_model`."""
        study, settings = self._origin()
        finder = self.graphs.finder(system, study.molecule)
        labelling, base = Labelling(executor=executor), settings.of_base
        with Labeller.working(settings, labelling) as labeller, ExitStack() as stack:
            of_base = None if base is None else stack.enter_context(Labeller.working(base, labelling))
            study, added = extend_study(study, finder, worst, labeller, of_base, n=n)
        return replace(self, study=study), added

    def save(self, device: torch.device | str) -> Path:
        """Fit and write a model folder, see `AmonStudy.save`."""
        study, settings = self._origin()
        return study.save(settings.folder, settings.beside, device)

    def _origin(self) -> tuple[AmonStudy, StudySettings]:
        if self.study is None or self.settings is None:
            raise InputError("it is not known what the model was learned from.")
        return self.study, self.settings
