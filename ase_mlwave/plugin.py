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

from typing import Any

from ase.calculators.calculator import Calculator, external_calculators, register_calculator_class

from ase_mlwave.models.kinds import KINDS, all_kinds, find_kind, kind_names

__all__ = ["register", "register_stand_ins"]


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
        CalculatorPlugin(name=kind.name, citation=kind.citation, implementation=kind.calculator.replace(":", "."))
        for kind in all_kinds()
    }
    globals()[name] = plugins
    return plugins


class _Deferred(type):
    """Type of the stand-ins: calls and attributes go to the real class, which is imported then."""

    kind: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return _imported(cls.kind)(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        return getattr(_imported(cls.kind), name)


def register_stand_ins() -> None:
    """Enter a stand-in for every calculator that is not imported yet in ASE's table of classes."""
    for name in kind_names():
        if name not in external_calculators:
            title = KINDS[name].calculator.partition(":")[2] if name in KINDS else name
            stand_in = _Deferred(title, (), {"kind": name, "__module__": __name__})
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


def _imported(kind: str) -> Any:
    return find_kind(kind, "ASE").load("calculator")
