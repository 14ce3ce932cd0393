"""How unlike the training data an atom is: Mahalanobis distance of its invariant features."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ase_mlwave.models.phisnet.moments import Moments

__all__ = ["DomainDistance"]


class DomainDistance(nn.Module):
    """Measure the distance of atoms from those that the model was trained on.

    Parameters
    ----------
    n_elements : int
        Elements of the model; each has its own distribution.
    features : int
        Invariant features per atom.

    Notes
    -----
    d = sqrt((x - mean)^T C^-1 (x - mean) / F), with mean and covariance C of the training atoms of the same element;
    about 1 inside the training data. Zero before `fit`. Law: ``test_domain_distance_grows_outside``.
    """

    def __init__(self, n_elements: int, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_elements, features, dtype=torch.float64))
        self.register_buffer("whitening", torch.zeros(n_elements, features, features, dtype=torch.float64))

    def forward(self, invariants: Tensor, element: Tensor) -> Tensor:
        """Map invariants (N, F) of atoms of given elements (N,) to distances (N,), dimensionless, without gradient."""
        mean: Tensor = self.mean  # type: ignore[assignment]
        whitening: Tensor = self.whitening  # type: ignore[assignment]
        with torch.no_grad():
            centred = invariants.double() - mean.index_select(0, element)
            white = torch.bmm(centred[:, None], whitening.index_select(0, element))
            return white.square().mean(dim=(1, 2)).sqrt()

    @torch.no_grad()
    def fit(self, training: Iterable[tuple[Tensor, Tensor]], ridge: float = 1e-4) -> None:
        """Take mean and covariance from training atoms.

        Parameters
        ----------
        training : iterable of (invariants, element)
            Features (N, F) of all training atoms in parts of any size, and the index (N,) of their element.
        ridge : float
            Added to the covariance, relative to its mean diagonal, so that directions that never vary count little.
        """
        by_element: dict[int, Moments] = {}
        for invariants, element in training:
            for index in element.unique().tolist():
                by_element.setdefault(index, Moments(joint=True)).add(invariants[element == index].double())
        for index, moments in by_element.items():
            covariance = moments.scatter / max(1, moments.count - 1)
            covariance += ridge * covariance.diagonal().mean().clamp(min=1e-12) * torch.eye(len(covariance))
            values, vectors = torch.linalg.eigh(covariance)
            self.mean[index] = moments.mean  # type: ignore[operator]
            self.whitening[index] = vectors * values.rsqrt()  # type: ignore[operator]
