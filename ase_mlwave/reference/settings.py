"""Settings of sampling and labelling; attribute docstrings are the help of ``mlwave`` and the words of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from ase_mlwave.reference.levels import LevelOfTheory

__all__ = ["LabellingSettings", "LangevinSettings", "Method", "SamplingSettings"]

#: Langevin dynamics, or thermal displacements along normal modes (quantum oscillators).
Method = Literal["langevin", "modes"]


class LangevinSettings(BaseModel):
    """Say how Langevin dynamics are run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    timestep: float = Field(default=0.5, gt=0, le=5)
    """Of the dynamics, fs."""
    friction: float = Field(default=0.01, gt=0)
    """Of the dynamics, 1/fs."""
    equilibration: float = Field(default=500.0, ge=0)
    """Before the first geometry at each temperature, fs."""
    interval: float = Field(default=50.0, gt=0)
    """Between geometries, fs."""


class SamplingSettings(LangevinSettings):
    """Say how geometries are drawn."""

    temperature: tuple[float, ...] = (300.0,)
    """K; of several each in turn (an option that is repeated, in a recipe a list)."""
    number: int = 100
    """Geometries of each molecule and temperature."""
    method: Method = "langevin"
    """Langevin dynamics, or thermal displacements along normal modes."""
    level: str = "gfn2-xtb"
    """Level of theory that drives them."""
    seed: int = 0
    """Of velocities, random forces and displacements."""
    threads: int = Field(default=1, ge=1)
    """Threads of the calculator."""

    @property
    def langevin(self) -> LangevinSettings:
        """Those of the dynamics alone."""
        return LangevinSettings(**{name: getattr(self, name) for name in LangevinSettings.model_fields})


class LabellingSettings(BaseModel):
    """Say at what level of theory, and where, molecules are labelled."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    level: str = "pbe/def2-svp"
    """functional/basis, mp2/basis or ccsd(t)/basis for PySCF, gfn2-xtb or gfn1-xtb, or a model, such as phisnet-chno;
    settings after it as key=value."""
    workers: int | None = None
    """Worker processes; with Dask molecules in work at a time."""
    threads: int = 1
    """Threads of one worker."""
    device: str = "cpu"
    """cpu, or cuda: PySCF's levels by gpu4pyscf (extra gpu), and models; the labels' level is the same."""
    dask: str | None = None
    """Label on a Dask cluster: its scheduler's address, or scheduler file."""
    forces: bool = True
    """Compute forces, a quarter of the time with PBE, nine tenths with CCSD(T) (labels already there stay as is)."""
    matrices: bool = True
    """Keep Hamiltonians, which only PhiSNet learns from (labels already there stay as is)."""
    retry_failed: bool = False
    """Try again all that has failed before."""
    split: str | None = None
    """Divide the labelled molecules at the end: train=0.8,valid=0.1,test=0.1."""
    split_by: str | None = None
    """Keep together what shares this entry: smiles, formula, ..."""
    seed: int = 0
    """Of the split."""

    def theory(self) -> LevelOfTheory:
        """Make the level of theory, on its device, with or without forces.

        Raises
        ------
        InputError
            If there is no such level, or it is not computed on such a device.
        """
        from ase_mlwave.reference.levels import LevelOfTheory  # which takes a second to import

        level = LevelOfTheory.parse(self.level).on(self.device)
        return level if self.forces else level.energies_only()
