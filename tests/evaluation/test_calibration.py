"""Spreads against errors: what statistics say of committees whose distribution is known, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

from ase_mlwave.calculators.outcome import Outcome, average
from ase_mlwave.data.record import Record
from ase_mlwave.evaluation.calibration import Calibration, calibrations, uncertainty_figures
from ase_mlwave.evaluation.figures import MoleculeErrors, molecule_errors
from ase_mlwave.plotting.calibration import draw_calibration
from ase_mlwave.units import HARTREE, HARTREE_PER_BOHR

Array = NDArray[np.float64]

N_ATOMS, N_MEMBERS = 4, 6


def _committee(n: int, seed: int = 0) -> tuple[list[MoleculeErrors], list[Outcome]]:
    """Draw labels and members' predictions from one normal distribution, whose width differs between molecules."""
    rng = np.random.default_rng(seed)
    errors, outcomes = [], []
    for width in np.exp(rng.normal(-4, 1, n)):
        energies = rng.normal(0, width, N_MEMBERS + 1)
        forces = rng.normal(0, width, (N_MEMBERS + 1, N_ATOMS, 3))
        record = Record(
            np.ones(N_ATOMS), rng.normal(size=(N_ATOMS, 3)), energies[0] / HARTREE, forces[0] / HARTREE_PER_BOHR
        )
        members = [Outcome({"energy": e, "forces": f}) for e, f in zip(energies[1:], forces[1:], strict=True)]
        outcomes.append(average(members))
        errors.append(molecule_errors(record, outcomes[-1]))
    return errors, outcomes


def test_members_and_labels_of_one_distribution_give_the_factors_of_statistics() -> None:
    """Of K members: var(label - mean) = (1 + 1/K) var; the mean of 1/s^2 is that of an inverse chi-squared variable."""
    energy, forces = calibrations(*_committee(8_000))
    k = N_MEMBERS
    for panel, dof in ((energy, k - 1), (forces, 3 * (k - 1))):
        assert panel.ratio() == pytest.approx(np.sqrt(1 + 1 / k), rel=0.05)
        assert panel.factor() == pytest.approx(np.sqrt((1 + 1 / k) * dof / (dof - 2)), rel=0.05)
        for one in panel.bins()[1:-1]:
            assert 0.5 < one.error / one.spread < 2
        bins = panel.bins()
        assert bins[0].spread < bins[-1].spread / 20
        assert bins[0].error < bins[-1].error / 20
    assert energy.spreads.shape == (8_000,)
    assert forces.spreads.shape == (8_000 * N_ATOMS,)


def test_spreads_times_the_factor_have_the_size_of_the_errors() -> None:
    for panel in calibrations(*_committee(50)):
        scaled = replace(panel, spreads=panel.factor() * panel.spreads)
        assert scaled.factor() == pytest.approx(1)
        assert replace(panel, spreads=panel.ratio() * panel.spreads).ratio() == pytest.approx(1)
        assert scaled.figures()[f"{panel.quantity}_spread_error_spearman"] == pytest.approx(
            panel.figures()[f"{panel.quantity}_spread_error_spearman"]
        )


def test_rank_correlation_sees_the_order_only() -> None:
    spreads = np.array([0.1, 0.5, 3.0, 4.0])
    for errors, wanted in ((spreads**3, 1.0), (1 / spreads, -1.0), (np.array([1.0, 3.0, 2.0, 4.0]), 0.8)):
        panel = Calibration("energy", spreads, errors, 0, "")
        assert panel.figures()["energy_spread_error_spearman"] == pytest.approx(wanted)


def test_orientation_of_the_molecules_does_not_matter() -> None:
    errors, outcomes = _committee(20)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turned = [one if one.forces is None else replace(one, of={**one.of, "forces": one.forces @ turn}) for one in errors]
    assert calibrations(turned, outcomes)[1].figures() == pytest.approx(calibrations(errors, outcomes)[1].figures())


def test_bins_hold_everything_once() -> None:
    for panel in calibrations(*_committee(37)):
        bins = panel.bins()
        counts = np.array([one.n for one in bins])
        assert counts.sum() == len(panel.spreads)
        assert counts.min() >= 10
        for name, values in (("spread", panel.spreads), ("error", panel.errors)):
            squares = np.array([getattr(one, name) for one in bins]) ** 2
            assert np.sqrt(counts @ squares / counts.sum()) == pytest.approx(np.sqrt(np.mean(values**2)))


def test_what_the_members_agree_on_is_left_out_and_counted() -> None:
    errors, outcomes = _committee(5)
    atoms = np.array([[0.1], [0.0], [1e-13], [0.2]]) * np.ones((1, 3))
    outcomes[0] = average([Outcome({"energy": 1.0, "forces": sign * atoms}) for sign in (1, -1)])
    energy, forces = calibrations(errors, outcomes)
    assert (len(energy.spreads), energy.n_agreed) == (4, 1)
    assert (len(forces.spreads), forces.n_agreed) == (4 * N_ATOMS + 2, 2)
    assert [panel.quantity for panel in calibrations(errors[:2], outcomes[:2])] == ["forces"]
    without = [replace(one, of={"energy": one.of["energy"]}) for one in errors]
    assert [panel.quantity for panel in calibrations(without, outcomes)] == ["energy"]


@pytest.mark.parametrize("n", [3, 400])
def test_picture_has_a_panel_for_each(tmp_path: Path, n: int) -> None:
    panels = calibrations(*_committee(n), title="wavefunction")
    assert [panel.title for panel in panels] == ["wavefunction: energy per atom", "wavefunction: force components"]
    for shown in (panels, panels[:1]):
        draw_calibration(shown, tmp_path / "picture.png")
        height, width, _ = imread(tmp_path / "picture.png").shape
        assert width / height == pytest.approx(len(shown) * 4.4 / 4.6, rel=0.02)


def _claims(claimed: list[float], wrong: list[float]) -> dict[str, float]:
    errors = [MoleculeErrors(3, 1, {"energy": np.asarray(error)}) for error in wrong]
    return uncertainty_figures(errors, [Outcome({}, {"energy_uncertainty": claim}) for claim in claimed], "f_")


def test_claims_are_compared_with_errors() -> None:
    """Errors count by their size; a model that claims nothing, or always the same, is left out."""
    assert _claims([1.0, 2.0, 4.0], [0.5, -1.5, 6.0]) == pytest.approx(
        {
            "f_energy_uncertainty_error_spearman": 1.0,
            "f_energy_error_over_uncertainty_median": 0.75,
            "f_energy_error_below_uncertainty_percent": 200 / 3,
        }
    )
    assert _claims([4.0, 2.0, 1.0], [0.5, 1.5, 6.0])["f_energy_uncertainty_error_spearman"] == pytest.approx(-1)
    assert _claims([1.0, 1.0, 1.0], [0.5, 1.5, 6.0]) == {}
    assert _claims([1.0, 2.0], [0.5, 1.5]) == {}
    errors = [MoleculeErrors(3, 1, {"energy": np.asarray(1.0)})] * 3
    assert uncertainty_figures(errors, [Outcome({})] * 3) == {}
    claims = [Outcome({}, {"energy_uncertainty_per_atom": claim}) for claim in (0.1, 0.3, 0.2)]
    assert uncertainty_figures(errors, claims, "f_") == pytest.approx({"f_energy_uncertainty_max_meV_per_atom": 300})
