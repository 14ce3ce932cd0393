"""A fitted model: training environments with their weights, the atoms' energies, and what variances need."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn

from ase_mlwave.models.amons.config import AmonConfig
from ase_mlwave.models.amons.regression.basis import basis_factor, leading
from ase_mlwave.models.amons.regression.environments import Block, Environments
from ase_mlwave.models.amons.regression.expansion import Expansion, common_features
from ase_mlwave.models.amons.regression.solver import posterior_variance
from ase_mlwave.models.amons.regression.sparse import sparse_variance
from ase_mlwave.models.amons.slatm.representation import Slatm

__all__ = ["AmonModel", "Part"]


@dataclass(frozen=True)
class Part:
    """What queries of some of a model's elements need of it.

    Parameters
    ----------
    representation : Slatm
        Of these elements alone: spectra of others are zero.
    expansions : mapping of int to Expansion
        By atomic number, in the columns of that representation.
    features : Tensor, (D',), or None
        These columns in the model's own representation; None for all.
    """

    representation: Slatm
    expansions: Mapping[int, Expansion]
    features: Tensor | None
    _slopes: dict[int, Tensor] = field(default_factory=dict)

    def map(self, function: Callable[[Tensor], Tensor]) -> Part:
        """Apply a function, such as a move to a device, to all tensors."""
        expansions = {z: expansion.map(function) for z, expansion in self.expansions.items()}
        features = None if self.features is None else function(self.features)
        return Part(self.representation, expansions, features, {z: function(one) for z, one in self._slopes.items()})

    def block(self, z: int, rows: Environments) -> Block:
        """Return the rows that are kept for variances of one element, slopes in the columns of the expansion."""
        block = rows.blocks[z]
        if self.features is None or not len(block.slopes):
            return block
        if z not in self._slopes:
            self._slopes[z] = block.slopes[:, common_features(self.features, block.columns)[1]].contiguous()
        return replace(block, slopes=self._slopes[z])


class AmonModel(nn.Module):
    """Hold the arrays of a kernel regression on atomic environments.

    Parameters
    ----------
    config : AmonConfig
        Sizes of the arrays, which are zero until they are loaded or `fill` is called.

    Notes
    -----
    Computes in float64, whatever `cast` is asked for: the weights are large and cancel. A basis is kept in half
    precision, to which it was rounded before the fit.
    """

    baseline: Tensor
    """(Z,) energies of dressed or free atoms, Hartree, in the order of ``config.elements``."""
    amplitude: Tensor
    """() variance that one unit of the kernel stands for, Hartree^2."""
    factor: Tensor
    """(R, R) lower Cholesky factor of the kernel between the rows that are kept for variances."""

    prior: Tensor
    """(M, M) Cholesky factor of the basis, computed when it is first needed."""

    def __init__(self, config: AmonConfig) -> None:
        super().__init__()
        self.config = config
        self._expansions: dict[int, Expansion] = {}
        self._reaches: dict[int, float] = {}
        self._rows: Environments | None = None
        self._part: Part | None = None
        self.register_buffer("prior", torch.zeros(0, 0, dtype=torch.float64), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module._check_loaded())  # type: ignore[no-untyped-call]
        self.representation = Slatm(config.representation)
        self._allocate("baseline", len(config.elements))
        self._allocate("amplitude")
        self._allocate("factor", config.n_rows, config.n_rows, dtype=torch.float32 if config.n_basis else torch.float64)
        for symbol, size in config.blocks.items():
            p, c, e = size.environments, size.columns, size.slopes
            self._allocate(f"{symbol}_width")
            self._allocate(f"{symbol}_reach")
            self._allocate(f"{symbol}_values", p, c, dtype=torch.float16 if config.n_basis else torch.float64)
            for name, shape in {
                "weights": (p,),
                "vectors": (size.vectors, c),
                "slopes": (e, c),
            }.items():
                self._allocate(f"{symbol}_{name}", *shape)
            for name, length in {"columns": c, "molecules": p, "slope_atoms": e, "slope_rows": e}.items():
                self.register_buffer(f"{symbol}_{name}", torch.zeros(length, dtype=torch.int64))

    def _allocate(self, name: str, *shape: int, dtype: torch.dtype = torch.float64) -> None:
        self.register_buffer(name, torch.zeros(shape, dtype=dtype))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> AmonModel:
        """Move the arrays, with what was computed from them."""
        self._expansions = {z: expansion.map(fn) for z, expansion in self._expansions.items()}
        self._part = None if self._part is None else self._part.map(fn)
        self._rows = None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _check_loaded(self) -> None:
        """Forget what was computed from other arrays; refuse indices that point outside, and widths that are none."""
        self._clear_cache()
        config = self.config
        for symbol, sizes in config.blocks.items():
            bounds = {"columns": self.representation.width, "slope_atoms": sizes.vectors}
            bounds |= {"slope_rows": config.n_directions}
            for name, bound in bounds.items():
                indices = self._array(symbol, name)
                if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < bound:
                    raise ValueError(f"{symbol}_{name} has indices that do not lie between 0 and {bound - 1}")
            if not 1e-12 < float(self._array(symbol, "width")) < 1e12:
                raise ValueError(f"{symbol}_width is {float(self._array(symbol, 'width')):g}, which is no width")

    def _clear_cache(self) -> None:
        self._expansions, self._reaches, self._rows, self._part = {}, {}, None, None
        self.prior = self.prior.new_zeros(0, 0)

    def cast(self, dtype: torch.dtype) -> AmonModel:
        """Stay in float64."""
        return self

    @property
    def device(self) -> torch.device:
        """Where the arrays are."""
        return self.baseline.device

    def fill(
        self,
        training: Environments,
        expansions: Mapping[int, Expansion],
        reaches: Mapping[int, float],
        *,
        baseline: Tensor,
        factor: Tensor,
        amplitude: float,
    ) -> AmonModel:
        """Take over the result of a fit.

        Parameters
        ----------
        training : Environments
            What is kept for variances.
        expansions : mapping of int to Expansion
            Atomic number -> weights.
        reaches : mapping of int to float
            Atomic number -> largest distance between environments.
        baseline, factor, amplitude
            See the attributes.

        Returns
        -------
        AmonModel
            Itself.
        """
        arrays: dict[str, Tensor] = {"baseline": baseline, "factor": factor}
        arrays["amplitude"] = torch.tensor(amplitude, dtype=torch.float64)
        for symbol, z in self._elements():
            block, expansion = training.blocks[z], expansions[z]
            arrays |= {f"{symbol}_{name}": getattr(block, name) for name in ("values", "columns", "molecules")}
            arrays |= {f"{symbol}_{name}": getattr(block, name) for name in ("slopes", "slope_atoms", "slope_rows")}
            arrays |= {f"{symbol}_{name}": getattr(expansion, name) for name in ("weights", "vectors", "width")}
            arrays[f"{symbol}_reach"] = torch.tensor(reaches[z], dtype=torch.float64)
        self.load_state_dict(arrays)
        return self

    def part(self, elements: Collection[int] | None = None) -> Part:
        """Return what queries of some elements need, by default of all.

        Parameters
        ----------
        elements : collection of int, optional
            Atomic numbers. This part is kept until one of other elements is asked for.
        """
        numbers = self.representation.config.numbers
        key = numbers if elements is None else tuple(z for z in numbers if z in elements)
        if key == numbers:
            return Part(self.representation, self.expansions(), None)
        if self._part is None or self._part.representation.config.numbers != key:
            symbols = tuple(chemical_symbols[z] for z in key)
            representation = Slatm(self.config.representation.model_copy(update={"elements": symbols}))
            features = torch.from_numpy(representation.table.columns_in(self.representation.table)).to(self.device)
            self._part = Part(representation, {z: self.expansions()[z].among(features) for z in key}, features)
        return self._part

    def expansions(self) -> dict[int, Expansion]:
        """Return the weighted training environments by atomic number; made once, in double precision."""
        if self._expansions:
            return self._expansions
        expansions = {}
        for symbol, z in self._elements():
            values = self._array(symbol, "values").double()
            expansions[z] = Expansion(
                columns=self._array(symbol, "columns"),
                values=values,
                norms=values.square().sum(dim=1),
                weights=self._array(symbol, "weights"),
                vectors=self._array(symbol, "vectors"),
                width=self._array(symbol, "width"),
            )
        self._expansions = expansions
        return expansions

    def variance_rows(self) -> Environments:
        """Return the rows that are kept for variances; made once.

        Training environments with the slopes that are kept; or of a basis of each element the same share, as far as
        there are so many.
        """
        if self._rows is None:
            blocks = {z: self._block(symbol, z) for symbol, z in self._elements()}
            rows = Environments(blocks, self.config.n_molecules, self.config.n_directions)
            self._rows = leading(rows, self.config.basis_share)[0] if self.config.n_basis else rows
        return self._rows

    def _block(self, symbol: str, z: int) -> Block:
        expansion = self.expansions()[z]
        slopes, atoms = self._array(symbol, "slopes"), self._array(symbol, "slope_atoms")
        return Block(
            columns=expansion.columns,
            values=expansion.values,
            norms=expansion.norms,
            molecules=self._array(symbol, "molecules"),
            slopes=slopes,
            products=(slopes * expansion.values[atoms]).sum(dim=1),
            slope_atoms=atoms,
            slope_rows=self._array(symbol, "slope_rows"),
        )

    def predictive_variance(self, rows: Tensor, own: Tensor) -> Tensor:
        """Compute the variance that training leaves of queries.

        Parameters
        ----------
        rows : Tensor, (Q, R)
            Kernel between queries and `variance_rows`.
        own : Tensor, (Q,)
            Kernel of each query with itself.

        Returns
        -------
        Tensor, (Q,)
            Hartree^2, of derivatives Hartree^2/Bohr^2.
        """
        if not self.config.n_basis:
            return posterior_variance(self.factor, rows, own, self.amplitude)
        if not len(self.prior):
            self.prior = basis_factor(self.variance_rows(), self.by_element("width"))
        return sparse_variance(self.prior, self.factor.double(), rows, own, self.amplitude)

    def by_element(self, name: str) -> dict[int, float]:
        """Return a number of every element, ``"width"`` or ``"reach"``."""
        return {z: float(self._array(symbol, name)) for symbol, z in self._elements()}

    def reach(self, z: int) -> float:
        """Return the largest distance between environments of an element; 1 where all are the same."""
        if not self._reaches:
            self._reaches = self.by_element("reach")
        return self._reaches[z] if self._reaches[z] > 0 else 1.0

    def _elements(self) -> Iterator[tuple[str, int]]:
        return zip(self.config.elements, self.config.numbers, strict=True)

    def _array(self, symbol: str, name: str) -> Tensor:
        return self.get_buffer(f"{symbol}_{name}")
