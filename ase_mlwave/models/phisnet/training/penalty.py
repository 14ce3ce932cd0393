"""Choose how much almost linearly dependent functions are lifted, on validation molecules: no SCF is needed for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray

from ase_mlwave.data.record import Record
from ase_mlwave.models.folder import ModelFolder, locate
from ase_mlwave.models.phisnet.inference import predict_batch
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.quantum.density import density_matrix, penalised

__all__ = ["PENALTIES", "choose_penalty", "density_errors", "write_penalty"]

#: Values of the setting ``overlap_penalty`` that are tried, Hartree.
PENALTIES = (0.0, 1e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4)
#: Molecules that are measured at most, spread evenly.
_MEASURED = 64
#: Share by which the error may be above the smallest one: larger molecules have smaller eigenvalues of S, and take harm
#: from a penalty too small for them sooner than from one too large.
_SPARE = 1.05


@torch.no_grad()
def density_errors(network: PhiSNet, records: Sequence[Record]) -> NDArray[np.float64]:
    """Measure the energy that is lost by predicted densities, by penalty.

    Parameters
    ----------
    network : PhiSNet
        Trained; its own penalty does not count.
    records : sequence of Record, (B,)
        With the matrix ``"hamiltonian"``.

    Returns
    -------
    ndarray, (B, len(PENALTIES))
        tr[F (P - P_ref)] of an atom, Hartree, where F is the labelled matrix and P_ref its density: not negative, and
        of second order in the error of P.
    """
    errors = []
    for record in records:
        batch = predict_batch(network, [record], energies=False)
        H, S, n_occupied = batch.hamiltonians[0], batch.overlaps[0], batch.states[0].n_occupied
        F = torch.from_numpy(np.array(record.matrices["hamiltonian"])).to(H)
        exact, _ = density_matrix(F, S, n_occupied)
        densities = [density_matrix(penalised(H, S, penalty), S, n_occupied)[0] for penalty in PENALTIES]
        errors.append([float(((P - exact) * F).sum()) / len(record) for P in densities])
    return np.array(errors).reshape(-1, len(PENALTIES))


def choose_penalty(network: PhiSNet, records: Sequence[Record]) -> float:
    """Choose the largest penalty whose densities are as good as those of the best one, to a twentieth.

    Parameters
    ----------
    network : PhiSNet
        Trained.
    records : sequence of Record
        Validation molecules; those that have the matrix ``"hamiltonian"`` count, 64 of them spread evenly.

    Returns
    -------
    float
        Hartree; 0 if no molecule has a matrix.
    """
    labelled = [record for record in records if "hamiltonian" in record.matrices]
    if not labelled:
        return 0.0
    some = labelled[:: -(-len(labelled) // _MEASURED)]
    errors = density_errors(network, some).mean(axis=0).clip(min=0)  # none is negative but for rounding
    return PENALTIES[int(np.flatnonzero(errors <= _SPARE * errors.min())[-1])]


def write_penalty(model: str | PathLike[str], records: Sequence[Record]) -> float:
    """Choose the penalty of a model folder anew, and write it into its settings; see `choose_penalty`."""
    folder = ModelFolder.load(model)
    network = folder.build()
    if not isinstance(network, PhiSNet):
        raise TypeError(f"{model} is no PhiSNet")
    penalty = choose_penalty(network, records)
    config = folder.config.model_copy(update={"settings": {**folder.config.settings, "overlap_penalty": penalty}})
    replace(folder, config=config).save(locate(model))
    return penalty
