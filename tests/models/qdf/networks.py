"""A small quantum deep field of random weights: the laws do not depend on what a model has learned."""

from __future__ import annotations

import torch

from ase_mlwave.models.qdf.config import QDFConfig
from ase_mlwave.models.qdf.model import QDF


def random_network(seed: int = 0, **settings: object) -> QDF:
    """Return a float64 network whose energy functional is not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = QDF(QDFConfig(elements=("H", "C", "N", "O"), **{"dimension": 16, "grid_level": 0, **settings}))
        with torch.no_grad():
            network.functional.readout.weight.normal_(std=0.04)  # forces of 0.3 to 1 eV/Angstrom, as real ones
            network.repulsion.weight.normal_(std=0.01)
            network.cell_shifts.normal_(std=0.1)
            network.references.copy_(torch.tensor([-0.5, -37.8, -54.6, -75.0], dtype=torch.float64))
    return network
