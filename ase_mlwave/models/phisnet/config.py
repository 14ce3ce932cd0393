"""Settings of a PhiSNet: one class, whose attribute docstrings are the documentation."""

from __future__ import annotations

from typing import Any, Literal

from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ase_mlwave.models.elements import Elements
from ase_mlwave.quantum.names import BasisName
from ase_mlwave.text import PlainText

__all__ = ["PRESETS", "PhiSNetConfig"]


class PhiSNetConfig(BaseModel):
    """Hyperparameters of the network and the chemistry that it is made for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    elements: Elements
    """Chemical symbols that the model knows."""
    level: PlainText = "pbe/def2-svp"
    """Level of theory of the training data, as ``mlwave label`` writes it."""
    basis: BasisName = "def2-svp"
    """Spherical basis set (PySCF's name) in which H is expressed."""
    features: int = Field(64, ge=1, le=4096)
    """Channels F per order."""
    max_order: int = Field(4, ge=0, le=8)
    """Largest order L of natural parity, (-1)^l."""
    max_unnatural_order: int = Field(3, ge=0, le=8)
    """Largest order of unnatural parity, -(-1)^l (pseudovectors and so on); 0 for none."""
    n_modules: int = Field(3, ge=1, le=64)
    """Interaction modules, one after the other."""
    n_radial: int = Field(32, ge=2, le=4096)
    """Radial functions K per pair."""
    cutoff: float = Field(15.0, gt=0, le=1000)
    """Range of all interactions, and of matrix blocks unless these have their own, Bohr."""
    message_cutoff: float | None = Field(None, gt=0, le=1000)
    """Range of messages between atoms, Bohr, where it is shorter than that of the blocks; None: the same."""
    block_cutoff: float | None = Field(None, gt=0, le=1000)
    """Range of matrix blocks, Bohr, where it is shorter: over the last 3 Bohr they go smoothly to zero. Where functions
    do not overlap what is left to learn is smaller than a network's error, and large molecules have many such pairs."""
    product: Literal["edge_frame", "clebsch_gordan"] = "edge_frame"
    """How orders are coupled: dense mixing within each m in the frame of an edge, or Clebsch-Gordan as in the paper."""
    hidden: int = Field(128, ge=1, le=16384)
    """Width of the invariant networks in the edge frame (``edge_frame`` only)."""
    baseline: Literal["none", "sap"] = "sap"
    """H0 that is added to the network's output: nothing, or T + V_ne + V_SAP (superposition of atomic
    potentials)."""
    baseline_shift: float = Field(0.0, ge=-1000, le=1000)
    """Hartree: H0 has so many times the overlap matrix added. It moves all orbital energies alike, and the wavefunction
    energy by half of itself for every electron. Runs on energies without ``atomic_energies`` choose it."""
    atomic_energies: bool = True
    """Whether the wavefunction energy has atomic energies of the network beside those of H; False: it is
    1/2 tr[P (H + h)] + E_nn, as in the paper, exact for Hartree-Fock theory with ``short_range: false``."""
    auxiliary: BasisName | None = None
    """Auxiliary basis, such as def2-universal-jkfit, of a learned local potential in place of matrix blocks: H is the
    baseline and V_pq = sum_P c_P (pq|P), with coefficients c_P from the features of atoms. For semilocal functionals,
    whose Kohn-Sham potential is local; Hartree-Fock's exchange and hybrids' is not. Much less is to be learned."""
    charge_range: float = Field(30.0, gt=0, le=1000)
    """Distance within which atoms exchange the charge that makes such a potential neutral, Bohr; freely within two
    thirds of it (``auxiliary`` only)."""
    members: int = Field(1, ge=1, le=16)
    """Networks whose potentials are averaged (``auxiliary`` only): each is trained alone, then `mlwave join` makes one
    model of them. Where their errors differ they cancel; it costs the time of as many networks, not of integrals."""
    short_range: bool = True
    """Whether the wavefunction energy has short-range Coulomb terms, and so is exactly size consistent for neutral
    molecules; False: the bare ones, as in the paper."""
    energy_from: Literal["matrix", "atoms"] = "matrix"
    """What the wavefunction energy is. ``matrix``: 1/2 tr[P (H + h)] + E_nn and atomic energies read from the features
    of H; errors of H enter in first order. ``atoms``: atomic energies alone, read from features of their own: errors of
    H do not reach it, nor does its training H."""
    energy_cutoff: float = Field(8.0, gt=0, le=1000)
    """Range of the messages that features of their own are made of, Bohr (``energy_from: atoms`` only)."""
    overlap_penalty: float = Field(0.0, ge=0, le=1)
    """Hartree: lambda of H + lambda S^-1, whose orbitals are the predicted ones (`penalised`), so that errors of H
    make no low orbitals of almost linearly dependent functions; the predicted H is as it is."""
    overlap_head: bool = False
    """Predict S also (calculators use the exact integrals all the same)."""
    core_head: bool = False
    """Predict the core Hamiltonian also (calculators use the exact integrals all the same)."""

    @model_validator(mode="after")
    def _natural_orders_reach_furthest(self) -> PhiSNetConfig:
        if self.max_unnatural_order > self.max_order:
            raise ValueError(
                f"max_unnatural_order={self.max_unnatural_order} must not be above max_order={self.max_order}"
            )
        return self

    @model_validator(mode="after")
    def _atoms_have_energies(self) -> PhiSNetConfig:
        if self.energy_from == "atoms" and not self.atomic_energies:
            raise ValueError("energy_from=atoms adds up atomic energies; leave out atomic_energies=false")
        return self

    @model_validator(mode="after")
    def _a_potential_replaces_blocks(self) -> PhiSNetConfig:
        heads = [name for name in ("overlap_head", "core_head") if getattr(self, name)]
        if self.auxiliary is not None and (heads or self.block_cutoff is not None):
            others = ", ".join([*heads, *(["block_cutoff"] if self.block_cutoff is not None else [])])
            raise ValueError(f"auxiliary={self.auxiliary!r} learns a potential instead of blocks; leave out {others}")
        if self.auxiliary is None and self.members > 1:
            raise ValueError("members are networks for a learned potential: give auxiliary, or leave out members")
        return self

    @property
    def message_range(self) -> float:
        """Range of messages, Bohr: never longer than that of the blocks."""
        return self.cutoff if self.message_cutoff is None else min(self.message_cutoff, self.cutoff)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers of ``elements``."""
        return tuple(chemical_symbols.index(e) for e in self.elements)


#: Named starting points for ``model`` settings: ``paper`` has the hyperparameters of Unke et al. 2021.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "features": 128,
        "max_order": 4,
        "max_unnatural_order": 3,
        "n_modules": 5,
        "n_radial": 128,
        "cutoff": 15.0,
        "product": "clebsch_gordan",
        "baseline": "none",
        "short_range": False,
        "overlap_head": True,
        "core_head": True,
    },
    "edge-frame": {"features": 64, "max_order": 4, "max_unnatural_order": 3, "n_modules": 3, "n_radial": 32},
}
