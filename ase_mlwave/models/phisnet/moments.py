"""Means and variances of any number of rows, in the memory of one."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Moments"]


class Moments:
    """Mean of rows (n, D) that are given in parts, and their scatter about it.

    Parameters
    ----------
    joint : bool
        Keep products of columns, for covariances.

    Notes
    -----
    Parts are joined with the shift between their means, not by sums of squares, which would lose digits where rows lie
    far from zero. Law: ``test_moments_of_parts_are_those_of_the_whole``.
    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    """

    def __init__(self, *, joint: bool = False) -> None:
        self.joint, self.count = joint, 0
        self.mean, self.scatter = torch.zeros(()), torch.zeros(())

    def add(self, rows: Tensor) -> None:
        """Add rows (n, D), float64."""
        mean = rows.mean(dim=0)
        shift = mean - self.mean
        total = self.count + len(rows)
        self.scatter = (
            self.scatter + self._squares(rows - mean) + self._squares(shift[None]) * (self.count * len(rows) / total)
        )
        self.mean = self.mean + shift * (len(rows) / total)
        self.count = total

    def _squares(self, rows: Tensor) -> Tensor:
        return rows.T @ rows if self.joint else rows.square().sum(dim=0)
