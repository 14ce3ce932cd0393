"""Models as levels of theory: what a model computes, taken for labels.

`LevelOfTheory.parse` finds these levels by the name of this module, for reference methods stand below the models.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

from ase.calculators.calculator import BaseCalculator, InputError
from ase.calculators.calculator import EnvironmentError as CalculatorEnvironmentError

from ase_mlwave.calculators import load_calculator
from ase_mlwave.calculators.base import MlwaveCalculator
from ase_mlwave.calculators.checks import check_choice
from ase_mlwave.calculators.members import model_names
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.record import Record
from ase_mlwave.errors import OutOfDomainWarning, suggestion
from ase_mlwave.models.config import ModelConfig
from ase_mlwave.models.domain.scope import Domain, check_system
from ase_mlwave.models.folder import existing_folder, list_models, read_config
from ase_mlwave.models.kinds import find_kind
from ase_mlwave.models.phisnet.levels import ENERGY_LEVELS, default_level, has_mean_field
from ase_mlwave.reference.levels import CalculatorLevel, LevelOfTheory
from ase_mlwave.systems.system import System
from ase_mlwave.text import LONGEST_NAME, plain

__all__ = ["ModelLevel", "find_level", "method_names"]

#: What is asked of a model, where it has it.
_PROPERTIES = ("energy", "forces", "dipole")
#: What a level's string may say after the model.
_SETTINGS = ("energy", "weights")
#: A figure that says that a model is measured at the level "response".
_RESPONSE = "response_energy_mae_meV"
#: Digits of the weights' SHA-256 in a level's name.
_N_DIGITS = 12


class ModelLevel(CalculatorLevel):
    """Energies, forces and dipoles of a model, as labels.

    Parameters
    ----------
    model : str or path
        A name in the zoo, or a folder.
    energy : str, optional
        Of a model that has several levels of energy, which one; by default ``"response"`` if the model's description
        has errors of it, and else ``"functional"``.
    weights : str, optional
        The first digits, 12 or more, of the SHA-256 that the model's weights must have.
    device : str
        Where the model runs; it is not part of the level.

    Raises
    ------
    InputError
        If there is no such model, it has other weights or no such energy.

    Notes
    -----
    The level's name has the model's name, the energy and the weights (``"phisnet-chno energy=response
    weights=00ccc1275b69"``), so that labels of a model that was trained anew are never mixed with those of before, and
    none with those of the method that the model was made for (``test_labels_of_other_weights_are_not_mixed``).
    What the model was not made for, and what its measure of the domain refuses, has no label: wrong input, final. Of a
    label past the threshold of a warning ``info["out_of_domain"]`` is ``"doubtful"``; there is no warning.
    """

    tries_again = True

    def __init__(
        self,
        model: str | PathLike[str],
        energy: str | None = None,
        weights: str | None = None,
        device: str = "cpu",
    ) -> None:
        self._model = str(model_names(model))
        self._config, self._device = read_config(self._model), device
        stem = _checked_stem(self._model)
        self._options = _options_of(self._config, energy)
        digits = self._config.weights_sha256
        if weights is not None and not (len(weights) >= _N_DIGITS and digits.startswith(weights)):
            raise InputError(
                f"the model {stem!r} has the weights {digits[:_N_DIGITS]}, not {weights!r}: it is another model than "
                "the one that made those labels. Take that one, or leave weights= out and choose another database."
            )
        words = [stem, *(f"{key}={value}" for key, value in self._options.items()), f"weights={digits[:_N_DIGITS]}"]
        settings = {"program": "ase-mlwave", "kind": self._config.kind, "weights_sha256": digits, **self._options}
        base = self._config.settings.get("base")  # of a model that corrects another level
        settings |= {} if base is None else {"base": base}
        super().__init__(" ".join(words), self._made_for, {**settings, "reference": self._config.level})

    def __eq__(self, other: object) -> bool:
        """Compare what decides the numbers; a device does not."""
        return isinstance(other, ModelLevel) and (other.name, other.settings()) == (self.name, self.settings())

    def __hash__(self) -> int:
        return hash((type(self), self.name))

    @property
    def is_fast(self) -> bool:
        """No: a step of GFN2-xTB takes a tenth of that of any model of molecules."""
        return False

    @property
    def of_free_atoms(self) -> LevelOfTheory:
        """The method that the model was made for, unless the model knows open shells."""
        return self if set(self._config.spins) - {0} else LevelOfTheory.parse(self._config.level)

    def on(self, device: str) -> ModelLevel:
        """Return the same level on another device; see ``LevelOfTheory.on``."""
        twin = ModelLevel(self._model, weights=self._config.weights_sha256, device=device, **self._options)
        twin._with_forces = self._with_forces
        return twin

    def load(self) -> None:
        """Load the model.

        Raises
        ------
        ase.calculators.calculator.EnvironmentError
            If this machine has no such model, or not the device.
        """
        try:
            self._ready_calculator()
        except (InputError, OSError) as error:
            raise CalculatorEnvironmentError(f"{self.name} cannot be used here: {error}") from error

    def check(self, system: System) -> None:
        """Refuse elements, charges and open shells that the model was not made for; see ``LevelOfTheory.check``."""
        super().check(system)
        config = self._config
        check_system(system, Domain(frozenset(config.elements), frozenset(config.charges), frozenset(config.spins)))

    def _results(self, calculator: MlwaveCalculator, record: Record) -> tuple[dict[str, Any], dict[str, Any]]:
        wanted = [name for name in _PROPERTIES if name != "forces" or self._with_forces]
        properties = [name for name in wanted if name in calculator.implemented_properties]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OutOfDomainWarning)  # the label is marked instead
            (outcome,) = calculator.predict_outcomes([atoms_from_record(record)], properties, outside="error")
        doubtful = outcome.verdict is not None and not outcome.verdict.inside
        values = {name: outcome.values[name] for name in properties}
        return values, {"out_of_domain": "doubtful"} if doubtful else {}

    def _made_for(self, record: Record) -> BaseCalculator:
        """Return a calculator for dynamics; one of its own, since it remembers neighbours."""
        return load_calculator(self._model, device=self._device, **self._options)

    def _ready_calculator(self, record: Record | None = None) -> MlwaveCalculator:
        """Return the calculator of this thread, the same for all molecules."""
        options = tuple(self._options.items())
        key = (self._model, self._config.weights_sha256, self._device, options)
        return _loaded(*key, threading.get_ident())


def find_level(words: Sequence[str]) -> LevelOfTheory | None:
    """Make the level that a string's words name, if the first is a model.

    Parameters
    ----------
    words : sequence of str
        A name in the zoo or a folder, then ``energy=...`` and ``weights=...``.

    Returns
    -------
    LevelOfTheory or None
        None if there is no such model.

    Raises
    ------
    InputError
        If a setting is unknown; or as `ModelLevel`.
    """
    name, *settings = words
    folder = existing_folder(name)
    if name not in list_models() and (folder is None or not (folder / "config.json").is_file()):
        return None
    values: dict[str, str] = {}
    for word in settings:
        key, equals, value = word.partition("=")
        if not equals or key not in _SETTINGS:
            raise InputError(
                f"{word!r} is no setting of the level {name!r}; write key=value. {suggestion(key, _SETTINGS)}"
            )
        values[key] = value
    return ModelLevel(name, **values)


def method_names() -> list[str]:
    """List the models of the zoo."""
    return list(list_models())


def _options_of(config: ModelConfig, energy: str | None) -> dict[str, str]:
    """Return the calculator's options: which energy, of models that have several."""
    has_several = "energy" in find_kind(config.kind, "the model").load("calculator").default_parameters
    if not has_several and energy is not None:
        raise InputError(f"models of kind {config.kind!r} have no levels of energy to choose from. Leave energy= out.")
    if not has_several:
        return {}
    chosen = energy or _energy_for_labels(config)
    check_choice("energy", chosen, ENERGY_LEVELS)
    return {"energy": chosen}


def _energy_for_labels(config: ModelConfig) -> str:
    """Choose the level of energy that is worth its cost for labels, which are computed once and kept.

    Notes
    -----
    phisnet-chno on amons: a tenth of the error of ``"functional"`` for 1.4 times its seconds (docs/amons_forces.md).
    """
    if not has_mean_field(config.level):
        return default_level(config)
    return "response" if _RESPONSE in config.errors else "functional"


def _checked_stem(model: str) -> str:
    """Return what a model is called in a level's name; ``InputError`` if it has blanks or is no plain text."""
    stem = Path(model).name
    try:
        plain(stem, "the name of the model's folder", LONGEST_NAME // 2)
    except ValueError as error:
        raise InputError(f"{error}. Rename the folder.") from error
    if stem.split() != [stem] or "=" in stem:
        raise InputError(f"the folder {stem!r} cannot name a level of theory: it has blanks or '='. Rename it.")
    return stem


@lru_cache(maxsize=4)
def _loaded(
    model: str, weights: str, device: str, options: tuple[tuple[str, str], ...], thread: int
) -> MlwaveCalculator:
    """Load a calculator once for every thread: it remembers neighbours, and is not to be shared."""
    calculator = load_calculator(model, device=device, **dict(options))
    found = calculator.members[0].config.weights_sha256
    if found != weights:
        raise InputError(f"the weights of {model} are {found[:_N_DIGITS]} here, not {weights[:_N_DIGITS]}.")
    return calculator
