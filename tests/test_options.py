"""A function that takes settings has their signature and documentation, and refuses what they do not allow."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import pytest
from ase.calculators.calculator import InputError
from pydantic import BaseModel, ConfigDict, Field

from ase_mlwave.options import default_of, help_of, sorted_options, takes


class Oven(BaseModel):
    """Say how it is baked."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    minutes: int = Field(30, ge=1)
    """How long;
    longer is `darker`."""
    shelf: int | None = None
    """Counted from below."""
    place: Annotated[Any, "str or path"] = "kitchen"
    """Where."""
    done: Annotated[list[str], Field(default_factory=list)]
    """Who is told."""


@takes(Oven)
def bake(dough: str, **options: Any) -> str:
    """Bake.

    Parameters
    ----------
    dough : str
        Of what.
    {options}
    **options
        Others.
    """
    (oven,), others = sorted_options("bake", options, (Oven,), rest=("guests",))
    return f"{dough} {oven.minutes} {others}"


def test_signature_is_that_of_the_settings() -> None:
    signature = inspect.signature(bake)
    assert list(signature.parameters) == ["dough", "minutes", "shelf", "place", "done", "options"]
    assert [parameter.default for parameter in signature.parameters.values()][1:5] == [30, None, "kitchen", []]
    assert (default_of(Oven, "minutes"), help_of(Oven, "minutes")) == (30, "How long; longer is darker.")


def test_documentation_is_that_of_the_settings() -> None:
    text = inspect.getdoc(bake) or ""
    assert "minutes : int\n    How long;\n    longer is `darker`.\nshelf : int, optional\n    Counted" in text
    assert "place : str or path\n    Where.\ndone : list" in text
    assert "{options}" not in text


def test_options_are_sorted_and_the_rest_is_refused() -> None:
    assert bake("rye", minutes=50, guests=3) == "rye 50 {'guests': 3}"
    with pytest.raises(TypeError, match=r"bake has no option 'minuts'. Did you mean 'minutes'\?"):
        bake("rye", minuts=50)
    with pytest.raises(InputError, match=r"minutes: .*greater than or equal to 1 \(given: 0\)"):
        bake("rye", minutes=0)
