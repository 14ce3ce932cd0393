"""Make ``waters_pbe_def2svp.db``: eight distorted waters with labels, four to train on, two each to validate and test.

Run as ``python tests/data/files/make_waters.py`` (half a minute); needs tblite.
"""

from __future__ import annotations

from pathlib import Path

from ase.build import molecule

from ase_mlwave.reference.labelling import label_geometries
from ase_mlwave.reference.sampling import sample_geometries

if __name__ == "__main__":
    geometries = sample_geometries([molecule("H2O")], "gfn2-xtb", [300.0, 1200.0], 4, seed=1)
    path = Path(__file__).with_name("waters_pbe_def2svp.db")
    path.unlink(missing_ok=True)
    file = label_geometries(geometries, path, "pbe/def2-svp grid_response=false")  # as before there was the choice
    file.assign("split", ["train", "valid", "train", "test"] * 2)
