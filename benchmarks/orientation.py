"""Measure how much a model's energy depends on the orientation of a molecule, which it should not.

    python -m benchmarks.orientation qdf-chno datasets/chno_pbe_def2svp.npz --split test

Turns molecules of a data set at random and shows the standard deviation of each one's energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from ase_mlwave.calculators import load_calculator
from ase_mlwave.console import Console
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.readers import read_dataset
from benchmarks.common import command_line, one_thread, rich_table

MOLECULES, ORIENTATIONS = 20, 50


def main(words: Sequence[str] | None = None) -> None:
    parser = command_line("orientation", __doc__)
    parser.add_argument("model", help="name in the zoo or folder")
    parser.add_argument("data", help="file that mlwave evaluate reads")
    parser.add_argument("--split", help="records to use; all by default")
    chosen = parser.parse_args(words)
    with one_thread():
        dataset = read_dataset(chosen.data)
        records = list(dataset.split(chosen.split) if chosen.split else dataset)
        records = records[:: max(1, len(records) // MOLECULES)][:MOLECULES]
        calculator, turns = load_calculator(chosen.model, outside="warn"), Rotation.random(ORIENTATIONS, rng=0)
        spreads = []
        for record in records:
            turned = [replace(record, positions=record.positions @ turn.T) for turn in turns.as_matrix()]
            found = calculator.predict([atoms_from_record(one) for one in turned], ["energy"])
            spreads.append(1e3 * float(np.std([result["energy"] for result in found])))
    rows = [[record.formula, f"{found:.3f}"] for record, found in zip(records, spreads, strict=True)]
    rows += [["mean", f"{np.mean(spreads):.3f}"], ["largest", f"{max(spreads):.3f}"]]
    Console().print(rich_table([["molecule", "meV"], *rows], f"{len(records)} molecules, {ORIENTATIONS} orientations"))


if __name__ == "__main__":
    main()
