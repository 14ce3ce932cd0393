"""Kernels of queries with the rows that variances take, against the matrix of all rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ase_mlwave.models.amons.regression import variance
from ase_mlwave.models.amons.regression.expansion import expand
from ase_mlwave.models.amons.regression.kernel import kernel_diagonal, kernel_matrix
from ase_mlwave.models.amons.regression.variance import add_own_kernels, add_row_kernels
from tests.models.amons.regression.gaussians import Gaussians, described, random_geometry
from tests.models.amons.regression.test_kernel import WIDTHS, molecules


@pytest.mark.parametrize("together", [2, 512])
@pytest.mark.parametrize("n_directions", [0, 3])
def test_kernels_of_queries_are_the_matrix(n_directions: int, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variance, "_TOGETHER", together)
    training = described(molecules(n_directions))
    queries = [random_geometry(99, "CCHOHNH"), random_geometry(98, "OHH"), random_geometry(97, "CHHHH")]
    x = Gaussians().environments_of(Gaussians().collate(queries))
    numbers = torch.from_numpy(np.concatenate([query.numbers for query in queries]))
    system = torch.repeat_interleave(torch.arange(3), torch.tensor([len(query) for query in queries]))
    rows, own = torch.zeros(3, training.n_rows, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for z, expansion in expand(training, torch.ones(training.n_rows, dtype=torch.float64), WIDTHS).items():
        atoms = (numbers == z).nonzero()[:, 0]
        terms, inside, g = expansion(x[atoms]), expansion.inside(x[atoms]), expansion.constants.g
        block, of = training.blocks[z], system[atoms]
        add_row_kernels(rows, block, training.n_molecules, 1 + terms.changes, inside, of, g)
        add_own_kernels(own, x[atoms], of, torch.bincount(of, minlength=3).tolist(), g)
    expected = described(queries)
    torch.testing.assert_close(rows, kernel_matrix(expected, training, WIDTHS), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(own, kernel_diagonal(expected, WIDTHS), rtol=1e-12, atol=1e-12)
