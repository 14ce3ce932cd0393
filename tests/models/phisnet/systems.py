"""Small networks with random weights and the molecules that they are tried on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.model import PhiSNet, PhiSNetOutput
from ase_mlwave.systems.batch import SystemBatch, collate
from ase_mlwave.systems.system import System

Geometry = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Atomic numbers (N,) and positions (N, 3) in Bohr."""
PRODUCTS = ["edge_frame", "clebsch_gordan"]
MATRICES = ["hamiltonian", "overlap", "core"]


def settings(product: str, **changes: Any) -> PhiSNetConfig:
    chosen: dict[str, Any] = {
        "elements": ("H", "C", "O"),
        "features": 8,
        "n_modules": 1,
        "n_radial": 6,
        "hidden": 8,
        "cutoff": 8.0,
        "product": product,
        "overlap_head": True,
        "core_head": True,
    }
    return PhiSNetConfig(**{**chosen, **changes})


def network(product: str, **changes: Any) -> PhiSNet:
    """Make a network in float64 whose weights are random everywhere, also where training starts from zero."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = PhiSNet(settings(product, **changes)).double()
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        for name, buffer in model.named_buffers():
            if name.endswith(("scale", "shift")) and "heads" not in name:
                buffer += 0.1 * torch.rand_like(buffer)
    return model


def geometry(symbols: str, seed: int = 0) -> Geometry:
    """Place atoms at random, in no plane and at least 1.5 Bohr apart; a chiral arrangement from four atoms on."""
    numbers = np.array([{"H": 1, "C": 6, "O": 8}[symbol] for symbol in symbols])
    generator = np.random.default_rng(seed)
    positions: list[NDArray[np.float64]] = []
    while len(positions) < len(numbers):
        candidate = generator.normal(size=3) * 1.8
        if all(np.linalg.norm(candidate - other) > 1.5 for other in positions):
            positions.append(candidate)
    return numbers, np.array(positions)


def joined(geometries: Sequence[Geometry], cutoff: float) -> SystemBatch:
    return collate([System(numbers, positions) for numbers, positions in geometries], cutoff)


def predict(model: PhiSNet, *geometries: Geometry) -> PhiSNetOutput:
    with torch.no_grad():
        output: PhiSNetOutput = model(joined(geometries, model.config.cutoff))
    return output


def matrices(output: PhiSNetOutput, name: str) -> tuple[Tensor, ...]:
    found: tuple[Tensor, ...] = getattr(output, name).matrices()
    return found


def assert_equal(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    """Compare to a tolerance relative to the largest element."""
    largest = float(expected.abs().max())
    assert largest > 1e-3, "nothing to compare"
    assert float((actual - expected).abs().max()) < tolerance * largest
