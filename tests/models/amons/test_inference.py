"""A prediction stays on its device: what it keeps, what it launches, and what devices agree on."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch.utils._python_dispatch import TorchDispatchMode

from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fitting import fit_amons
from ase_mlwave.models.amons.inference import Prediction, _fetched, _on_device, predict_batch
from ase_mlwave.models.amons.model import AmonModel
from ase_mlwave.models.amons.slatm import spectra
from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.systems.conversion import system_from_atoms
from ase_mlwave.systems.neighbours import NeighbourList
from ase_mlwave.systems.system import System
from tests.models.amons.springs import distorted

FREE = {1: -0.5, 6: -37.8, 7: -54.4, 8: -75.0, 14: -289.0}
#: Operations that launch nothing on a device.
_VIEWS = {"view", "expand", "slice", "select", "detach", "t", "transpose", "permute", "unsqueeze", "squeeze", "split"}
_VIEWS |= {"alias", "as_strided", "split_with_sizes", "_unsafe_view", "unbind", "unfold", "unflatten", "empty"}


def fitted(settings: FitSettings, *formulas: str, slatm: SlatmConfig | None = None) -> AmonModel:
    records = [record for formula in formulas for record in distorted(formula, range(3))]
    return fit_amons(records, "springs", settings, representation=slatm, free_atoms=FREE).model


@pytest.fixture(scope="module")
def models() -> dict[str, AmonModel]:
    basis = FitSettings.for_forces().model_copy(update={"basis": 20, "variance_rows": 12})
    return {
        "all environments": fitted(FitSettings(penalty=1e-6, force_penalty=1e-6, directions=4), "H2O", "CH3OH"),
        "a basis": fitted(basis, "H2O", "CH3OH", slatm=SlatmConfig.for_forces(("H", "C", "O"))),
        "silicon": fitted(FitSettings(penalty=1e-6, force_penalty=1e-6, directions=4), "SiH4", "Si2H6"),
    }


def drop(n: int = 9, seed: int = 0) -> System:
    """Molecules of water on a grid, more atoms than are listed without a search."""
    places = 5.5 * np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)[:n]
    water = molecule("H2O").positions
    positions = np.concatenate([water + place / 1.8 for place in places])
    atoms = Atoms("OH2" * n, positions)
    atoms.rattle(0.05, seed=seed)
    return system_from_atoms(atoms)


def crystal() -> System:
    atoms = bulk("Si", "diamond", a=5.5).repeat((2, 1, 1))
    atoms.rattle(0.05, seed=2)
    return system_from_atoms(atoms)


CASES = {"all environments": drop(), "a basis": drop(), "silicon": crystal()}


def agree(one: Prediction, other: Prediction, tolerance: float) -> None:
    for name, value in vars(one).items():
        if value is not None:
            scale = 1e-4 if name in ("uncertainty", "novelty") else 1.0  # roots of differences
            np.testing.assert_allclose(value, getattr(other, name), rtol=0, atol=tolerance / scale, err_msg=name)


@pytest.mark.parametrize("name", CASES)
def test_what_a_neighbour_list_keeps_changes_nothing(
    models: dict[str, AmonModel], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, system, neighbours = models[name], CASES[name], NeighbourList(skin=1.0)
    rng = np.random.default_rng(1)
    for step in range(6):
        system = replace(system, positions=system.positions + rng.normal(scale=0.08, size=system.positions.shape))
        kept = predict_batch(model, [system], forces=True, uncertainty=True, neighbours=neighbours)[0]
        agree(kept, predict_batch(model, [system], forces=True, uncertainty=True)[0], 1e-12)
        if step == 3:  # as on a GPU
            monkeypatch.setattr(spectra, "_SELECTS", frozenset())
    assert 1 <= neighbours.n_searches <= 4


class Kernels(TorchDispatchMode):
    """Count operations."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func._schema.name.split("::")[1]] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", CASES)
def test_a_prediction_waits_for_no_device(
    models: dict[str, AmonModel], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On "meta" tensors have no numbers: what asks for one, or mixes devices, raises."""
    model, system, neighbours = models[name], CASES[name], NeighbourList()
    predict_batch(model, [system], forces=True, uncertainty=True, neighbours=neighbours)
    part = model.part({*system.numbers.tolist()})
    batch = part.representation.collate([system], neighbours)
    monkeypatch.setattr(spectra, "_SELECTS", frozenset())
    with torch.no_grad(), Kernels() as kernels:
        parts = _on_device(model, part, batch, forces=True, uncertainty=True)
    with torch.no_grad():
        away = copy.deepcopy(model).to("meta")
        found = _on_device(away, away.part({*system.numbers.tolist()}), batch.to("meta"), forces=True, uncertainty=True)
    assert [part.shape for part in found] == [part.shape for part in parts]
    launched = sum(count for kind, count in kernels.counts.items() if kind not in _VIEWS)
    assert launched < 400  # 2 ms where each takes 5 us
    assert not kernels.counts.keys() & {"_local_scalar_dense", "nonzero"}


def test_results_are_fetched_in_their_shapes() -> None:
    parts = [torch.rand(3), torch.rand(2, 3), torch.rand(0, 3, 3), torch.rand(1)]
    for one, other in zip(_fetched(parts), parts, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_devices_agree(models: dict[str, AmonModel], name: str) -> None:
    model, system = models[name], CASES[name]
    here = predict_batch(model, [system] * 2, forces=True, uncertainty=True)
    there = predict_batch(model.to("cuda"), [system] * 2, forces=True, uncertainty=True)
    kept = predict_batch(model, [system], forces=True, uncertainty=True, neighbours=NeighbourList())
    model.to("cpu")
    for one, other in zip([*here, here[0]], [*there, *kept], strict=True):
        agree(one, other, 3e-10)  # 1e-8 eV


@pytest.mark.gpu
def test_devices_agree_on_a_shipped_model() -> None:
    from ase_mlwave import AmonsCalculator

    for formula in ("CH3CH2OH", "CH3CN", "C6H6"):
        atoms, found = molecule(formula), []
        for device in ("cpu", "cuda"):
            atoms.calc = AmonsCalculator("amons-chno", device=device, outside="warn")
            found.append((atoms.get_potential_energy(), atoms.get_forces()))
        assert found[0][0] == pytest.approx(found[1][0], rel=0, abs=1e-8)
        np.testing.assert_allclose(found[0][1], found[1][1], rtol=0, atol=1e-8)
