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


#: Sentences that quote a shipped model's errors: page, words around a figure or two, and whose figures these are.
SENTENCES = (
    ("README.md", r"of H, C, N and O, (\S+) meV and (\S+) meV/Å from PBE", "phisnet-chno response", FIGURES[:2]),
    ("README.md", r"err by (\S+) meV and forces by (\S+) meV/Å on average", "phisnet-chno functional", FIGURES[:2]),
    ("README.md", r"on average, by (\S+) and (\S+) in the median", "phisnet-chno functional", FIGURES[2:]),
    ("README.md", r"cost: (\S+) meV and (\S+) meV/Å \(medians", "phisnet-chno response", FIGURES[:2]),
    ("README.md", r"\(medians (\S+) and ([\d.]+)\)", "phisnet-chno response", FIGURES[2:]),
    ("README.md", r"dynamics, errs by (\S+) meV and (\S+) meV/Å", "phisnet-chno wavefunction", FIGURES[:2]),
    ("README.md", r"forces err by (\S+) meV/Å, `qdf-chno`'s", "qdf-chno-gfn2", FIGURES[1:2]),
    ("README.md", r"`qdf-chno`'s by ([\d.]+)", "qdf-chno", FIGURES[1:2]),
    ("README.md", r"ethanol: forces err by (\S+) and", "qdf-ethanol", FIGURES[1:2]),
    ("README.md", r"ethanol: forces err by \S+ and (\S+) meV", "qdf-ethanol-gfn2", FIGURES[1:2]),
    ("docs/index.md", r"\(forces wrong by (\S+) and", "qdf-chno", FIGURES[1:2]),
    ("docs/tutorials/relax.md", r"forces good to (\S+) meV/Å in the median", "phisnet-chno functional", FIGURES[3:]),
    ("docs/league.md", r"are wrong by (\S+) meV/Å \(median", "phisnet-chno functional", FIGURES[1:2]),
    ("docs/league.md", r"\(median (\S+)\) at `functional`", "phisnet-chno functional", FIGURES[3:]),
)


@pytest.mark.parametrize(("page", "words", "whose", "figures"), SENTENCES, ids=[f"{s[2]}-{s[0]}" for s in SENTENCES])
def test_sentences_quote_the_card(page: str, words: str, whose: str, figures: tuple[str, ...]) -> None:
    found = re.search(words, " ".join((ROOT / page).read_text(encoding="utf-8").split()))
    assert found is not None, "the sentence was rewritten: rewrite its pattern, too"
    model, _, level = whose.partition(" ")
    errors = read_config(model).errors
    for text, figure in zip(found.groups(), figures, strict=True):
        decimals = len(text.partition(".")[2])
        value = errors[f"{level}_{figure}" if level else figure]
        assert float(text) == pytest.approx(value, abs=0.5 * 10**-decimals * (1 + 1e-9))
