"""Readers for NumPy archives, recognised by the names of their arrays (never by unpickling anything)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from ase_mlwave.data.frames import common_level
from ase_mlwave.data.labels import EV, LabelUnits, ReadingOptions
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.properties import LABELS
from ase_mlwave.systems.charge_spin import charge_and_spin, may_be_charge_or_spin
from ase_mlwave.text import clean
from ase_mlwave.units import BOHR, KCAL_PER_MOL

__all__ = ["level_from_description", "read_npz", "unpack_upper_triangle"]

Arrays = Mapping[str, NDArray[Any]]

#: Name of an array of dipoles, (n, 3), that goes with every layout; it says the unit.
_DIPOLES = "dipole_e_Bohr"

#: An archive may unpack to so many bytes, or to so many times its own size.
_UNPACKED_BYTES, _LARGEST_RATIO = 10**9, 50


@dataclass(frozen=True)
class _Layout:
    """Describe one layout: the arrays it must have, and the function that turns them into records."""

    name: str
    keys: frozenset[str]
    read: Callable[[Arrays, Path, LabelUnits], tuple[list[Record], str]]
    names_units: bool = True
    """Whether the names of the arrays, or a description, say what their units are."""


def read_npz(path: Path, options: ReadingOptions) -> Dataset:
    """Read a NumPy archive whose layout is known.

    Parameters
    ----------
    path : Path
        The ``.npz`` file.
    options : ReadingOptions
        Units and level are for archives that do not say them.

    Returns
    -------
    Dataset
        In atomic units.

    Raises
    ------
    ValueError
        If the file is no archive, holds pickled objects, or its arrays fit no known layout (the message lists the
        arrays found and those of every layout); or if its units are not known.
    """
    try:
        _refuse_inflated(path)
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (BadZipFile, EOFError, AttributeError, MemoryError, ValueError) as error:
        raise ValueError(f"{path} is no NumPy archive of plain arrays: {clean(str(error))}") from error
    fitting = [layout for layout in _LAYOUTS if layout.keys <= arrays.keys()]
    if not fitting:
        layouts = "\n".join(f"  {layout.name}: {', '.join(sorted(layout.keys))}" for layout in _LAYOUTS)
        names = clean(", ".join(sorted(arrays)))[:1000] or "(none)"
        raise ValueError(f"{path} has the arrays {names}; known layouts are\n{layouts}")
    layout = fitting[0]
    options.refuse("energy_key", "forces_key", source=str(path))
    units = _units(layout, arrays, options, path)
    try:
        records, level = layout.read(arrays, path, units)
        records = _with_charges(records, {name: arrays[name] for name in arrays if may_be_charge_or_spin(name)})
        records = _with_splits_and_dipoles(records, arrays)
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path} looks like {layout.name!r} but is not well formed: {error}") from error
    level = common_level([level], options.level, str(path))
    return Dataset(tuple(records), level, str(path), notes=_unread(layout, arrays))


def _refuse_inflated(path: Path) -> None:
    """Refuse an archive that unpacks to far more than its own size: data do not, zeros do."""
    with ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(_UNPACKED_BYTES, _LARGEST_RATIO * path.stat().st_size):
        raise ValueError(f"it has {path.stat().st_size} bytes and unpacks to {unpacked}")


def unpack_upper_triangle(packed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the symmetric matrix whose upper triangle, row by row, is given.

    Parameters
    ----------
    packed : (M (M + 1) / 2,) float64
        In the order of ``numpy.triu_indices``.

    Returns
    -------
    (M, M) float64

    Raises
    ------
    ValueError
        If the length is no triangular number.
    """
    size = int((np.sqrt(8 * len(packed) + 1) - 1) // 2)
    if size * (size + 1) // 2 != len(packed):
        raise ValueError(f"{len(packed)} numbers are no upper triangle of a matrix.")
    matrix = np.zeros((size, size))
    matrix[np.triu_indices(size)] = packed
    return matrix + np.triu(matrix, 1).T


def level_from_description(text: str) -> str:
    """Find the level of theory in the description of an archive.

    Parameters
    ----------
    text : str
        It begins with ``level: NAME;``, the name of a level with its settings, or has ``RKS PBE/def2-SVP``, a
        functional and a basis with PySCF's usual settings.

    Returns
    -------
    str
        ``functional/basis``, or the name as it is given.

    Raises
    ------
    ValueError
        If the text names no level of theory in one of these forms.
    """
    named = re.match(r"level: ([^;]+);", text)
    if named is not None:
        return named.group(1).strip()
    match = re.search(r"\b[RU](?:KS|HF)\s+(?:(\S+?)/)?([^\s,]+?)(?=[,\s]|$)", text)
    if match is None:
        raise ValueError(f"no level of theory such as 'RKS PBE/def2-SVP' in the description {text[:200]!r}.")
    functional, basis = match.groups()
    return f"{functional or 'hf'}/{basis}".lower()


def _read_one_molecule(arrays: Arrays, path: Path, units: LabelUnits) -> tuple[list[Record], str]:
    """Read many geometries of one molecule, with or without matrices (Hartree, Hartree/Bohr; positions in Angstrom)."""
    _same_length(arrays, "R", "E", "F", "H_triu")
    triangles = arrays.get("H_triu")
    records = [
        Record(
            numbers=arrays["Z"],
            positions=arrays["R"][row] / BOHR,
            energy=arrays["E"][row],
            forces=arrays["F"][row],
            matrices={} if triangles is None else {"hamiltonian": unpack_upper_triangle(triangles[row])},
        )
        for row in range(len(arrays["R"]))
    ]
    return records, level_from_description(str(arrays["meta"]))


def _read_many_molecules(arrays: Arrays, path: Path, units: LabelUnits) -> tuple[list[Record], str]:
    """Read labelled molecules, with or without Kohn-Sham matrices, everything flattened and delimited by offsets."""
    _same_length(arrays, "E", "smiles", "T", "index")
    with_matrices = "H_triu" in arrays
    if with_matrices:
        _same_length(arrays, "offsets", "h_offsets")
    records = []
    for row, bare in enumerate(_read_geometries(arrays, path, units)[0]):
        matrices = {}
        if with_matrices:
            packed = arrays["H_triu"][arrays["h_offsets"][row] : arrays["h_offsets"][row + 1]]
            matrices["hamiltonian"] = unpack_upper_triangle(packed)
        forces = arrays["F"][arrays["offsets"][row] : arrays["offsets"][row + 1]]
        record = replace(bare, energy=arrays["E"][row], forces=forces, matrices=matrices)
        records.append(record.with_info(index=int(arrays["index"][row])))
    return records, level_from_description(str(arrays["meta"]))


def _read_packed(arrays: Arrays, path: Path, units: LabelUnits) -> tuple[list[Record], str]:
    """Read molecules with packed Kohn-Sham matrices, see `ase_mlwave.data.packed`."""
    from ase_mlwave.data.packed import read_packed  # needs torch, which other layouts do not

    return read_packed(arrays, path), level_from_description(str(arrays["meta"]))


def _read_geometries(arrays: Arrays, path: Path, units: LabelUnits) -> tuple[list[Record], str]:
    """Read molecules without labels, flattened and delimited by offsets; ``info["index"]`` is the row."""
    _same_length(arrays, "smiles", "T")
    offsets = arrays["offsets"]
    records = [
        Record(
            numbers=arrays["Z"][offsets[row] : offsets[row + 1]],
            positions=arrays["R"][offsets[row] : offsets[row + 1]] / BOHR,
            info={**_origin(arrays, row), "index": row},
        )
        for row in range(len(arrays["T"]))
    ]
    return records, ""


def _origin(arrays: Arrays, row: int) -> dict[str, Any]:
    """Return SMILES (without the ``?`` that marks a failed bond perception, then under ``name``) and temperature."""
    smiles = str(arrays["smiles"][row])
    key = "name" if smiles.startswith("?") else "smiles"
    return {key: smiles.removeprefix("?"), "temperature": float(arrays["T"][row])}


def _read_rmd17(arrays: Arrays, path: Path, units: LabelUnits) -> tuple[list[Record], str]:
    """Read a split of rMD17 in eV and eV/Angstrom; a file named ``*_train*`` or ``*_test*`` names its split."""
    _same_length(arrays, "R", "E_eV", "F_eV_per_A")
    match = re.search(r"(?:^|_)([a-z]+)_(train|test)\d*$", path.stem)
    records = _one_molecule(arrays["Z"], arrays["R"], arrays["E_eV"], arrays["F_eV_per_A"], EV)
    if match is not None:
        records = [record.with_info(split=match.group(2)) for record in records]
    # The names of the arrays give the units, but only that of the file can tell the level of theory.
    is_rmd17 = (match is not None and match.group(1) in _RMD17) or path.stem.lower().startswith("rmd17")
    return records, _RMD17_LEVEL if is_rmd17 else ""


def _read_rmd17_original(arrays: Arrays, path: Path, units: LabelUnits) -> tuple[list[Record], str]:
    """Read arrays named as in rMD17; they are at its level of theory where its further arrays are there."""
    _same_length(arrays, "coords", "energies", "forces")
    energies, forces = arrays["energies"], arrays["forces"]
    records = _one_molecule(arrays["nuclear_charges"], arrays["coords"], energies, forces, units)
    return records, _RMD17_LEVEL if _is_published_rmd17(arrays, path) else ""


def _is_published_rmd17(arrays: Arrays, path: Path) -> bool:
    """Tell the published archives by their further arrays or their name, ``rmd17_aspirin.npz``."""
    return any(name.startswith("old_") for name in arrays) or path.stem.lower().startswith("rmd17")


def _units(layout: _Layout, arrays: Arrays, options: ReadingOptions, path: Path) -> LabelUnits:
    """Return the units of an archive that does not name them, or refuse it; eV for all others, which need none."""
    if layout.names_units or _is_published_rmd17(arrays, path):
        options.refuse("units", source=str(path))
        return EV if layout.names_units else LabelUnits.parse("kcal/mol")
    if options.units is None:
        raise ValueError(
            f"{path} has arrays named as in rMD17, but none of its others (old_indices, old_energies, old_forces), so "
            "the units of its energies and forces are not known. Give units (--units): eV, kcal/mol, kJ/mol, Hartree."
        )
    return LabelUnits.parse(options.units)


def _one_molecule(
    numbers: NDArray[Any], positions: NDArray[Any], energies: NDArray[Any], forces: NDArray[Any], units: LabelUnits
) -> list[Record]:
    """Make records of geometries of one molecule, positions in Angstrom."""
    return [
        Record(numbers=numbers, positions=place / BOHR, energy=energy * units.energy, forces=force * units.forces)
        for place, energy, force in zip(positions, energies, forces, strict=True)
    ]


def _read_atomization(arrays: Arrays, path: Path, units: LabelUnits) -> tuple[list[Record], str]:
    """Read padded molecules with atomization energies (QM7: PBE0, kcal/mol; QM9: B3LYP, eV)."""
    indices = arrays.get("qm9_index")
    in_kcal = "E_atomization_kcal_mol" in arrays
    energies = arrays["E_atomization_kcal_mol"] * KCAL_PER_MOL if in_kcal else arrays["E_atomization_eV"]
    # The names of the arrays give the units, but not the level of theory.
    recognised = "qm7" in path.stem.lower() if in_kcal else indices is not None or "qm9" in path.stem.lower()
    method = ("pbe0 " if in_kcal else "b3lyp/6-31g(2df,p) ") if recognised else ""
    records = []
    for row, n_atoms in enumerate(arrays["n_atoms"]):
        info = {} if indices is None else {"qm9_index": int(indices[row])}
        records.append(
            Record(
                numbers=arrays["Z"][row, :n_atoms],
                positions=np.asarray(arrays["R"][row, :n_atoms], dtype=np.float64) / BOHR,
                energy=LABELS["energy"].from_ase(energies[row]),
                info=info,
            )
        )
    return records, f"{method}atomization energy"


def _with_charges(records: list[Record], charges: Arrays) -> list[Record]:
    """Give records charge and spin from arrays of one number for all or one for each, by the names of entries."""
    if not charges:
        return records
    one_each = {name: array for name, array in charges.items() if array.ndim}
    _same_length({"records": np.arange(len(records)), **one_each}, "records", *one_each)
    charged = []
    for row, record in enumerate(records):
        charge, spin = charge_and_spin({name: array[row] if array.ndim else array for name, array in charges.items()})
        charged.append(replace(record, charge=charge, spin=spin))
    return charged


def _with_splits_and_dipoles(records: list[Record], arrays: Arrays) -> list[Record]:
    """Give records what an archive of any layout may have; dipoles of NaN are none."""
    rows = {name: arrays[name] for name in ("split", _DIPOLES) if name in arrays}
    _same_length({"records": np.arange(len(records)), **rows}, "records", *rows)
    if "split" in rows:
        records = [record.with_info(split=str(name)) for record, name in zip(records, rows["split"], strict=True)]
    return [
        record if np.isnan(dipole).all() else replace(record, dipole=dipole)
        for record, dipole in zip(records, rows.get(_DIPOLES, np.full((len(records), 3), np.nan)), strict=True)
    ]


def _unread(layout: _Layout, arrays: Arrays) -> tuple[str, ...]:
    """Note the arrays of an archive that its layout has no use for."""
    unread = sorted(name for name in arrays.keys() - layout.keys - _OPTIONAL if not may_be_charge_or_spin(name))
    return (f"not read: arrays {', '.join(unread)}",) if unread else ()


def _same_length(arrays: Arrays, *names: str) -> None:
    """Refuse arrays that should have one entry per record but differ in number."""
    lengths = {name: len(arrays[name]) for name in names if name in arrays}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"arrays that belong together differ in length: {lengths}.")


#: Arrays that a layout may have beside those that it must.
_OPTIONAL = frozenset(
    {"split", "qm9_index", "H_triu", "h_offsets", "offsets", "index", "smiles", "T", "meta", _DIPOLES}
)
_RMD17 = frozenset(
    {"aspirin", "azobenzene", "benzene", "ethanol", "malonaldehyde", "naphthalene", "paracetamol", "salicylic"}
    | {"toluene", "uracil"}
)
_RMD17_LEVEL = "pbe/def2-svp"


#: The layouts that ``read_npz`` knows, the most specific first.
_LAYOUTS: tuple[_Layout, ...] = (
    _Layout(
        "molecules with packed Kohn-Sham matrices",
        frozenset({"Z", "R", "E", "F", "offsets", "h_offsets", "H_planes", "H_sum", "basis", "info", "meta"}),
        _read_packed,
    ),
    _Layout(
        "molecules with Kohn-Sham matrices",
        frozenset({"Z", "R", "E", "F", "H_triu", "offsets", "h_offsets", "index", "smiles", "T", "meta"}),
        _read_many_molecules,
    ),
    _Layout(
        "geometries of one molecule with Kohn-Sham matrices",
        frozenset({"Z", "R", "E", "F", "H_triu", "meta"}),
        _read_one_molecule,
    ),
    _Layout(
        "molecules with energies and forces",
        frozenset({"Z", "R", "E", "F", "offsets", "index", "smiles", "T", "meta"}),
        _read_many_molecules,
    ),
    _Layout("geometries of one molecule", frozenset({"Z", "R", "E", "F", "meta"}), _read_one_molecule),
    _Layout("unlabelled molecules", frozenset({"Z", "R", "offsets", "smiles", "T"}), _read_geometries),
    _Layout("rMD17 split", frozenset({"Z", "R", "E_eV", "F_eV_per_A"}), _read_rmd17),
    # rMD17 as its authors published it, and whatever else uses these names.
    _Layout(
        "rMD17 as published",
        frozenset({"nuclear_charges", "coords", "energies", "forces"}),
        _read_rmd17_original,
        names_units=False,
    ),
    _Layout("QM7 atomization energies", frozenset({"Z", "R", "n_atoms", "E_atomization_kcal_mol"}), _read_atomization),
    _Layout("QM9 atomization energies", frozenset({"Z", "R", "n_atoms", "E_atomization_eV"}), _read_atomization),
)
