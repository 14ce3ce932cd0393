"""PySCF's mean fields on a GPU, by gpu4pyscf where it is installed, and their arrays back on the host.

A mean field of gpu4pyscf has the names of PySCF's and gives CuPy arrays. Whatever computes, matrices, orbitals and
densities leave this package as NumPy arrays. gpu4pyscf takes all devices that ``CUDA_VISIBLE_DEVICES`` shows it.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from ase.calculators.calculator import InputError
from numpy.typing import NDArray

from ase_mlwave.errors import suggestion

__all__ = ["PYSCF_DEVICES", "check_device", "for_device", "gpu_serves_pyscf", "is_on_gpu", "on_device", "to_numpy"]

Array = NDArray[np.float64]

#: Where PySCF's methods are computed: by PySCF, or by gpu4pyscf.
PYSCF_DEVICES = ("cpu", "cuda")


def check_device(device: str) -> None:
    """Refuse a device that PySCF's methods cannot be computed on, here and now.

    Parameters
    ----------
    device : str
        One of ``PYSCF_DEVICES``.

    Raises
    ------
    InputError
        If it is another one; or from an error of the machine, if gpu4pyscf is not installed or sees no CUDA device.
    """
    if device not in PYSCF_DEVICES:
        raise InputError(
            f"device is {device!r}, but PySCF's methods are computed on 'cpu' or, by gpu4pyscf, on 'cuda'. "
            f"{suggestion(str(device), PYSCF_DEVICES)}"
        )
    if device == "cpu":
        return
    try:
        _find_gpu()
    except (ImportError, OSError) as error:
        raise InputError(f"PySCF's methods cannot be computed on a GPU here: {error}. Take device='cpu'.") from error


def gpu_serves_pyscf() -> bool:
    """Tell whether gpu4pyscf is installed and sees a CUDA device."""
    try:
        _find_gpu()
    except (ImportError, OSError):
        return False
    return True


def _find_gpu() -> None:
    """Raise what is wrong with the machine: ``ImportError`` for packages, ``OSError`` for devices."""
    if find_spec("gpu4pyscf") is None:
        raise ImportError("gpu4pyscf is not installed; install it: pip install 'ase-mlwave[gpu]'")
    if not import_module("cupy").cuda.is_available():
        raise OSError("gpu4pyscf is installed, but there is no CUDA device (or no driver for it)")


def on_device(mean_field: Any, device: str) -> Any:
    """Return a mean field of PySCF's that computes on a device.

    Parameters
    ----------
    mean_field : PySCF mean-field object
        Set up, not converged.
    device : str
        One of ``PYSCF_DEVICES``.

    Returns
    -------
    PySCF mean-field object
        The same on the CPU; on a GPU its gpu4pyscf kin with the same settings.

    Raises
    ------
    InputError
        As `check_device`.
    """
    check_device(device)
    return mean_field if device == "cpu" else mean_field.to_gpu()


def is_on_gpu(mean_field: Any) -> bool:
    """Tell whether a mean field is of gpu4pyscf."""
    return type(mean_field).__module__.startswith("gpu4pyscf")


def for_device(mean_field: Any, array: Array) -> Any:
    """Return an array where the mean field computes: CuPy for gpu4pyscf."""
    return import_module("cupy").asarray(array) if is_on_gpu(mean_field) else array


def to_numpy(array: Any) -> Array:
    """Copy a NumPy or CuPy array, tagged or not, to plain float64."""
    return np.array(array.get() if hasattr(array, "get") else array, dtype=np.float64)
