"""gpu4pyscf for machines without one: PySCF's own mean fields behind arrays that NumPy does not take.

What computes is PySCF; what is tested is that everything is copied, there and back.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pyscf import gto
from pyscf.df import df_jk
from pyscf.dft import rks
from pyscf.scf import hf


class DeviceArray:
    """An array of CuPy's kind: shapes and ``get``, and no silent way to NumPy."""

    def __init__(self, host: Any) -> None:
        self.host = np.array(host)

    def get(self) -> np.ndarray:
        """Copy to the host."""
        return self.host.copy()

    def __array__(self, *arguments: Any, **keywords: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")


class _Kin:
    """An object whose arrays are on the device; settings are those of PySCF's object."""

    def __init__(self, host: Any) -> None:
        vars(self)["_host"] = host

    def __getattr__(self, name: str) -> Any:
        return _there(getattr(self._host, name))

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._host, name, _here(value))

    def copy(self) -> Any:
        """Share all but attributes."""
        return type(self)(self._host.copy())

    def nuc_grad_method(self) -> Any:
        """Return the gradient, which takes arrays of the device."""
        return _Kin(self._host.nuc_grad_method())

    def stability(self) -> None:
        """Fail as gpu4pyscf does."""
        raise NotImplementedError

    newton = stability


RHF = type("RHF", (_Kin,), {"__module__": "gpu4pyscf.scf.hf"})


def _there(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return DeviceArray(value)
    if callable(value) and not isinstance(value, gto.Mole):
        return lambda *args, **named: _there(value(*map(_here, args), **{k: _here(v) for k, v in named.items()}))
    return value


def _here(value: Any) -> Any:
    return value.host if isinstance(value, DeviceArray) else value


def install(monkeypatch: pytest.MonkeyPatch, *, n_devices: int = 1) -> list[Any]:
    """Let Python find it for the time of a test; return the list of mean fields that are moved to the device."""
    moved: list[Any] = []

    def to_gpu(mean_field: Any) -> Any:
        moved.append(mean_field)
        return RHF(mean_field)

    gpu4pyscf, cupy = ModuleType("gpu4pyscf"), ModuleType("cupy")
    gpu4pyscf.__spec__ = ModuleSpec("gpu4pyscf", None)
    cupy.asarray = DeviceArray  # type: ignore[attr-defined]
    cupy.cuda = ModuleType("cupy.cuda")  # type: ignore[attr-defined]
    cupy.cuda.is_available = lambda: n_devices > 0
    monkeypatch.setitem(sys.modules, "gpu4pyscf", gpu4pyscf)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    for family in (hf.RHF, rks.RKS, df_jk._DFHF):
        monkeypatch.setattr(family, "to_gpu", to_gpu)
    return moved
