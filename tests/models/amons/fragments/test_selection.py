from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from ase.calculators.calculator import InputError
from rdkit import Chem

from ase_mlwave.models.amons import amons_of, find_amons
from ase_mlwave.models.amons.fragments.capping import cap_fragment
from ase_mlwave.models.amons.fragments.fragment import fragments_of
from ase_mlwave.models.amons.fragments.perception import molecule_from

CASES: dict[str, Any] = json.loads((Path(__file__).parent / "files" / "amon_sets.json").read_text(encoding="utf-8"))
SMILES = ["CC(=O)Nc1ccc(O)cc1", "O=C1OC(C(O)CO)C(O)=C1O", "CS(=O)(=O)Nc1ccc2[nH]ccc2c1", "[NH3+]CC(=O)[O-]"]


def named(cases: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in cases]


def from_sdf(block: str) -> Chem.Mol:
    return Chem.MolFromMolBlock(block.split("$$$$")[0], removeHs=False)


def in_order(smiles: list[str] | tuple[str, ...]) -> list[str]:
    return sorted(smiles, key=lambda text: (Chem.MolFromSmiles(text).GetNumAtoms(), text))


@pytest.mark.parametrize("case", named(CASES["graph"]))
def test_graph_sets_are_those_of_the_public_program(case: dict[str, Any]) -> None:
    assert list(amons_of(case["query"])) == in_order(case["amons"])


@pytest.mark.parametrize("case", named(CASES["geometry"]))
def test_geometry_sets_are_those_of_the_public_program(case: dict[str, Any]) -> None:
    assert list(amons_of(from_sdf(case["sdf"]))) == in_order(case["amons"])


def test_all_published_sets_agree() -> None:
    folder = Path(os.environ.get("MLWAVE_REFERENCE", ""), "amons")
    if not (folder / "amon_sets.json").is_file():
        pytest.skip("MLWAVE_REFERENCE names no folder with amons/amon_sets.json")
    sets = json.loads((folder / "amon_sets.json").read_text(encoding="utf-8"))
    documented = json.loads((folder / "documented_cases.json").read_text(encoding="utf-8"))
    pairs = [(amons_of(case["query"], case["k"]), case["amons"]) for case in sets["graph"].values()]
    pairs += [(amons_of(from_sdf(case["query_sdf"]), case["k"]), case["amons"]) for case in sets["geometry"].values()]
    for case in documented.values():
        query = from_sdf(case["query_sdf"][0]) if case["kw"]["i3d"] else case["queries"][0]
        pairs.append((amons_of(query, case["kw"]["k"]), case["amons"]))
    assert len(pairs) == 66
    wrong = [(found, expected) for found, expected in pairs if list(found) != in_order(expected)]
    assert wrong == []


@pytest.mark.parametrize("smiles", SMILES)
def test_order_of_atoms_does_not_matter(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    reversed_order = Chem.RenumberAtoms(mol, list(reversed(range(mol.GetNumAtoms()))))
    assert amons_of(reversed_order) == amons_of(smiles)


def test_other_kekule_structure_gives_the_same_amons() -> None:
    assert amons_of("CC1=CC=CC=C1O") == amons_of("CC1=C(O)C=CC=C1")


@pytest.mark.parametrize("smiles", SMILES)
def test_smaller_limit_gives_the_smaller_amons(smiles: str) -> None:
    all_amons = find_amons(smiles, 7)
    for limit in range(1, 7):
        assert find_amons(smiles, limit) == tuple(amon for amon in all_amons if amon.n_heavy <= limit)


def test_a_small_query_is_its_own_largest_amon() -> None:
    assert amons_of("CC(N)=O")[-1] == "CC(N)=O"


def test_occurrences_are_the_places_in_the_query() -> None:
    amons = {amon.smiles: amon for amon in find_amons("CCO")}
    assert amons["C"].occurrences == ((0,), (1,))
    assert amons["CO"].occurrences == ((1, 2),)
    assert amons["CCO"].count == 1


@pytest.mark.parametrize("smiles", SMILES)
def test_fragments_have_an_even_number_of_electrons(smiles: str) -> None:
    molecule = molecule_from(smiles)
    for fragment in fragments_of(molecule, 7):
        capped = cap_fragment(molecule, frozenset(fragment.atoms), dict(fragment.orders)).molecule
        assert (sum(capped.numbers) - sum(capped.charges)) % 2 == 0
        assert sum(capped.charges) == 0


def test_work_grows_linearly_with_a_peptide() -> None:
    """Counted in calls of functions, which no other load on the machine changes."""
    assert len(find_amons(Chem.MolFromSequence("ACDEFGHIKLMNPQRSTVW"), 5)) > 50  # 306 atoms

    def calls(residues: int) -> int:
        count = 0

        def counted(frame: FrameType, event: str, argument: object) -> None:
            nonlocal count
            count += event.endswith("call")

        query = Chem.MolFromSequence("AG" * residues)
        sys.setprofile(counted)
        try:
            find_amons(query, 5)
        finally:
            sys.setprofile(None)
        return count

    assert calls(40) < 5 * calls(10)  # 16 where it is quadratic


def test_max_heavy_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="0 is below 1"):
        amons_of("C", 0)


def test_importing_the_wing_imports_neither_torch_nor_rdkit() -> None:
    code = (
        "import sys, ase_mlwave.models.amons; "
        "print([name for name in ('torch', 'rdkit', 'pyscf') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("query", ["c1ccc2[nH]ccc2c1", "c1ncc2nc[nH]c2n1", "c1coc(-c2ccco2)c1"])
def test_whole_fused_rings_are_amons(query: str) -> None:
    found = amons_of(query, 10)
    assert found[-1] == query
    assert query not in amons_of(query, 7)


def test_number_of_fragments_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ase_mlwave.models.amons.fragments.fragment._MOST_PARTS", 100)
    assert amons_of("CCCCCCCCCC", 7)
    with pytest.raises(InputError, match=r"more than 100 connected parts of at most 7 heavy atoms.*smaller max_heavy"):
        amons_of("CC(C)(C)CC(C)(C)CC(C)(C)C", 7)
