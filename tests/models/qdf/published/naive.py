"""The published model in NumPy, point by point from the formulas of the paper: slow, and independent of the package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

NUMBERS = {"H": 1, "C": 6, "N": 7, "O": 8}


def orbitals_of(symbol: str, n_inner: int, n_outer: int) -> list[tuple[str, int]]:
    """Orbital types of an element with their quantum numbers, as the basis set's name says."""
    if symbol == "H":
        return [(f"H1s{i}", 1) for i in range(n_outer)]
    inner = [(f"{symbol}1s{i}", 1) for i in range(n_inner)]
    return inner + [(f"{symbol}2{letter}{i}", 2) for letter in "sp" for i in range(n_outer)]


def points(positions: np.ndarray, radius: float, interval: float) -> np.ndarray:
    """Points of the field, Angstrom."""
    steps = [-radius + k * interval for k in range(int((2 * radius + 1e-3) // interval) + 1)]
    cube = np.array([(x, y, z) for x in steps for y in steps for z in steps])
    inside = cube[np.linalg.norm(cube, axis=1) <= radius]
    return np.array([centre + offset for centre in positions for offset in inside])


def molecular_orbitals(
    symbols: list[str],
    positions: np.ndarray,
    weights: Mapping[str, Any],
    rows: Mapping[str, int],
    basis: dict[str, Any],
) -> np.ndarray:
    """Psi_n on the points of the field, one column each; names of the weights as in the original's checkpoints."""
    field = points(positions, basis["radius"], basis["interval"])
    columns, coefficients = [], []
    for symbol, centre in zip(symbols, positions, strict=True):
        for name, q in orbitals_of(symbol, basis["n_inner"], basis["n_outer"]):
            r = np.linalg.norm(field - centre, axis=1)
            phi = r ** (q - 1) * np.exp(-float(weights["zeta.weight"][rows[name], 0]) * r**2)
            columns.append(phi / np.sqrt((phi**2).sum()))
            coefficients.append(np.array(weights["coefficient.weight"][rows[name]], dtype=np.float64))
    c = np.array(coefficients)
    psi = np.array(columns).T @ (c / np.sqrt((c**2).sum(axis=0)))
    n_electrons = sum(NUMBERS[symbol] for symbol in symbols)
    return psi / np.sqrt((psi**2).sum(axis=0)) * np.sqrt(n_electrons / psi.shape[1])


def layer(weights: Mapping[str, Any], name: str, x: np.ndarray) -> np.ndarray:
    """Apply one dense layer in float64."""
    return x @ np.array(weights[f"{name}.weight"], dtype=np.float64).T + np.array(weights[f"{name}.bias"])


def predict(psi: np.ndarray, weights: Mapping[str, Any], n_layers: int, pooling: str) -> np.ndarray:
    """Energies, eV, from the molecular orbitals."""
    hidden = psi
    for k in range(n_layers):
        hidden = np.maximum(layer(weights, f"W_functional.{k}", hidden), 0)
    pooled = hidden.sum(axis=0) if pooling == "sum" else hidden.mean(axis=0)
    return layer(weights, "W_property", pooled)


def potential(psi: np.ndarray, weights: Mapping[str, Any], n_layers: int) -> np.ndarray:
    """Potential on the points from the density, by the Hohenberg-Kohn map."""
    hidden = layer(weights, "W_density", (psi**2).sum(axis=1)[:, None])
    for k in range(n_layers):
        hidden = np.maximum(layer(weights, f"W_HK.{k}", hidden), 0)
    return layer(weights, "W_potential", hidden)[:, 0]
