"""Turn a checkpoint of the original program into a model folder, without executing anything that is in it."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from ase.calculators.calculator import InputError
from ase.data import chemical_symbols
from pydantic import ValidationError
from torch import Tensor

from ase_mlwave.models.folder import ModelFolder, TrainingData
from ase_mlwave.models.qdf.published.card import published_card
from ase_mlwave.models.qdf.published.config import PublishedConfig
from ase_mlwave.models.qdf.published.network import PublishedQDF
from ase_mlwave.text import clean

__all__ = ["import_published", "read_checkpoint", "read_orbitals"]

#: Largest sizes that are read, bytes.
_CHECKPOINT_BYTES, _DICTIONARY_BYTES = 2**30, 10**6
_ORBITAL = re.compile(r"([A-Z][a-z]?)(1s|2s|2p)(\d+)")
#: Name in the checkpoint -> name in `PublishedQDF`; ``#`` stands for a layer's number.
_NAMES = {
    "coefficient.weight": "coefficients",
    "zeta.weight": "exponents",
    "W_functional.#": "functional.#",
    "W_property": "output",
    "W_density": "map_input",
    "W_HK.#": "map_layers.#",
    "W_potential": "map_output",
}


def import_published(
    checkpoint: str | PathLike[str],
    orbitals: str | PathLike[str],
    *,
    outputs: Sequence[str] | None = None,
    pooling: str | None = None,
    radius: float = 0.75,
    grid_interval: float = 0.3,
    level: str = "b3lyp/6-31g(2df,p)",
) -> ModelFolder:
    """Make a model folder's content from the original program's files.

    Parameters
    ----------
    checkpoint : str or path
        State dict of tensors that the original program saved with torch.
    orbitals : str or path
        Its dictionary of orbital types, as a pickle or as JSON.
    outputs : sequence of str, optional
        Names of the predicted energies, eV; by default ``atomization_energy`` for one, ``homo`` and ``lumo`` for two.
    pooling : str, optional
        ``"sum"`` or ``"mean"``; by default the mean where the outputs are not an atomization energy.
    radius, grid_interval : float
        Of the field with which it was trained, Angstrom.
    level : str
        Level of theory of its training data; that of QM9 by default.

    Returns
    -------
    ModelFolder
        In memory; its `save` writes it.

    Raises
    ------
    InputError
        If a file holds anything else, or the two do not go together.

    Notes
    -----
    Rows of the checkpoint are sorted by element and orbital type, which changes no prediction.
    """
    weights = read_checkpoint(checkpoint)
    rows = read_orbitals(orbitals)
    n_outputs = len(weights["output.bias"])
    names = tuple(outputs) if outputs else {1: ("atomization_energy",), 2: ("homo", "lumo")}.get(n_outputs, ())
    if len(names) != n_outputs:
        raise InputError(f"the checkpoint predicts {n_outputs} properties, but {len(names)} names are given: {names}.")
    elements, n_inner, n_outer = _basis(rows)
    try:
        config = PublishedConfig(
            elements=elements,
            level=level,
            n_inner=n_inner,
            n_outer=n_outer,
            radius_angstrom=radius,
            grid_interval_angstrom=grid_interval,
            width=weights["coefficients"].shape[1],
            functional_layers=_count(weights, "functional"),
            map_width=len(weights["map_input.bias"]),
            map_layers=_count(weights, "map_layers"),
            pooling=pooling or ("sum" if names == ("atomization_energy",) else "mean"),
            outputs=names,
        )
        network = PublishedQDF(config)
    except (ValidationError, ValueError) as error:
        raise InputError(f"{checkpoint} and these options make no model: {clean(str(error))}") from error
    _load(network, weights, rows)
    source = f"unknown to the importer (weights imported from {Path(checkpoint).name}; the hash is that file's)"
    digest = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
    data = TrainingData(source=source, sha256=digest, n_records=None)
    return ModelFolder.pack("qdf", network, training_data=data, card=published_card(config, Path(checkpoint).name))


def read_checkpoint(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Read the original program's weights, under the names of `PublishedQDF`.

    Parameters
    ----------
    path : str or path
        File that ``torch.save`` wrote.

    Returns
    -------
    dict of str to Tensor
        On the CPU, float32.

    Raises
    ------
    InputError
        If it holds anything but tensors, or other tensors than such a model has.
    """
    data = _bytes(path, _CHECKPOINT_BYTES)
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or hostile file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is no checkpoint of plain tensors: {clean(reason)}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} is no state dict of tensors, as the original program saves with torch.save.")
    plain = all(value.layout == torch.strided and value.is_floating_point() for value in state.values())
    if not plain or sum(value.numel() * value.element_size() for value in state.values()) > len(data):
        raise InputError(f"{path} has tensors that are sparse, not of real numbers, or larger than the file.")
    weights = {_network_name(str(name), path): value.to(torch.float32) for name, value in state.items()}
    required = {"coefficients", "exponents", "functional.0.weight", "output.bias", "map_input.bias"}
    if required - weights.keys():
        raise InputError(f"{path} is no published quantum deep field: it lacks {sorted(required - weights.keys())}.")
    _refuse_odd_shapes(weights, path)
    return weights


def _refuse_odd_shapes(weights: Mapping[str, Tensor], path: str | PathLike[str]) -> None:
    """Refuse shapes from which no network should be built, before one is."""
    axes = {name: 1 for name in ("output.bias", "map_input.bias")} | {"coefficients": 2}
    for name, n_axes in axes.items():
        if weights[name].dim() != n_axes or weights[name].numel() == 0:
            raise InputError(f"{path}: {name} has the shape {tuple(weights[name].shape)}, but must have {n_axes} axes.")
    widths = {"functional": weights["coefficients"].shape[1], "map_layers": len(weights["map_input.bias"])}
    for name, value in weights.items():
        group, _, attribute = name.partition(".")
        if group in widths and attribute.endswith("weight") and value.shape != (widths[group], widths[group]):
            raise InputError(
                f"the checkpoint's tensors do not fit each other: {name} of {path} has the shape {tuple(value.shape)} "
                f"instead of {(widths[group], widths[group])}."
            )


def read_orbitals(path: str | PathLike[str]) -> dict[str, int]:
    """Read the dictionary of orbital types.

    Parameters
    ----------
    path : str or path
        Pickle of a ``dict`` (or ``defaultdict``) of str to int, or the same as JSON (``.json``).

    Returns
    -------
    dict of str to int
        Type, such as ``"C2p3"``, and its row in the checkpoint.

    Raises
    ------
    InputError
        If the file holds anything else. A pickle that names a function or a class is refused without calling it
        (``test_a_pickle_that_would_run_code_is_refused``).
    """
    data = _bytes(path, _DICTIONARY_BYTES)
    try:
        content = json.loads(data) if Path(path).suffix == ".json" else _DictionaryReader(io.BytesIO(data)).load()
    except Exception as error:  # a damaged or hostile pickle raises almost anything
        raise InputError(
            f"{path} is no dictionary of orbital types: {type(error).__name__}: {clean(str(error))}"
        ) from error
    plain = type(content) is dict and all(type(k) is str and type(v) is int for k, v in content.items())
    if not plain or sorted(content.values()) != list(range(len(content))) or not content:
        raise InputError(f"{path} must be a dictionary of str to int that numbers the orbital types without gap.")
    return dict(content)


class _DictionaryReader(pickle.Unpickler):
    """Read builtin containers, and refuse every class and function but those of a ``defaultdict``."""

    def find_class(self, module: str, name: str) -> Any:
        """Give harmless stand-ins for ``collections.defaultdict`` and its ``int``; refuse all else."""
        if (module, name) == ("collections", "defaultdict"):
            return _plain_dictionary
        if (module, name) in {("builtins", "int"), ("__builtin__", "int")}:
            return None
        raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is neither read nor called")

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to objects outside the file."""
        raise pickle.UnpicklingError("it refers to objects outside the file")


def _plain_dictionary(factory: Callable[[], int] | None = None) -> dict[str, int]:
    """Stand for ``collections.defaultdict``, whose factory is of no use here."""
    return {}


def _basis(rows: Mapping[str, int]) -> tuple[tuple[str, ...], int, int]:
    """Infer elements and numbers of inner and outer functions from the names of the orbital types."""
    counts: dict[tuple[str, str], int] = {}
    for name in rows:
        match = _ORBITAL.fullmatch(name)
        if match is None or match[1] not in chemical_symbols[1:]:
            raise InputError(f"{name!r} is no orbital type of the original program, such as 'H1s0' or 'C2p3'.")
        counts[match[1], match[2]] = counts.get((match[1], match[2]), 0) + 1
    elements = tuple(dict.fromkeys(element for element, _ in counts))
    heavy = next((e for e in elements if chemical_symbols.index(e) > 2), None)
    n_inner = counts.get((heavy, "1s"), 1) if heavy else 1
    n_outer = counts.get((heavy, "2s"), 1) if heavy else counts[elements[0], "1s"]
    return elements, n_inner, n_outer


def _load(network: PublishedQDF, weights: dict[str, Tensor], rows: Mapping[str, int]) -> None:
    """Put the checkpoint's numbers into the network, rows in the network's order."""
    orbital_names = network.config.orbital_names()
    if set(orbital_names) != set(rows):
        odd = sorted(set(orbital_names) ^ set(rows))
        raise InputError(f"the orbital types are not those of one basis set for all elements: {', '.join(odd[:5])}.")
    if len(weights["coefficients"]) != len(rows):
        raise InputError(
            f"the checkpoint has {len(weights['coefficients'])} orbital types, but the dictionary {len(rows)}: "
            "they do not belong together."
        )
    order = torch.tensor([rows[name] for name in orbital_names])
    sorted_weights = dict(weights)
    sorted_weights["coefficients"] = weights["coefficients"][order]
    sorted_weights["exponents"] = weights["exponents"].reshape(-1)[order]
    try:
        network.load_state_dict(sorted_weights)
    except RuntimeError as error:
        raise InputError(f"the checkpoint's tensors do not fit each other: {' '.join(str(error).split())}") from error


def _network_name(name: str, path: str | PathLike[str]) -> str:
    """Translate the name of a tensor."""
    if name in _NAMES:
        return _NAMES[name]
    match = re.fullmatch(r"(\w+?)(?:\.(\d{1,3}))?\.(weight|bias)", name)
    pattern = f"{match[1]}{'.#' if match[2] else ''}" if match else ""
    if match is None or pattern not in _NAMES:
        raise InputError(f"{path} has a tensor {name!r}, which no published quantum deep field has.")
    return f"{_NAMES[pattern].replace('#', match[2] or '')}.{match[3]}"


def _count(weights: Mapping[str, Tensor], name: str) -> int:
    return sum(key.startswith(f"{name}.") and key.endswith(".weight") for key in weights)


def _bytes(path: str | PathLike[str], largest: int) -> bytes:
    """Read a file of sensible size."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}.")
    if path.stat().st_size > largest:
        raise InputError(f"{path} has {path.stat().st_size} bytes, more than the {largest} that are read.")
    return path.read_bytes()
