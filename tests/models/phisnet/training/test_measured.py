"""What is measured after training, from Python as from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.phisnet.training.run import train
from tests.models.phisnet.training.runs import tiny_settings


def test_python_measures_the_levels_of_energy_as_the_command_line_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors and the default level are in the folder, what was found is said, and nobody's random numbers change."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    folder = train(tiny_settings(tmp_path / "run", steps=1), progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    model = ModelFolder.load(folder)
    assert {
        "hamiltonian_mae_uHa",
        "wavefunction_energy_mae_meV",
        "functional_energy_mae_meV",
    } <= model.config.errors.keys()
    largest = model.config.errors["functional_energy_uncertainty_max_meV_per_atom"]
    assert model.config.thresholds["energy_uncertainty_per_atom"] == pytest.approx(1e-3 * largest, rel=1e-4)
    assert model.config.limits["energy_uncertainty_per_atom"] == pytest.approx(6e-3 * largest, rel=1e-4)
    assert model.config.thresholds["domain_distance"] > 0
    assert f"default is energy={model.config.defaults['energy']!r}" in capsys.readouterr().out
    assert "On 2 validation molecules, after training" in model.card
