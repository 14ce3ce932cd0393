"""From the threshold of a warning to the limit of an error."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "SPREAD_LIMITS",
    "SPREAD_THRESHOLDS",
    "SURROUNDINGS_LIMIT",
    "SURROUNDINGS_THRESHOLD",
    "UNCERTAINTY_LIMIT",
    "UNCERTAINTY_THRESHOLD",
    "limits_of",
]

#: Distances of surroundings (`ase_mlwave.models.domain.distance`) past which there are a warning and an error. Of
#: molecules with held-out sum formulas a twentieth warns; bonds and contacts that no training molecule has are refused.
SURROUNDINGS_THRESHOLD, SURROUNDINGS_LIMIT = 1.2, 1.8

#: Standard deviations of a quantum deep field's energy, eV, past which there are a warning and an error: all validation
#: molecules of qdf-chno with errors of 0.5 eV are past the first; the second is the energy of a bond.
UNCERTAINTY_THRESHOLD, UNCERTAINTY_LIMIT = 0.3, 3.0

#: Spreads of a committee, eV/Angstrom (of any atom) and eV, past which nobody should use its mean without a look, and
#: past which nobody should at all; a model's own figures go before these.
SPREAD_THRESHOLDS: Mapping[str, float] = {"forces_spread": 0.6, "energy_spread": 0.5}
SPREAD_LIMITS: Mapping[str, float] = {"forces_spread": 3.0, "energy_spread": 3.0}

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
