from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.calculators.calculator import InputError
from safetensors.torch import load_file, save_file

from ase_mlwave.models import config as model_config
from ase_mlwave.models import folder as zoo
from ase_mlwave.models.folder import ModelFolder
from tests.calculators.morse import MorseConfig, MorseNetwork, morse_folder

pytestmark = pytest.mark.usefixtures("morse_kind")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return morse_folder().save(tmp_path / "morse")


@pytest.fixture
def small_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    models = tmp_path / "models"
    for name in ("morse-water", "morse-ethanol"):
        morse_folder().save(models / name)
    (models / "no-model").mkdir()
    monkeypatch.setattr(zoo, "_zoo_folder", lambda: models)
    return models


def _edit(folder: Path, *, sealed: bool = True, **changes: Any) -> None:
    """Change fields of ``config.json``, and the checksum over them unless ``sealed`` is false."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    config = {key: value for key, value in config.items() if value is not None}
    if sealed:
        config["checksum"] = model_config.checksum(config)
    path.write_text(json.dumps(config))


def _edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the weights and the checksum with them, as someone who edits a model by hand would."""
    import hashlib

    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    _edit(folder, weights_sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())


def test_saved_model_comes_back_bit_for_bit(tmp_path: Path) -> None:
    network = MorseNetwork(MorseConfig(cutoff=9.0))
    with torch.no_grad():
        network.depth.fill_(0.1 + 1e-17)
    made = morse_folder()
    packed = ModelFolder.pack("test-morse", network, training_data=made.config.training_data, card="# Card")
    loaded = ModelFolder.load(packed.save(tmp_path / "a"))
    again = loaded.build()
    assert loaded.card == "# Card\n"
    assert again.config == MorseConfig(cutoff=9.0)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_saving_again_replaces_the_model(folder: Path) -> None:
    morse_folder(depth=0.3).save(folder)
    assert ModelFolder.load(folder).weights["depth"].item() == 0.3
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors"]


def test_packed_config_records_versions_and_data(folder: Path) -> None:
    config = zoo.read_config(folder)
    assert config.format == 2
    assert config.versions["torch"].startswith(torch.__version__.split("+")[0])
    assert config.training_data.n_records == 1
    assert (config.elements, config.level) == (("H", "O"), "morse")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_build_casts_to_the_precision_asked_for(folder: Path, dtype: torch.dtype) -> None:
    network = ModelFolder.load(folder).build("cpu", dtype)
    assert {parameter.dtype for parameter in network.parameters()} == {dtype}


def test_check_passes_a_good_folder(folder: Path) -> None:
    ModelFolder.load(folder).check()


def test_zoo_lists_models_and_finds_them_by_name(small_zoo: Path) -> None:
    assert zoo.list_models() == ["morse-ethanol", "morse-water"]
    assert zoo.locate("morse-water") == small_zoo / "morse-water"
    assert ModelFolder.load("morse-water").config.kind == "test-morse"


def test_unknown_model_names_the_nearest_and_lists_all(small_zoo: Path) -> None:
    with pytest.raises(InputError, match=r"Did you mean 'morse-water'\? Known are: 'morse-ethanol', 'morse-water'"):
        ModelFolder.load("morse-watr")


@pytest.mark.parametrize("name", ["", " ", "../morse-water", "morse-water/../../x", "morse-water\0", "no-model/none"])
def test_odd_names_are_not_models(small_zoo: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_zoo)
    with pytest.raises(InputError, match="there is no model"):
        ModelFolder.load(name)


def test_zoo_without_models_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(zoo, "_zoo_folder", lambda: tmp_path / "nowhere")
    assert zoo.list_models() == []
    with pytest.raises(InputError, match="There is none"):
        zoo.locate("phisnet-water")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "README.md"])
def test_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(InputError, match=f"has no {missing}"):
        ModelFolder.load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_link_out_of_the_folder_is_refused(folder: Path, name: str) -> None:
    outside = folder.parent / name
    shutil.move(folder / name, outside)
    (folder / name).symlink_to(outside)
    with pytest.raises(InputError, match="not a link or a device"):
        ModelFolder.load(folder)


def test_pipe_is_refused_instead_of_waited_for(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(InputError, match="regular file"):
        ModelFolder.load(folder)


def test_oversized_config_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text(" " * 10**6 + "{}")
    with pytest.raises(InputError, match="more than the 1000000"):
        ModelFolder.load(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "no whole number 'format'"),
        ("{}", "no whole number 'format'"),
    ],
)
def test_config_that_is_not_one_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match=message):
        ModelFolder.load(folder)


def test_config_that_is_not_text_is_refused(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match="UTF-8"):
        ModelFolder.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 3}, "format 3, newer than the 2 .* Update ase-mlwave"),
        ({"format": True}, "no whole number 'format'"),
        ({"format": 0}, "unknown format 0"),
        ({"kind": "test-mors"}, "unknown kind 'test-mors'. Did you mean 'test-morse'"),
        ({"kind": "os:system"}, "unknown kind 'os:system'"),
        ({"training_data": None}, "training_data"),
        ({"surplus": 1}, "surplus"),
        ({"settings": {"level": "x"}}, "no elements in its settings"),
        ({"weights_sha256": "short"}, "weights_sha256"),
        ({"thresholds": {"domain_distance": "nan"}}, "finite"),
        ({"defaults": {"energy": ["functional"]}}, "defaults"),
    ],
)
def test_wrong_config_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    _edit(folder, **changes)
    with pytest.raises(InputError, match=message):
        ModelFolder.load(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"elements": ["H", "O"], "level": "morse", "cutoff": 5.0}},
        {"thresholds": {"energy_spread": 1e9}},
        {"limits": {"energy_spread": 1e9}},
        {"errors": {"energy_mae_meV": 0.1}},
        {"charges": [0, 1]},
        {"surplus": 1},
        {"checksum": None},
        {"checksum": "0" * 64},
    ],
)
def test_description_edited_by_hand_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    _edit(folder, sealed=False, **changes)
    with pytest.raises(InputError, match="changed since the model was saved"):
        ModelFolder.load(folder)


def test_layout_of_the_description_does_not_matter(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(dict(reversed(config.items())), indent=7) + "\r\n\n")
    assert ModelFolder.load(folder).config == morse_folder().config


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("field", ["errors", "thresholds", "limits", "settings"])
def test_numbers_of_the_description_are_finite(folder: Path, field: str, constant: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[field]["cutoff"] = "number"
    (folder / "config.json").write_text(json.dumps(config).replace('"number"', constant))
    with pytest.raises(InputError, match=f"{constant} is no number of JSON"):
        ModelFolder.load(folder)


@pytest.mark.parametrize("field", ["errors", "thresholds", "limits"])
def test_numbers_that_are_not_finite_are_not_saved(tmp_path: Path, field: str) -> None:
    made = morse_folder()
    with pytest.raises(InputError, match="finite"):
        ModelFolder.pack(
            "test-morse",
            MorseNetwork(MorseConfig()),
            training_data=made.config.training_data,
            card="#",
            **{field: {"x": math.nan}},
        )
    changed = made.config.model_copy(update={field: {"x": math.inf}})
    with pytest.raises(InputError, match="cannot be saved"):
        replace(made, config=changed).save(tmp_path / "model")
    assert not (tmp_path / "model" / "config.json").exists()


def test_limits_and_defaults_come_back(tmp_path: Path) -> None:
    made = morse_folder()
    defaults = {"energy": "functional", "dispersion": None, "images": True, "grid_level": 3, "skin": 1.5}
    packed = ModelFolder.pack(
        "test-morse",
        MorseNetwork(MorseConfig()),
        training_data=made.config.training_data,
        card="#",
        limits={"energy_spread": 2.0},
        defaults=defaults,
    )
    config = zoo.read_config(packed.save(tmp_path / "model"))
    assert config.limits == {"energy_spread": 2.0}
    assert [(k, v, type(v)) for k, v in config.defaults.items()] == [(k, v, type(v)) for k, v in defaults.items()]


def test_folder_of_format_1_is_read_and_saved_as_the_present_one(folder: Path) -> None:
    _edit(folder, sealed=False, format=1, checksum=None, limits=None, defaults=None)
    loaded = ModelFolder.load(folder)
    assert (loaded.config.limits, loaded.config.defaults) == ({}, {})
    loaded.save(folder)
    assert json.loads((folder / "config.json").read_text())["format"] == 2
    assert ModelFolder.load(folder).config == morse_folder().config


def test_settings_of_another_network_are_refused(folder: Path) -> None:
    _edit(folder, settings={"elements": ["H"], "level": "morse", "n_layers": 3})
    with pytest.raises(InputError, match=r"do not make a test-morse model[\s\S]*n_layers"):
        ModelFolder.load(folder).build()


def test_old_format_is_upgraded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(raw: dict[str, Any]) -> dict[str, Any]:
        return {"settings": raw.pop("hyperparameters"), **raw, "format": 1}

    settings = json.loads((folder / "config.json").read_text())["settings"]
    _edit(folder, sealed=False, format=0, settings=None, hyperparameters=settings, checksum=None)
    monkeypatch.setitem(model_config._UPGRADES, 0, rename)
    assert ModelFolder.load(folder).config.settings == settings


@pytest.mark.parametrize("keep", [0, 5, -1])
def test_truncated_weights_are_refused(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="truncated or was changed"):
        ModelFolder.load(folder)


def test_flipped_bit_is_noticed(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="truncated or was changed"):
        ModelFolder.load(folder)


def test_weights_of_another_format_are_refused(folder: Path) -> None:
    import hashlib

    torch.save({"depth": torch.ones(())}, folder / "model.safetensors")
    _edit(folder, weights_sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())
    with pytest.raises(InputError, match="not a safetensors file"):
        ModelFolder.load(folder)


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    _edit_weights(folder, lambda weights: weights["depth"].fill_(float("nan")))
    with pytest.raises(InputError, match="not finite numbers: depth"):
        ModelFolder.load(folder)


def test_network_that_is_not_finite_is_not_packed() -> None:
    with pytest.raises(InputError, match="not finite numbers: depth"):
        morse_folder(depth=float("inf"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("depth"), "depth is missing"),
        (lambda weights: weights.update(more=torch.ones(2)), "more is not part of the model"),
        (lambda weights: weights.update(depth=torch.ones(2)), r"depth has the shape \(2,\) instead of \(\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder: Path, change: Any, message: str) -> None:
    _edit_weights(folder, change)
    with pytest.raises(InputError, match=message):
        ModelFolder.load(folder).check()


@pytest.mark.parametrize("name", zoo.list_models() or [pytest.param("", marks=pytest.mark.skip("the zoo is empty"))])
def test_shipped_model_is_sound(name: str) -> None:
    folder = ModelFolder.load(name)
    folder.check()
    assert folder.card.startswith("# ")
    assert folder.config.errors
    assert json.loads((zoo.locate(name) / "config.json").read_text())["format"] == model_config.FORMAT


def test_sizes_past_those_of_the_weights_are_refused_before_any_memory(folder: Path) -> None:
    from ase_mlwave.models.budget import AllocationBudget

    with AllocationBudget(10**6), pytest.raises(ValueError, match="more numbers than the file of weights"):
        torch.zeros(10**6, 10**12)
    for make in (torch.nn.Linear, lambda n, m: torch.randn(size=(n, m)), lambda n, m: torch.full((n, m), 1.0)):
        with AllocationBudget(10**6), pytest.raises(ValueError, match="more numbers than the file of weights"):
            make(2_000, 10_000)
    with AllocationBudget(10**6), pytest.raises(ValueError, match="more numbers than the file of weights"):
        torch.nn.ModuleList(torch.nn.Embedding(10, 10) for _ in range(10**9))
    with AllocationBudget(10**6):
        assert torch.nn.Linear(100, 200)(torch.ones(1, 100)).shape == (1, 200)


HOSTILE_SIZES = [
    ("phisnet-water", {"features": 10**6}),
    ("phisnet-water", {"features": 4096}),
    ("phisnet-water", {"n_modules": 10**9}),
    ("phisnet-water", {"n_modules": 64, "features": 256}),
    ("phisnet-water", {"n_radial": 10**9}),
    ("phisnet-water", {"hidden": 10**9}),
    ("phisnet-water", {"hidden": 16384, "features": 4096, "n_modules": 64, "product": "clebsch_gordan"}),
    ("phisnet-water", {"max_order": 10**3}),
    ("phisnet-water", {"cutoff": 1e300}),
    ("qdf-ethanol", {"dimension": 10**6}),
    ("qdf-ethanol", {"dimension": 16384, "functional_layers": 64}),
    ("qdf-ethanol", {"readout_width": 10**9}),
    ("qdf-ethanol", {"functional_layers": 10**9}),
    ("qdf-ethanol", {"potential_width": 16384, "potential_layers": 64}),
    ("qdf-ethanol", {"pair_functions": 10**9}),
    ("qdf-ethanol", {"grid_level": 10**9}),
    ("qdf-ethanol", {"field": "published", "width": 10**6}),
    ("amons-chno", {"n_basis": 10**9}),
    ("amons-chno", {"n_basis": 10**30}),
    ("amons-chno", {"n_basis": 0, "n_molecules": 10**6}),
    (
        "amons-chno",
        {"blocks": {s: dict.fromkeys(("environments", "columns", "vectors", "slopes"), 10**6) for s in "HCNO"}},
    ),
    ("amons-chno", {"representation": {"elements": list("HCNO"), "distance_width": 1e-9, "distance_step": 1e-9}}),
]


@pytest.mark.parametrize(("name", "sizes"), HOSTILE_SIZES)
def test_settings_that_ask_for_too_much_are_refused_at_once(name: str, sizes: dict[str, Any], tmp_path: Path) -> None:
    import resource
    import time

    if name not in zoo.list_models():
        pytest.skip(f"{name} is not in the zoo")
    shutil.copytree(zoo.locate(name), tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    _edit(tmp_path / "model", settings=config["settings"] | sizes)
    loaded = ModelFolder.load(tmp_path / "model")
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(InputError, match=r"in config\.json"):
        loaded.build()
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


@pytest.mark.parametrize(
    "data",
    [
        (2**63).to_bytes(8, "little"),
        (10**7).to_bytes(8, "little") + b" " * 10**7,
        (100_002).to_bytes(8, "little") + b"[" * 100_000 + b"{}",
        (60).to_bytes(8, "little") + b'{"a":{"dtype":"F64","shape":[1000000000000],"data_offsets":[0,8]}}'[:60],
        (66).to_bytes(8, "little") + b'{"a":{"dtype":"F64","shape":[1000000000000],"data_offsets":[0,8]}}' + b"\0" * 8,
        (55).to_bytes(8, "little") + b'{"a":{"dtype":"BOOL","shape":[8],"data_offsets":[0,8]}}' + b"\0" * 8,
        b"",
        b"{}",
    ],
)
def test_weights_with_a_hostile_header_are_refused(folder: Path, data: bytes) -> None:
    import hashlib

    (folder / "model.safetensors").write_bytes(data)
    _edit(folder, weights_sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(InputError, match=r"not a safetensors file|of a type that no model has") as caught:
        ModelFolder.load(folder)
    assert len(str(caught.value)) < 2000


def test_names_of_weights_are_cleaned_in_messages(folder: Path) -> None:
    _edit_weights(folder, lambda weights: weights.update({"\x1b[2J" + "x" * 5000: torch.ones(1)}))
    with pytest.raises(InputError) as caught:
        ModelFolder.load(folder).build()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"elements": ["H", "O"], "level": "two\nlines"}},
        {"settings": {"elements": ["H", "O"], "level": "x" * 201}},
        {"settings": {"elements": ["H", "O"], "level": 5}},
        {"settings": {"elements": ["H", "\x1b[31m"], "level": "morse"}},
        {"settings": {"elements": "HO", "level": "morse"}},
        {"settings": {"elements": ["Xx"], "level": "morse"}},
        {"settings": {"elements": [["H"]], "level": "morse"}},
        {"errors": {"\x1b[31menergy": 1.0}},
        {"thresholds": {"a\u202eb": 1.0}},
        {"versions": {"torch": "\x1b]0;title\x07"}},
        {"training_data": {"source": "x" * 5000, "sha256": "0" * 64, "n_records": 1}},
    ],
)
def test_strings_of_the_description_are_plain(folder: Path, changes: dict[str, Any]) -> None:
    _edit(folder, **changes)
    with pytest.raises(InputError) as caught:
        zoo.read_config(folder)
    assert str(caught.value).replace("\n", "").isprintable()
    assert len(str(caught.value)) < 1000


def test_what_cannot_be_the_name_of_a_folder_is_refused(tmp_path: Path) -> None:
    for name in ("x" * 5000, "a\0b"):
        for place in (name, tmp_path / name):
            with pytest.raises(InputError, match="no model") as caught:
                ModelFolder.load(place)
            assert len(str(caught.value)) < 1000
            with pytest.raises(InputError, match="cannot be the name of a folder"):
                morse_folder().save(place)


def test_sources_and_cards_are_saved_without_what_a_terminal_obeys(tmp_path: Path) -> None:
    data = zoo.TrainingData(source="my\x1b[31m file.db", sha256="0" * 64, n_records=1)
    packed = ModelFolder.pack("test-morse", MorseNetwork(MorseConfig()), training_data=data, card="# \x1b[2J\n\nText")
    loaded = ModelFolder.load(packed.save(tmp_path / "model"))
    assert loaded.config.training_data.source == "my\\x1b[31m file.db"
    assert loaded.card == "# \\x1b[2J\n\nText\n"


@pytest.mark.parametrize(
    ("array", "value"),
    [
        ("C_columns", 10**9),
        ("C_columns", -1),
        ("C_width", 1e308),
        ("N_width", 0.0),
        ("N_width", -1.0),
    ],
)
def test_arrays_that_point_outside_are_refused(array: str, value: float) -> None:
    loaded = ModelFolder.load("amons-chno")
    changed = {name: tensor.clone() for name, tensor in loaded.weights.items()}
    changed[array].fill_(value)
    with pytest.raises(InputError, match=array):
        replace(loaded, weights=changed).build()
