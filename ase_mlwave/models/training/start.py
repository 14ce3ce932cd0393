"""The training of any kind of model from settings as users write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ase_mlwave.models.kinds import find_kind
from ase_mlwave.models.training.yaml_settings import read_yaml

__all__ = ["train"]


def train(settings: str | Path, overrides: Sequence[str] = (), *, resume: bool = False, progress: bool = True) -> Path:
    """Train a model from a file of settings: ``mlwave train`` in one Python call.

    Parameters
    ----------
    settings : str or Path
        YAML file; its ``kind`` says which model, ``"phisnet"`` where it has none.
    overrides : sequence of str
        Settings as ``key=value``, such as ``"steps=1000"``.
    resume : bool
        Go on from the last checkpoint of this run.
    progress : bool
        Show how far it is.

    Returns
    -------
    Path
        The model folder, ``output/model``.

    Raises
    ------
    InputError
        If a setting or the data are at fault, or ``output`` holds another run and ``resume`` is not set.
    KeyboardInterrupt
        If the run was interrupted: there is a checkpoint, and ``resume`` goes on from it.
    CalculationFailed
        If the loss is not a number.

    Notes
    -----
    A run that was interrupted and resumed gives the weights of one that was not, on the CPU to the last bit
    (``test_resumed_run_equals_uninterrupted``).
    """
    kind = find_kind(str(read_yaml(settings, overrides).get("kind", "phisnet")), str(settings))
    training = kind.load("training")
    chosen = training.TrainingSettings.read(settings, overrides)
    folder: Path = training.train(chosen, resume=resume, progress=progress)
    return folder
