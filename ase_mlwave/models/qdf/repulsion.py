"""The repulsion of nuclei, screened by the electrons that stay with them: the part that no field holds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
import torch
from torch import Tensor, nn

from ase_mlwave.models.domain.screening import FACTORS, LENGTH, POWER, RATES
from ase_mlwave.models.qdf.grids import envelope

__all__ = ["NuclearRepulsion"]

#: The first learned function's distance, Bohr, and the last one's share of the cutoff.
_FIRST, _LAST = 1.1, 0.95
#: Added to squared distances, Bohr^2: nuclei at one place have a large energy, not an infinite one.
_SOFTENING = 1e-6


class NuclearRepulsion(nn.Module):
    """Pair energies: the universal screened Coulomb repulsion, and a learned function for every pair of elements.

    Parameters
    ----------
    numbers : sequence of int
        Atomic numbers of the model's elements.
    n_functions : int
        Learned functions m of a pair of elements.
    cutoff : float
        Bohr; pair energies vanish there with two derivatives.
    wall : bool
        Whether the screened Coulomb repulsion is there: not where a level is corrected, which repels nuclei itself.

    Notes
    -----
    E_AB = [Z_A Z_B / r * sum_i a_i exp(-b_i r / l_AB) + sum_m u_{AB,m} exp(-(ln r/r_m)^2 / 2 w^2)] (1 - r^2/c^2)^3. The
    functional of the density gives the rest. Near nuclei the first term alone is left, so that atoms never collapse.
    The learned part starts at zero and is linear in its weights.
    Source of the screening: Ziegler, Biersack and Littmark, "The stopping and range of ions in solids" (1985).
    Differs from the paper, which leaves the repulsion of nuclei to the functional of the field.
    """

    centres: Tensor
    charges: Tensor
    pairs: Tensor
    rates: Tensor
    factors: Tensor

    def __init__(self, numbers: Sequence[int], n_functions: int, cutoff: float, *, wall: bool = True) -> None:
        super().__init__()
        self.cutoff, self.wall = cutoff, wall
        combined = list(combinations_with_replacement(range(len(numbers)), 2))
        pairs = torch.zeros(len(numbers), len(numbers), dtype=torch.int64)
        for index, (a, b) in enumerate(combined):
            pairs[a, b] = pairs[b, a] = index
        steps = np.linspace(np.log(_FIRST), np.log(_LAST * cutoff), max(2, n_functions))
        self.width = float(steps[1] - steps[0])
        self.register_buffer("centres", torch.from_numpy(steps[:n_functions]), persistent=False)
        self.register_buffer("charges", torch.tensor(numbers, dtype=torch.float64), persistent=False)
        self.register_buffer("pairs", pairs, persistent=False)
        self.register_buffer("rates", torch.tensor(RATES, dtype=torch.float64), persistent=False)
        self.register_buffer("factors", torch.tensor(FACTORS, dtype=torch.float64), persistent=False)
        self.weight = nn.Parameter(torch.zeros(len(combined), n_functions, dtype=torch.float64))

    def terms(self, vectors: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate half of the energies of pairs.

        Parameters
        ----------
        vectors : Tensor, (E, 3)
            From the first atom to the second, Bohr, float64.
        first, second : Tensor, (E,)
            Element indices of the atoms.

        Returns
        -------
        wall : Tensor, (E,)
            The fixed term, Hartree.
        functions : Tensor, (E, m)
            The learned functions; their product with the weights of the kind is in Hartree.
        kind : Tensor, (E,)
            Which pair of elements it is: row of the weights.
        """
        r2 = vectors.square().sum(1) + _SOFTENING
        fade = 0.5 * envelope(r2, self.cutoff)
        charges = self.charges[first], self.charges[second]
        lengths = LENGTH / (charges[0] ** POWER + charges[1] ** POWER)
        r = r2.sqrt()
        screening = torch.exp(-(r / lengths)[:, None] * self.rates) @ self.factors
        wall = fade * charges[0] * charges[1] / r * screening * self.wall
        steps = (0.5 * torch.log(r2)[:, None] - self.centres) / self.width
        return wall, torch.exp(-0.5 * steps.square()) * fade[:, None], self.pairs[first, second]

    def forward(self, vectors: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Evaluate halves of the energies of pairs; arguments as for `terms`; (E,), Hartree, float64."""
        wall, functions, kind = self.terms(vectors, first, second)
        energies: Tensor = wall + (functions * self.weight.double()[kind]).sum(1)
        return energies
