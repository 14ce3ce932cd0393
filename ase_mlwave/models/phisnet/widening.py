"""A larger network that predicts what a smaller one does, so that training goes on with more room."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.layers import OrderLinear
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.potential import PotentialHead

__all__ = ["grown", "widened"]

#: Copies of a channel get weights that differ by up to this share, so that they learn different things.
_SPREAD = 0.25
#: Lists of matrices that are multiplied from the right: their first axis is what goes in.
_MATRICES = ("inward", "outward", "weights")


def grown(network: PhiSNet, config: PhiSNetConfig, seed: int = 0) -> PhiSNet:
    """Widen a network, and give it energies of atoms alone, where ``config`` has them and the network has not.

    Parameters
    ----------
    network : PhiSNet
        Trained.
    config : PhiSNetConfig
        Of the larger network.
    seed : int
        Of what is new.

    Returns
    -------
    PhiSNet
        It predicts the same matrices. The features of its energies are, but for their range, those of the matrices; its
        energies are those of free atoms until they are trained.

    Notes
    -----
    Law: ``test_energies_of_atoms_begin_with_the_features_of_the_matrices``.
    """
    network = widened(network, config, seed)
    if config.energy_from != "atoms" or network.energy_features is not None:
        return network
    own = {"energy_from": config.energy_from, "energy_cutoff": config.energy_cutoff}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        larger = PhiSNet(network.config.model_copy(update=own)).to(network.radial.raw_alpha.device).cast(network.dtype)
    state = network.state_dict()
    prefix = "energy_features."
    known = {name: state.get(name.removeprefix(prefix)) for name in larger.state_dict()}
    new = {"energy_scale", "energy_shift", *(f"energy_head.{name}" for name in larger.energy_head.state_dict())}
    larger.load_state_dict(larger.state_dict() | {k: v for k, v in known.items() if v is not None and k not in new})
    return larger


def widened(network: PhiSNet, config: PhiSNetConfig, seed: int = 0) -> PhiSNet:
    """Copy every channel as often as a wider network has room for it, and divide what leaves it among the copies.

    Parameters
    ----------
    network : PhiSNet
        Trained, in edge frames.
    config : PhiSNetConfig
        Of the wider network: ``features`` and ``hidden`` are multiples of those of ``network``.
    seed : int
        Of the shares.

    Returns
    -------
    PhiSNet
        With these ``features`` and ``hidden`` and what else ``network`` has; ``network`` itself where there is nothing
        to widen, or where it cannot be done without a change of what is predicted.

    Notes
    -----
    Law: ``test_a_widened_network_predicts_the_same``. Distances from the training data are to be fitted anew, as copies
    are not independent. Source: Chen, Goodfellow and Shlens, "Net2Net" (arXiv:1511.05641).
    """
    old = network.config
    widths = {"features": config.features, "hidden": config.hidden}
    fits = config.features % old.features == 0 and config.hidden % old.hidden == 0
    same = (config.features, config.hidden) == (old.features, old.hidden)
    if same or not fits or old.product != "edge_frame":
        return network
    wide = PhiSNet(old.model_copy(update=widths)).to(network.radial.raw_alpha.device).cast(network.dtype)
    generator = torch.Generator().manual_seed(seed)
    inputs = _axes_of_inputs(network)
    target = wide.state_dict()
    state = {
        name: _stretched(weight, target[name].shape, inputs.get(name), generator)
        for name, weight in network.state_dict().items()
    }
    wide.load_state_dict(state)
    return wide


def _axes_of_inputs(network: PhiSNet) -> dict[str, int]:
    """Name the matrices of a network, and the axis of each that its input is summed over."""
    axes = {}
    for name, module in network.named_modules():
        if isinstance(module, (OrderLinear, PotentialHead, nn.Linear)):
            axes[f"{name}.weight"] = 1
        elif isinstance(module, nn.ParameterList) and name.endswith(_MATRICES):
            axes |= {f"{name}.{index}": 0 for index in range(len(module))}
    return axes


def _stretched(weight: Tensor, shape: torch.Size, axis: int | None, generator: torch.Generator) -> Tensor:
    """Repeat channels until there are as many as in ``shape``; along ``axis`` the copies share the original weight."""
    times = [long // short for long, short in zip(shape, weight.shape, strict=True)]
    for dim, count in enumerate(times):
        weight = weight.repeat_interleave(count, dim=dim)
    if axis is None or times[axis] == 1:
        return weight
    copies = times[axis]
    shares = torch.rand(
        (*shape[:axis], shape[axis] // copies, copies, *shape[axis + 1 :]), generator=generator, dtype=torch.float64
    )
    shares = 1 + _SPREAD * copies * (shares - shares.mean(dim=axis + 1, keepdim=True))
    return weight * (shares / copies).flatten(axis, axis + 1).to(weight)
