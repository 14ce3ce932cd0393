from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from ase.calculators.calculator import InputError
from numpy.typing import NDArray

from ase_mlwave.models.amons.fragments.selection import Amon, find_amons
from ase_mlwave.plotting.amons import check_picture, draw_amons, draw_learning_curve


def ink(path: Path) -> NDArray[np.bool_]:
    """Tell which pixels are not white."""
    picture = matplotlib.image.imread(path)
    return np.asarray((picture[..., :3] < 0.9).any(axis=-1))


def test_every_amon_has_a_place_in_the_picture(tmp_path: Path) -> None:
    found = find_amons("CC(=O)Oc1ccccc1C(=O)O", 4)
    draw_amons(found, tmp_path / "amons.png")
    drawn = ink(tmp_path / "amons.png")
    rows, columns = drawn.shape[0] // 150, drawn.shape[1] // 190
    assert (rows * 150, columns * 190) == drawn.shape
    panels = [drawn[150 * (n // columns) :, 190 * (n % columns) :][:150, :190] for n in range(rows * columns)]
    assert [bool(panel[:115].any()) for panel in panels] == [n < len(found) for n in range(len(panels))]  # structures
    assert [bool(panel[115:].any()) for panel in panels] == [n < len(found) for n in range(len(panels))]  # their names


def test_counts_are_drawn(tmp_path: Path) -> None:
    for count in (1, 7):
        draw_amons([Amon("CCO", 3, ((0, 1, 2),) * count)], tmp_path / f"{count}.png")
    once, often = ink(tmp_path / "1.png"), ink(tmp_path / "7.png")
    assert (once[:100] == often[:100]).all()
    assert (once[110:] != often[110:]).any()


@pytest.mark.parametrize("smiles", ["B(N)(N)[NH]", "[SiH3][SiH3]", "O.O", "C[NH3+].C(=O)[O-]", "c1ccccc1"])
def test_fragments_of_all_kinds_are_drawn(smiles: str, tmp_path: Path) -> None:
    draw_amons([Amon(smiles, 2, ((0, 1),))], tmp_path / "amon.svg")
    assert (tmp_path / "amon.svg").read_text().count("<path") > 3


def test_learning_curve_shows_changes_and_deviations(tmp_path: Path) -> None:
    draw_learning_curve([1, 2, 3], [-10.2, -10.0, -10.01], [0.1, 0.02, 0.01], tmp_path / "certain.png", "water")
    draw_learning_curve([1, 2, 3], [-10.2, -10.0, -10.01], [0.2, 0.02, 0.01], tmp_path / "uncertain.png", "water")
    certain, uncertain = ink(tmp_path / "certain.png"), ink(tmp_path / "uncertain.png")
    assert certain.shape == uncertain.shape
    assert certain.any()
    assert (certain != uncertain).any()


def test_pictures_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"amons.jpg is no name of a picture. Did you mean '.png'"):
        check_picture(tmp_path / "amons.jpg")
    with pytest.raises(InputError, match="there is no folder"):
        draw_amons(find_amons("C", 1), tmp_path / "nowhere" / "amons.png")
    with pytest.raises(InputError, match="no amons to draw"):
        draw_amons([], tmp_path / "amons.png")
    with pytest.raises(InputError, match="no point to draw"):
        draw_learning_curve([], [], [], tmp_path / "curve.png")
