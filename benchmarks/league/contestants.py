"""Who takes part: each a calculator of ASE's, and the level of theory that it aims at."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ase.calculators.calculator import BaseCalculator

from ase_mlwave.calculators import load_calculator
from ase_mlwave.models.folder import read_config
from ase_mlwave.reference.calculator import ReferenceCalculator

__all__ = ["CONTESTANTS", "YARDSTICK", "Contestant"]

#: The level of theory that errors are measured against.
YARDSTICK = "PBE/def2-SVP"


@dataclass(frozen=True)
class Contestant:
    """Say what a contestant is, and make its calculator.

    Parameters
    ----------
    name : str
        In the table.
    aims : str
        Level of theory that it was made to reproduce.
    make : callable
        Makes the calculator; ``ImportError`` where it is not installed.
    fingerprint : callable
        Says which weights or which version, so that cells of others are computed anew.
    guess : str
        Fingerprint of the initial guess that it gives PySCF; empty where it gives none.
    is_yardstick : bool
        Whether it is the level of theory that errors are measured against, which has none and is timed alone.
    """

    name: str
    aims: str
    make: Callable[[], BaseCalculator]
    fingerprint: Callable[[], str]
    guess: str = ""
    is_yardstick: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether it ships with this package."""
        return self.aims == YARDSTICK and not self.is_yardstick


def _ours(model: str, energy: str | None = None) -> Contestant:
    """Make a contestant of a model that ships; what is out of its domain counts like the rest."""
    weights = read_config(model).weights_sha256[:16]
    options = {"outside": "warn"} | ({} if energy is None else {"energy": energy})
    return Contestant(
        name=model if energy is None else f"{model}, {energy}",
        aims=YARDSTICK,
        make=lambda: load_calculator(model, **options),
        fingerprint=lambda: f"{model} {energy} {weights}",
        guess=f"guess of {weights}" if model.startswith("phisnet") else "",
    )


def _so3lr() -> BaseCalculator:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from so3krates_torch.calculator.so3 import SO3LRCalculator

        return SO3LRCalculator(device="cpu", default_dtype="float64")


def _ani() -> BaseCalculator:
    """Build ANI-1x from the weights in torchani's wheel; its own loader downloads an index of them first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchani
        from torchani import neurochem

    folder = Path(torchani.__file__).parent / "resources" / "ani-1x_8x"
    constants = neurochem.Constants(str(folder / "rHCNO-5.2R_16-3.5A_a4-8.params"))
    networks = neurochem.load_model_ensemble(constants.species, str(folder / "train"), 8)
    shift = neurochem.load_sae(str(folder / "sae_linfit.dat"))
    model: Any = torchani.nn.Sequential(torchani.AEVComputer(**constants), networks, shift).double()
    calculator: BaseCalculator = torchani.ase.Calculator(constants.species, model)
    return calculator


#: In the order of the table.
CONTESTANTS = (
    Contestant(
        name="PySCF",
        aims=YARDSTICK,
        make=lambda: ReferenceCalculator("pbe/def2-svp"),
        fingerprint=lambda: f"pyscf {version('pyscf')}",
        guess=f"PySCF's own guess, {version('pyscf')}",
        is_yardstick=True,
    ),
    _ours("phisnet-chno", "response"),
    _ours("phisnet-chno", "functional"),
    _ours("phisnet-chno", "wavefunction"),
    _ours("amons-chno-gfn2"),
    _ours("amons-chno"),
    _ours("qdf-chno-gfn2"),
    _ours("qdf-chno"),
    Contestant(
        name="GFN2-xTB",
        aims="itself",
        make=lambda: ReferenceCalculator("gfn2-xtb"),
        fingerprint=lambda: f"tblite {version('tblite')}",
    ),
    Contestant("SO3LR", "PBE0+MBD", _so3lr, lambda: f"so3krates-torch {version('so3krates-torch')}"),
    Contestant("ANI-1x", "ωB97X/6-31G*", _ani, lambda: f"torchani {version('torchani')}"),
)
