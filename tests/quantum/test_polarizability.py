"""Polarizabilities, beside derivatives of converged dipoles in electric fields (``tests.calculators.responses``)."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase.calculators.calculator import CalculationFailed
from ase.units import Bohr

from ase_mlwave.quantum import polarizability as module
from ase_mlwave.quantum.polarizability import polarizability
from tests.calculators.responses import FILE, distorted_water, mean_field


def test_polarizability_of_converged_orbitals_is_that_of_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    mf = mean_field(distorted_water())
    mf.kernel()
    reference = np.array(json.loads(FILE.read_text(encoding="utf-8"))["polarizability"])
    alpha = polarizability(mf, mf.mo_coeff, mf.mo_energy) * Bohr**3
    np.testing.assert_allclose(alpha, reference, atol=2e-4)
    np.testing.assert_allclose(alpha, alpha.T)
    alone = polarizability(mf, mf.mo_coeff, mf.mo_energy, coupled=False) * Bohr**3
    assert np.trace(alone) > 1.3 * np.trace(reference)  # electrons that do not repel each other follow a field too far
    monkeypatch.setattr(module, "_ITERATIONS", 1)
    with pytest.raises(CalculationFailed, match="does not converge"):
        polarizability(mf, mf.mo_coeff, mf.mo_energy)
