"""The measured errors in a model's card and configuration, written by the command that measures them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from typing import Any

from ase_mlwave.models.folder import ModelFolder, locate

__all__ = ["ERRORS_BEGIN", "ERRORS_END", "record_errors"]

#: Between these lines of a card stands the table of errors.
ERRORS_BEGIN = "<!-- errors: written by `mlwave evaluate --write-card` -->"
ERRORS_END = "<!-- end of errors -->"


def record_errors(
    model: str | PathLike[str],
    figures: Mapping[str, float],
    remark: str,
    *,
    appendix: str = "",
    defaults: Mapping[str, Any] | None = None,
    thresholds: Mapping[str, float] | None = None,
    limits: Mapping[str, float] | None = None,
) -> None:
    """Write figures into ``config.json`` and into the table of the model card.

    Parameters
    ----------
    model : str or path
        A name in the zoo, or a folder.
    figures : mapping of str to float
        Names end in their unit.
    remark : str
        What was measured on what, by which command; one line above the table.
    appendix : str
        Markdown below the table: what was left out, errors by size, a picture in the folder.
    defaults : mapping, optional
        Options of the calculator -> values that the figures support; others stay.
    thresholds, limits : mapping of str to float, optional
        Entry of ``calc.extras`` -> value past which there is a warning, and an error; others stay.

    Notes
    -----
    A card without the two lines between which the table stands gets them at its end.
    """
    folder = ModelFolder.load(model)
    card = folder.card
    before, begin, remainder = card.partition(ERRORS_BEGIN)
    _, end, after = remainder.partition(ERRORS_END)
    if not begin or not end:
        before, after = f"{card.rstrip()}\n\n## Errors\n\n", "\n"
    rows = [f"| {name} | {value:.4g} |" for name, value in figures.items()]
    lines = [ERRORS_BEGIN, "", remark, "", "| figure | value |", "|---|---|", *rows, ""]
    if appendix:
        lines += [appendix.strip(), ""]
    errors = {name: float(f"{value:.6g}") for name, value in figures.items()}
    stated = {**folder.config.defaults, **(defaults or {})}
    past = {
        "thresholds": folder.config.thresholds | dict(thresholds or {}),
        "limits": folder.config.limits | dict(limits or {}),
    }
    config = folder.config.model_copy(update={"errors": errors, "defaults": stated, **past})
    replace(folder, config=config, card=before + "\n".join([*lines, ERRORS_END]) + after).save(locate(model))
