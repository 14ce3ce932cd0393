"""What a network takes from its training data before and after training: scales, atomic energies, its domain."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ase_mlwave.models.phisnet.assembly import AOPlan
from ase_mlwave.models.phisnet.baseline import flatten
from ase_mlwave.models.phisnet.energy import electronic_states, n_occupied, wavefunction_energies
from ase_mlwave.models.phisnet.model import MatrixHeads, PhiSNet
from ase_mlwave.models.phisnet.training.losses import predict_batch
from ase_mlwave.models.phisnet.training.prepared import PreparedDataset, PreparedSystem, TrainingBatch, join
from ase_mlwave.systems.batch import SystemBatch, collate

__all__ = ["fit_domain", "fit_statistics", "shift_energies"]

_CHUNK = 64


@torch.no_grad()
def fit_statistics(network: PhiSNet, training: PreparedDataset) -> None:
    """Set shifts and scales of the heads, and the atomic energies' mean, from the training data."""
    systems = [s for s in training.systems if s.hamiltonian is not None]
    if not systems:
        return
    batch = collate([s.record for s in systems], network.config.cutoff)
    plan = AOPlan(batch, network.functions)
    targets = {
        network.heads: flatten([s.hamiltonian - s.baseline.value for s in systems if s.hamiltonian is not None]),
        network.core_heads: flatten([s.core.value for s in systems]),
        network.overlap_heads: flatten([s.overlap.value for s in systems]),
    }
    for heads, flat in targets.items():
        if isinstance(heads, MatrixHeads):
            for _, head, atoms in heads.atom_groups(batch):
                head.fit_statistics(plan.extract(flat, atoms, atoms, head.shape))
            for _, head, pairs in heads.pair_groups(batch):
                head.fit_statistics(plan.extract(flat, batch.first[pairs], batch.second[pairs], head.shape))
    _fit_energies(network, systems)


@torch.no_grad()
def _fit_energies(network: PhiSNet, systems: list[PreparedSystem]) -> None:
    """Set the mean atomic energy of each element and their scale, by least squares on the reference H."""
    labelled = [s for s in systems if s.record.energy is not None]
    if not labelled:
        return
    batch = collate([s.record for s in labelled], network.config.cutoff)
    hamiltonians = tuple(s.hamiltonian for s in labelled if s.hamiltonian is not None)
    cores = tuple(s.energy_core.value for s in labelled)
    occupied = tuple(n_occupied(torch.tensor(s.record.numbers), s.record.charge) for s in labelled)
    states = electronic_states(hamiltonians, tuple(s.overlap.value for s in labelled), occupied)
    none = torch.zeros(len(batch.numbers), dtype=torch.float64)
    rest = torch.tensor([float(s.record.energy or 0.0) for s in labelled], dtype=torch.float64)
    short_range = network.config.short_range
    rest = rest - wavefunction_energies(batch, hamiltonians, cores, states, none, short_range=short_range)
    composition = _composition(network, batch)
    shift = torch.linalg.pinv(composition) @ rest
    network.energy_shift.copy_(shift)  # type: ignore[operator]
    spread = (rest - composition @ shift).square().mean().sqrt()
    network.energy_scale.copy_(spread.clamp(min=1e-3))  # type: ignore[operator]


@torch.no_grad()
def fit_domain(network: PhiSNet, training: PreparedDataset, validation: PreparedDataset) -> dict[str, float]:
    """Learn what training atoms look like.

    Parameters
    ----------
    network : PhiSNet
        Trained; its ``domain`` is set.
    training, validation : PreparedDataset
        Molecules.

    Returns
    -------
    dict of str to float
        ``domain_distance``: the threshold of the model's warning, twice the largest distance of validation atoms.
    """
    invariants: list[Tensor] = []
    elements: list[Tensor] = []

    def collect(_: Any, inputs: tuple[Tensor, Tensor]) -> None:
        invariants.append(inputs[0])
        elements.append(inputs[1])

    hook = network.domain.register_forward_pre_hook(collect)
    for batch in _batches(network, training):
        network(batch.molecules)
    hook.remove()
    network.domain.fit(torch.cat(invariants), torch.cat(elements))
    largest = max(float(network(batch.molecules).distances.max()) for batch in _batches(network, validation))
    return {"domain_distance": 2 * largest}


@torch.no_grad()
def shift_energies(network: PhiSNet, training: PreparedDataset) -> None:
    """Shift the atomic energies by least squares on the present errors: before other data, and after training."""
    labelled = [s for s in training.systems if s.record.energy is not None]
    errors, compositions = [], []
    for start in range(0, len(labelled), _CHUNK):
        batch = join(labelled[start : start + _CHUNK], network.config.cutoff)
        energies = predict_batch(network, batch, energies=True, forces=False).energies
        if energies is not None and batch.energies is not None:
            errors.append(batch.energies - energies)
            compositions.append(_composition(network, batch.molecules))
    if errors:
        network.energy_shift += torch.linalg.pinv(torch.cat(compositions)) @ torch.cat(errors)


def _batches(network: PhiSNet, dataset: PreparedDataset) -> list[TrainingBatch]:
    """Join all molecules to batches, in their order."""
    starts = range(0, len(dataset), _CHUNK)
    return [join(dataset.systems[start : start + _CHUNK], network.config.cutoff) for start in starts]


def _composition(network: PhiSNet, batch: SystemBatch) -> Tensor:
    """Count the atoms of each of the model's elements, (B, elements)."""
    element = network.elements_of(batch)
    counts = torch.zeros(len(batch.n_atoms), len(network.config.numbers), dtype=torch.float64)
    return counts.index_put_((batch.system, element), torch.ones(len(element), dtype=torch.float64), accumulate=True)
