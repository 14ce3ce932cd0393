"""The data of a training run: read, described in one line, and checked before any work."""

from __future__ import annotations

from ase.calculators.calculator import InputError

from ase_mlwave.console import Console
from ase_mlwave.data.record import Dataset
from ase_mlwave.data.streamed import stream_dataset
from ase_mlwave.data.summary import summary
from ase_mlwave.models.training.settings import DataSettings
from ase_mlwave.systems.charge_spin import check_electrons

__all__ = ["charges_and_spins", "read_training_data"]


def read_training_data(settings: DataSettings) -> Dataset:
    """Read the data of a run, and say on standard error what they hold.

    Parameters
    ----------
    settings : DataSettings
        Of any kind of model.

    Returns
    -------
    Dataset
        All splits; matrices are read when they are asked for.

    Raises
    ------
    InputError
        If the number of electrons of a molecule does not go with its charge and spin, or molecules have different
        charges, which no model can tell apart.
    FileNotFoundError, ValueError
        See ``stream_dataset``.
    """
    options = {"energy_key": settings.energy_key, "forces_key": settings.forces_key, "units": settings.units}
    dataset = stream_dataset(settings.data, **options)
    Console(stderr=True).print(summary(dataset), soft_wrap=True, highlight=False, markup=False)
    try:
        check_electrons(dataset)
    except ValueError as error:
        raise InputError(f"{dataset.source}: {error}") from None
    charges = sorted({record.charge for record in dataset})
    if len(charges) > 1:
        raise InputError(
            f"{dataset.source} has molecules with the charges {', '.join(map(str, charges))}; models do not see the "
            "charge, and learn from data of one charge only. Divide the data by charge."
        )
    return dataset


def charges_and_spins(dataset: Dataset) -> tuple[list[int], list[int]]:
    """Return the charges and spins that a model of these data serves, as `ModelFolder.pack` takes them."""
    return sorted({record.charge for record in dataset}), sorted({record.spin for record in dataset})
