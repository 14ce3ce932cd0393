from __future__ import annotations

import collections
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.calculators.calculator import InputError
from typer.testing import CliRunner

from ase_mlwave.cli.main import app
from ase_mlwave.models import folder as zoo
from ase_mlwave.models.qdf.published.importing import import_published, read_checkpoint, read_orbitals
from tests.models.qdf.published.conftest import FILES

CHECKPOINT, PICKLE, JSON = FILES / "energy.pth", FILES / "orbitaldict_3-21G.pickle", FILES / "orbitaldict_3-21G.json"


class Hostile:
    """Pickled, it makes a folder when it is loaded the careless way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def pickled(path: Path, content: Any, protocol: int = 3) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


# --- orbital dictionary -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
def test_pickle_and_json_hold_the_same(tmp_path: Path, protocol: int) -> None:
    rows = json.loads(JSON.read_text(encoding="utf-8"))
    assert read_orbitals(PICKLE) == read_orbitals(JSON) == rows
    assert read_orbitals(pickled(tmp_path / "a.pickle", rows, protocol)) == rows


@pytest.mark.parametrize("factory", [None, int])
def test_a_defaultdict_is_read(tmp_path: Path, factory: Any) -> None:
    rows = read_orbitals(JSON)
    read = read_orbitals(pickled(tmp_path / "a.pickle", collections.defaultdict(factory, rows)))
    assert type(read) is dict
    assert read == rows


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("inside", [False, True])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, protocol: int, inside: bool) -> None:
    hostile: Any = Hostile(tmp_path / "made")
    path = pickled(tmp_path / "a.pickle", {"H1s0": hostile} if inside else hostile, protocol)
    with pytest.raises(InputError, match=r"mkdir, which is neither read nor called"):
        read_orbitals(path)
    assert not (tmp_path / "made").exists()
    pickle.loads(path.read_bytes())  # the test would notice
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"H1s0": 0.0},
        {"H1s0": True},
        {0: 0},
        {"H1s0": 0, "H1s1": 2},
        {"H1s0": 0, "H1s1": 0},
        ["H1s0"],
        {},
        {"H1s0": {"H1s0": 0}},
        {"H1s0": "0"},
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InputError, match="must be a dictionary of str to int"):
        read_orbitals(pickled(tmp_path / "a.pickle", content))


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x80\x03}q\x00(X\x04", b"\x80\x03ccollections\nOrderedDict\n)R."])
def test_a_damaged_pickle_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.pickle").write_bytes(data)
    with pytest.raises(InputError, match="is no dictionary of orbital types"):
        read_orbitals(tmp_path / "a.pickle")


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pickle").write_bytes(b"x" * (10**6 + 1))
    with pytest.raises(InputError, match="more than the 1000000 that are read"):
        read_orbitals(tmp_path / "a.pickle")


# --- checkpoint ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"coefficient.weight": Hostile(tmp_path / "made")}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="is no checkpoint of plain tensors"):
        read_checkpoint(tmp_path / "a.pth")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.update(surprise=torch.ones(1)), "a tensor 'surprise'"),
        (lambda w: w.pop("zeta.weight"), r"it lacks \['exponents'\]"),
        (lambda w: w.pop("W_potential.bias"), "map_output.bias"),
        (lambda w: w.update({"W_functional.0.weight": torch.ones(3, 3)}), "functional.0.weight"),
        (lambda w: w.update({"coefficient.weight": torch.ones(4, 8)}), "they do not belong together"),
        (lambda w: w.update({"W_property.bias": torch.ones(3)}), "predicts 3 properties"),
        (lambda w: w.update({"W_property.bias": torch.tensor(1.0)}), "must have 1 axes"),
        (lambda w: w.update({"W_density.bias": torch.ones(9)}), r"map_layers\.0\.weight .* instead of \(9, 9\)"),
        (lambda w: w.update({"W_density.bias": torch.ones(1).expand(10**12)}), "larger than the file"),
        (lambda w: w.update({"W_density.bias": torch.ones(5, dtype=torch.int64)}), "not of real numbers"),
        (lambda w: w.update({"W_property.bias": torch.full((1,), float("nan"))}), "not finite"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    weights = torch.load(CHECKPOINT, weights_only=True)
    change(weights)
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(InputError, match=message):
        import_published(tmp_path / "a.pth", PICKLE)


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ({"H1s0": "hydrogen"}, "'hydrogen' is no orbital type"),
        ({"C2p2": "C2p3"}, "not those of one basis set"),
        ({"C2p2": "Qq2p2"}, "'Qq2p2' is no orbital type"),
    ],
)
def test_odd_orbital_types_are_refused(tmp_path: Path, rename: dict[str, str], message: str) -> None:
    rows = {rename.get(name, name): row for name, row in read_orbitals(JSON).items()}
    with pytest.raises(InputError, match=message):
        import_published(CHECKPOINT, pickled(tmp_path / "a.pickle", rows))


# --- model folder -------------------------------------------------------------------------------------------------


def test_defaults_follow_from_the_checkpoint() -> None:
    energy, levels = (import_published(FILES / f"{name}.pth", JSON).config.settings for name in ("energy", "levels"))
    assert (energy["outputs"], energy["pooling"]) == (["atomization_energy"], "sum")
    assert (levels["outputs"], levels["pooling"]) == (["homo", "lumo"], "mean")
    assert energy["elements"] == ["H", "C", "N", "O"]
    assert [energy[key] for key in ("n_inner", "n_outer", "width", "functional_layers", "map_width")] == [3, 3, 8, 2, 5]


def test_the_command_writes_a_folder_of_the_zoo(tmp_path: Path) -> None:
    arguments = ["import-qdf", str(CHECKPOINT), str(PICKLE), "--output", str(tmp_path / "model")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    folder = zoo.ModelFolder.load(tmp_path / "model")
    folder.check()
    assert folder.config.training_data.n_records is None
    assert "**The energy is the atomization energy: negative, in eV" in folder.card
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "exists already" in result.output


def test_the_command_takes_names_and_pooling(tmp_path: Path) -> None:
    arguments = ["import-qdf", str(FILES / "levels.pth"), str(JSON), "-o", str(tmp_path / "model"), "--pooling", "sum"]
    assert CliRunner().invoke(app, [*arguments, "--property", "gap", "--property", "affinity"]).exit_code == 0
    settings = zoo.read_config(tmp_path / "model").settings
    assert (settings["outputs"], settings["pooling"]) == (["gap", "affinity"], "sum")
    assert "predicts no energy of the molecule" in zoo.read_card(tmp_path / "model")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    shutil.copy(CHECKPOINT, tmp_path)
    with pytest.raises(InputError, match=r"there is no file .*orbitals\.pickle"):
        import_published(tmp_path / "energy.pth", tmp_path / "orbitals.pickle")
