"""One model whose potential is the mean of those of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from ase.calculators.calculator import InputError
from torch import Tensor

from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.kinds import KINDS
from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.training.checks import first_card

__all__ = ["join_models"]

#: Settings in which joined models may differ: those of energies, which are the first one's.
_FREE = {"members", "energy_from", "energy_cutoff", "atomic_energies"}
#: Weights of a network that each member has of its own.
_OWN = ("embedding.", "radial.", "before.", "interactions.", "after.", "outputs.", "potential.")


def join_models(models: Sequence[str | PathLike[str]], folder: str | PathLike[str]) -> Path:
    """Make one model whose learned potential is the mean of those of several.

    Parameters
    ----------
    models : sequence of str or path
        Two to sixteen models with a learned potential (``model.auxiliary``) and the same settings, trained with other
        seeds. Energies of atoms, measures of the domain and what else a model says are those of the first.
    folder : str or path
        Folder to write.

    Returns
    -------
    Path
        ``folder``. Its errors are to be measured anew: ``mlwave evaluate --write-card``.

    Raises
    ------
    InputError
        If there is one model only, one without a learned potential, or one with other settings; or if ``folder`` holds
        a model already, as it does where the output was forgotten.
    """
    if (Path(folder) / "config.json").exists():
        raise InputError(f"{folder} holds a model already, which would be lost. Name another folder for the result.")
    if len(models) < 2:
        raise InputError(f"{len(models)} model was given; two or more can be joined")
    folders = [ModelFolder.load(model) for model in models]
    settings = [_settings(one, model) for one, model in zip(folders, models, strict=True)]
    first, *others = settings
    for model, other in zip(models[1:], others, strict=True):
        theirs, ours = other.model_dump(exclude=_FREE), first.model_dump(exclude=_FREE)
        different = [f"{key}={theirs[key]} (not {ours[key]})" for key in ours if theirs[key] != ours[key]]
        if different:
            raise InputError(f"{model} has other settings than {models[0]}: {', '.join(different)}")
    members = [part for one in folders for part in _members(one.weights)]
    weights = {name: weight for name, weight in folders[0].weights.items() if not name.startswith("others.")}
    weights |= {f"others.{i}.{name}": weight for i, part in enumerate(members[1:]) for name, weight in part.items()}
    names = ", ".join(
        f"`{Path(model).name}` ({one.config.training_data.source})" for model, one in zip(models, folders, strict=True)
    )
    joined = first.model_copy(update={"members": len(members)})
    config = folders[0].config.model_copy(update={"settings": joined.model_dump(mode="json"), "errors": {}})
    remark = f" Its potential is the mean of those of {names}; all else is that of the first."
    title = f"A PhiSNet for {', '.join(first.elements)} at {first.level}"
    card = first_card(title, f"Joined by `mlwave join` from {len(models)} models", remark, KINDS["phisnet"].citation)
    result = replace(folders[0], config=config, weights=weights, card=card)
    result.check()
    return result.save(folder)


def _settings(folder: ModelFolder, model: str | PathLike[str]) -> PhiSNetConfig:
    """Read the settings of a model that can be joined."""
    if folder.config.kind != "phisnet" or folder.config.settings.get("auxiliary") is None:
        raise InputError(f"{model} has no learned potential (model.auxiliary), so there is nothing to take a mean of")
    return PhiSNetConfig(**folder.config.settings)


def _members(weights: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Divide the weights of a model among its members."""
    members = [{name: weight for name, weight in weights.items() if name.startswith(_OWN)}]
    n = 1 + max((int(name.split(".")[1]) for name in weights if name.startswith("others.")), default=-1)
    for i in range(n):
        start = f"others.{i}."
        members.append({name.removeprefix(start): weight for name, weight in weights.items() if name.startswith(start)})
    return members
