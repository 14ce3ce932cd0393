"""Copies at two levels of theory: a cheap one labels all, the reference a few, and the difference is learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ase.data import chemical_symbols

from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fitting import fit_amons
from ase_mlwave.models.amons.inference import predict_batch
from ase_mlwave.models.amons.learning.forecast import announce_labels
from ase_mlwave.models.amons.learning.labels import Labeller
from ase_mlwave.models.amons.learning.settings import Displacements
from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.reference.differences import differences

__all__ = ["corrected", "two_level_copies"]

#: A difference of levels is smoother than an energy: what widths are multiplied by.
_SMOOTHER = 2.0
#: Molecules that are predicted at a time.
_TOGETHER = 32


def two_level_copies(
    shared: Sequence[Record],
    own: Sequence[Record],
    cheap: Labeller,
    reference: Labeller,
    displaced: Displacements,
    settings: FitSettings,
    announce: Callable[[str], None] | None = None,
) -> tuple[tuple[Record, ...], int]:
    """Draw copies of amons and label them at a cheap level, corrected by what the reference says of the first of each.

    Parameters
    ----------
    shared : sequence of Record
        Amons that copies are drawn of.
    own : sequence of Record
        Amons that the reference labels as they are.
    cheap, reference : Labeller
        Of the two levels.
    displaced : Displacements
        Which copies.
    settings : FitSettings
        How the difference is fitted.
    announce : callable, optional
        Called with a line that says how many labels of the reference there are to come.

    Returns
    -------
    records : tuple of Record
        Those of the reference, then all other copies with corrected labels.
    n_new : int
        How many the reference had to label.
    """
    conformers, _ = cheap.amons(shared)
    copies, _ = cheap.copies(conformers, displaced)
    first = [copy.unlabelled() for copy in copies if copy.info["copy"] == 0]  # labels of the cheap level stay there
    n_timed = 0 if announce is None else announce_labels([*own, *first], (), reference, None, announce)
    labelled, n_new = reference.exactly([*reference.amons(own)[0], *first])
    approximate, _ = cheap.exactly(labelled)
    done = {record.geometry_hash() for record in labelled}
    others = [copy for copy in copies if copy.geometry_hash() not in done]
    return (*labelled, *corrected(others, labelled, approximate, settings)), n_new + n_timed


def corrected(
    copies: Sequence[Record], labelled: Sequence[Record], approximate: Sequence[Record], settings: FitSettings
) -> list[Record]:
    """Add what a model makes of the difference from the reference to labels of a cheap level.

    Parameters
    ----------
    copies : sequence of Record
        With labels of the cheap level.
    labelled, approximate : sequence of Record
        The same geometries, in any order, with labels of the reference and of the cheap level.
    settings : FitSettings
        How the difference is fitted.

    Returns
    -------
    list of Record
        The copies, with corrected energies and forces alone.

    Notes
    -----
    A difference that environments of atoms account for is met exactly, from few labels
    (``test_a_difference_of_atoms_is_corrected``). Source: Ramakrishnan et al., J. Chem. Theory Comput. 11, 2087 (2015),
    Delta-learning.
    """
    if not copies:
        return []
    changes = differences(labelled, approximate)
    numbers = sorted({z for record in changes for z in record.numbers.tolist()})
    fit = fit_amons(
        changes,
        "a difference of levels",
        settings.model_copy(update={"scale": _SMOOTHER * settings.scale}),
        representation=SlatmConfig.for_forces(tuple(chemical_symbols[z] for z in numbers)),
        free_atoms=dict.fromkeys(numbers, 0.0),  # the shortest fit where compositions allow many
    )
    found: list[Record] = []
    for start in range(0, len(copies), _TOGETHER):
        some = copies[start : start + _TOGETHER]
        for copy, change in zip(some, predict_batch(fit.model, some, forces=True), strict=True):
            assert change.forces is not None
            assert copy.energy is not None
            assert copy.forces is not None
            energy, forces = copy.energy + change.energy, copy.forces + change.forces
            found.append(replace(copy.unlabelled(), energy=energy, forces=forces))
    return found
