"""Fused aromatic rings are amons as a whole, however small the others are."""

from __future__ import annotations

import pytest

from ase_mlwave.models.amons.fragments.fused_rings import fused_rings
from ase_mlwave.models.amons.fragments.perception import read_query
from ase_mlwave.models.amons.fragments.selection import all_fragments, amons_of


@pytest.mark.parametrize(
    ("query", "whole"),
    [
        ("Oc1cccc2ccccc12", {"c1ccc2ccccc2c1"}),
        ("NC(Cc1c[nH]c2ccccc12)C(=O)O", {"c1ccc2[nH]ccc2c1"}),
        ("c1ccc2cc3ccccc3cc2c1", {"c1ccc2cc3ccccc3cc2c1"}),
        ("Cn1c(=O)c2c(ncn2C)n(C)c1=O", {"O=c1[nH]c(=O)c2[nH]cnc2[nH]1"}),  # carbonyls belong to it
        ("c1ccc(cc1)c1ccccc1", set()),
        ("C1CCC2CCCCC2C1", set()),
    ],
)
def test_fused_aromatic_rings_are_whole(query: str, whole: set[str]) -> None:
    molecule = read_query(query)
    found = {fragment.smiles for fragment in all_fragments(molecule, 7, allow_charges=True, whole_rings=True)[1]}
    assert found - set(amons_of(query, 7, allow_charges=True)) == whole


def test_huge_systems_are_left_out() -> None:
    assert fused_rings(read_query("c1cc2ccc3cccc4c5cccc6cccc(c(c1)c2c34)c65"), 7) == []
