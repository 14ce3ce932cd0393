"""A learned local potential: coefficients of an auxiliary basis on every atom, from the features of that atom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase.data import chemical_symbols as symbols
from numpy.typing import NDArray
from torch import Tensor, nn

from ase_mlwave.models.phisnet.orders import OrderLayout
from ase_mlwave.models.phisnet.plan import BatchPlan
from ase_mlwave.models.phisnet.radial import switch_off
from ase_mlwave.quantum.ao_order import irreps_order
from ase_mlwave.quantum.auxiliary import monopoles
from ase_mlwave.quantum.basis import build_mole, shells

__all__ = ["PotentialHead", "PotentialHeads", "neutral"]

#: Of almost dependent functions, the least share of the largest effect that counts.
_RIDGE = 1e-7
#: Least scale of a mode, by the largest.
_LEAST = 1e-3


class PotentialHeads(nn.Module):
    """Heads of all elements: from features of atoms to a neutral charge density whose potential is added to H.

    Parameters
    ----------
    layout : OrderLayout
        Rows of the features.
    features : int
        Channels F.
    auxiliary : str
        Auxiliary basis.
    numbers : sequence of int
        Atomic numbers of the elements.
    charge_range : float
        Distance within which atoms exchange charge, Bohr; freely within two thirds of it.

    Notes
    -----
    The Kohn-Sham potential of a neutral molecule less that of its neutral atoms decays fast, so the density whose
    Coulomb potential it is has no charge: see `neutral`. Laws: ``test_a_learned_potential_has_no_charge``,
    ``test_molecules_far_apart_keep_their_potentials``, ``test_hamiltonian_turns_with_the_molecule``.
    """

    def __init__(
        self, layout: OrderLayout, features: int, auxiliary: str, numbers: Sequence[int], charge_range: float
    ) -> None:
        super().__init__()
        self.charge_range = charge_range
        self.heads = nn.ModuleDict({symbols[z]: PotentialHead(layout, features, auxiliary, z) for z in numbers})
        self.functions = {z: self.head(symbols[z]).n_functions for z in numbers}
        """Auxiliary functions of each element."""

    def head(self, name: str) -> PotentialHead:
        """Find the head of an element."""
        head: PotentialHead = self.heads[name]  # type: ignore[assignment]
        return head

    def forward(self, f: Tensor, positions: Tensor, plan: BatchPlan) -> Tensor:
        """Give the coefficients of each atom's auxiliary functions.

        Parameters
        ----------
        f : Tensor, (R, N, F)
            Features of atoms in the plan's order.
        positions : Tensor, (N, 3)
            Of the atoms in the batch's order, Bohr.
        plan : BatchPlan
            Of the batch.

        Returns
        -------
        Tensor, (sum of functions,)
            In the batch's order, PySCF's within an atom, e, float64.
        """
        heads = [self.head(kind.name) for kind in plan.atom_kinds]
        modes = [head.modes(f[:, kind.start : kind.stop]) for head, kind in zip(heads, plan.atom_kinds, strict=True)]
        charges = torch.cat([head.charges(rows) for head, rows in zip(heads, modes, strict=True)])
        if plan.mates is None:
            raise ValueError("the plan is of a network without a learned potential")
        charges = neutral(charges, positions.index_select(0, plan.atoms), *plan.mates, self.charge_range)
        parts = [
            head.coefficients(rows, charges[kind.start : kind.stop]).flatten()
            for head, rows, kind in zip(heads, modes, plan.atom_kinds, strict=True)
        ]
        return torch.cat(parts).index_select(0, plan.coefficients)


def neutral(charges: Tensor, positions: Tensor, first: Tensor, second: Tensor, charge_range: float) -> Tensor:
    """Let atoms exchange charge until there is as much of either sign, near each of them.

    Parameters
    ----------
    charges : Tensor, (N,)
        Charges that the atoms tend to, e.
    positions : Tensor, (N, 3)
        Bohr.
    first, second : Tensor, (m,)
        Atoms of all pairs in one molecule, each pair once.
    charge_range : float
        Distance from which on two atoms exchange nothing, Bohr.

    Returns
    -------
    Tensor, (N,)
        q_i = sum_j s_ij (charges_i - charges_j), e, with s_ij = w_ij / sqrt(n_i n_j), w_ij = 1 within two thirds of
        the range, then falling to 0, and n_i = 1 + sum_j w_ij. What one atom gives, another gets: the sum over a
        molecule is zero. Where all atoms are near one another, that is `charges` without their mean.
    """
    weights = switch_off((positions[second] - positions[first]).norm(dim=1), charge_range, charge_range / 3)
    counts = torch.ones_like(charges).index_add(0, first, weights).index_add(0, second, weights)
    shares = weights / (counts[first] * counts[second]).sqrt()
    given = shares * (charges[first] - charges[second])
    return torch.zeros_like(charges).index_add(0, first, given).index_add(0, second, -given)


class PotentialHead(nn.Module):
    """Map features of the atoms of one element to their coefficients of the auxiliary basis.

    Parameters
    ----------
    layout : OrderLayout
        Rows of the features.
    features : int
        Channels F.
    auxiliary : str
        Auxiliary basis.
    number : int
        Atomic number.

    Notes
    -----
    Of each l the K radial functions have coefficients ``shift + scale @ (features @ weight)``; the last column of l = 0
    is a charge and all others have none. ``shift`` and ``scale`` hold the statistics of the training data: what
    neighbouring radial functions, which are almost dependent, do together, and by how much it varies.
    """

    scale: Tensor
    shift: Tensor
    charge: Tensor
    monopoles: Tensor
    order_of_row: Tensor
    place: Tensor

    def __init__(self, layout: OrderLayout, features: int, auxiliary: str, number: int) -> None:
        super().__init__()
        self.shells = shells(auxiliary, number)
        largest = max(self.shells)
        if largest > layout.max_order:
            raise ValueError(f"auxiliary basis {auxiliary!r} has shells of l = {largest}; raise max_order to that")
        self.counts = [self.shells.count(l) for l in range(largest + 1)]
        most = max(self.counts)
        self.n_rows = (largest + 1) ** 2
        self.weight = nn.Parameter(torch.randn(largest + 1, features, most) * 0.1 * features**-0.5)
        orders = np.repeat(self.shells, [2 * l + 1 for l in self.shells])
        atom = build_mole([number], np.zeros((1, 3)), auxiliary, spin=None)
        charges = torch.from_numpy(monopoles(atom)[orders == 0])
        self.register_buffer("monopoles", charges, persistent=False)
        self.register_buffer("scale", torch.zeros(largest + 1, most, most, dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(most, dtype=torch.float64))
        self.register_buffer("charge", torch.zeros(2, dtype=torch.float64))
        rows = torch.repeat_interleave(torch.arange(largest + 1), 2 * torch.arange(largest + 1) + 1)
        self.register_buffer("order_of_row", rows, persistent=False)
        self.register_buffer("place", torch.from_numpy(self._places(most)), persistent=False)
        for l, count in enumerate(self.counts):
            self.scale[l, :count, :count] = torch.eye(count, dtype=torch.float64)
        self._set_spherical(_neutral_space(charges), charges / charges.square().sum())

    @property
    def n_functions(self) -> int:
        """Auxiliary functions of the element."""
        return len(self.place)

    def modes(self, f: Tensor) -> Tensor:
        """Map features (R, n, F) to (R', n, K), float64: amounts of the columns of ``scale``."""
        weights = self.weight.double().index_select(0, self.order_of_row)
        return torch.bmm(f[: self.n_rows].double(), weights)

    def charges(self, modes: Tensor) -> Tensor:
        """Give the charges (n,) of atoms, e, of `modes`, before those of a molecule are made to sum up to nothing."""
        mean, spread = self.charge.unbind()
        return mean + spread * modes[0, :, self.counts[0] - 1]

    def coefficients(self, modes: Tensor, charges: Tensor) -> Tensor:
        """Give coefficients (n, functions), e, in PySCF's order, of `modes` and the charges of atoms (n,)."""
        last = self.counts[0] - 1
        spherical = torch.cat([modes[0, :, :last], charges[:, None], modes[0, :, last + 1 :]], 1)
        scales = self.scale.mT.index_select(0, self.order_of_row)
        rows = torch.bmm(torch.cat([spherical[None], modes[1:]]), scales)
        rows = torch.cat([rows[:1] + self.shift, rows[1:]])
        return rows.transpose(0, 1).flatten(1).index_select(1, self.place)

    @torch.no_grad()
    def fit_statistics(self, coefficients: Tensor, effects: Tensor) -> None:
        """Set shift and scale from training atoms.

        Parameters
        ----------
        coefficients : Tensor, (n, functions)
            Of fitted potentials, e.
        effects : Tensor, (functions, functions)
            Mean products of the matrices of two functions of one atom.
        """
        rows, products = self._by_row(coefficients), self._by_row(self._by_row(effects).flatten(1).T.contiguous())
        products = products.view(self.n_rows, -1, *rows.shape[1:])  # (R', K, R', K)
        for l, count in enumerate(self.counts):
            span = range(l * l, (l + 1) ** 2)
            metric = torch.stack([products[row, :count, row, :count] for row in span]).mean(0)
            values = rows[:, span.start : span.stop, :count].reshape(-1, count)
            if l > 0:
                self.scale[l, :count, :count] = _modes(values, metric)
                continue
            total = values @ self.monopoles
            self.charge.copy_(torch.stack([total.mean(), total.std(correction=0).clamp(min=1e-3)]))
            ridge = _RIDGE * metric.diagonal().max() * torch.eye(count, dtype=metric.dtype)
            shape = torch.linalg.solve(metric + ridge, self.monopoles)
            shape = shape / (shape @ self.monopoles)
            rest, space = values - total[:, None] * shape, _neutral_space(self.monopoles)
            self.shift[:count] = rest.mean(0)
            self._set_spherical(space @ _modes((rest - rest.mean(0)) @ space, space.T @ metric @ space), shape)

    def _set_spherical(self, neutral: Tensor, charge: Tensor) -> None:
        """Set the columns of l = 0: those without charge (K, K - 1), and the one that is a charge of 1 (K,)."""
        count = len(charge)
        self.scale[0, :count, :count] = torch.cat([neutral, charge[:, None]], 1)

    def _by_row(self, values: Tensor) -> Tensor:
        """Bring values (n, functions) to rows and radial functions, (n, R', K)."""
        most = self.weight.shape[2]
        flat = values.new_zeros(len(values), self.n_rows * most)
        return flat.index_copy_(1, self.place, values).view(-1, self.n_rows, most)

    def _places(self, most: int) -> NDArray[np.int64]:
        """Where each function of PySCF's order stands among rows and radial functions, (R', K) flat."""
        places, used = [], dict.fromkeys(range(len(self.counts)), 0)
        for l in self.shells:
            places += [(l * l + m) * most + used[l] for m in range(2 * l + 1)]
            used[l] += 1
        return np.array(places)[np.argsort(irreps_order(self.shells))]


def _neutral_space(monopoles: Tensor) -> Tensor:
    """Give orthonormal columns (K, K - 1) without charge."""
    functions = torch.eye(len(monopoles), dtype=monopoles.dtype)
    space: Tensor = torch.linalg.qr(torch.cat([monopoles[:, None], functions], 1))[0]
    return space[:, 1:]


def _modes(values: Tensor, metric: Tensor) -> Tensor:
    """Find columns (K, K) whose amounts vary independently in values (n, K), and change H so by ``metric``."""
    weights, vectors = torch.linalg.eigh(metric)
    roots = weights.clamp(min=_RIDGE * float(weights[-1])).sqrt()
    whitened = values @ vectors * roots
    variances, axes = torch.linalg.eigh(whitened.T @ whitened / len(values))
    spread = variances.clamp(min=_LEAST**2 * float(variances[-1])).sqrt()
    modes: Tensor = vectors / roots @ axes * spread
    return modes
