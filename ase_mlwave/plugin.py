"""How ASE finds the calculators by name, in both of its registries.

``ase.plugins`` (ASE 3.29): the entry point in ``pyproject.toml`` names this module, and ASE reads ``__ase_plugins__``
from it; nothing has to be imported first.

``get_calculator_class("phisnet")``: ASE's older registry is a table of classes that packages fill when they are
imported. ``import ase_mlwave`` does so, and so does ASE when it first reads or writes a file (for the format of
``ase_mlwave.data.ase_format``), thus before ``ase run phisnet`` looks there. It enters a stand-in that loads the real
class (and torch) when it is called or asked for an attribute; the real class takes its place in the table as soon as it
is imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ase.calculators.calculator import Calculator, external_calculators, register_calculator_class

__all__ = ["CALCULATORS", "register", "register_stand_ins"]

#: Name in ASE's registries -> where the class is.
CALCULATORS = {
    "amons": "ase_mlwave.calculators.amons.AmonsCalculator",
    "phisnet": "ase_mlwave.calculators.phisnet.PhiSNetCalculator",
    "qdf": "ase_mlwave.calculators.qdf.QDFCalculator",
}

_CITATIONS = {
    "amons": "B. Huang and O. A. von Lilienfeld, Nat. Chem. 12, 945 (2020), doi:10.1038/s41557-020-0527-z",
    "phisnet": "O. T. Unke et al., NeurIPS 34, 14434 (2021), arXiv:2106.02347",
    "qdf": "M. Tsubaki and T. Mizoguchi, Phys. Rev. Lett. 125, 206401 (2020), doi:10.1103/PhysRevLett.125.206401",
}


def __getattr__(name: str) -> Any:
    """Make ASE's plugin objects when ASE asks for them.

    Notes
    -----
    ``ase._4.plugins`` reads the entry points while it is imported. Were it imported at the top of this file, a script
    that imports this module first would leave ASE with a half-made module and no plugin.
    """
    if name != "__ase_plugins__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ase._4.plugins.plugin import CalculatorPlugin

    plugins = {
        CalculatorPlugin(name=key, citation=_CITATIONS[key], implementation=home) for key, home in CALCULATORS.items()
    }
    globals()[name] = plugins
    return plugins


class _Deferred(type):
    """Type of the stand-ins: calls and attributes go to the real class, which is imported then."""

    home: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return _imported(cls.home)(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        return getattr(_imported(cls.home), name)


def register_stand_ins() -> None:
    """Enter a stand-in for every calculator that is not imported yet in ASE's table of classes."""
    for name, home in CALCULATORS.items():
        if name not in external_calculators:
            stand_in = _Deferred(home.rsplit(".", 1)[1], (), {"home": home, "__module__": __name__})
            Calculator.register(stand_in)  # type: ignore[arg-type] # so that issubclass(stand_in, Calculator) holds
            register_calculator_class(name, stand_in)


def register(name: str, calculator: type) -> None:
    """Enter a calculator class in ASE's table, in place of its stand-in.

    Parameters
    ----------
    name : str
        What ``get_calculator_class`` will be given.
    calculator : type
        The class.
    """
    external_calculators.pop(name, None)
    register_calculator_class(name, calculator)


def _imported(home: str) -> Any:
    module, name = home.rsplit(".", 1)
    return getattr(import_module(module), name)
