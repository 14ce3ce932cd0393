"""What every calculator refuses, and in which words."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from ase.calculators.calculator import InputError, PropertyNotImplementedError

from ase_mlwave.calculators.base import MlwaveCalculator
from tests.calculators.under_test import CalculatorUnderTest, Make


class Refusals(CalculatorUnderTest):
    """Errors of `MlwaveCalculator`, before anything is computed."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda atoms: atoms.__delitem__(slice(None)), "empty"),
            (lambda atoms: atoms.set_pbc([True, False, False]), "periodic"),
            (lambda atoms: atoms.positions.__setitem__((1, 2), np.nan), "atom 1 is not finite"),
            (lambda atoms: atoms.positions.__setitem__((0, 0), np.inf), "atom 0 is not finite"),
            (lambda atoms: atoms.positions.__setitem__(1, atoms.positions[0]), "atoms 0 and 1 coincide"),
            (lambda atoms: atoms.info.update(charge=2), "made for charge 0"),
            (lambda atoms: atoms.info.update(spin=2), "made for spin 0"),
            (lambda atoms: atoms.info.update(charge=0.5), "whole number"),
            (lambda atoms: atoms.info.update(charge="plus"), "whole number"),
            (lambda atoms: atoms.info.update(spin=-1), "unpaired electrons"),
        ],
    )
    def test_bad_structure_is_refused(self, calc: MlwaveCalculator, change: Any, message: str) -> None:
        atoms = self.atoms()
        change(atoms)
        with pytest.raises(InputError, match=message):
            calc.get_potential_energy(atoms)
        with pytest.raises(InputError, match=f"structure 1: .*{message}"):
            calc.predict([self.atoms(), atoms])
        assert calc.results == {}

    def test_odd_electron_is_refused(self, calc: MlwaveCalculator) -> None:
        atoms = self.atoms()
        odd = [index for index, z in enumerate(atoms.numbers) if z % 2]
        if not odd:
            pytest.skip("all atoms have an even number of electrons")
        del atoms[odd[0]]
        with pytest.raises(InputError, match="unpaired"):
            calc.get_potential_energy(atoms)

    @pytest.mark.parametrize(
        ("array", "change"),
        [
            ("positions", lambda a: a.astype(object)),
            ("positions", lambda a: a.astype("<U20")),
            ("positions", lambda a: a + 0j),
            ("positions", lambda a: a[:, :2]),
            ("positions", lambda a: a[:-1]),
            ("positions", lambda a: a + 1e7),
            ("numbers", lambda a: a[1:]),
            ("numbers", lambda a: a + 0.5),
            ("numbers", lambda a: a.astype(float)),
            ("numbers", lambda a: a + 1000),
            ("numbers", lambda a: -a),
        ],
    )
    def test_arrays_that_are_no_atoms_are_refused(self, calc: MlwaveCalculator, array: str, change: Any) -> None:
        """ASE does not look at what is put into ``atoms.arrays``."""
        atoms = self.atoms()
        atoms.arrays[array] = change(atoms.arrays[array])
        calc.get_potential_energy(self.atoms())
        with pytest.raises(InputError, match=r"(atoms.numbers|positions) must"):
            calc.get_potential_energy(atoms)
        with pytest.raises(InputError, match=r"structure 0: .*(atoms.numbers|positions) must"):
            calc.predict([atoms])

    @pytest.mark.parametrize("properties", [5, ["energy", None], [["energy"]], None])
    def test_properties_that_are_no_names_are_refused(self, calc: MlwaveCalculator, properties: Any) -> None:
        with pytest.raises(InputError, match="Give names"):
            calc.predict([self.atoms()], properties)
        with pytest.raises(InputError, match="Give names"):
            calc.calculate(self.atoms(), properties)

    def test_unknown_element_is_refused(self, calc: MlwaveCalculator) -> None:
        atoms = self.atoms()
        atoms.symbols[0] = self.foreign
        known = ", ".join(calc.members[0].config.elements)
        with pytest.raises(InputError, match=f"does not know {self.foreign}: it was made for {known}"):
            calc.get_potential_energy(atoms)

    def test_one_structure_is_not_a_list(self, calc: MlwaveCalculator) -> None:
        with pytest.raises(InputError, match=re.escape("predict([atoms])")):
            calc.predict(self.atoms())

    def test_unknown_property_is_refused(self, calc: MlwaveCalculator) -> None:
        atoms = self.atoms()
        atoms.calc = calc
        with pytest.raises(PropertyNotImplementedError):
            atoms.get_magnetic_moment()
        with pytest.raises(PropertyNotImplementedError, match="Did you mean 'forces'"):
            calc.predict([atoms], ["force"])
        with pytest.raises(PropertyNotImplementedError, match=r"has no 'gap'.*calc\.extras"):
            calc.predict([atoms], ["energy", "gap"])

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"devise": "cpu"}, TypeError, "Did you mean 'device'"),
            ({"device": "gpu"}, InputError, "'cpu', 'cuda'"),
            ({"device": "cuda:99"}, InputError, "CUDA devices"),
            ({"device": "mps"}, InputError, "device is 'mps', on which torch .* cannot compute"),
            ({"dtype": "float63"}, InputError, "Did you mean 'float64'"),
            ({"batch_size": 0}, InputError, "at least 1"),
            ({"outside": "ignore"}, InputError, "outside.*'error', 'warn'"),
            ({"outside": ["warn"]}, InputError, "outside.*'error', 'warn'"),
            ({"dtype": None}, InputError, "float64"),
        ],
    )
    def test_bad_option_is_refused(
        self, make: Make, model: str, options: dict[str, Any], error: type, message: str
    ) -> None:
        with pytest.raises(error, match=message):
            make(model, **options)

    @pytest.mark.parametrize(
        "given", ["no-such-model", "", [], 3, ["no-such-model"], "long" * 2000, "~nobody-here/x", "a\0b"]
    )
    def test_bad_model_is_refused(self, make: Make, given: Any) -> None:
        with pytest.raises(InputError, match="model"):
            make(given)
