"""What `QDFCalculator` does with models of the published field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase.calculators.calculator import InputError, PropertyNotImplementedError

from ase_mlwave.calculators.members import Member
from ase_mlwave.calculators.outcome import Outcome
from ase_mlwave.data.record import Record
from ase_mlwave.models.qdf.published.network import PublishedQDF
from ase_mlwave.properties import EXTRAS

__all__ = ["ENERGY", "is_published", "published_outcomes", "published_outputs"]

#: The output that counts as the energy of a molecule.
ENERGY = "atomization_energy"


def is_published(member: Member) -> bool:
    """Tell whether a member's field is the published one."""
    return isinstance(member.network, PublishedQDF)


def published_outcomes(member: Member, systems: list[Record], properties: tuple[str, ...]) -> list[Outcome]:
    """Compute a batch with a model of the published field.

    Parameters
    ----------
    member : Member
        Such a model.
    systems : list of Record, (B,)
        Checked structures.
    properties : tuple of str
        What is asked for.

    Returns
    -------
    list of Outcome, (B,)
        Atomization energies, Hartree, where the model predicts them; all outputs, Hartree, as ``extras["outputs"]``.

    Raises
    ------
    PropertyNotImplementedError
        If forces are asked for, or the energy of a model that predicts others; the message says why.
    """
    network = member.network_as(PublishedQDF)
    names = network.config.outputs
    if "forces" in properties:
        raise PropertyNotImplementedError(
            "a model of the published field has no usable forces: its energy has jumps and false minima along every "
            "bond, and its grid does not turn with the molecule. Ask for the energy alone (properties=('energy',)), or "
            "take a model with field='quadrature'."
        )
    if "energies" in properties:
        raise PropertyNotImplementedError(
            "a model of the published field sums its field before its last layers, and has no energies of atoms. Ask "
            "for the energy alone, or take a model with field='quadrature'."
        )
    if "energy" in properties and ENERGY not in names:
        raise PropertyNotImplementedError(
            f"this published model predicts {', '.join(names)}, none of which is the energy of the molecule. "
            "Ask for calc.outputs(atoms)."
        )
    with torch.no_grad():
        rows = network(systems).tolist()
    outputs = [dict(zip(names, row, strict=True)) for row in rows]
    return [Outcome({"energy": one[ENERGY]} if ENERGY in names else {}, {"outputs": one}) for one in outputs]


def published_outputs(members: Sequence[Member], system: Record) -> dict[str, float]:
    """Predict all outputs of models of the published field.

    Parameters
    ----------
    members : sequence of Member
        One model, or a committee, whose mean is taken.
    system : Record
        A checked structure.

    Returns
    -------
    dict of str to float
        Name of each output that all members have -> eV.

    Raises
    ------
    InputError
        If a member is not of the published field.
    """
    if not all(is_published(member) for member in members):
        raise InputError(
            "only models of the published field have named outputs. Ask for the energy and forces instead."
        )
    rows: list[dict[str, Any]] = [
        EXTRAS["outputs"].to_ase(published_outcomes(member, [system], ())[0].extras["outputs"]) for member in members
    ]
    shared = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: float(np.mean([row[name] for row in rows])) for name in shared}
