"""The public program's demo: phenylacetaldehyde from its amons, with the published B3LYP energies and geometries."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import InputError
from ase.data import atomic_numbers

from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.regression.environments import Geometry
from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.units import BOHR
from benchmarks.amons.curve import Curve, Options
from benchmarks.amons.study import Query, learning_curves, need

__all__ = ["run"]

#: The published settings of the representation.
_GRID = {"smooth": False, "distance_step": 0.04, "angle_step": 0.04}


def run(options: Options) -> list[Curve]:
    """Reproduce the published learning curve."""
    data = _read(need(options, "demo"))
    amons, target = [_record(entry) for entry in data["amons"]], _record(data["target"])
    energies = next(value for key, value in data.items() if key.startswith("atomic_energies"))
    free = {atomic_numbers[symbol]: float(energy) for symbol, energy in energies.items()}
    # Methane, the smallest amon, has no oxygen: a free atom lets the curve begin at one heavy atom, as published.
    elements = set(target.numbers.tolist())
    smallest = {z for record in amons if record.info["n_heavy"] == 1 for z in record.numbers.tolist()}
    curves = []
    for missing in (sorted(elements - smallest), []):
        atoms = [
            replace(target, numbers=np.array([z]), positions=np.zeros((1, 3)), energy=free[z], info={"n_heavy": 1})
            for z in missing
        ]
        sizes = sorted({int(record.info["n_heavy"]) for record in amons})
        curves += learning_curves(
            [Query.of(target, str(target.info["smiles"]))],
            [*amons, *atoms],
            "b3lyp/cc-pvdz",
            free=free,
            settings=FitSettings(directions=0, baseline="published"),
            sizes=sizes[:1] if missing else sizes[1:],
            also=[Geometry(record.numbers, record.positions) for record in amons],  # as published
            options=options,
            representation=SlatmConfig(elements=("H", "C", "O"), **_GRID),
        )
    one, rest = curves
    n_amons = tuple(n - len(elements - smallest) for n in one.n_amons) + rest.n_amons
    errors = one.errors_kcal + rest.errors_kcal
    return [replace(rest, sizes=one.sizes + rest.sizes, n_amons=n_amons, errors_kcal=errors)]


def _read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if not {"amons", "target"} <= data.keys():
        raise InputError(f"{path} is no data of the demo: it needs the entries amons and target.")
    return data


def _record(entry: dict[str, Any]) -> Record:
    numbers = np.array([atomic_numbers[symbol] for symbol in entry["symbols"]])
    info = {"smiles": entry["smiles_rdkit"], "n_heavy": entry["n_heavy"]}
    return Record(numbers, np.array(entry["positions"]) / BOHR, energy=entry["energy_hartree"], info=info)
