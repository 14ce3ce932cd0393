"""A recipe, one YAML file from a molecule to a measured model: its settings, its steps, and what is done of them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import typer
import yaml
from ase.calculators.calculator import CalculationFailed, InputError
from pydantic import BaseModel, ConfigDict, Field

from ase_mlwave.errors import suggestion
from ase_mlwave.evaluation.settings import EvaluationSettings
from ase_mlwave.options import parse_settings
from ase_mlwave.reference.settings import LabellingSettings, SamplingSettings

__all__ = ["STEPS", "EvaluateSection", "LabelSection", "Recipe", "SampleSection", "State", "do_step"]

#: The steps, in order; each is a section of the recipe.
STEPS = ("sample", "label", "train", "evaluate")
#: Settings that change how long a step takes and not what it gives: they may change while a recipe is under way.
_FREE = {
    "threads",
    "workers",
    "device",
    "dask",
    "retry_failed",
    "accelerator",
    "devices",
    "cache",
    "checkpoint_minutes",
}


class SampleSection(SamplingSettings):
    """Options of ``mlwave sample``, and the molecule."""

    molecule: str
    """A file (.extxyz, .xyz, .npz, .db), a SMILES (CCO, smiles:CO) or a name (H2O, ase:CO)."""


class LabelSection(LabellingSettings):
    """Options of ``mlwave label``."""

    split: str = "train=0.8,valid=0.1,test=0.1"
    """How the labelled molecules are divided."""


class EvaluateSection(EvaluationSettings):
    """Options of ``mlwave evaluate``."""

    split: str = "test"
    """Records to use."""


class Recipe(BaseModel):
    """From a molecule to a measured model: sections are the verbs of ``mlwave``, their settings the verbs' options."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folder: str
    """Where everything goes: geometries.extxyz, labels.db, train/ with the model, errors.json."""
    sample: SampleSection
    """Geometries: options of ``mlwave sample``, and ``molecule``."""
    label: LabelSection = LabelSection()
    """Labels: options of ``mlwave label``."""
    train: dict[str, Any] = Field(default_factory=dict)
    """Settings of ``mlwave train`` for any kind of model, without ``data`` and ``output``; elements and level are those
    of the molecule and its labels where neither they nor ``start_from`` are given."""
    evaluate: EvaluateSection = EvaluateSection()
    """Errors and card: options of ``mlwave evaluate``."""

    @classmethod
    def read(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read a YAML file and ``key=value`` words, and check every section before any work.

        Raises
        ------
        InputError
            If the file or a setting is wrong; an unknown name comes with the nearest known one.
        """
        from ase_mlwave.data.splits import parse_fractions
        from ase_mlwave.models.training.yaml_settings import read_yaml
        from ase_mlwave.reference.levels import LevelOfTheory

        recipe = parse_settings(cls, read_yaml(path, overrides))
        for level in (recipe.sample.level, recipe.label.level):
            LevelOfTheory.parse(level).load()
        splits = parse_fractions(recipe.label.split)
        if recipe.evaluate.split not in splits:
            raise InputError(f"evaluate.split={recipe.evaluate.split!r} is not in label.split={recipe.label.split!r}.")
        with TemporaryDirectory() as folder:
            recipe.training(recipe.training_file(Path(folder) / "train.yaml"))
        return recipe

    def training_file(self, path: Path, **changes: Any) -> Path:
        """Write the settings of ``mlwave train``; ``changes`` win."""
        from ase.data import chemical_symbols

        from ase_mlwave.reference.levels import LevelOfTheory
        from ase_mlwave.reference.molecules import starting_geometries

        own = sorted({"data", "output"} & self.train.keys())
        if own:
            raise InputError(f"train.{own[0]} is the recipe's own: everything is in its folder. Leave it out.")
        settings = dict(self.train)
        if "start_from" not in settings:
            starts = starting_geometries(self.sample.molecule, self.sample.seed)
            elements = [chemical_symbols[z] for z in sorted({int(z) for one in starts for z in one.numbers})]
            level = LevelOfTheory.parse(self.label.level).name
            settings["model"] = {"elements": elements, "level": level, **(settings.get("model") or {})}
        files = {"data": str(self.path("label")), "output": str(self.path("train"))}
        path.write_text(yaml.safe_dump({**settings, **files, **changes}, sort_keys=False), encoding="utf-8")
        return path

    @staticmethod
    def training(path: Path) -> Any:
        """Parse the settings of ``mlwave train`` in a file as the kind of model does."""
        from ase_mlwave.models.kinds import find_kind
        from ase_mlwave.models.training.yaml_settings import read_yaml

        kind = find_kind(str(read_yaml(path).get("kind", "phisnet")), "train")
        return kind.load("training").TrainingSettings.read(path)

    def path(self, step: str) -> Path:
        """Where a step puts its result."""
        names = {"sample": "geometries.extxyz", "label": "labels.db", "train": "train", "evaluate": "errors.json"}
        return Path(self.folder) / names[step]

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.path("train") / "model"

    def settings(self, step: str) -> dict[str, Any]:
        """Give the settings that decide what a step gives; of a file of molecules its content, too."""
        section = getattr(self, step)
        values = section if isinstance(section, dict) else section.model_dump(mode="json")
        kept = {name: value for name, value in values.items() if name not in _FREE}
        source = Path(str(kept.get("molecule", "")))
        if step == "sample" and source.suffix and source.is_file():
            kept["molecule"] = f"{source} sha256:{_digest(source)}"
        return json.loads(json.dumps(kept))  # type: ignore[no-any-return]


@dataclass
class State:
    """What a recipe's folder says of its steps: the settings of those that have begun, the results of those done."""

    recipe: Recipe
    steps: dict[str, dict[str, Any]]

    @classmethod
    def known(cls, recipe: Recipe) -> Self:
        """Read ``recipe.json`` of the folder, where there is one."""
        state = cls(recipe, {})
        if state.path.is_file():
            state.steps = json.loads(state.path.read_text(encoding="utf-8"))
        return state

    @classmethod
    def read(cls, recipe: Recipe, command: str) -> Self:
        """Read the state, and compare it with the recipe and with what is there.

        Parameters
        ----------
        recipe : Recipe
            As it is now.
        command : str
            That runs it, for messages.

        Raises
        ------
        InputError
            If a step that has begun has other settings now, or its result is gone or is another one.
        """
        state = cls.known(recipe)
        if not state.steps and Path(recipe.folder).is_dir() and any(Path(recipe.folder).iterdir()):
            raise InputError(f"{recipe.folder} holds something else than this recipe's steps. Write folder=ANOTHER.")
        for step in STEPS:
            found = state.steps.get(step)
            if found is None:
                break
            redo = (
                f"or do {step} and what follows once more, `{command} --redo {step}`, which removes what they left in "
                f"{recipe.folder}; or begin in another folder, folder={recipe.folder}-2."
            )
            before, now = found["settings"], recipe.settings(step)
            changed = [
                f"{step}.{name} was {before.get(name)!r} and is {now.get(name)!r}"
                for name in sorted({*before, *now})
                if before.get(name) != now.get(name)
            ]
            if changed and recipe.path(step).exists():  # else it was refused, and there is nothing to keep
                raise InputError(f"the recipe has changed since this step: {'; '.join(changed)}. Put it back, {redo}")
            if "result" in found and found["result"] != state.result(step):
                raise InputError(f"{recipe.path(step)} is not what the step {step} left. Put it back, {redo}")
        return state

    @property
    def path(self) -> Path:
        """The file of the state."""
        return Path(self.recipe.folder) / "recipe.json"

    def is_done(self, step: str) -> bool:
        """Whether a step need not be done."""
        return "result" in self.steps.get(step, {})

    def begin(self, step: str) -> None:
        """Say that a step has begun."""
        Path(self.recipe.folder).mkdir(parents=True, exist_ok=True)
        self.steps[step] = {"settings": self.recipe.settings(step)}
        self._write()

    def finish(self, step: str) -> None:
        """Say that a step is done."""
        self.steps[step]["result"] = self.result(step)
        self._write()

    def forget(self, first: str) -> None:
        """Remove what a step and those after it have left.

        Raises
        ------
        InputError
            If there is no such step.
        """
        if first not in STEPS:
            raise InputError(f"there is no step {first!r}. {suggestion(first, STEPS)}")
        for step in STEPS[STEPS.index(first) :]:
            path = self.recipe.path(step)
            if step in self.steps and path.is_dir():
                shutil.rmtree(path)
            elif step in self.steps:
                path.unlink(missing_ok=True)
            self.steps.pop(step, None)
        if self.path.is_file():
            self._write()

    def result(self, step: str) -> str:
        """Say what a step has left: the hash of a file, the number of labels; empty where there is nothing."""
        path = self.recipe.model / "model.safetensors" if step == "train" else self.recipe.path(step)
        if not path.is_file():
            return ""
        if step == "label":
            from ase_mlwave.data.database import DatasetFile

            return f"{DatasetFile(path).counts()['labelled']} labels"
        return _digest(path)

    def _write(self) -> None:
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.steps, indent=1) + "\n", encoding="utf-8")
        part.replace(self.path)


def do_step(recipe: Recipe, step: str, *, progress: bool) -> None:
    """Do a step as its verb does, or go on with it."""
    from ase_mlwave.cli.evaluate import evaluate
    from ase_mlwave.cli.label import label
    from ase_mlwave.cli.sample import sample
    from ase_mlwave.models.training import start

    target = recipe.path(step)
    if step == "sample":
        target.unlink(missing_ok=True)  # half a file of a run that was killed
        options = recipe.sample.model_dump(exclude={"molecule"})
        sample(molecule=recipe.sample.molecule, output=target, **options)
    elif step == "label":
        try:
            label(geometries=str(recipe.path("sample")), output=str(target), **recipe.label.model_dump())
        except typer.Exit:
            _check_labels(target)
    elif step == "train":
        file = recipe.training_file(Path(recipe.folder) / "train.yaml")
        start.train(file, resume=True, progress=progress)
    else:
        options = recipe.evaluate.model_dump()
        evaluate(model=str(recipe.model), data=recipe.path("label"), write_card=True, output=target, **options)


def _check_labels(path: Path) -> None:
    """Go on without the molecules whose failure is final; stop where the machine is to blame, or nothing is there."""
    from ase_mlwave.data.database import DatasetFile

    counts = DatasetFile(path).counts()
    if counts["pending"] or not counts["labelled"]:
        raise CalculationFailed(f"{path} has {counts['labelled']} labels and lacks {counts['pending']}, see above.")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
