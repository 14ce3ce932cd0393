"""Coulomb potentials of spherical charges, smeared by a Gaussian, and their derivatives with respect to r^2.

A charge q of exponent a, felt by a unit Gaussian of exponent p at the distance r, with u = r^2, 1/alpha = 1/a + 1/p,
c = q (2/sqrt(pi)) sqrt(alpha), and Boys' functions F_n:

    h_0 = q erf(sqrt(alpha u)) / sqrt(u),    h_n = (2 d/du)^n h_0 = c (-2 alpha)^n F_n(alpha u)

From afar the recursion F_n -> F_(n+1) is stable, and because it is linear, a sum over charges k takes only one:

    h_(n+1) = [sum_k c_k (-2 alpha_k)^n exp(-alpha_k u) - (2 n + 1) h_n] / u

Nearby, a Taylor series about a fixed distance serves, whose coefficients are the h_n there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import pi, sqrt
from typing import Any

import torch
from torch import Tensor

__all__ = ["Charges", "Table", "boys", "coulomb_radial"]

#: Devices that may list what is near; elsewhere the host would wait for the list.
_LISTING = ("cpu",)
#: Values of which it takes longer to list those that are near than to compute the series of all.
_FEW = 2**13
#: Terms of the series beyond twice the distance that it spans.
_TERMS = 11


@dataclass(frozen=True)
class Charges:
    """Charges at C centres, as P Gaussian products of D different exponents feel them.

    Parameters
    ----------
    alpha : Tensor, (K, P)
        Reduced exponents of K charges and the Gaussian products.
    strength : Tensor, (C, V, K)
        q of each charge at each centre, in each of V potentials.
    near : Tensor, (C or 1, V, P)
        u below which the series serves.
    series : Tensor, (n, E V D)
        h_0, h_1, ... at u = near / 2, for E elements.
    elements : Tensor, (C,)
        Which of the elements each centre is.
    places : Tensor, (P,)
        Which of the D exponents each product has.
    n_different : int
        D.
    every : Tensor, (n, C, V, P), or None
        The series of every centre, potential and product, where these are few.
    """

    alpha: Tensor
    strength: Tensor
    near: Tensor
    series: Tensor
    elements: Tensor
    places: Tensor
    n_different: int
    every: Tensor | None = None

    def columns(self) -> Tensor:
        """Which column of ``series`` each centre, potential and product has, (C, V, P)."""
        n_potentials = self.strength.shape[1]
        potentials = torch.arange(n_potentials, device=self.places.device)[:, None]
        return (self.elements[:, None, None] * n_potentials + potentials) * self.n_different + self.places

    @classmethod
    def of(cls, tables: Sequence[Table], elements: Tensor, exponents: Tensor, places: Tensor) -> Charges:
        """Put the charges of elements side by side.

        Parameters
        ----------
        tables : sequence of Table, (E,)
            Of each element, for these exponents.
        elements : Tensor, (C,)
            Which of them each centre is.
        exponents : Tensor, (D,)
            Different exponents p of Gaussian products.
        places : Tensor, (P,)
            Which of them each product has; the device of the result.
        """
        device = places.device
        widths = torch.cat([table.widths for table in tables])
        strength = torch.stack(
            [
                torch.cat([table.strength if i == j else 0 * table.strength for j, table in enumerate(tables)], 1)
                for i in range(len(tables))
            ]
        ).to(device)
        alpha = (1 / (widths[:, None] + 1 / exponents)).to(device)
        near = torch.stack([table.near for table in tables]).to(device)[..., places]
        series = torch.stack([table.series for table in tables], 1).flatten(1).to(device)
        if len(tables) > 1:
            near = near[elements]
        result = cls(alpha[:, places], strength[elements], near, series, elements, places, len(exponents))
        columns = result.columns()
        return replace(result, every=series[:, columns]) if columns.numel() < _FEW else result

    def select(self, kept: Tensor) -> Charges:
        """Leave out all Gaussian products but these, (P',)."""
        every = None if self.every is None else self.every[..., kept]
        return replace(
            self, alpha=self.alpha[:, kept], near=self.near[..., kept], places=self.places[kept], every=every
        )


@dataclass(frozen=True)
class Table:
    """What potentials of one element's charges are near its nucleus, for D exponents of Gaussian products.

    Parameters
    ----------
    widths : Tensor, (K,)
        Inverse exponents of the charges.
    strength : Tensor, (V, K)
        Charges in each potential.
    near : Tensor, (V, D)
        u below which the series serves.
    series : Tensor, (n, V, D)
        h_0, h_1, ... at u = near / 2.
    """

    widths: Tensor
    strength: Tensor
    near: Tensor
    series: Tensor

    @classmethod
    def of(cls, widths: Tensor, strength: Tensor, exponents: Tensor, *, orders: int) -> Table:
        """Compute the series.

        Parameters
        ----------
        widths : Tensor, (K,)
            Inverse exponents of the charges.
        strength : Tensor, (V, K)
            Charges in each potential.
        exponents : Tensor, (D,)
            Exponents p of Gaussian products.
        orders : int
            Number of radial derivatives that may be asked for.
        """
        alpha = 1 / (widths[:, None] + 1 / exponents)
        # The more derivatives, the more figures the recursion loses near a centre.
        span = orders / 4
        near = span / (alpha * (strength != 0)[..., None]).amax(1)
        n_terms = orders + _TERMS + int(2 * span)
        values = boys(alpha * near[:, None] / 2, n_terms)  # (n, V, K, D)
        powers = torch.cat([torch.ones_like(alpha)[None], (-2 * alpha).expand(n_terms - 1, *alpha.shape)]).cumprod(0)
        prefactor = strength[..., None] * (2 / sqrt(pi)) * alpha.sqrt()
        return cls(widths, strength, near, (values * powers[:, None] * prefactor).sum(2))


def boys(x: Tensor, orders: int) -> Tensor:
    """Evaluate F_n(x) = int_0^1 t^(2n) exp(-x t^2) dt for n = 0 .. ``orders`` - 1 and moderate x >= 0.

    Parameters
    ----------
    x : Tensor, (...)
        At most about 10; preparation, not speed, is what this is for.
    orders : int
        How many.

    Returns
    -------
    Tensor, (orders, ...)
        To rounding: the series of the highest order has positive terms, the recursion downward is stable.
    """
    top = orders - 1
    decay = torch.exp(-x)
    term = decay / (2 * top + 1)
    value = term
    for i in range(1, 24):
        term = term * (2 * x / (2 * top + 2 * i + 1))
        value = value + term
    values = [value]
    for n in range(top - 1, -1, -1):
        values.append((2 * x * values[-1] + decay) / (2 * n + 1))
    return torch.stack(values[::-1])


def coulomb_radial(u: Tensor, charges: Charges, orders: int) -> Tensor:
    """Evaluate potentials and their radial derivatives.

    Parameters
    ----------
    u : Tensor, (C, P)
        Squared distances of C centres from P Gaussian products, Bohr^2.
    charges : Charges
        At these centres.
    orders : int
        How many derivatives, at least 1.

    Returns
    -------
    Tensor, (orders, C, V, P)
        h_n of each potential; differentiable with respect to u, twice at least.
    """
    values: Tensor = _Radial.apply(u, charges, 0, orders)  # type: ignore[no-untyped-call]
    return values


class _Radial(torch.autograd.Function):
    """u -> h_first .. h_(first + orders - 1); d h_n / du = h_(n+1) / 2."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, charges: Charges, first: int, orders: int) -> Tensor:
        last = first + orders
        values = _evaluate(u, charges, last + 1 if ctx.needs_input_grad[0] else last)
        ctx.charges, ctx.first, ctx.orders = charges, first, orders
        ctx.save_for_backward(u, values[first + 1 :])
        return values[first:last]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        u, following = ctx.saved_tensors
        if torch.is_grad_enabled():
            following = _Radial.apply(u, ctx.charges, ctx.first + 1, ctx.orders)  # type: ignore[no-untyped-call]
        return 0.5 * (gradient * following).sum((0, 2)), None, None, None


def _evaluate(u: Tensor, charges: Charges, orders: int) -> Tensor:
    values = _far(u, charges, orders)
    u = u[:, None]
    near = u < charges.near
    n_potentials, n_pairs = near.shape[1:]
    if u.device.type not in _LISTING or charges.every is not None:
        series = charges.series[:, charges.columns()] if charges.every is None else charges.every
        return torch.where(near, _near(u, charges.near, series, orders), values)
    first = charges.elements[:, None, None] * n_potentials + torch.arange(n_potentials, device=u.device)[:, None]
    centre, potential, pair = near.nonzero(as_tuple=True)
    column = potential * n_pairs + pair
    where = centre * (n_potentials * n_pairs) + column
    limit = charges.near.view(-1).index_select(0, where if len(charges.near) > 1 else column)
    which = first.view(-1).index_select(0, centre * n_potentials + potential)
    columns = which * charges.n_different + charges.places.index_select(0, pair)
    distance = u.reshape(-1).index_select(0, centre * n_pairs + pair)
    nearby = _near(distance, limit, charges.series.index_select(1, columns), orders)
    values.flatten(1).index_copy_(1, where, nearby)
    return values


def _far(u: Tensor, charges: Charges, orders: int) -> Tensor:
    """Sum up error functions, (orders, C, V, P), and go upward; wrong where u is small."""
    alpha, strength = charges.alpha, charges.strength
    u = u[:, None]
    root, inverse = u.sqrt(), 1 / u
    values = u.new_empty(orders, len(u), strength.shape[1], u.shape[-1])
    sharpness = alpha.sqrt()
    terms = (root * sharpness).erf_()  # (C, K, P), used over and over: memory is what takes time here
    torch.div(torch.bmm(strength, terms), root, out=values[0])
    if orders == 1:
        return values
    torch.mul(u, -alpha, out=terms).exp_().mul_((2 / sqrt(pi)) * sharpness)
    for n in range(orders - 1):
        if n:
            terms.mul_(-2 * alpha)
        torch.mul(torch.bmm(strength, terms).sub_(values[n], alpha=2 * n + 1), inverse, out=values[n + 1])
    return values


def _near(u: Tensor, near: Tensor, series: Tensor, orders: int) -> Tensor:
    """Sum up the Taylor series about near / 2, (orders, ...), from its smallest terms on."""
    windows = series.unfold(0, orders, 1).movedim(-1, 1).unbind()
    each = 2.0 * torch.arange(1, len(windows), dtype=u.dtype, device=u.device)
    steps = ((u - 0.5 * near) / each.view(-1, *[1] * u.dim())).unbind()
    values = windows[-1]
    for coefficients, step in zip(windows[-2::-1], steps[::-1], strict=True):
        values = torch.addcmul(coefficients, values, step)
    return values
