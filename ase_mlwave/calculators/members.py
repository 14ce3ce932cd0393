"""The models behind a calculator: which ones, where they run, and what they were made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from os import PathLike, fspath
from typing import TypeVar

import torch
from ase.calculators.calculator import InputError

from ase_mlwave.calculators.checks import check_choice
from ase_mlwave.models.config import ModelConfig
from ase_mlwave.models.domain.limits import SPREAD_LIMITS, SPREAD_THRESHOLDS, limits_of
from ase_mlwave.models.domain.scope import Domain
from ase_mlwave.models.folder import ModelFolder, existing_folder, list_models
from ase_mlwave.models.interface import Network
from ase_mlwave.text import clean

__all__ = ["Member", "ModelName", "common_domain", "model_names", "pick_device", "pick_dtype"]

T = TypeVar("T")
ModelName = str | PathLike[str]

_DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class Member:
    """Hold one loaded model of a calculator."""

    network: Network
    """What computes, on the calculator's device and in its precision."""
    config: ModelConfig
    """Its description."""

    def packed(self) -> ModelFolder:
        """Return the model as its folder would hold it, without the card: for a pickle."""
        weights = {name: tensor.detach().cpu() for name, tensor in self.network.state_dict().items()}
        return ModelFolder(self.config, weights, card="")

    def network_as(self, kind: type[T]) -> T:
        """Return the network, known to be of a class; raise ``TypeError`` if it is of another."""
        if not isinstance(self.network, kind):
            raise TypeError(f"the network is a {type(self.network).__name__}, no {kind.__name__}")
        return self.network

    @classmethod
    def unpacked(cls, folder: ModelFolder, device: torch.device, dtype: torch.dtype) -> Member:
        """Build a model from what `packed` gave."""
        return cls(folder.build(device, dtype), folder.config)

    @property
    def domain(self) -> Domain:
        """What the model was made for; folders of before format 2 get their limits from their thresholds."""
        config = self.config
        return Domain(
            frozenset(config.elements),
            frozenset(config.charges),
            frozenset(config.spins),
            config.thresholds,
            config.limits or limits_of({k: v for k, v in config.thresholds.items() if k == "domain_distance"}),
        )


def model_names(model: ModelName | Sequence[ModelName]) -> str | list[str]:
    """Write models as JSON can hold them: names of the zoo as they are, folders with their full path.

    Parameters
    ----------
    model : str, path, or sequence of them
        As a calculator's constructor takes it.

    Returns
    -------
    str or list of str
        A list for a committee.

    Raises
    ------
    InputError
        If it is neither, or the sequence is empty.
    """
    if isinstance(model, (str, PathLike)):
        name = fspath(model)
        folder = None if name in list_models() or not name else existing_folder(name)
        return name if folder is None else str(folder)
    if not isinstance(model, Sequence) or not model or not all(isinstance(one, (str, PathLike)) for one in model):
        raise InputError(f"model must be a name in the zoo, a folder, or a list of them, got {model!r}.")
    return [str(model_names(one)) for one in model]


def common_domain(members: Sequence[Member]) -> Domain:
    """Return what all members were made for; committees watch spreads.

    Raises
    ------
    InputError
        If that is nothing, or they are of different levels of theory, whose mean is of none.
    """
    levels = {member.config.level.lower().partition(" ")[0]: member.config.level for member in members}  # no settings
    if len(levels) > 1:
        named = " and ".join(map(repr, levels.values()))
        raise InputError(
            f"the models of the committee are of different levels of theory, {named}: their mean would be of none. "
            "Take models of one level."
        )
    domain = reduce(Domain.common, (member.domain for member in members))
    for quantity, common in (("element", domain.elements), ("charge", domain.charges), ("spin", domain.spins)):
        if not common:
            raise InputError(f"the models of the committee have no {quantity} in common.")
    if len(members) == 1:
        return domain
    thresholds, limits = {**SPREAD_THRESHOLDS, **domain.thresholds}, {**SPREAD_LIMITS, **domain.limits}
    return replace(domain, thresholds=thresholds, limits=limits)


def pick_device(device: str | None) -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    device : str or None
        None for CUDA where there is a device, else the CPU.

    Returns
    -------
    torch.device

    Raises
    ------
    InputError
        If the name is not a device's, or this machine does not have it, or it has no numbers of double precision.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"device is {device!r}, but must be 'cpu', 'cuda', 'cuda:1', ... or None.") from error
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device is {device!r}, but this machine has {torch.cuda.device_count()} CUDA devices that torch "
            f"{torch.__version__} can use. Take device='cpu', or None to choose what there is."
        )
    try:
        torch.empty(0, dtype=torch.float64, device=picked)  # which matrices are in, whatever the network's precision
    except Exception as error:  # what a back end raises that is not there, or has no float64, is its own affair
        raise InputError(
            f"device is {device!r}, on which torch {torch.__version__} cannot compute here: {clean(str(error))}. "
            "Take device='cpu', or None to choose what there is."
        ) from error
    return picked


def pick_dtype(dtype: str) -> torch.dtype:
    """Return torch's data type for ``"float64"`` or ``"float32"``, or raise ``InputError``."""
    check_choice("dtype", dtype, _DTYPES)
    return _DTYPES[dtype]
