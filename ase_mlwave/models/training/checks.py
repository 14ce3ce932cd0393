"""What is refused before any work, and the first version of a model card."""

from __future__ import annotations

from collections.abc import Sequence

from ase.calculators.calculator import InputError
from ase.data import chemical_symbols

from ase_mlwave.data.metadata import differ_in_forces_only
from ase_mlwave.data.record import Dataset
from ase_mlwave.models.card import ERRORS_BEGIN, ERRORS_END

__all__ = ["check_dataset", "check_label", "first_card"]


def check_dataset(dataset: Dataset, numbers: tuple[int, ...], level: str) -> None:
    """Check data against a model's settings.

    Parameters
    ----------
    dataset : Dataset
        What was read.
    numbers : tuple of int
        Atomic numbers that the model knows.
    level : str
        Level of theory that the model is for.

    Raises
    ------
    InputError
        If the data have other elements or another level of theory; forces with and without the response of the
        integration grid are both accepted.
    """
    present = sorted({int(z) for record in dataset for z in record.numbers})
    unknown = [chemical_symbols[z] for z in present if z not in numbers]
    if unknown:
        words = f'"model.elements=[{",".join(chemical_symbols[z] for z in present)}]"'
        raise InputError(f"the data have {_listed(unknown)}, which model.elements lacks; write {words}")
    if dataset.level not in ("", level) and not differ_in_forces_only(dataset.level, level):
        raise InputError(
            f'the data are at {dataset.level!r} but model.level is {level!r}; write "model.level={dataset.level}", '
            "or label the data again with mlwave label"
        )


def check_label(dataset: Dataset, have: Sequence[bool], labels: str, instead: str) -> None:
    """Raise ``InputError`` unless all molecules have a label.

    Parameters
    ----------
    dataset : Dataset
        Molecules.
    have : sequence of bool
        Whether each has it.
    what : str
        The label, in the plural.
    instead : str
        Words to type where it is not to be learned.
    """
    n_without = sum(not has for has in have)
    if n_without:
        raise InputError(
            f"the loss needs {labels}, which {n_without} of {len(have)} molecules of {dataset.source} lack; "
            f"label them with mlwave label into another file, or write {instead}"
        )


def first_card(title: str, how: str, remark: str, method: str = "") -> str:
    """Write the first version of a model card; `mlwave evaluate --write-card` adds the errors.

    Parameters
    ----------
    title, how, remark : str
        Heading, how the model was made, and what ends that paragraph.
    method : str
        The publication to cite.

    Returns
    -------
    str
    """
    citation = f"\n## Citation\n\n- Method: {method}.\n" if method else ""
    return (
        f"# {title}\n\n{how}; all settings are in `config.json` and in the run's `settings.json`.{remark}"
        f"\n\n## Errors\n\n{ERRORS_BEGIN}\n{ERRORS_END}\n{citation}"
    )


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
