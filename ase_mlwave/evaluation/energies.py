"""Measure any calculator on labelled molecules, and a committee's knowledge of its own errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ase.calculators.calculator import InputError, PropertyNotImplementedError

from ase_mlwave.calculators.base import MlwaveCalculator
from ase_mlwave.calculators.checks import read_atoms
from ase_mlwave.calculators.domain import judge
from ase_mlwave.calculators.outcome import Outcome, average
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.metadata import differ_in_forces_only
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.evaluation.calibration import Calibration, calibrations, uncertainty_figures
from ase_mlwave.evaluation.figures import (
    MoleculeErrors,
    SizeBin,
    figures_by_size,
    label_figures,
    molecule_errors,
)
from ase_mlwave.models.config import ModelConfig
from ase_mlwave.reference.levels import LevelOfTheory

__all__ = [
    "OUTSIDE",
    "Counter",
    "Evaluation",
    "ExtraFigures",
    "Progress",
    "check_data",
    "evaluate",
    "level_remarks",
    "measure",
]

Progress = Callable[[int], None]
"""Called with the number of molecules done since the last call."""
Counter = Callable[[str, int], Progress]
"""Called with (what, number of molecules)."""
ExtraFigures = Callable[[Sequence[Record], Sequence[Any]], Mapping[str, float]]
"""Called with molecules and one extra of each; gives figures."""

#: Figures that count molecules past the thresholds of the domain, and past its limits.
OUTSIDE = ("out_of_domain_molecules", "refused_molecules")
#: Ends the level of theory of data whose energies are relative to the free atoms.
_ATOMIZATION = "atomization energy"
#: Members of a committee below which the calibration factor of its energies has no limit.
_SETTLED = 4


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a model, and what was not."""

    figures: dict[str, float]
    """Names end in their unit; those of a committee's mean begin with ``committee_``."""
    remarks: tuple[str, ...] = ()
    """What was left out or measured on fewer molecules, and why."""
    by_size: tuple[SizeBin, ...] = ()
    """Errors by number of heavy atoms, where molecules differ in size."""
    calibrations: tuple[Calibration, ...] = field(default=(), repr=False)
    """Spreads of a committee against its errors."""
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Options of the calculator -> defaults that the figures support."""


def evaluate(calculator: MlwaveCalculator, data: Dataset, *, progress: Counter | None = None) -> Evaluation:
    """Measure what the labels of the data allow.

    Parameters
    ----------
    calculator : MlwaveCalculator
        One model, or a committee: the first model and the mean of all are measured then, and its spreads.
    data : Dataset
        Molecules with some of the labels: energies, forces, dipoles.
    progress : callable, optional
        Called with (what, number of molecules); returns a `Progress`.

    Returns
    -------
    Evaluation
        The figures of `label_figures`, of `Calibration.figures`, and ``out_of_domain_molecules``.

    Raises
    ------
    InputError
        As `check_data`; also if nothing can be measured.
    PropertyNotImplementedError
        If the model predicts no energies.
    """
    check_data(calculator, data)
    remarks = level_remarks(data)
    properties = ["energy", "forces"]
    reason = _why_no_forces(calculator, data)
    if reason is not None:
        remarks.append(f"forces are left out: {reason}")
        properties.remove("forces")
    if "dipole" in calculator.implemented_properties and any(record.dipole is not None for record in data):
        properties.append("dipole")
    measured = measure(calculator, list(data), properties, progress=progress)
    if not measured.figures:
        raise InputError(f"nothing to measure: {data.source} has no {' and no '.join(map(_plural, properties))}")
    return replace(measured, remarks=(*remarks, *measured.remarks))


def _why_no_forces(calculator: MlwaveCalculator, records: Iterable[Record]) -> str | None:
    """Ask for the forces of the smallest molecule that has labels of them; give the calculator's reason to refuse."""
    labelled = [record for record in records if record.forces is not None]
    if not labelled:
        return None
    try:
        _predict(calculator, [min(labelled, key=len)], ("forces",), lambda done: None)
    except PropertyNotImplementedError as error:
        return str(error)
    return None


def level_remarks(data: Dataset) -> list[str]:
    """Say so where the level of theory of the labels is not known, or their forces are no derivatives of energies."""
    if not data.level:
        return ["the file does not say its level of theory; taken to be the model's"]
    if data.level.endswith("grid_response=false"):
        return [
            f"the labels are at {data.level!r}: their forces lack the response of the integration grid and differ "
            "from the derivative of the energy, which calculators give, by 0.1 to 0.4 meV/Angstrom on average"
        ]
    return []


def check_data(calculator: MlwaveCalculator, data: Dataset) -> None:
    """Refuse what cannot be measured, before any work.

    Parameters
    ----------
    calculator : MlwaveCalculator
        What is to be measured.
    data : Dataset
        Molecules and labels.

    Raises
    ------
    InputError
        If there are no molecules, one is outside of what the model was made for, the labels are of another level of
        theory than the model's, or are total energies where it predicts atomization energies (or the reverse), or two
        members of a committee are the same model.
    """
    if len(data) == 0:
        raise InputError(f"{data.source} has no molecules")
    hashes = [member.config.weights_sha256 for member in calculator.members]
    if len(set(hashes)) < len(hashes):
        raise InputError("two models of the committee have the same weights; train them with different seeds")
    for member in calculator.members:
        _check_level(member.config, data.level)
    for index, record in enumerate(data):
        try:
            read_atoms(atoms_from_record(record), calculator.domain)
        except InputError as error:
            raise InputError(f"molecule {index} of {data.source}: {error}") from error


def _check_level(config: ModelConfig, labels: str) -> None:
    """Compare the level of theory of labels, empty where it is not known, with that of a model."""
    if not labels:
        return
    model = config.level
    if "atomization_energy" in config.settings.get("outputs", ()) and not model.endswith(_ATOMIZATION):
        model = f"{model} {_ATOMIZATION}"
    kinds = ["atomization energies" if level.endswith(_ATOMIZATION) else "total energies" for level in (labels, model)]
    if kinds[0] != kinds[1]:
        raise InputError(
            f"the data (level {labels!r}) have {kinds[0]}, but the model predicts {kinds[1]}: the level of data with "
            f"atomization energies ends in {_ATOMIZATION!r}. Take other data or another model"
        )
    one, other = _canonical(labels), _canonical(model)
    if one != other and not differ_in_forces_only(one, other):
        raise InputError(
            f"the data are labelled at {labels!r} but the model was made for {model!r}: its errors would be "
            "those of the level. Label the data again with mlwave label"
        )


def _canonical(level: str) -> str:
    """Write a level of theory in one way; one that is not ours to compute in lower case."""
    try:
        return LevelOfTheory.parse(level).name
    except InputError:
        return " ".join(level.lower().split())


def measure(
    calculator: MlwaveCalculator,
    records: Sequence[Record],
    properties: Sequence[str] = ("energy", "forces"),
    *,
    prefix: str = "",
    extras: Mapping[str, ExtraFigures] | None = None,
    progress: Counter | None = None,
) -> Evaluation:
    """Measure predictions on the molecules that have labels of them.

    Parameters
    ----------
    calculator : MlwaveCalculator
        One model, or a committee.
    records : sequence of Record
        Checked by `check_data`.
    properties : sequence of str
        What to measure, names of `ase_mlwave.properties.LABELS`.
    prefix : str
        Begins the names of all figures.
    extras : mapping of str to callable, optional
        Name of an extra -> what gives figures of it, called with the molecules and the extra of each.
    progress : callable, optional
        As in `evaluate`.

    Returns
    -------
    Evaluation
        Without figures where there are no labels.
    """
    labelled = [record for record in records if any(getattr(record, name) is not None for name in properties)]
    remarks = _missing_labels(records, properties)
    if not labelled:
        return Evaluation({}, tuple(remarks))
    models = _single_models(calculator)
    counter = progress or (lambda what, total: lambda done: None)
    advance = counter(prefix.strip("_") or _plural(properties[0]), len(labelled) * len(models))
    extras = extras or {}
    predictions = [_predict(model, labelled, properties, advance, tuple(extras)) for model in models]
    errors = _errors(labelled, predictions[0], models[0])
    figures = label_figures(errors, prefix) | uncertainty_figures(errors, predictions[0], prefix)
    for name, figures_of in extras.items():
        found = figures_of(labelled, [outcome.extras[name] for outcome in predictions[0]])
        figures |= {prefix + key: value for key, value in found.items()}
    thresholds = models[0].domain.thresholds
    if thresholds:
        outside, refused = sum(not one.inside for one in errors), sum(one.refused for one in errors)
        figures |= dict(zip(OUTSIDE, (float(outside), float(refused)), strict=True))
        passed = ", ".join(f"{name} above {limit:g}" for name, limit in thresholds.items())
        level = f" at {prefix.strip('_')}" if prefix else ""
        if outside:
            remarks.append(
                f"{outside} of {len(errors)} molecules are beyond the model's domain{level} ({passed}); figures named "
                f"in_domain leave them out. A calculator would warn, and refuse {refused} of them"
            )
    one_model = Evaluation(figures, tuple(remarks), figures_by_size(errors, prefix))
    return one_model if len(models) == 1 else _with_committee(one_model, calculator, labelled, predictions, prefix)


def _with_committee(
    one_model: Evaluation,
    calculator: MlwaveCalculator,
    records: Sequence[Record],
    predictions: Sequence[Sequence[Outcome]],
    prefix: str,
) -> Evaluation:
    """Add the errors of a committee's mean, and its spreads against them, to what was measured of its first model."""
    means = [average(outcomes) for outcomes in zip(*predictions, strict=True)]
    errors = _errors(records, means, calculator)
    plots = calibrations(errors, means, prefix.strip("_"))
    name = f"{prefix}committee_"
    figures = label_figures(errors, name)
    figures = {key: value for key, value in figures.items() if "_mae_" in key or "_rmse_" in key}
    for plot in plots:
        figures |= plot.figures(name)
    has_spreads = any({"energy", "forces"} & error.of.keys() for error in errors)
    remarks = (*one_model.remarks, *(_committee_remarks(plots, len(predictions)) if has_spreads else ()))
    return Evaluation(one_model.figures | figures, remarks, one_model.by_size, plots)


def _single_models(calculator: MlwaveCalculator) -> list[MlwaveCalculator]:
    """Make a calculator of every member of a committee, with the same options."""
    names = calculator.parameters["model"]
    if isinstance(names, str) or len(names) == 1:
        return [calculator]
    options = {key: value for key, value in calculator.todict().items() if key != "model"}
    return [type(calculator)(name, **options) for name in names]


def _predict(
    calculator: MlwaveCalculator,
    records: Sequence[Record],
    properties: Sequence[str],
    advance: Progress,
    wanted: tuple[str, ...] = (),
) -> list[Outcome]:
    """Predict what the molecules have labels for; of the extras keep those wanted and how sure the model is."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, record in enumerate(records):
        labels = tuple(name for name in properties if getattr(record, name) is not None)
        groups.setdefault(labels, []).append(index)
    outcomes: dict[int, Outcome] = {}
    for labels, indices in groups.items():
        structures = [atoms_from_record(records[index]) for index in indices]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OutOfDomainWarning)  # these molecules are counted instead
            predicted = calculator.predict_outcomes(structures, labels, progress=advance, outside="warn")
        for index, outcome in zip(indices, predicted, strict=True):
            values = {name: outcome.values[name] for name in labels}
            measures = {*calculator.domain.thresholds, *calculator.domain.limits}
            kept = {"energy_uncertainty", "energy_uncertainty_per_atom", *wanted, *measures}
            extras = {key: value for key, value in outcome.extras.items() if key in kept}
            outcomes[index] = Outcome(values, extras, outcome.verdict)
    return [outcomes[index] for index in range(len(records))]


def _errors(
    records: Sequence[Record], outcomes: Sequence[Outcome], calculator: MlwaveCalculator
) -> list[MoleculeErrors]:
    verdicts = [judge(outcome.extras, calculator.domain) for outcome in outcomes]
    return [
        molecule_errors(record, outcome, inside=verdict.inside, refused=bool(verdict.refused))
        for record, outcome, verdict in zip(records, outcomes, verdicts, strict=True)
    ]


def _missing_labels(records: Sequence[Record], properties: Sequence[str]) -> list[str]:
    """Say which labels the data lack."""
    have = {_plural(name): sum(getattr(record, name) is not None for record in records) for name in properties}
    absent = [name for name, count in have.items() if count == 0]
    consequence = "their errors are left out (mlwave label adds labels)"
    remarks = [f"no {' and '.join(absent)} in the data: {consequence}"] if absent else []
    return remarks + [
        f"{name}: on the {count} molecules of {len(records)} that have them"
        for name, count in have.items()
        if 0 < count < len(records)
    ]


def _plural(name: str) -> str:
    """Name a property in the plural."""
    return {"energy": "energies", "dipole": "dipoles"}.get(name, name)


def _committee_remarks(plots: Sequence[Calibration], n_members: int) -> list[str]:
    """Say what a calibration leaves out and where it is not to be relied on."""
    remarks = [
        f"calibration of {plot.quantity}: {plot.n_agreed} spreads are left out because the models agree to rounding"
        for plot in plots
        if plot.n_agreed
    ]
    if not plots:
        remarks.append("no calibration: it needs at least three molecules on which the models differ")
    if n_members < _SETTLED and any(plot.quantity == "energy" for plot in plots):
        remarks.append(
            f"with {n_members} models a few molecules on which they agree by accident decide the calibration factor of "
            "energies; rms_error_over_spread is steadier"
        )
    return remarks
