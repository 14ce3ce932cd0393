"""Errors that pages quote of shipped models are those that the models' cards have: new weights change both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from ase_mlwave.models.folder import list_models, read_config
from tests.commands import ROOT

#: Pages with rows of a calculator, its errors of energies and forces, and in brackets their medians.
PAGES = ("README.md", "docs/index.md", "docs/which_model.md")
CALL = re.compile(r'Calculator\("([\w-]+)"(?:, energy="(\w+)")?\)')
ERRORS = re.compile(r"([\d.]+) meV, ([\d.]+) meV/Å(?: \(([\d.]+), ([\d.]+)\))?")
FIGURES = ("energy_mae_meV", "forces_mae_meV_per_A", "energy_median_meV", "forces_median_meV_per_A")


class Quoted(NamedTuple):
    """A figure as a page writes it."""

    page: str
    model: str
    figure: str
    text: str


def quoted() -> Iterator[Quoted]:
    for page in PAGES:
        for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
            call, errors = CALL.search(line), ERRORS.search(line)
            if not (line.startswith("|") and call and errors) or call[1] not in list_models():
                continue
            config = read_config(call[1])
            level = call[2] or config.defaults.get("energy")
            for figure, text in zip(FIGURES, errors.groups(), strict=True):
                if text:
                    yield Quoted(page, call[1], f"{level}_{figure}" if level else figure, text)


ROWS = list(quoted())


def test_rows_are_found() -> None:
    assert {row.page for row in ROWS} >= {"docs/index.md", "docs/which_model.md"}
    assert len({(row.model, row.figure) for row in ROWS}) >= 16


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.page} {row.model} {row.figure}")
def test_quoted_errors_are_those_of_the_card(row: Quoted) -> None:
    value = read_config(row.model).errors[row.figure]
    decimals = len(row.text.partition(".")[2])
    assert float(row.text) == pytest.approx(value, abs=0.5 * 10**-decimals * (1 + 1e-9))
