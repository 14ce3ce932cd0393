"""From the threshold of a warning to the limit of an error."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["limits_of"]

#: The limit of a distance from the training data, in units of the threshold of a warning.
_FACTOR = 3.0


def limits_of(thresholds: Mapping[str, float]) -> dict[str, float]:
    """Give measures of distance the limits past which results are refused.

    Parameters
    ----------
    thresholds : mapping of str to float
        Entry of ``calc.extras`` -> value past which there is a warning.

    Returns
    -------
    dict of str to float
        Three times as much. Water, phisnet-water: up to the limit errors stay below 0.5 eV but at linear, stretched
        molecules; past it they soon reach tens of eV.
    """
    return {name: _FACTOR * threshold for name, threshold in thresholds.items()}
