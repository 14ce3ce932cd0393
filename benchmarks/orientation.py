"""Measure how much a model's energy depends on the orientation of a molecule, which it should not.

    python -m benchmarks.orientation qdf-chno datasets/chno_pbe_def2svp.npz --split test

Turns molecules of a data set at random and prints the standard deviation of each one's energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ase_mlwave.calculators import load_calculator
from ase_mlwave.calculators.base import MlwaveCalculator
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from benchmarks.common import command_line, one_thread, positive


def spread(calculator: MlwaveCalculator, record: Record, turns: NDArray[np.float64]) -> float:
    """Give the standard deviation of the energy over orientations ``turns`` (T, 3, 3), meV."""
    atoms = [atoms_from_record(replace(record, positions=record.positions @ turn.T)) for turn in turns]
    return 1e3 * float(np.std([result["energy"] for result in calculator.predict(atoms, ["energy"])]))


def main(words: Sequence[str] | None = None) -> None:
    parser = command_line("orientation", __doc__)
    parser.add_argument("model", help="name in the zoo or folder")
    parser.add_argument("data", help="file that mlwave evaluate reads")
    parser.add_argument("--split", help="records to use; all by default")
    parser.add_argument("--molecules", type=positive(int), default=20)
    parser.add_argument("--orientations", type=positive(int), default=50)
    chosen = parser.parse_args(words)
    with one_thread():
        dataset = read_dataset(chosen.data)
        records = list(dataset.split(chosen.split) if chosen.split else dataset)
        records = records[:: max(1, len(records) // chosen.molecules)][: chosen.molecules]
        turns = Rotation.random(chosen.orientations, rng=0).as_matrix()
        calculator = load_calculator(chosen.model, outside="warn")
        spreads = []
        for record in records:
            spreads.append(spread(calculator, record, turns))
            print(f"{record.formula:12} {spreads[-1]:8.3f} meV", flush=True)
    sizes = f"{len(spreads)} molecules, {len(turns)} orientations"
    print(f"{sizes}: {np.mean(spreads):.3f} meV, at most {max(spreads):.3f}")


if __name__ == "__main__":
    main()
