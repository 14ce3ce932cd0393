"""Whoever uses a model finds on its card what to cite: the method, the data and the software."""

from __future__ import annotations

import re

import pytest

from ase_mlwave.models.folder import list_models, read_config
from ase_mlwave.models.kinds import KINDS
from ase_mlwave.models.training.checks import first_card
from tests.commands import ROOT

#: A digital object identifier, or a number of arXiv.
IDENTIFIER = r"doi:10\.\d{4,}/[\w./()-]*\w|arXiv:\d{4}\.\d{5}"


@pytest.mark.parametrize("model", list_models())
def test_card_says_what_to_cite(model: str) -> None:
    card = (ROOT / "models" / model / "README.md").read_text(encoding="utf-8")
    section = " ".join(card.partition("\n## Citation\n")[2].split())
    method, data = re.fullmatch(r"- Method: (.*)\. - Data: (.*)\. - Software: `CITATION.cff`\.", section).groups()  # type: ignore[union-attr]
    assert method.startswith(KINDS[read_config(model).kind].citation)
    assert len(re.findall(IDENTIFIER, data)) >= 1


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_method_is_among_the_references_of_the_software(kind: str) -> None:
    (identifier,) = re.findall(IDENTIFIER, kind.citation)  # type: ignore[attr-defined]
    assert identifier.removeprefix("doi:") in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_card_of_a_new_model_says_what_to_cite() -> None:
    assert first_card("Title", "Trained", "", "A. Author, 2020").endswith("## Citation\n\n- Method: A. Author, 2020.\n")
