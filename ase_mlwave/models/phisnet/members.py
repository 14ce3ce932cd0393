"""Networks beside the first of a model whose learned potential is the mean of several."""

from __future__ import annotations

from torch import Tensor

from ase_mlwave.models.phisnet.atom_features import AtomFeatures
from ase_mlwave.models.phisnet.autocast import full_precision
from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.orders import OrderLayout
from ase_mlwave.models.phisnet.plan import BatchPlan
from ase_mlwave.models.phisnet.potential import PotentialHeads
from ase_mlwave.systems.batch import SystemBatch

__all__ = ["PotentialNetwork"]


class PotentialNetwork(AtomFeatures):
    """One more network for the potential of a model, which is the mean of all.

    Parameters
    ----------
    config : PhiSNetConfig
        Hyperparameters, with an auxiliary basis.
    layout : OrderLayout
        Rows of the features.
    """

    def __init__(self, config: PhiSNetConfig, layout: OrderLayout) -> None:
        super().__init__(config, layout, config.cutoff, config.message_range)
        auxiliary = str(config.auxiliary)
        self.potential = PotentialHeads(layout, config.features, auxiliary, config.numbers, config.charge_range)

    def forward(self, batch: SystemBatch, plan: BatchPlan) -> Tensor:
        """Give its coefficients, as `PhiSNetOutput.potential`."""
        f = self.features(batch, plan)[0]
        with full_precision(plan.first.device.type):
            coefficients: Tensor = self.potential(f, batch.positions, plan)
            return coefficients
