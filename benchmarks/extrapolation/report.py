"""Tables and the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from ase_mlwave.data.record import Record
from benchmarks.common import picture, plain_numbers
from benchmarks.extrapolation.models import BATCH
from benchmarks.extrapolation.molecules import Array, Parts

__all__ = ["Result", "conformer_rows", "draw", "rows"]

#: The published claim, kcal/mol; sizes with fewer molecules are not drawn.
_CLAIM, _FEWEST = 3.0, 5
#: Width of the bins of conformers' sizes, atoms.
_BIN = 10
#: Markers of models that learn, in turns.
_MARKERS = "os^Dv"


@dataclass(frozen=True)
class Result:
    """A trained model's cost and errors, kcal/mol."""

    steps: int  # optimiser steps
    seconds: float  # CPU-seconds of training
    n_parameters: int  # learned numbers
    test: Sequence[float]  # absolute errors of the held-out small molecules
    large: Sequence[float]  # those of the larger ones
    conformers: Mapping[str, float]  # molecule -> mean absolute error of its conformers about the mean

    @property
    def learns(self) -> bool:
        """Whether it was trained in steps."""
        return self.steps > 0


def rows(parts: Mapping[str, Sequence[Record]], bound: int, results: Mapping[str, Result]) -> list[list[str]]:
    """Write the table: the error of held-out small molecules, errors by size, their mean, and costs."""
    sizes, found = np.array([len(record) for record in parts["large"]]), results.values()
    cells = [["atoms", "molecules", *results]]
    cells.append([f"at most {bound}, held out", str(len(parts["test"])), *(f"{np.mean(r.test):.2f}" for r in found)])
    for n, some in ((n, sizes == n) for n in np.unique(sizes)):
        cells += [[str(n), str(some.sum()), *(f"{np.array(r.large)[some].mean():.2f}" for r in found)]]
    cells.append([f"{bound + 1} and more", str(len(sizes)), *(f"{np.mean(r.large):.2f}" for r in found)])
    cells.append(["CPU-seconds of training", "", *(f"{r.seconds:.0f}" if r.learns else "-" for r in found)])
    cells.append(["steps", "", *(f"{r.steps:,} of {BATCH}" if r.learns else "-" for r in found)])
    return [*cells, ["parameters", "", *(f"{r.n_parameters:,}" for r in found)]]


def conformer_rows(parts: Parts, results: Mapping[str, Result]) -> list[list[str]]:
    """Write the table of conformers: the mean over molecules by size and over all, and the median."""
    sizes = _conformer_sizes(parts)
    cells = [["atoms", "molecules", *results]]
    for low, high, names in _bins(sizes):
        means = [f"{np.mean([r.conformers[name] for name in names]):.2f}" for r in results.values()]
        cells.append([_span(low, high), str(len(names)), *means])
    for label, function in (("all: mean", np.mean), ("median", np.median)):
        every = [f"{function(list(r.conformers.values())):.2f}" for r in results.values()]
        cells.append([label, str(len(sizes)), *every])
    return cells


def draw(parts: Parts, bound: int, results: Mapping[str, Result], title: str, path: Path) -> None:
    """Plot errors, with standard errors, against the number of atoms; conformers, where there are any, beside them."""
    both = "conformers" in parts
    with picture(path, (9.6, 4.8) if both else (5.6, 4.8), panels=1 + both, dpi=150) as panels:
        axes, *others = panels if both else [panels]
        _draw_sizes(axes, parts, bound, results)
        axes.set_title(title, fontsize=10)
        for other in others:
            _draw_conformers(other, parts, results)
        axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2 + both, frameon=False)


def _draw_sizes(axes: Any, parts: Parts, bound: int, results: Mapping[str, Result]) -> None:
    """Plot mean absolute errors of energies by size."""
    sizes = np.array([len(record) for record in (*parts["test"], *parts["large"])])
    drawn = [n for n in np.unique(sizes) if (sizes == n).sum() >= _FEWEST]
    low, high = min(drawn, default=bound) - 0.5, max(drawn, default=bound + 1) + 0.5
    for (model, result), style in zip(results.items(), _styles(results), strict=True):
        errors = np.concatenate([result.test, result.large])
        _bars(axes, drawn, [errors[sizes == n] for n in drawn], label=model, **style)
    axes.axvspan(low, bound + 0.5, color="0.93", zorder=0)
    axes.text(low + 0.1, 0.99, "learned sizes", transform=axes.get_xaxis_transform(), va="top", color="0.4")
    claim = f"published claim, {bound + 1} atoms and more"
    axes.axhline(_CLAIM, color="0.3", linestyle="--", linewidth=1, zorder=1, label=claim)
    axes.set(yscale="log", xlim=(low, high), xlabel="number of atoms", ylabel="mean absolute error (kcal/mol)")
    _plain(axes)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))


def _draw_conformers(axes: Any, parts: Parts, results: Mapping[str, Result]) -> None:
    """Plot mean errors of conformers in each bin of sizes."""
    bins = _bins(_conformer_sizes(parts))
    places = np.arange(len(bins), dtype=float)
    shifts = np.linspace(-0.2, 0.2, len(results)) if len(results) > 1 else [0.0]
    for shift, result, style in zip(shifts, results.values(), _styles(results), strict=True):
        some = [np.array([result.conformers[name] for name in names]) for _, _, names in bins]
        _bars(axes, places + shift, some, **{**style, "linewidth": 0, "elinewidth": 1.2})
    axes.set_xticks(places, [f"{_span(low, high)} ({len(names)})" for low, high, names in bins])
    axes.set(yscale="log", xlabel="number of atoms (molecules)", ylabel="error about the molecule's mean (kcal/mol)")
    axes.set_xlim(-0.5, len(bins) - 0.5)
    axes.set_title("conformers", fontsize=10)
    _plain(axes)


def _bars(axes: Any, places: Any, some: Sequence[Array], **style: Any) -> None:
    """Plot means with standard errors."""
    spread = [one.std(ddof=1) / np.sqrt(len(one)) if len(one) > 1 else 0.0 for one in some]
    axes.errorbar(places, [one.mean() for one in some], spread, capsize=2, **style)


def _styles(results: Mapping[str, Result]) -> list[dict[str, Any]]:
    """Choose a look for every model: grey where nothing learns, hollow and dashed for ``MODEL + BASE``, else filled."""
    learners = list(dict.fromkeys(model.split(" + ")[0] for model, result in results.items() if result.learns))
    greys = [model for model, result in results.items() if not result.learns]
    found = []
    for model, result in results.items():
        style: dict[str, Any] = {"markersize": 5, "linewidth": 1.2}
        if result.learns:
            number = learners.index(model.split(" + ")[0])
            style |= {"marker": _MARKERS[number % len(_MARKERS)], "color": f"C{number}"}
            style |= {"markerfacecolor": "white", "linestyle": "--"} if " + " in model else {}
        else:
            style |= {"marker": "x+"[greys.index(model) % 2], "color": ("0.6", "0.4")[greys.index(model) % 2]}
        found.append(style)
    return found


def _plain(axes: Any) -> None:
    """Write the numbers of the logarithmic axis as they are."""
    plain_numbers(axes.yaxis)
    between = matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.yaxis.set_minor_formatter(between)


def _span(low: int, high: int) -> str:
    """Name a bin of sizes."""
    return f"{low}" if low == high else f"{low} to {high}"


def _conformer_sizes(parts: Parts) -> dict[str, int]:
    """Return the number of atoms of each molecule with conformers, by rising size."""
    return dict(sorted(((r.info["molecule"], len(r)) for r in parts["conformers"]), key=lambda pair: pair[1]))


def _bins(sizes: Mapping[str, int]) -> list[tuple[int, int, list[str]]]:
    """Divide molecules into bins of ten numbers of atoms; the ends are the smallest and largest molecule's in each."""
    bins: dict[int, list[str]] = {}
    for name, size in sizes.items():
        bins.setdefault(size // _BIN, []).append(name)
    return [(sizes[names[0]], sizes[names[-1]], names) for names in bins.values()]
