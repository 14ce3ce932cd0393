"""The local kernel between molecules, and its derivatives along directions of their coordinates.

With environments x_I of atoms I, the kernel of two molecules is

    K(A, B) = sum over I in A, J in B of the same element Z of k(x_I, x_J),   k(x, x') = exp(-g |x - x'|^2 / 2),

g = 1 / s_Z^2. A direction u of all coordinates of B changes its environments by v_J = (u . grad) x_J, and the kernel by

    (u . grad_B) K = sum g k (x_I - x_J) . v_J,
    (t . grad_A) (u . grad_B) K = sum g k [v_I . v_J - g ((x_I - x_J) . v_I) ((x_I - x_J) . v_J)],

so that all of it is inner products of environments and slopes: matrix products, a block of molecules at a time.
Source: Huang and von Lilienfeld, Nat. Chem. 12, 945 (2020); derivatives as in Christensen et al., J. Chem. Phys. 152,
044107 (2020).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ase_mlwave.models.amons.regression.environments import Block, Environments

__all__ = ["kernel_diagonal", "kernel_matrix", "largest_distances", "rule_widths", "squared_distances"]

#: Elements of a block of pairs that are held at a time (8 bytes each, and there are about four such blocks).
_BLOCK = 8_000_000
#: Squared distances below this share of the squared norms are what rounding leaves between equal environments.
_EQUAL = 1e-12


def kernel_matrix(
    left: Environments, right: Environments, widths: Mapping[int, float], *, block: int = _BLOCK
) -> Tensor:
    """Compute the kernel between two sets of molecules, directions included.

    Parameters
    ----------
    left, right : Environments
        With R and R' rows: molecules, then directions. The same object twice costs half.
    widths : mapping of int to float
        Atomic number -> width s of the element's Gaussian.
    block : int
        Pairs of environments that are held at a time.

    Returns
    -------
    Tensor, (R, R') float64
        Rows and columns of molecules hold K, those of directions its derivatives, 1/Bohr (and 1/Bohr^2).

    Notes
    -----
    Equal to automatic differentiation of the double sum (``test_kernel_is_the_sum_over_pairs_of_the_same_element``,
    ``test_slopes_of_the_kernel_are_its_derivatives``).
    """
    device = next((b.values.device for b in left.blocks.values()), torch.device("cpu"))
    out = torch.zeros(left.n_rows, right.n_rows, dtype=torch.float64, device=device)
    above = torch.zeros_like(out) if left is right else out  # of a symmetric matrix only the blocks above the diagonal
    counts = left.n_molecules, right.n_molecules
    for z in left.blocks.keys() & right.blocks.keys():
        one = left.blocks[z]
        other = right.blocks[z].onto(one.columns)
        size = max(1, block // (1 + len(other.values) + len(other.slopes)))
        for part in _chunks(one, size):
            if left is right:
                _add_pairs(out, part, part, counts, widths[z])
                other = _from(one, int(part.molecules[-1]) + 1)
            if len(other.values):
                _add_pairs(above, part, other, counts, widths[z])
    return out + above + above.T if left is right else out


def kernel_diagonal(rows: Environments, widths: Mapping[int, float]) -> Tensor:
    """Compute the kernel of every row with itself.

    Parameters
    ----------
    rows : Environments
        R rows: molecules, then directions.
    widths : mapping of int to float
        Atomic number -> width s of the element's Gaussian.

    Returns
    -------
    Tensor, (R,) float64
        The diagonal of ``kernel_matrix(rows, rows, widths)``, in memory that grows with R and not with its square
        (``test_diagonal_is_that_of_the_matrix``).
    """
    device = next((b.values.device for b in rows.blocks.values()), torch.device("cpu"))
    out = torch.zeros(rows.n_rows, dtype=torch.float64, device=device)
    for z, block in rows.blocks.items():
        g = widths[z] ** -2
        for part in _chunks(block, 1):  # molecule by molecule
            n = len(part.values)
            k = torch.exp(-g / 2 * squared_distances(part, part))  # (n, n)
            out[part.molecules[0]] += k.sum()
            if not len(part.slopes):
                continue
            v = part.slopes.unflatten(0, (-1, n))  # (r, n, C)
            own = v @ part.values.T  # (r, n, n), v_I . x_J
            along = part.products.unflatten(0, (-1, n))[:, :, None] - own  # (x_I - x_J) . v_I
            both = v @ v.transpose(1, 2) + g * along * along.transpose(1, 2)
            out[rows.n_molecules + part.slope_rows[::n]] += g * (k * both).sum(dim=(1, 2))
    return out


def squared_distances(left: Block, right: Block) -> Tensor:
    """Compute squared distances of environments over all features, (P, P'); both in the same columns."""
    return (left.norms[:, None] + right.norms - 2 * (left.values @ right.values.T)).clamp_(min=0)


def largest_distances(
    left: Environments, right: Environments | None = None, *, block: int = _BLOCK
) -> dict[int, float]:
    """Find the largest distance between environments of each element.

    Parameters
    ----------
    left : Environments
        Molecules.
    right : Environments, optional
        More of them, such as the query.
    block : int
        Pairs of environments that are held at a time.

    Returns
    -------
    dict of int to float
        Atomic number -> distance, over both together; for the elements of ``left``. Exactly 0 where all environments
        are equal up to rounding, on every processor.
    """
    distances: dict[int, float] = {}
    for z, one in left.blocks.items():
        pairs = [(one, one)]
        if right is not None and z in right.blocks:
            other = right.blocks[z]
            pairs += [(one, other.onto(one.columns)), (other, other)]
        squares = [
            float(squared_distances(a.part(start, stop), b).max())
            for a, b in pairs
            for start, stop in _steps(len(a.values), max(1, block // len(b.values)))
        ]
        rounding = _EQUAL * max(float(block.norms.max()) for pair in pairs for block in pair)
        distances[z] = math.sqrt(max(squares)) if max(squares) > rounding else 0.0
    return distances


def rule_widths(distances: Mapping[int, float], scale: float = 1.0) -> dict[int, float]:
    """Choose the widths of the kernel: the two most different environments of an element have k = 1/2.

    Parameters
    ----------
    distances : mapping of int to float
        From `largest_distances`.
    scale : float
        What the rule's widths are multiplied by.

    Returns
    -------
    dict of int to float
        Atomic number -> s = scale * distance / sqrt(2 ln 2); ``scale`` where all environments are the same.
    """
    return {z: scale * (d / math.sqrt(2 * math.log(2)) if d > 0 else 1.0) for z, d in distances.items()}


def _add_pairs(out: Tensor, left: Block, right: Block, counts: tuple[int, int], width: float) -> None:
    """Add all pairs of environments of one element; both blocks in the same columns, ``counts`` the molecules."""
    n_left, n_right = counts
    g = width**-2
    k = torch.exp(-g / 2 * squared_distances(left, right))  # (P, P')
    _add(out[:n_left, :n_right], left.molecules, right.molecules, k)
    if len(right.slopes):
        across = left.values @ right.slopes.T - right.products  # (P, E'), (x_I - x_J) . v_J
        _add(out[:n_left, n_right:], left.molecules, right.slope_rows, g * k[:, right.slope_atoms] * across)
    if len(left.slopes):
        back = left.slopes @ right.values.T - left.products[:, None]  # (E, P'), (x_J - x_I) . v_I
        _add(out[n_left:, :n_right], left.slope_rows, right.molecules, g * k[left.slope_atoms] * back)
    if len(left.slopes) and len(right.slopes):
        both = left.slopes @ right.slopes.T  # (E, E')
        both += g * back[:, right.slope_atoms] * across[left.slope_atoms]
        both *= g * k[left.slope_atoms][:, right.slope_atoms]
        _add(out[n_left:, n_right:], left.slope_rows, right.slope_rows, both)


def _add(out: Tensor, rows: Tensor, columns: Tensor, values: Tensor) -> None:
    """Add values (a, b) to ``out`` at rows (a,) and columns (b,), ascending, which may repeat."""
    where, counts = [], []
    for index in (rows, columns):
        places, repeats = torch.unique_consecutive(index, return_counts=True)
        where.append(places)
        counts.append(repeats)
    summed = torch.segment_reduce(values, "sum", lengths=counts[0], axis=0)
    turned = torch.segment_reduce(summed.T.contiguous(), "sum", lengths=counts[1], axis=0)
    out[where[0][:, None], where[1]] += turned.T


def _chunks(block: Block, size: int) -> Iterator[Block]:
    """Split by molecules, such that a part has at most ``size`` environments and slopes, or is one molecule."""
    molecules, atoms = torch.unique_consecutive(block.molecules, return_counts=True)
    slopes = torch.bincount(block.molecules[block.slope_atoms], minlength=int(molecules[-1]) + 1)[molecules]
    first = start = entry = size_so_far = 0
    counts = list(zip(atoms.tolist(), slopes.tolist(), strict=True))
    for index, (n_atoms, n_slopes) in enumerate(counts):
        if index > first and size_so_far + n_atoms + n_slopes > size:
            stop, last = start + sum(n for n, _ in counts[first:index]), entry + sum(n for _, n in counts[first:index])
            yield block.part(start, stop, entry, last)
            first, start, entry, size_so_far = index, stop, last, 0
        size_so_far += n_atoms + n_slopes
    yield block.part(start, len(block.values), entry, len(block.slopes))


def _from(block: Block, molecule: int) -> Block:
    """Keep a molecule and those after it."""
    start = int(torch.searchsorted(block.molecules, molecule))
    entry = int(torch.searchsorted(block.molecules[block.slope_atoms], molecule))
    return block.part(start, len(block.values), entry, len(block.slopes))


def _steps(total: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the ends of runs of at most ``size``."""
    for start in range(0, total, size):
        yield start, min(total, start + size)
