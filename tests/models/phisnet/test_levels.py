"""Which level of energy a PhiSNet is good for: measured, stored, and taken by default."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ase.calculators.calculator import InputError

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.evaluation.matrices import measure_levels, supported_defaults
from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.phisnet.levels import default_level, supported_level
from tests.calculators.waters import MODEL, waters

LABELLED = Path(__file__).parents[2] / "data" / "files" / "waters_pbe_def2svp.db"


def _figures(**levels: tuple[float, float]) -> dict[str, float]:
    figures = {f"{level}_energy_mae_meV": errors[0] for level, errors in levels.items()}
    return figures | {f"{level}_forces_mae_meV_per_A": errors[1] for level, errors in levels.items()}


GOOD, BAD = (1.0, 8.0), (258.0, 377.0)


@pytest.mark.parametrize(
    ("figures", "first", "level"),
    [
        (_figures(wavefunction=GOOD, functional=GOOD), "wavefunction", "wavefunction"),
        (_figures(wavefunction=(1.0, 377.0), functional=GOOD), "wavefunction", "functional"),
        (_figures(wavefunction=(258.0, 8.0), functional=GOOD), "wavefunction", "functional"),
        (_figures(wavefunction=GOOD, functional=GOOD), "functional", "functional"),
        (_figures(wavefunction=BAD, functional=BAD), "wavefunction", "scf"),
        (_figures(functional=BAD, response=GOOD), "functional", "response"),
        (_figures(functional=GOOD, response=GOOD), "functional", "functional"),
        (_figures(functional=BAD, response=BAD), "functional", "scf"),
        (_figures(functional=GOOD), "wavefunction", None),
        (_figures(wavefunction=BAD), "wavefunction", None),
        ({}, "functional", None),
    ],
)
def test_fastest_level_within_chemical_accuracy_is_chosen(
    figures: dict[str, float], first: str, level: str | None
) -> None:
    assert supported_level(figures, first) == level


def test_molecules_outside_the_domain_do_not_count() -> None:
    figures = _figures(wavefunction=BAD, functional=GOOD)
    inside = {"wavefunction_energy_mae_in_domain_meV": 1.0, "wavefunction_forces_mae_in_domain_meV_per_A": 8.0}
    assert supported_level(figures | inside) == "wavefunction"


def _saved(folder: Path, **changes: Any) -> Path:
    model = ModelFolder.load(MODEL)
    return replace(model, config=model.config.model_copy(update=changes)).save(folder)


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({"defaults": {"energy": "functional"}}, "functional"),
        ({"defaults": {}}, "wavefunction"),
        ({"defaults": {}, "errors": {}}, "functional"),
        ({"defaults": {}, "errors": _figures(wavefunction=BAD)}, "functional"),
    ],
)
def test_calculator_takes_the_level_of_its_model(tmp_path: Path, changes: dict[str, Any], level: str) -> None:
    folder = _saved(tmp_path / "model", **changes)
    calc = PhiSNetCalculator(folder)
    assert calc.option("energy") == level == default_level(calc.members[0].config)
    assert "energy" not in calc.todict()
    atoms = waters(1)[0]
    expected = PhiSNetCalculator(MODEL, energy=level).predict([atoms], ["energy"])
    assert calc.predict([atoms], ["energy"]) == expected
    assert PhiSNetCalculator(**calc.todict()).option("energy") == level
    assert PhiSNetCalculator([MODEL, folder]).option("energy") == level  # the most accurate of the members'


def test_shipped_model_is_good_for_the_fastest_level() -> None:
    config = ModelFolder.load(MODEL).config
    assert config.defaults["energy"] == "wavefunction"
    assert supported_defaults(config, config.errors) == {"energy": "wavefunction"}


def test_level_that_was_not_learned_is_warned_of(tmp_path: Path) -> None:
    errors = _figures(wavefunction=BAD, functional=GOOD)
    folder = _saved(tmp_path / "model", defaults={"energy": "functional"}, errors=errors)
    message = (
        r"energy='wavefunction' is not what .*model is good for \(mean errors: 258 meV and 377 meV/Å\).*'functional'"
    )
    with pytest.warns(UserWarning, match=message):
        calc = PhiSNetCalculator(folder, energy="wavefunction")
    calc.set(energy="scf")
    with pytest.warns(UserWarning, match=message):
        calc.set(energy="wavefunction")
    assert calc.option("energy") == "wavefunction"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calc.set(batch_size=2)
        PhiSNetCalculator(folder, energy="scf")


def test_model_that_says_nothing_is_not_judged(tmp_path: Path) -> None:
    """Warnings are errors in these tests."""
    folder = _saved(tmp_path / "model", defaults={}, errors={})
    assert PhiSNetCalculator(folder, energy="wavefunction").option("energy") == "wavefunction"


def test_level_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    folder = _saved(tmp_path / "model", defaults={"energy": "functionall"})
    with pytest.raises(InputError, match=r"default energy of .*Did you mean 'functional'"):
        PhiSNetCalculator(folder)


@pytest.mark.parametrize("learned", ["wavefunction", "functional"])
def test_measured_level_is_stored(tmp_path: Path, learned: str) -> None:
    """That of a model which learned matrices alone stays the functional, however good the other happens to be."""
    folder = _saved(tmp_path / "model", defaults={"energy": learned}, errors={})
    data = read_dataset(LABELLED)
    told = measure_levels(folder, replace(data, records=data.records[:2]))
    config = ModelFolder.load(folder).config
    assert config.defaults["energy"] == learned
    assert f"default is energy={learned!r}" in told
    assert config.errors["functional_energy_mae_meV"] < 1
    assert "On 2 validation molecules" in (folder / "README.md").read_text()
