"""What people give to a calculator: sound molecules, and all that may be wrong with them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, graphene, molecule
from hypothesis import strategies as st

__all__ = ["batch_sizes", "mean_fields", "options", "property_lists", "structures"]

SMALL = ("H2O", "CH4", "NH3", "CH3OH", "H2", "HCN", "CO2", "H2O2", "CH3CH2OH", "HCOOH", "C2H4", "N2", "O3", "CH3NO2")
FOREIGN = ("He", "Si", "Fe", "U", "X")

numbers = st.floats(allow_nan=True, allow_infinity=True)
words = st.sampled_from(["", "energy", "float32", "cuda:7", "None", "[]", "phisnet", "../..", "\x00", "é" * 300])
odd = st.one_of(
    st.none(), st.booleans(), st.integers(), numbers, words, st.lists(st.integers(), max_size=2), st.just({})
)


@st.composite
def sound(draw: Any, elements: Collection[str]) -> Atoms:
    """Draw a molecule near its equilibrium, a cluster, a cell, or no atom at all; mostly of the elements."""
    kind = draw(st.sampled_from(["molecule"] * 7 + ["dimer"] * 2 + ["random", "atom", "cell", "none"]))
    if kind == "none":
        return Atoms()
    if kind == "atom":
        return Atoms(draw(st.sampled_from([*sorted(elements), *FOREIGN])))
    if kind == "cell":
        return draw(st.sampled_from([bulk("C"), graphene(), bulk("Si"), bulk("C", cubic=True)])).copy()
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if kind == "random":
        symbols = rng.choice(sorted(elements), size=draw(st.integers(2, 8)))
        return Atoms(symbols, rng.uniform(-2.5, 2.5, size=(len(symbols), 3)))
    known = [name for name in SMALL if set(molecule(name).symbols) <= set(elements)]
    atoms = molecule(draw(st.sampled_from(known if draw(st.integers(0, 9)) else SMALL)))
    atoms.rattle(draw(st.sampled_from([0.0, 0.02, 0.05, 0.1, 0.2, 0.5])), rng=rng)
    if kind == "dimer":
        other = molecule(draw(st.sampled_from([name for name in known if name in ("H2O", "CH4", "NH3")])))
        other.rotate(360 * rng.random(), rng.normal(size=3))
        other.translate(draw(st.floats(0.0, 12.0)) * np.array([1.0, 0, 0]))
        atoms += other
    return atoms


def _stretched(atoms: Atoms, factor: float) -> None:
    atoms.positions[-1] = atoms.positions[0] + factor * (atoms.positions[-1] - atoms.positions[0])


def _set(atoms: Atoms, array: str, value: Any) -> None:
    atoms.arrays[array] = value


#: Name -> what it does to a structure of at least one atom, given a factor and an odd value.
CHANGES: dict[str, Any] = {
    "scaled": lambda a, x, o: a.set_positions(a.positions * abs(x)),
    "an atom pulled away": lambda a, x, o: _stretched(a, x),
    "an atom lost": lambda a, x, o: a.pop(),
    "an atom twice": lambda a, x, o: a.extend(a[:1]),
    "far away": lambda a, x, o: a.translate([1e3 * x, 0, 0]),
    "not finite": lambda a, x, o: a.positions.__setitem__((0, 0), np.nan if x < 1 else np.inf),
    "a huge coordinate": lambda a, x, o: a.positions.__setitem__((0, 0), 10.0 ** (30 * x)),
    "foreign element": lambda a, x, o: a.numbers.__setitem__(0, 14 if x < 1 else 92),
    "other element": lambda a, x, o: a.numbers.__setitem__(0, 1 + int(7 * abs(x)) % 9),
    "positions of objects": lambda a, x, o: _set(a, "positions", a.positions.astype(object)),
    "positions as text": lambda a, x, o: _set(a, "positions", a.positions.astype("<U8")),
    "positions in float32": lambda a, x, o: _set(a, "positions", a.positions.astype(np.float32)),
    "positions in two dimensions": lambda a, x, o: _set(a, "positions", a.positions[:, :2]),
    "numbers too few": lambda a, x, o: _set(a, "numbers", a.numbers[1:]),
    "numbers broken": lambda a, x, o: _set(a, "numbers", a.numbers + x),
    "numbers in uint8": lambda a, x, o: _set(a, "numbers", a.numbers.astype(np.uint8)),
    "a cell": lambda a, x, o: (a.set_cell([8 * abs(x)] * 3), a.set_pbc(True)),
    "a flat cell": lambda a, x, o: (a.set_cell([[6, 0, 0], [6, 1e-4 * x, 0], [0, 0, 6]]), a.set_pbc(True)),
    "a skew cell": lambda a, x, o: (a.set_cell([[7, 0, 0], [50 * x, 7, 0], [0, 0, 7]]), a.set_pbc(True)),
    "a period": lambda a, x, o: (a.set_cell([0, 0, 5 * x]), a.set_pbc([False, False, True])),
    "pbc without a cell": lambda a, x, o: a.set_pbc([True, False, x > 1]),
    "a charge": lambda a, x, o: a.info.update(charge=round(x)),
    "an odd charge": lambda a, x, o: a.info.update(charge=o),
    "a spin": lambda a, x, o: a.info.update(spin=round(x)),
    "an odd spin": lambda a, x, o: a.info.update(spin=o),
    "initial charges": lambda a, x, o: a.set_initial_charges([x] * len(a)),
    "initial moments": lambda a, x, o: a.set_initial_magnetic_moments([x] * len(a)),
}


@st.composite
def structures(draw: Any, elements: Collection[str]) -> tuple[Any, str]:
    """Draw what is given as ``Atoms``, and how it was made."""
    if draw(st.integers(0, 39)) == 0:
        return draw(odd), "no Atoms"
    atoms, made = draw(sound(elements)), []
    for name in draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=draw(st.sampled_from([0, 0, 1, 1, 2])))):
        factor = draw(st.sampled_from([0.0, 1e-3, 0.1, 0.3, 0.5, 0.8, 0.95, 1.05, 1.3, 2.0, 3.0, 8.0, 1e3, -1.0]))
        try:
            CHANGES[name](atoms, factor, draw(odd))
        except (TypeError, ValueError, IndexError, OverflowError):  # ASE itself does not let that be
            continue
        made.append(f"{name} ({factor:g})")
    return atoms, ", ".join(made) or "as it is"


NAMES = (
    "energy",
    "forces",
    "stress",
    "dipole",
    "charges",
    "free_energy",
    "energies",
    "magmoms",
    "force",
    "hamiltonian",
)


@st.composite
def property_lists(draw: Any) -> Any:
    """Draw what is asked for: mostly what there is."""
    usual = st.sampled_from([["energy", "forces"], ["energy"], "forces", ("free_energy",)])
    unusual = st.one_of(st.lists(st.sampled_from(NAMES), max_size=3), odd, st.lists(odd, max_size=2))
    return draw(usual if draw(st.integers(0, 9)) < 8 else unusual)


@st.composite
def batch_sizes(draw: Any) -> Any:
    """Draw the size of batches: mostly none."""
    return draw(st.none() if draw(st.integers(0, 9)) < 8 else st.one_of(st.integers(1, 3), odd))


OPTIONS = (
    "model",
    "device",
    "dtype",
    "batch_size",
    "outside",
    "energy",
    "grid_level",
    "uncertainty",
    "enrgy",
    "xc",
    "",
)
options = st.dictionaries(st.sampled_from(OPTIONS), odd, min_size=1, max_size=2)


@st.composite
def mean_fields(draw: Any) -> tuple[Any, str]:
    """Draw a mean field of PySCF's, of a water or something else, or what is none."""
    from pyscf import dft, gto, scf

    if draw(st.integers(0, 19)) == 0:
        return draw(odd), "no mean field"
    atoms = draw(sound(("H", "O")))
    if not len(atoms) or set(atoms.symbols) & set(FOREIGN) or draw(st.booleans()):
        atoms = molecule("H2O")
        atoms.rattle(0.05, seed=draw(st.integers(0, 99)))
    atoms.positions *= draw(st.sampled_from([0.02, 0.6, 0.8, 0.9, 1.0, 1.0, 1.1, 1.4, 2.0, 1e3, np.nan]))
    method = draw(st.sampled_from([scf.RHF, scf.UHF, scf.ROHF, scf.GHF, dft.RKS, dft.UKS]))
    basis = draw(st.sampled_from(["def2-svp", "sto-3g", "6-31g*", "def2-tzvp", "cc-pvdz"]))
    places = [(str(symbol), tuple(position)) for symbol, position in zip(atoms.symbols, atoms.positions, strict=True)]
    electrons = int(atoms.numbers.sum())
    charge = draw(st.sampled_from([0, 0, 0, 1, -1]))
    spin = (electrons - charge) % 2 + draw(st.sampled_from([0, 0, 0, 2]))
    mole = gto.M(atom=places, basis=basis, charge=charge, spin=spin, verbose=0)
    return method(mole), f"{method.__name__}/{basis}, charge {charge}, spin {spin}, {atoms.symbols} {places}"
