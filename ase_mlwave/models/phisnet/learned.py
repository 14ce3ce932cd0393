"""The learned part of H: matrix blocks as the network gives them, or the matrices of a learned potential."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.model import PhiSNetOutput
from ase_mlwave.quantum.auxiliary import potential_matrices

__all__ = ["learned_matrices"]


def learned_matrices(
    output: PhiSNetOutput,
    positions: Tensor,
    molecules: Sequence[Sequence[int] | NDArray[Any]],
    config: PhiSNetConfig,
) -> Tensor:
    """Give what is to be added to the baseline.

    Parameters
    ----------
    output : PhiSNetOutput
        Of the network.
    positions : Tensor, (N, 3)
        Of all atoms, molecule by molecule, Bohr.
    molecules : sequence of sequence of int, (B,)
        Atomic numbers of each molecule.
    config : PhiSNetConfig
        Of the network.

    Returns
    -------
    Tensor, (sum M_b^2,)
        Hartree, float64.
    """
    if output.potential is None or config.auxiliary is None:
        return output.hamiltonian.flat
    return potential_matrices(positions, molecules, config.basis, config.auxiliary, output.potential)
