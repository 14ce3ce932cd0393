"""Write files/qmllib.npz: local aSLATM of random molecules by the public implementation, qmllib 1.2.0.

    python -m tests.models.amons.slatm.make_qmllib_reference

For every molecule: numbers, positions (Angstrom), types (rows of three numbers, zeros at the end), and the
representation with its columns in the order of the types.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from qmllib.representations import generate_slatm

from tests.models.amons.slatm.systems import random_molecule

FILE = Path(__file__).parent / "files" / "qmllib.npz"
ELEMENTS = (("H", "C", "N", "O"), ("H", "C", "S", "Cl"), ("H", "O", "F", "Br"))


def main() -> None:
    """Compute and write."""
    arrays = {}
    for index, elements in enumerate(ELEMENTS):
        atoms = random_molecule(elements, 5, seed=index, side=3.5)
        numbers = sorted(set(atoms.numbers.tolist()))
        pairs = list(combinations_with_replacement(numbers, 2))
        types = [[z] for z in numbers] + [list(p) for p in pairs] + [[a, c, b] for c in numbers for a, b in pairs]
        found = generate_slatm(atoms.numbers, atoms.positions, types, local=True)
        arrays[f"numbers_{index}"] = atoms.numbers
        arrays[f"positions_{index}"] = atoms.positions
        arrays[f"types_{index}"] = np.array([t + [0] * (3 - len(t)) for t in types])
        arrays[f"rows_{index}"] = np.array(found)
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
