"""Model folders: save, load, check, list.

A folder holds ``model.safetensors`` (weights), ``config.json`` (what the model is, with a format number) and
``README.md`` (the model card). Reading one never executes code: weights are safetensors, settings are JSON, and the
class that is built comes from the table of kinds, `ase_mlwave.models.kinds`, not from the file.
"""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import CalculatorError, InputError
from pydantic import ValidationError

from ase_mlwave.errors import suggestion
from ase_mlwave.models.budget import AllocationBudget
from ase_mlwave.models.config import ModelConfig, TrainingData, format_config, parse_config
from ase_mlwave.models.files import file_states, find_file, read_file, replace_files
from ase_mlwave.models.interface import Network
from ase_mlwave.models.kinds import find_kind
from ase_mlwave.text import LONGEST_NAME, clean

if TYPE_CHECKING:
    import torch

__all__ = [
    "ModelConfig",
    "ModelFolder",
    "TrainingData",
    "existing_folder",
    "list_models",
    "locate",
    "read_card",
    "read_config",
]

_FILES = {"config.json": 10**6, "model.safetensors": 2**33, "README.md": 10**6}  # largest sizes in bytes
#: Numbers that a network may hold besides its weights while it is built: tables, drafts.
_SPARE_ELEMENTS = 10**7
#: Bytes of the longest header of the weights, and characters of a library's reason that are shown.
_HEADER, _LONGEST_REASON = 4 * 10**6, 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RECORDED_VERSIONS = ("ase", "e3nn", "numpy", "pyscf", "torch")


@dataclass(frozen=True)
class ModelFolder:
    """Hold a model: what it is, its weights and its card."""

    config: ModelConfig
    """The content of ``config.json``."""
    weights: Mapping[str, torch.Tensor]
    """Name -> tensor, as the network's ``state_dict`` has them."""
    card: str
    """The model card, Markdown."""

    @classmethod
    def pack(
        cls,
        kind: str,
        network: Network,
        *,
        training_data: TrainingData,
        card: str,
        errors: Mapping[str, float] | None = None,
        thresholds: Mapping[str, float] | None = None,
        limits: Mapping[str, float] | None = None,
        defaults: Mapping[str, Any] | None = None,
        charges: Sequence[int] = (0,),
        spins: Sequence[int] = (0,),
    ) -> ModelFolder:
        """Make a folder's content from a trained network.

        Parameters
        ----------
        kind : str
            Name of a kind, see `ase_mlwave.models.kinds`.
        network : Network
            Trained, of the class that the kind names.
        training_data : TrainingData
            What it learned from.
        card : str
            The model card, Markdown.
        errors, thresholds, limits : mapping of str to float, optional
            See `ModelConfig`.
        defaults : mapping of str to bool, int, float, str or None, optional
            See `ModelConfig`.
        charges, spins : sequence of int
            See `ModelConfig`.

        Returns
        -------
        ModelFolder
            In memory; `save` writes it.

        Raises
        ------
        InputError
            If ``kind`` is unknown, a weight or another number is not finite, or a default is no scalar.
        """
        find_kind(kind, "this model")
        weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
        _refuse_bad_numbers(weights, "the network")
        try:
            config = ModelConfig(
                kind=kind,
                settings=network.config.model_dump(mode="json"),
                training_data=training_data,
                errors=dict(errors or {}),
                thresholds=dict(thresholds or {}),
                limits=dict(limits or {}),
                defaults=dict(defaults or {}),
                charges=tuple(charges),
                spins=tuple(spins),
                versions={name: version(name) for name in _RECORDED_VERSIONS},
                weights_sha256=_sha256(_weight_bytes(weights)),
            )
        except ValidationError as error:
            raise InputError(f"the model cannot be described: {error}") from error
        return cls(config, weights, card)

    @classmethod
    def load(cls, model: str | PathLike[str]) -> ModelFolder:
        """Read and check a model folder.

        Parameters
        ----------
        model : str or path
            A name in the zoo, or a folder.

        Returns
        -------
        ModelFolder
            With its weights on the CPU, in the precision in which they were saved.

        Raises
        ------
        InputError
            If there is no such model, a file is missing, odd (a link out of the folder, not a regular file, too
            large), truncated or changed, the format is newer than this version reads, or a weight is not finite.
        """
        folder = locate(model)
        config, data, card = _consistent(folder)
        if _sha256(data) != config.weights_sha256:
            raise InputError(
                f"{folder / 'model.safetensors'} is truncated or was changed: its SHA-256 is not that in config.json. "
                "Copy the folder again, or save the model again with ModelFolder.save."
            )
        weights = _parsed_weights(data, folder)
        return cls(config, weights, card)

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write the folder; an earlier model is replaced in a single step, and its other files stay.

        Parameters
        ----------
        folder : str or path
            Made if it does not exist.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        InputError
            If the description has a number that is not finite, or the name cannot be that of a folder.
        OSError
            If the files cannot be written; an earlier model stays as it was.
        """
        folder = Path(folder)
        weights = _weight_bytes(self.weights)
        config = self.config.model_copy(update={"weights_sha256": _sha256(weights)})
        files = {
            "model.safetensors": weights,
            "config.json": format_config(config).encode(),
            "README.md": f"{clean(self.card.rstrip())}\n".encode(),
        }
        try:
            replace_files(folder, files)
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
                raise
            raise InputError(f"{str(folder)[:LONGEST_NAME]!r} cannot be the name of a folder.") from error
        return folder

    def build(self, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Network:
        """Build the network with its weights, ready for predictions.

        Parameters
        ----------
        device : torch.device or str
            Where the network lives.
        dtype : torch.dtype, optional
            Its precision; that of the file by default.

        Returns
        -------
        Network
            A torch module in evaluation mode.

        Raises
        ------
        InputError
            If the settings are not those of this kind of network, or a weight is missing, surplus or misshapen.
        """
        import torch

        network = self._untrained()
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        stored = {name: tuple(tensor.shape) for name, tensor in self.weights.items()}
        problems = [f"{name} is missing" for name in expected.keys() - stored.keys()]
        surplus = stored.keys() - expected.keys()
        problems += [f"{clean(name)[:LONGEST_NAME]} is not part of the model" for name in surplus]
        problems += [
            f"{name} has the shape {stored[name]} instead of {expected[name]}"
            for name in expected.keys() & stored.keys()
            if expected[name] != stored[name]
        ]
        if problems:
            listed = "; ".join(sorted(problems)[:5]) + ("; ..." if len(problems) > 5 else "")
            raise InputError(f"the weights do not fit the settings in config.json, {len(problems)} problems: {listed}.")
        saved_as = next((self.weights[name].dtype for name, _ in network.named_parameters()), torch.float64)
        network.to(device).cast(saved_as if dtype is None else dtype)
        try:
            network.load_state_dict(dict(self.weights))
        except (RuntimeError, ValueError) as error:
            raise InputError(f"the weights are not those of such a model: {clean(str(error))}") from error
        return network.eval().requires_grad_(False)

    def _untrained(self) -> Network:
        """Build the network that the settings describe, refusing sizes past those of the weights before any memory.

        Its first weights, which nobody sees, leave the caller's random numbers as they are.
        """
        import torch

        kind = find_kind(self.config.kind, "config.json")
        network_class, settings_class = kind.load("network"), kind.load("settings")
        n_elements = sum(tensor.numel() for tensor in self.weights.values())
        try:
            settings = settings_class(**self.config.settings)
            with torch.random.fork_rng(devices=[]), AllocationBudget(_SPARE_ELEMENTS + 4 * n_elements):
                network: Network = network_class(settings)
                return network
        except (ValidationError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            if isinstance(error, CalculatorError):
                raise
            raise InputError(
                f"the settings in config.json do not make a {self.config.kind} model: {clean(str(error))}"
            ) from error

    def check(self) -> None:
        """Build the network once, so that a folder that passes can be used.

        Raises
        ------
        InputError
            As `build` does.
        """
        self.build()


def list_models() -> list[str]:
    """Return the names of the models that ship with the package, sorted."""
    folder = _zoo_folder()
    if not folder.is_dir():
        return []
    named = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(path.name for path in named if find_file(path, "config.json") is not None)


def locate(model: str | PathLike[str]) -> Path:
    """Find a model's folder.

    Parameters
    ----------
    model : str or path
        A name in the zoo, or a folder. Where both exist, a bare name means the zoo.

    Returns
    -------
    Path
        An existing folder.

    Raises
    ------
    InputError
        If there is neither; the message names the nearest model and lists all.
    """
    names = list_models()
    text = str(model)
    if text in names:
        return _zoo_folder() / text
    folder = existing_folder(text) if text.strip() else None
    if folder is not None:
        return folder
    raise InputError(
        f"there is no model {text[:200]!r}: neither a folder nor a name in the zoo. {suggestion(text[:200], names)}"
    )


def existing_folder(name: str) -> Path | None:
    """Return the full path of a folder; None if there is none, or the name (too long, say) can be no path."""
    try:
        path = Path(name).expanduser()
        return path.resolve() if path.is_dir() else None
    except (OSError, RuntimeError, ValueError):
        return None


def read_config(model: str | PathLike[str]) -> ModelConfig:
    """Read ``config.json`` of a model, without its weights.

    Parameters
    ----------
    model : str or path
        A name in the zoo, or a folder.

    Returns
    -------
    ModelConfig
        Lifted to the present format.

    Raises
    ------
    InputError
        If it is not JSON, its format is newer or unknown, or a field is missing or wrong.
    """
    folder = locate(model)
    return parse_config(_text(folder, "config.json"), str(folder / "config.json"))


def read_card(model: str | PathLike[str]) -> str:
    """Read ``README.md`` of a model, Markdown, cleaned of control characters; else as `read_config`."""
    return clean(_text(locate(model), "README.md"))


def _zoo_folder() -> Path:
    """Return the zoo: inside the package where a wheel was installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "shipped_models"
    return installed if installed.is_dir() else package.parent / "models"


def _consistent(folder: Path) -> tuple[ModelConfig, bytes, str]:
    """Read description, weights and card of one model, also while others are saved in its place."""
    while True:
        before = file_states(folder, _FILES)
        config = parse_config(_text(folder, "config.json"), str(folder / "config.json"))
        data = read_file(folder, "model.safetensors", _FILES["model.safetensors"])
        card = clean(_text(folder, "README.md"))
        if file_states(folder, _FILES) == before:
            return config, data, card


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _text(folder: Path, name: str) -> str:
    try:
        return read_file(folder, name, _FILES[name]).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{folder / name} is not UTF-8 text: {error}") from error


def _weight_bytes(weights: Mapping[str, torch.Tensor]) -> bytes:
    from safetensors.torch import save

    return save(dict(weights))


def _parsed_weights(data: bytes, folder: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    where = folder / "model.safetensors"
    if int.from_bytes(data[:8], "little") > _HEADER:
        raise InputError(f"{where} is not a safetensors file of a model: its header has more than {_HEADER} bytes.")
    try:
        weights = load(data)
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise InputError(f"{where} is not a safetensors file: {clean(str(error))[:_LONGEST_REASON]}") from error
    _refuse_bad_numbers(weights, str(where))
    return weights


def _refuse_bad_numbers(weights: Mapping[str, torch.Tensor], where: str) -> None:
    import torch

    plain = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64}
    odd = sorted(clean(name)[:LONGEST_NAME] for name, tensor in weights.items() if tensor.dtype not in plain)
    if odd:
        raise InputError(f"{where} has weights of a type that no model has: {', '.join(odd[:5])}.")
    infinite = sorted(clean(name)[:LONGEST_NAME] for name, tensor in weights.items() if not tensor.isfinite().all())
    if infinite:
        raise InputError(f"{where} has weights that are not finite numbers: {', '.join(infinite[:5])}. Train it again.")
