"""Water clusters, learned from the smaller clusters that they consist of: molecules, pairs, triples and so on."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import molecule
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers
from scipy.spatial.transform import Rotation

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fragments.geometry import amon_geometries
from ase_mlwave.reference.levels import TbliteLevel
from benchmarks.amons.curve import Curve, Options
from benchmarks.amons.study import Query, Relaxing, free_atoms, label, learning_curves

__all__ = ["SIZES", "droplet", "run"]

#: Molecules of the clusters.
SIZES = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20)
#: Molecules of the largest amons.
_MAX_HEAVY = 5
#: Volume of a molecule in the sphere that a droplet begins in, and least distance of two oxygens, Angstrom.
_VOLUME, _APART = 45.0, 2.7
#: Labels have no noise, and with so small a penalty the training data are likelier than with the publication's.
_SETTINGS = FitSettings(directions=0, penalty=1e-6)


def run(options: Options) -> list[Curve]:
    """Relax each cluster, cut its amons, label them as they are, and predict the cluster."""
    level = TbliteLevel("gfn2-xtb")
    sizes = SIZES[: options.n_systems]
    tight = Relaxing(level, largest_force=5e-4, steps=400)
    built = [droplet(n, options.seed) for n in sizes]
    relaxed = label(built, options.output / "water-queries.db", tight, options, "relax clusters")
    free = free_atoms([1, 8], level)
    curves = []
    for n, query in zip(sizes, relaxed, strict=True):
        if query is not None:
            largest = options.max_heavy or _MAX_HEAVY
            cut = amon_geometries(query, 1, max_contact_heavy=max(2, largest))
            labelled = label(cut, options.output / "water.db", level, options, f"label amons of (H2O){n}")
            amons = [amon for amon in labelled if amon is not None]
            system = Query.of(query, f"(H2O){n}", n_units=n)
            curves += learning_curves([system], amons, level.name, free=free, settings=_SETTINGS, options=options)
    return curves


def droplet(n_molecules: int, seed: int = 0) -> Record:
    """Put molecules at random into a sphere, and relax them with MMFF94.

    Parameters
    ----------
    n_molecules : int
        How many.
    seed : int
        Of places and orientations.

    Returns
    -------
    Record
        Without labels.
    """
    rng = np.random.default_rng([seed, n_molecules])
    water = molecule("H2O")
    radius = (3 * n_molecules * _VOLUME / (4 * np.pi)) ** (1 / 3)
    places: list[np.ndarray] = []
    while len(places) < n_molecules:
        place = rng.uniform(-radius, radius, 3)
        if np.linalg.norm(place) < radius and all(np.linalg.norm(place - other) > _APART for other in places):
            places.append(place)
    turned = [Rotation.random(random_state=rng).apply(water.positions) + place for place in places]
    atoms = Atoms(np.tile(water.numbers, n_molecules), np.vstack(turned))
    mol = Chem.AddHs(Chem.MolFromSmiles(".".join(["O"] * n_molecules)))
    order = [index for n in range(n_molecules) for index in (n, n_molecules + 2 * n, n_molecules + 2 * n + 1)]
    conformer = Chem.Conformer(len(order))
    for index, position in zip(order, atoms.positions.tolist(), strict=True):
        conformer.SetAtomPosition(index, position)
    mol.AddConformer(conformer)
    rdForceFieldHelpers.MMFFOptimizeMolecule(mol, maxIters=2000)
    atoms.positions = np.array(mol.GetConformer().GetPositions())[order]
    return record_from_atoms(atoms)
