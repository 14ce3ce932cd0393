"""Settings of a quantum deep field with quadrature: one class, whose attribute docstrings are the documentation."""

from __future__ import annotations

import re
from typing import Literal

from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ase_mlwave.models.elements import Elements
from ase_mlwave.text import PlainText

__all__ = ["GRID_LEVELS", "MAX_GRID_LEVEL", "QDFConfig", "default_orbitals"]

#: Grid level -> (number of shells, Lebedev points of the inner, middle and outer shells).
GRID_LEVELS: tuple[tuple[int, tuple[int, int, int]], ...] = (
    (8, (6, 26, 14)),
    (10, (14, 50, 26)),
    (12, (14, 110, 38)),
    (18, (26, 170, 86)),
    (24, (50, 302, 146)),
    (40, (110, 590, 302)),
)
MAX_GRID_LEVEL = len(GRID_LEVELS) - 1

_LAST_OF_PERIOD = (2, 10, 18, 36, 54, 86, 118)
_NAME = re.compile(r"([1-7])[spdf]")


def default_orbitals(symbol: str) -> tuple[tuple[str, float], ...]:
    """Choose orbital types for an element: two without a node, three each for valence s and p (four and two for H, He).

    Parameters
    ----------
    symbol : str
        Chemical symbol.

    Returns
    -------
    tuple of (name, exponent)
        As ``QDFConfig.orbitals``; exponents, Bohr^-2, are where training starts.

    Notes
    -----
    None is as narrow as a core: what is narrow costs a finer grid, and the core is the same in all molecules.
    """
    number = chemical_symbols.index(symbol)
    n = 1 + sum(number > last for last in _LAST_OF_PERIOD)
    if n == 1:
        return (("1s", 0.12), ("1s", 0.25), ("1s", 0.5), ("1s", 1.0), ("2p", 0.2), ("2p", 0.5))
    inner = (("1s", 0.5), ("1s", 1.1))
    return (*inner, *((f"{n}s", z) for z in (0.14, 0.35, 0.9)), *((f"{n}p", z) for z in (0.2, 0.5, 1.3)))


class QDFConfig(BaseModel):
    """Hyperparameters of the field, the orbitals and the networks, and the chemistry that they are made for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: Literal["quadrature"] = "quadrature"
    """Atom-centred grids with weights that move with the atoms."""
    elements: Elements
    """Chemical symbols that the model knows."""
    level: PlainText = "pbe/def2-svp"
    """Level of theory of the training data, as ``mlwave label`` writes it."""
    base: PlainText | None = None
    """Level of theory that the model corrects, such as ``gfn2-xtb``: it learns ``level`` minus this one, and a
    calculator adds the base's energy and forces. None for a model that stands alone."""
    orbitals: dict[str, tuple[tuple[str, float], ...]] = Field(default_factory=dict)
    """Element -> its orbital types: name (``"2p"``: principal quantum number and a letter, which only tells types
    apart) and initial exponent, Bohr^-2. Elements that are left out get those of `default_orbitals`."""
    dimension: int = Field(64, ge=1, le=16384)
    """Number d of molecular orbitals psi_n, which is also the width of the energy functional but for its last layer."""
    functional_layers: int = Field(1, ge=1, le=64)
    """Hidden layers of the energy functional."""
    readout_width: int = Field(384, ge=1, le=65536)
    """Width of the last of them: what the readout of every element weighs, and most of the model's cost."""
    gradients: int = Field(0, ge=0, le=16384)
    """Invariants of the orbitals' gradients that the energy functional sees beside the orbitals; 0 for a local one."""
    pair_functions: int = Field(16, ge=0, le=4096)
    """Learned functions of the distance for every pair of elements, in the repulsion of nuclei."""
    potential_layers: int = Field(3, ge=1, le=64)
    """Hidden layers of the Hohenberg-Kohn map."""
    potential_width: int = Field(32, ge=1, le=16384)
    """Their width."""
    cutoff: float = Field(6.0, gt=0, le=1000)
    """Reach of orbitals and of an atom's grid, Bohr: atoms that are twice as far apart do not see each other."""
    grid_level: int = Field(3, ge=0, le=MAX_GRID_LEVEL)
    """Size of the grid, from 0 (112 points an atom) over 3 (1,692) to 5 (reference); the steps of training may take a
    smaller one."""
    partition: float = Field(0.3, gt=0, le=1000)
    """Exponent of the Gaussians that divide space among the atoms, Bohr^-2."""
    exponents: tuple[float, float] = (0.06, 3.5)
    """Bounds of the learned exponents, Bohr^-2: what the grid can integrate."""
    domain_environments: int = Field(256, ge=0, le=100_000)
    """Surroundings of training atoms that are kept of every element, to tell how unlike them others are; 0 for no such
    measure."""
    domain_bonds: int = Field(0, ge=0, le=100_000)
    """Kinds of bonded training atoms (the element, those of its neighbours and the numbers of their bonds) that are
    kept; an atom of another kind is outside the domain. 512 are plenty, 0 is for not looking at bonds."""
    uncertainty_directions: int = Field(0, ge=0, le=16384)
    """Directions of the readout's features that training molecules determine best and that are kept, to tell how
    uncertain an energy is; 0 for no such measure. Each costs four bytes a feature."""
    softening: float = Field(0.3, gt=0, le=1000)
    """Length a in (r^2 + a^2)^((q-1)/2), Bohr: removes the kink of r^(q-1) at the nucleus."""

    @model_validator(mode="after")
    def _usable_orbitals(self) -> QDFConfig:
        low, high = self.exponents
        if not 0 < low < high <= 1e6:
            raise ValueError(f"exponents must be two rising positive numbers up to 1e6, got {list(self.exponents)}")
        surplus = sorted(set(self.orbitals) - set(self.elements))
        if surplus:
            raise ValueError(f"orbitals are given for {surplus}, but the elements are {list(self.elements)}")
        for symbol, types in self.all_orbitals().items():
            for name, exponent in types:
                if not _NAME.fullmatch(name) or not low < exponent < high:
                    raise ValueError(
                        f"orbital {name!r} of {symbol} with exponent {exponent}: names are such as '2p', exponents "
                        f"lie between {low} and {high} Bohr^-2"
                    )
            if not types:
                raise ValueError(f"{symbol} has no orbital")
        return self

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers of ``elements``."""
        return tuple(chemical_symbols.index(e) for e in self.elements)

    def all_orbitals(self) -> dict[str, tuple[tuple[str, float], ...]]:
        """Give the orbital types of every element, defaults included."""
        return {e: self.orbitals.get(e) or default_orbitals(e) for e in self.elements}
