"""A Morse potential as a model of the zoo and a calculator of the package: the contract's second implementation.

E = sum_{i<j} D [(1 - exp(-a (r_ij - r0)))^2 - 1] f(r_ij) in Hartree, with the smooth cutoff f(r) = (1 - r/rc)^3 for
r < rc; charges q_i = sum_j (chi_i - chi_j) exp(-r_ij) f(r_ij), and the dipole sum_i q_i R_i, which does not depend on
the origin because the charges sum to zero.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ase_mlwave.calculators.base import Member, MlwaveCalculator
from ase_mlwave.calculators.outcome import Outcome
from ase_mlwave.models.folder import ModelFolder, TrainingData
from ase_mlwave.models.kinds import Kind
from ase_mlwave.systems.system import System

KIND = Kind(
    name="test-morse",
    network="tests.calculators.morse:MorseNetwork",
    settings="tests.calculators.morse:MorseConfig",
    calculator="tests.calculators.morse:MorseCalculator",
)


class MorseConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    elements: tuple[str, ...] = ("H", "O")
    level: str = "morse"
    cutoff: float = 12.0


class MorseNetwork(torch.nn.Module):
    def __init__(self, config: MorseConfig) -> None:
        super().__init__()
        self.config = config
        self.depth = torch.nn.Parameter(torch.tensor(0.15, dtype=torch.float64))
        self.width = torch.nn.Parameter(torch.tensor(1.1, dtype=torch.float64))
        self.distance = torch.nn.Parameter(torch.tensor(1.9, dtype=torch.float64))
        self.register_buffer("electronegativity", 0.05 * torch.arange(100, dtype=torch.float64))

    def cast(self, dtype: torch.dtype) -> MorseNetwork:
        return self.to(dtype)

    def forward(self, numbers: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the energies of pairs (P,), summed, and the charges (N,) of one system; positions in Bohr."""
        i, j = torch.triu_indices(len(numbers), len(numbers), 1, device=numbers.device)
        r = (positions[i] - positions[j]).norm(dim=1)
        smooth = (1 - r / self.config.cutoff).clamp(min=0) ** 3
        pair = self.depth * ((1 - torch.exp(-self.width * (r - self.distance))) ** 2 - 1) * smooth
        flow = (self.electronegativity[numbers[i]] - self.electronegativity[numbers[j]]) * torch.exp(-r) * smooth
        charges = positions.new_zeros(len(numbers)).index_add(0, i, flow).index_add(0, j, -flow)
        return pair.sum(), charges


class MorseCalculator(MlwaveCalculator):
    name = KIND.name
    implemented_properties = ["energy", "free_energy", "forces", "dipole", "charges"]
    default_parameters = {"scale": 1.0}

    def _compute(self, member: Member, systems: list[System], properties: tuple[str, ...]) -> list[Outcome]:
        return [self._single(member.network, system) for system in systems]

    def _single(self, network: MorseNetwork, system: System) -> Outcome:
        dtype, device = network.depth.dtype, network.depth.device
        positions = torch.tensor(system.positions, dtype=dtype, device=device, requires_grad=True)
        energy, charges = network(torch.tensor(system.numbers, device=device), positions)
        scaled = energy * self.parameters["scale"]
        forces = torch.zeros_like(positions)
        if len(system) > 1:
            forces = -torch.autograd.grad(scaled, positions)[0]
        values = {
            "energy": scaled.item(),
            "forces": forces.cpu().numpy(),
            "charges": charges.detach().cpu().numpy(),
            "dipole": (charges @ positions).detach().cpu().numpy(),
        }
        return Outcome(values, {"n_pairs": len(system) * (len(system) - 1) // 2})


def morse_folder(
    depth: float = 0.15,
    thresholds: dict[str, float] | None = None,
    limits: dict[str, float] | None = None,
    level: str = "morse",
) -> ModelFolder:
    """Return a model folder, in memory, whose well is ``depth`` Hartree deep."""
    network = MorseNetwork(MorseConfig(level=level))
    with torch.no_grad():
        network.depth.fill_(depth)
    return ModelFolder.pack(
        "test-morse",
        network,
        training_data=TrainingData(source="none: an analytic potential", sha256="0" * 64, n_records=1),
        card="# Morse\n\nFor tests.\n",
        errors={"energy_mae_meV": 0.25},
        thresholds=thresholds,
        limits=limits,
    )
