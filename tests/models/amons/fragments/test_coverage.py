from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError

from ase_mlwave.models.amons import amon_geometries, amons_of


def ion_pair(distance: float) -> Atoms:
    """Return ammonium and formate."""
    ammonium = Atoms("NH4", [(0, 0, 0), *(0.59 * np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]))])
    formate = molecule("HCOOH")
    del formate[3]
    formate.translate(np.array([0, 0, -distance]) - formate.positions[0])
    return ammonium + formate


@pytest.mark.parametrize(
    ("query", "max_heavy", "message"),
    [
        ("CCl", 1, "no amon of at most 1 heavy atoms has an atom of Cl.*Cl1.*max_heavy above 1"),
        ("C[N+](=O)[O-]", 2, "has an atom of N, O"),
        ("CC(=O)[O-]", 1, "has the ion at O3"),
        ("[NH3+]CCCC(=O)[O-]", 6, r"holds both charges, at N0 and at O6.*They are 6 heavy atoms apart"),
        ("[O-]C(=O)CCC(=O)[O-]", 5, r"both charges, at O0 and at O7.*raise max_heavy"),
        ("[NH4+].[Cl-]", 3, "different molecules: raise max_contact_heavy"),
    ],
)
def test_query_that_its_amons_cannot_predict_is_refused(query: str, max_heavy: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        amon_geometries(query, max_heavy, allow_charges=True, complete=True)


@pytest.mark.parametrize(
    ("query", "max_heavy"),
    [
        ("CCl", 2), ("C[N+](=O)[O-]", 3), ("CC(=O)[O-]", 3), ("[NH3+]CCC(=O)[O-]", 6), ("Cl", 1), ("[H][H]", 1),
        ("C[N+](C)(C)CCO", 1), ("[Cl-]", 1), ("[O-]C(=O)CC(=O)[O-]", 7), (Atoms("Ar"), 1), (molecule("HF"), 1),
    ],
)  # fmt: skip
def test_query_that_its_amons_cover_is_served(query: Any, max_heavy: int) -> None:
    assert amon_geometries(query, max_heavy, allow_charges=True, complete=True)


def test_ions_that_touch_are_learned_from_pairs() -> None:
    with pytest.raises(InputError, match="raise max_contact_heavy"):
        amon_geometries(ion_pair(2.9), 3, allow_charges=True, complete=True)
    records = amon_geometries(ion_pair(2.9), 3, max_contact_heavy=4, allow_charges=True, complete=True)
    assert {(record.info["smiles"], record.charge) for record in records} == {
        ("C=O", 0), ("[NH4+]", 1), ("O=C[O-]", -1), ("O=C[O-].[NH4+]", 0),
    }  # fmt: skip


def test_fragments_of_an_ion_keep_its_charge() -> None:
    charges = {record.info["smiles"]: record.charge for record in amon_geometries("CCC[NH3+]", 3, allow_charges=True)}
    assert charges == {"C": 0, "CC": 0, "[NH4+]": 1, "C[NH3+]": 1, "CCC": 0, "CC[NH3+]": 1}
    acid = amon_geometries("CCC(=O)[O-]", 4, allow_charges=True)
    assert {r.info["smiles"] for r in acid if r.charge} == {"O=C[O-]", "CC(=O)[O-]"}
    assert {r.charge for r in acid} == {0, -1}
    assert all((record.numbers.sum() - record.charge) % 2 == 0 for record in acid)


def test_published_amons_of_ions_are_neutral() -> None:
    assert amons_of("CCC[NH3+]") == ("C", "CC", "CCC")


@pytest.mark.parametrize("query", ["C[N+](=O)[O-]", "[NH3+]CC(=O)[O-]", "CN=[N+]=[N-]", "Cc1cccc[n+]1[O-]", "CCO"])
def test_neutral_molecules_have_the_published_amons_only(query: str) -> None:
    assert amons_of(query, 7, allow_charges=True) == amons_of(query, 7)


def test_groups_of_an_ion_whose_charges_cancel_stay_neutral() -> None:
    found = amons_of("O=[N+]([O-])c1ccc(C(=O)[O-])cc1", 5, allow_charges=True)
    assert "C=C[N+](=O)[O-]" in found
    assert all(smiles.count("+") in (0, 1) for smiles in found)
    assert all(("[N+]" in smiles or "[NH+]" in smiles) == (smiles.count("+") == 1) for smiles in found)
