"""Molecules with GFN2-xTB labels, and quantum deep fields of random weights for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase.build import molecule

from ase_mlwave.data.record import Dataset
from ase_mlwave.models.folder import ModelFolder, TrainingData
from ase_mlwave.reference.levels import LevelOfTheory
from tests.models.qdf.networks import random_network

LEVEL = "gfn2-xtb"
NAMES = ("H2O", "CH4", "HCN", "HCOOH")
_CARD = "# Random weights\n\nFor tests.\n"


def labelled_molecules(per_name: int = 3) -> Dataset:
    """Label displaced molecules, without symmetry; the test is skipped where tblite is missing."""
    pytest.importorskip("tblite")
    level = LevelOfTheory.parse(LEVEL)
    records = []
    for seed in range(per_name):
        for name in NAMES:
            atoms = molecule(name)
            atoms.rattle(0.06, seed=seed)
            records.append(level.label(atoms).with_info(split="test" if seed else "train"))
    return Dataset(tuple(records), LEVEL, "molecules of the tests")


def random_models(folder: Path, number: int) -> list[Path]:
    """Save networks of different seeds as model folders ``a``, ``b``, ..."""
    data = TrainingData(source="none: random weights", sha256="0" * 64, n_records=1)
    paths = []
    for seed, name in zip(range(number), "abcdefgh", strict=False):
        network = random_network(seed, dimension=8, level=LEVEL)
        paths.append(ModelFolder.pack("qdf", network, training_data=data, card=_CARD).save(folder / name))
    return paths
