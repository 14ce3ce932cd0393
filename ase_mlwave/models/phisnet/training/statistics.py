"""What a network takes from its training data before and after training: scales, atomic energies, its domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from ase.data import chemical_symbols
from torch import Tensor

from ase_mlwave.data.record import Record
from ase_mlwave.models.phisnet.assembly import AOPlan
from ase_mlwave.models.phisnet.baseline import flatten
from ase_mlwave.models.phisnet.blocks import BlockHead
from ase_mlwave.models.phisnet.energy import n_occupied
from ase_mlwave.models.phisnet.inference import predict_batch as predict_states
from ase_mlwave.models.phisnet.model import MatrixHeads, PhiSNet
from ase_mlwave.models.phisnet.moments import Moments
from ase_mlwave.models.phisnet.potential import PotentialHeads
from ase_mlwave.models.phisnet.training.losses import predict_batch
from ase_mlwave.models.phisnet.training.prepared import PreparedDataset, PreparedSystem, TrainingBatch, join
from ase_mlwave.models.training.loader import ahead, chunks
from ase_mlwave.systems.batch import SystemBatch, collate

__all__ = ["fit_baseline_shift", "fit_domain", "fit_statistics", "shift_energies"]

Progress = Callable[[int], None]

_CHUNK = 64


def _silent(n: int) -> None:
    """Show nothing."""


@torch.no_grad()
def fit_statistics(network: PhiSNet, training: PreparedDataset, progress: Progress = _silent) -> None:
    """Set shifts and scales of the heads, and the atomic energies' mean, from the training data."""
    if network.potential is not None:
        _fit_potential(network, network.potential, training, progress)
        return
    moments: dict[BlockHead, Moments] = {}
    compositions, remainders = [], []
    for some in ahead(chunks(training, _CHUNK)):
        progress(len(some))
        systems = [system for system in some if "residual" in system.matrices]
        if not systems:
            continue
        batch = collate([system.record for system in systems], network.config.cutoff)
        for head, coefficients in _coefficients(network, batch, systems):
            moments.setdefault(head, Moments()).add(coefficients)
        with_remainder = [system.remainder is not None for system in systems]
        compositions.append(_composition(network, batch)[with_remainder])
        remainders += [system.remainder for system in systems if system.remainder is not None]
    for head, head_moments in moments.items():
        head.fit_statistics(head_moments)
    if remainders and network.energy_features is None:
        composition, remainder = torch.cat(compositions), torch.tensor(remainders, dtype=torch.float64)
        shift = torch.linalg.pinv(composition) @ remainder
        network.energy_shift.copy_(shift)  # type: ignore[operator]
        spread = (remainder - composition @ shift).square().mean().sqrt()
        network.energy_scale.copy_(spread.clamp(min=1e-3))  # type: ignore[operator]


def _fit_potential(network: PhiSNet, heads: PotentialHeads, training: PreparedDataset, progress: Progress) -> None:
    """Set shifts and scales of a learned potential from fitted ones."""
    fitted: dict[int, list[Tensor]] = {z: [] for z in network.config.numbers}
    effects = {z: torch.zeros(n, n, dtype=torch.float64) for z, n in heads.functions.items()}
    for some in ahead(chunks(training, _CHUNK)):
        progress(len(some))
        for system in (one for one in some if "potential" in one.matrices):
            coefficients, form = system.matrices["potential"][:, 0], system.matrices["form_hamiltonian"].double()
            start = 0
            for z in system.record.numbers.tolist():
                span = slice(start, start + heads.functions[z])
                fitted[z].append(coefficients[span])
                effects[z] += form[span, span] * len(coefficients) ** 2  # sums over H rather than means
                start = span.stop
    for z, rows in fitted.items():
        if rows:
            heads.head(chemical_symbols[z]).fit_statistics(torch.stack(rows), effects[z] / len(rows))


def _coefficients(
    network: PhiSNet, batch: SystemBatch, systems: list[PreparedSystem]
) -> Iterator[tuple[BlockHead, Tensor]]:
    """Give what the heads are to learn of some molecules, (n, M1 M2) for every head that has any."""
    ao, plan = AOPlan(batch, network.functions), network.plan(batch)
    groups = [(kind.name, *(plan.atoms[kind.start : kind.stop].cpu(),) * 2) for kind in plan.atom_kinds]
    for kind in plan.pair_kinds:
        pairs = plan.pairs[kind.start : kind.stop].cpu()
        groups.append((kind.name, batch.first[pairs], batch.second[pairs]))
    targets = {"residual": network.heads, "core": network.core_heads, "overlap": network.overlap_heads}
    for matrix, heads in targets.items():
        if isinstance(heads, MatrixHeads):
            flat = flatten([system.matrices[matrix] for system in systems])
            for name, first, second in groups:
                head = heads.head(name)
                yield head, head.coefficients(ao.extract(flat, first, second, head.shape))


@torch.no_grad()
def fit_domain(
    network: PhiSNet, training: PreparedDataset, validation: PreparedDataset, progress: Progress = _silent
) -> dict[str, float]:
    """Learn what training atoms look like.

    Parameters
    ----------
    network : PhiSNet
        Trained; its ``domain`` is set.
    training, validation : PreparedDataset
        Molecules.
    progress : callable
        Called with the number of training molecules done since the last call.

    Returns
    -------
    dict of str to float
        ``domain_distance``: the threshold of the model's warning, twice the largest distance of validation atoms.
    """
    features: list[tuple[Tensor, Tensor]] = []

    def invariants() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in _batches(network, training):
            progress(len(batch.n_occupied))
            network(batch.molecules, batch.plan)
            yield features.pop()

    hook = network.domain.register_forward_pre_hook(lambda _, inputs: features.append(inputs))
    network.domain.fit(invariants())
    hook.remove()
    largest = max(
        float(network(batch.molecules, batch.plan).distances.max()) for batch in _batches(network, validation)
    )
    return {"domain_distance": 2 * largest}


@torch.no_grad()
def shift_energies(network: PhiSNet, training: PreparedDataset, progress: Progress = _silent) -> None:
    """Shift the atomic energies by least squares on the present errors: before training on other data.

    Energies of atoms alone that were not trained yet take their scale from what is left, an atom of a molecule.
    """
    errors, compositions = [], []
    labelled = [index for index, record in enumerate(training.records) if record.energy is not None]
    for batch in _batches(network, training, labelled, matrices=network.energy_features is None):
        progress(len(batch.n_occupied))
        energies = predict_batch(network, batch, energies=True, forces=False, with_matrices=False).energies
        if energies is not None and batch.energies is not None:
            errors.append(batch.energies - energies)
            compositions.append(_composition(network, batch.molecules))
    if errors:
        composition, error = torch.cat(compositions), torch.cat(errors)
        shift = torch.linalg.pinv(composition) @ error
        network.energy_shift += shift
        if network.energy_features is not None and not network.energy_head[-1].weight.any():  # type: ignore[operator]
            spread = ((error - composition @ shift).square() / composition.sum(1)).mean().sqrt()
            network.energy_scale.copy_(spread.clamp(min=1e-3))  # type: ignore[operator]


@torch.no_grad()
def fit_baseline_shift(network: PhiSNet, records: Sequence[Record]) -> float:
    """Find the rigid shift of H with which the mean of energies is right: before training on them.

    Parameters
    ----------
    network : PhiSNet
        Whose wavefunction energies have no atomic energies.
    records : sequence of Record
        Labelled molecules; 64 of them, spread evenly, are measured.

    Returns
    -------
    float
        c of H + c S, Hartree, which adds c/2 for every electron: least squares on the errors. 0 without energies.
    """
    labelled = [record for record in records if record.energy is not None]
    if not labelled:
        return 0.0
    some = labelled[:: -(-len(labelled) // _CHUNK)]
    errors = (
        torch.tensor([r.energy for r in some], dtype=torch.float64)
        - predict_states(network, some).wavefunction_energies().cpu()
    )
    electrons = torch.tensor([2.0 * n_occupied(r.numbers, r.charge) for r in some], dtype=torch.float64)
    return float(2 * (errors @ electrons) / (electrons @ electrons))


def _batches(
    network: PhiSNet, dataset: PreparedDataset, indices: Sequence[int] | None = None, *, matrices: bool = True
) -> Iterator[TrainingBatch]:
    """Join molecules, by default all, to batches, in their order."""
    selection = range(len(dataset)) if indices is None else indices
    return ahead(join([dataset[i] for i in some], network, matrices=matrices) for some in chunks(selection, _CHUNK))


def _composition(network: PhiSNet, batch: SystemBatch) -> Tensor:
    """Count the atoms of each of the model's elements, (B, elements)."""
    element = network.elements_of(batch)
    counts = torch.zeros(len(batch.n_atoms), len(network.config.numbers), dtype=torch.float64)
    return counts.index_put_((batch.system, element), torch.ones(len(element), dtype=torch.float64), accumulate=True)
