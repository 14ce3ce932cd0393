"""Make the small checkpoints of this folder and what they predict.

Run as ``python -m tests.models.qdf.published.files.make_case`` (seconds). The weights are random; the numbers come from
``tests/models/qdf/published/naive.py``, which knows nothing of the package. Files as the original program writes them:
``energy.pth`` (one output, summed) and ``levels.pth`` (two outputs, averaged) with ``orbitaldict_3-21G.pickle`` and the
same as JSON; the numbers are in ``expected.json``.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from ase.build import molecule

from tests.models.qdf.published import naive

HERE = Path(__file__).parent
BASIS = {"n_inner": 3, "n_outer": 3, "radius": 0.75, "interval": 0.3}
MOLECULES = ("H2O", "CH3OH", "HCN", "C6H6", "H2")
WIDTH, LAYERS, MAP_WIDTH, MAP_LAYERS = 8, 2, 5, 2


def random_weights(n_outputs: int, n_types: int, seed: int) -> dict[str, torch.Tensor]:
    """Draw a checkpoint's tensors under the original's names."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) / shape[-1] ** 0.5

    weights = {
        "coefficient.weight": torch.randn(n_types, WIDTH, generator=generator),
        "zeta.weight": 0.4 + torch.rand(n_types, 1, generator=generator),
    }
    shapes = [(f"W_functional.{k}", WIDTH, WIDTH) for k in range(LAYERS)] + [("W_property", n_outputs, WIDTH)]
    shapes += [("W_density", MAP_WIDTH, 1)] + [(f"W_HK.{k}", MAP_WIDTH, MAP_WIDTH) for k in range(MAP_LAYERS)]
    for name, rows, columns in [*shapes, ("W_potential", 1, MAP_WIDTH)]:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = normal(rows, columns), 0.1 * normal(rows)
    return weights


def main() -> None:
    """Write the files."""
    types = [name for e in ("C", "O", "H", "N") for name, _ in naive.orbitals_of(e, BASIS["n_inner"], BASIS["n_outer"])]
    rows = {name: index for index, name in enumerate(types)}
    (HERE / "orbitaldict_3-21G.pickle").write_bytes(pickle.dumps(rows, protocol=3))
    (HERE / "orbitaldict_3-21G.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    expected: dict[str, Any] = {}
    for name, n_outputs, pooling in (("energy", 1, "sum"), ("levels", 2, "mean")):
        weights = random_weights(n_outputs, len(types), seed=n_outputs)
        torch.save(weights, HERE / f"{name}.pth")
        expected[name] = {}
        for formula in MOLECULES:
            atoms = molecule(formula)
            psi = naive.molecular_orbitals(atoms.get_chemical_symbols(), atoms.positions, weights, rows, BASIS)
            values = naive.predict(psi, weights, LAYERS, pooling)
            v = naive.potential(psi, weights, MAP_LAYERS)
            expected[name][formula] = {"eV": values.tolist(), "potential": [float(v[0]), float(v.mean())]}
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
