"""Pictures of amons and of how a prediction converges with their size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ase.calculators.calculator import InputError
from rdkit import Chem
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from ase_mlwave.errors import suggestion

__all__ = ["DrawnAmon", "check_picture", "draw_amons", "draw_learning_curve"]

#: Width and height of one amon, and the length of a bond, pixels.
_PANEL, _BOND = (190, 150), 26.0
#: Width of the grid over its height.
_ASPECT = 1.5
_KCAL_PER_MOL = 23.060547830619  # in one eV


class DrawnAmon(Protocol):
    """What is drawn of an amon."""

    @property
    def smiles(self) -> str:
        """The fragment."""

    @property
    def count(self) -> int:
        """How often it occurs in the query."""


def check_picture(path: Path, kinds: Sequence[str] = (".png", ".svg")) -> None:
    """Refuse names of pictures that cannot be written.

    Parameters
    ----------
    path : Path
        Where a picture shall be written.
    kinds : sequence of str
        Endings that are allowed.

    Raises
    ------
    InputError
        If it ends otherwise, or there is no such folder.
    """
    if path.suffix.lower() not in kinds:
        raise InputError(f"{path.name} is no name of a picture. {suggestion(path.suffix, kinds)}")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} for the picture {path.name}.")


def draw_amons(amons: Sequence[DrawnAmon], path: str | Path) -> None:
    """Draw amons as a grid, with their SMILES and how often each occurs in the query.

    Parameters
    ----------
    amons : sequence of DrawnAmon
        From ``find_amons``; drawn in this order, row by row.
    path : str or Path
        ``.png`` or ``.svg``.

    Raises
    ------
    InputError
        If there are no amons, or the picture cannot be written.
    """
    file = Path(path)
    check_picture(file)
    if not amons:
        raise InputError("there are no amons to draw; raise max_heavy.")
    n_columns = min(len(amons), max(3, math.ceil(math.sqrt(len(amons) * _ASPECT * _PANEL[1] / _PANEL[0]))))
    width, height = n_columns * _PANEL[0], math.ceil(len(amons) / n_columns) * _PANEL[1]
    is_vector = file.suffix.lower() == ".svg"
    canvas = (rdMolDraw2D.MolDraw2DSVG if is_vector else rdMolDraw2D.MolDraw2DCairo)(width, height, *_PANEL)
    options: Any = canvas.drawOptions()  # its type hints are not those of its values
    options.fixedBondLength = _BOND
    options.legendFontSize = 15
    options.legendFraction = 0.2
    options.padding = 0.08
    canvas.DrawMolecules([_flat(amon.smiles) for amon in amons], legends=[_legend(amon) for amon in amons])
    canvas.FinishDrawing()
    content = canvas.GetDrawingText()
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def draw_learning_curve(
    sizes: Sequence[int], energies: Sequence[float], deviations: Sequence[float], path: str | Path, title: str = ""
) -> None:
    """Draw the predicted energy of a query against the size of the largest amons that it was learned from.

    Parameters
    ----------
    sizes : sequence of int, (P,)
        Heavy atoms of the largest amons.
    energies : sequence of float, (P,)
        Predictions, eV.
    deviations : sequence of float, (P,)
        Their standard deviations, eV.
    path : str or Path
        ``.png``, ``.svg`` or ``.pdf``.
    title : str
        What was predicted.

    Raises
    ------
    InputError
        If there are no points, or the picture cannot be written.
    """
    from matplotlib.figure import Figure  # no pyplot: it would keep the figure, and choose a window system

    file = Path(path)
    check_picture(file, (".png", ".svg", ".pdf"))
    if not len(sizes):
        raise InputError("there is no point to draw: no size of amons has all elements of the query.")
    changes = [(energy - energies[-1]) * _KCAL_PER_MOL for energy in energies]
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.axhspan(-1, 1, color="0.9", label="1 kcal/mol")
    axes.errorbar(
        sizes,
        changes,
        yerr=[deviation * _KCAL_PER_MOL for deviation in deviations],
        marker="o",
        capsize=3,
        label="prediction, one standard deviation",
    )
    axes.set_xticks(list(sizes))
    axes.set_xlabel("heavy atoms of the largest amons")
    axes.set_ylabel(f"E \N{MINUS SIGN} E({sizes[-1]}) (kcal/mol)")
    axes.set_title(title, fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(file, dpi=150)


def _flat(smiles: str) -> Chem.Mol:
    """Return a molecule with coordinates in the plane; of crystals' fragments also such as RDKit calls odd."""
    mol = Chem.MolFromSmiles(smiles, sanitize=False)
    mol.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(mol)
    rdDepictor.Compute2DCoords(mol)
    return mol


def _legend(amon: DrawnAmon) -> str:
    return f"{amon.smiles}   {amon.count}x"
