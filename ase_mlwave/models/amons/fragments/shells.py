"""Shells of crystals and sheets: an atom, or a bond, with all that is within some bonds of it.

An atom in a crystal is surrounded on all sides, atoms of small fragments are not. Shells are the fragments that come
closest to the crystal at a given size, and they are few: one per kind of atom and bond, where all fragments of their
size are thousands.
"""

from __future__ import annotations

from collections.abc import Iterator

from ase import Atoms
from ase.calculators.calculator import InputError

from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fragments.capping import cap_fragment, is_crowded
from ase_mlwave.models.amons.fragments.conformers import ConformerSet
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.periodic import unroll

__all__ = ["shell_geometries"]


def shell_geometries(
    query: Atoms, max_bonds: int, *, max_heavy: int | None = None, allow_radicals: bool = False
) -> tuple[Record, ...]:
    """Cut atoms, and pairs of bonded atoms, out of a crystal with all atoms that are within some bonds.

    Parameters
    ----------
    query : Atoms
        A crystal, a sheet or a chain; see `ase_mlwave.models.amons.fragments.periodic.unroll`.
    max_bonds : int
        Largest number of bonds between the centre and an atom; shells of 1 to so many bonds are cut.
    max_heavy : int, optional
        Shells with more heavy atoms are left out; none by default.
    allow_radicals : bool
        Accept crystals whose atoms have unpaired electrons.

    Returns
    -------
    tuple of Record
        Without labels, each geometry once, sorted by size. ``info`` has ``"smiles"`` (the formula: shells are too
        large to be named), ``"n_heavy"`` and ``"query_atoms"``, as amons have.

    Raises
    ------
    InputError
        If the query is not periodic, cannot be read (`ase_mlwave.models.amons.fragments.periodic.unroll`), or
        ``max_bonds`` is below 1.

    Notes
    -----
    Cut bonds are capped with hydrogen as those of amons; shells that would cut a multiple bond are left out. Where the
    caps of one missing atom would collide, that atom belongs to the shell, too: rings of a sheet are completed
    (``test_shells_of_a_sheet_are_whole_rings``).
    Differs from the paper, which has amons of limited size only.
    """
    if max_bonds < 1:
        raise InputError(f"max_bonds is the number of bonds around the centre of a shell; {max_bonds} is below 1.")
    if not query.pbc.any():
        raise InputError("shells are cut from crystals, sheets and chains; the query is not periodic.")
    reach = 2 * max_bonds + 3  # whole rings may lie outside
    unrolled = unroll(query, reach, allow_radicals=allow_radicals)
    molecule = unrolled.molecule
    conformers: dict[str, ConformerSet] = {}
    records = []
    for shell in _shells(molecule, unrolled.roots or (), max_bonds):
        if (max_heavy is not None and len(shell) > max_heavy) or _cuts_multiple_bond(molecule, shell):
            continue
        orders = {bond: order for bond, order in molecule.orders.items() if shell >= set(bond)}
        capped = cap_fragment(molecule, shell, orders).molecule
        if capped.positions is None:
            continue
        places = tuple(unrolled.atoms[atom] for atom in sorted(shell))
        record = capped.to_record(charge=0)
        if conformers.setdefault(record.formula, ConformerSet()).add(capped.positions):
            records.append(record.with_info(smiles=record.formula, n_heavy=len(shell), query_atoms=places))
    return tuple(sorted(records, key=lambda record: (record.info["n_heavy"], record.formula)))


def _shells(molecule: Molecule, roots: tuple[int, ...], max_bonds: int) -> Iterator[frozenset[int]]:
    """Yield the heavy atoms of all shells around the atoms of one cell and their bonds."""
    heavy = set(molecule.heavy)
    for root in roots:
        if root not in heavy:
            continue
        for centre in ({root}, *({root, other} for other in molecule.neighbours[root] if other in heavy)):
            shell = frozenset(centre)
            for _ in range(max_bonds):
                shell |= {other for atom in shell for other in molecule.neighbours[atom] if other in heavy}
                shell = _uncrowded(molecule, shell)
                yield shell


def _uncrowded(molecule: Molecule, shell: frozenset[int]) -> frozenset[int]:
    """Add the atoms whose caps would collide, until none does."""
    while True:
        touching: dict[int, int] = {}
        for atom in shell:
            for other in molecule.neighbours[atom]:
                if other not in shell and molecule.numbers[other] > 1:
                    touching[other] = touching.get(other, 0) + 1
        shared = {atom for atom, count in touching.items() if count > 1}
        orders = {bond: order for bond, order in molecule.orders.items() if shell >= set(bond)}
        if not shared or not is_crowded(cap_fragment(molecule, shell, orders).molecule):
            return shell
        shell |= shared


def _cuts_multiple_bond(molecule: Molecule, shell: frozenset[int]) -> bool:
    return any(order > 1 and len(shell & set(bond)) == 1 for bond, order in molecule.orders.items())
