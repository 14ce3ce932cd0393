"""Outputs of a model of the published field by name, and which properties they stand for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from ase.calculators.calculator import PropertyNotImplementedError

from ase_mlwave.models.qdf.published.network import PublishedQDF
from ase_mlwave.systems.system import System

__all__ = ["ENERGY", "named_outputs"]

#: The output that counts as the energy of a molecule.
ENERGY = "atomization_energy"


def named_outputs(
    network: PublishedQDF, systems: Sequence[System], properties: Collection[str] = ()
) -> list[dict[str, float]]:
    """Predict all outputs of molecules.

    Parameters
    ----------
    network : PublishedQDF
        The model.
    systems : sequence of System, (B,)
        Molecules of its elements.
    properties : collection of str
        ASE's names of what is asked for.

    Returns
    -------
    list of dict of str to float, (B,)
        Name -> Hartree; ``ENERGY`` is an atomization energy, negative.

    Raises
    ------
    PropertyNotImplementedError
        If forces or energies of atoms are asked for, or the energy of a model that predicts others; the message says
        why.
    """
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
    return [dict(zip(names, row, strict=True)) for row in rows]
