"""What the contract suite is run on: a calculator, its devices and tolerances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from ase_mlwave.calculators import load_calculator
from ase_mlwave.calculators.base import MlwaveCalculator
from tests.pretend_device import PRETENDED, PretendDevice

Make = Callable[..., MlwaveCalculator]
#: Where there is a CUDA device, what is parametrised by this runs there, too (`make test-gpu`).
CUDA = [pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else []


class CalculatorUnderTest:
    """A calculator that a test class names; energies in eV, forces in eV/Angstrom."""

    folder: ClassVar[str]
    """A model folder, or a name in the zoo; or else the fixture ``model`` gives one."""
    calculator: ClassVar[Callable[..., MlwaveCalculator]] = staticmethod(load_calculator)
    options: ClassVar[dict[str, Any]] = {}
    """Given to the constructor in every test."""
    formulas: ClassVar[tuple[str, ...]] = ("H2O",)
    """Molecules that the model serves."""
    law_tolerance: float = 1e-8
    """Of symmetries, absolute."""
    turning_tolerance: float | None = None
    """Of rotation and reflection, where an integration grid does not turn with the molecule; else ``law_tolerance``."""
    force_tolerance: float = 1e-5
    """Between forces and finite differences."""
    displacement: float = 1e-4
    """Of those finite differences, Angstrom."""
    hessian_tolerance: float = 2e-3
    """Of second derivatives, eV/Angstrom^2: third-order terms of finite differences."""
    float32_tolerance: float | None = 1e-3
    """Between float32 and float64; None for models of float64 only."""
    device_tolerance: float = 1e-8
    """Between a GPU and the CPU."""
    crossings: int = 40
    """Copies between a device and its host, and waits for it, in a step of two structures: at most."""
    apart: float = 30.0
    """Distance at which two molecules do not see each other, Angstrom."""
    foreign: str = "Xe"
    """An element that the model does not know."""
    measure: str = "domain_distance"
    """Entry of the extras that says how unlike the training data a structure is."""
    own_extras: ClassVar[set[str]] = set()
    """Extras of the calculator that are not in the package's table."""

    @pytest.fixture
    def model(self) -> str:
        return self.folder

    @pytest.fixture(params=["cpu", *CUDA])
    def device(self, request: pytest.FixtureRequest) -> str:
        """Give each device of this machine in turn."""
        return str(request.param)

    @pytest.fixture(params=[PRETENDED, *CUDA])
    def accelerator(self, request: pytest.FixtureRequest) -> Iterator[str]:
        """Give each device but the CPU, and everywhere one that only looks like it (`tests.pretend_device`)."""
        with PretendDevice() if request.param == PRETENDED else nullcontext():
            yield request.param

    @pytest.fixture
    def make(self, device: str) -> Make:
        """Give the constructor, on the device."""
        return partial(self.calculator, **self.options, device=device)

    @pytest.fixture
    def calc(self, make: Make, model: str) -> MlwaveCalculator:
        return make(model)

    @pytest.fixture
    def noise(self, device: str) -> float:
        """Say by how much energies of one structure may differ: sums on a GPU have no fixed order."""
        return 0.0 if device == "cpu" else self.device_tolerance

    def atoms(self, seed: int = 0) -> Atoms:
        """Return a distorted molecule in no special orientation."""
        atoms = molecule(self.formulas[seed % len(self.formulas)])
        atoms.rattle(0.06, seed=seed + 7)
        return atoms

    def both(self, calc: MlwaveCalculator, atoms: Atoms) -> tuple[float, np.ndarray]:
        (result,) = calc.predict([atoms])
        return result["energy"], result["forces"]
