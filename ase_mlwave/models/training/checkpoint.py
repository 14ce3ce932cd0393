"""Checkpoints, from which a run goes on as if it had never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from ase.calculators.calculator import InputError

__all__ = ["checkpoint_path", "read_checkpoint", "write_checkpoint"]

#: Number of the format that this version writes and reads.
_FORMAT = 2


def checkpoint_path(output: str | Path) -> Path:
    """Return the file of a run's checkpoint."""
    return Path(output) / "checkpoints" / "last.ckpt"


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the checkpoint in one step: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save({"format": _FORMAT, **state}, partial)
    partial.replace(path)


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint, None where there is none.

    Raises
    ------
    InputError
        If the file is damaged, or of another version of the package.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, OSError) as error:
        raise InputError(f"{path} is damaged: remove it, and the run starts anew") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise InputError(f"{path} was written by another version of ase-mlwave: remove it, and the run starts anew")
    return state
