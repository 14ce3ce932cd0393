"""torch-sim: relaxations and dynamics of many structures at a time, with any model of the package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ase.calculators.calculator import PropertyNotImplementedError
from ase.stress import voigt_6_to_full_3x3_stress
from torch import Tensor

from ase_mlwave.calculators import load_calculator
from ase_mlwave.calculators.checks import read_arrays, read_each
from ase_mlwave.calculators.members import ModelName, pick_device

try:
    from torch_sim.models.interface import ModelInterface
    from torch_sim.state import SimState
except ImportError as error:
    raise ImportError(
        f"torch-sim cannot be imported ({error}): install the package's extra, `pip install 'ase-mlwave[torch-sim]'`."
    ) from error

__all__ = ["MlwaveModel"]


class MlwaveModel(ModelInterface):  # type: ignore[misc]  # torch-sim has no types
    """Serve torch-sim's integrators and optimisers with a model of the package.

    Parameters
    ----------
    model : str, path, or sequence of them
        A name in the zoo, a folder, or several models of one kind: a committee, whose mean is the result.
    device : torch.device or str, optional
        Where states and model are; by default CUDA where there is a device, else the CPU.
    dtype : torch.dtype
        Of states and network, ``torch.float64`` or ``torch.float32`` (not for amons).
    compute_forces, compute_stress : bool
        What is computed beside energies; the stress is that of cells with three periods (amons).
    **options
        Those of the model's calculator: ``outside``, ``energy``, ``batch_size``, ...

    Raises
    ------
    TypeError, InputError
        As the calculator's constructor.
    PropertyNotImplementedError
        If a stress is asked for that the model does not have.

    Notes
    -----
    A state goes through the batches of the calculator's `predict` and passes its checks at every step: wrong input is
    refused, and structures unlike the training data raise `OutOfDomainError` (``outside="warn"``: a warning), with
    their index. Results are the calculator's (``test_results_are_those_of_the_calculator``). Batches that the device's
    memory does not hold are divided inside: there is no need of ``autobatcher``.
    """

    def __init__(
        self,
        model: ModelName | Sequence[ModelName],
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float64,
        compute_forces: bool = True,
        compute_stress: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        name = None if device is None else str(device)
        self.calculator = load_calculator(model, device=name, dtype=str(dtype).removeprefix("torch."), **options)
        self._device, self._dtype = pick_device(name), dtype
        self._memory_scales_with = "n_atoms"  # torch-sim's density is that of a cell, and molecules have none
        self._compute_forces = compute_forces
        self.compute_stress = compute_stress

    @property
    def compute_forces(self) -> bool:
        """Whether forces are computed."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, compute_forces: bool) -> None:
        self._compute_forces = compute_forces

    @property
    def compute_stress(self) -> bool:
        """Whether the stress is computed."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, compute_stress: bool) -> None:
        if compute_stress and "stress" not in self.calculator.implemented_properties:
            raise PropertyNotImplementedError(f"{type(self.calculator).__name__} has no stress. Take a model of amons.")
        self._compute_stress = compute_stress

    def forward(self, state: SimState | Mapping[str, Any], **_: Any) -> dict[str, Tensor]:
        """Compute a state of B systems with N atoms.

        Parameters
        ----------
        state : SimState, or mapping of its entries
            Not changed. Systems have ``state.charge`` and ``state.spin`` (unpaired electrons), (B,), where the state
            knows of these.

        Returns
        -------
        dict of str to Tensor
            ``"energy"``, (B,), eV; ``"forces"``, (N, 3), eV/Angstrom; ``"stress"``, (B, 3, 3), eV/Angstrom^3; without
            derivatives.

        Raises
        ------
        InputError, OutOfDomainError
            As the calculator's `predict`.
        """
        if not isinstance(state, SimState):
            state = SimState(**{"masses": torch.ones_like(state["atomic_numbers"]), **state})
        systems = read_each(lambda one: read_arrays(**one, domain=self.calculator.domain), _structures(state))
        optional = {"forces": self.compute_forces, "stress": self.compute_stress}
        properties = ["energy", *(name for name, wanted in optional.items() if wanted)]
        values = [outcome.values for outcome in self.calculator.predict_systems(systems, properties)]
        results = {"energy": np.array([one["energy"] for one in values])}
        if self.compute_forces:
            results["forces"] = np.concatenate([one["forces"] for one in values])
        if self.compute_stress:
            results["stress"] = np.stack([voigt_6_to_full_3x3_stress(one["stress"]) for one in values])
        return {name: torch.from_numpy(array).to(self.device, self.dtype) for name, array in results.items()}


def _structures(state: SimState) -> Iterator[dict[str, Any]]:
    """Divide a state by systems: what `read_arrays` takes."""
    numbers, positions, cells, counts = (
        tensor.detach().cpu().numpy()
        for tensor in (state.atomic_numbers, state.positions, state.row_vector_cell, state.n_atoms_per_system)
    )
    pbc = np.broadcast_to(torch.as_tensor(state.pbc).cpu().numpy(), 3)
    charges, spins = (
        torch.as_tensor(getattr(state, name, 0)).cpu().expand(len(counts)).tolist() for name in ("charge", "spin")
    )
    ends = np.cumsum(counts)
    for system, (start, end) in enumerate(zip(ends - counts, ends, strict=True)):
        yield {
            "numbers": numbers[start:end].astype(np.int64),
            "positions": positions[start:end].astype(np.float64),
            "cell": cells[system].astype(np.float64),
            "pbc": pbc,
            "charge": charges[system],
            "spin": spins[system],
        }
