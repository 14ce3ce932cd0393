"""Every door through which a string or a file of somebody else's comes in: nothing is executed.

Each test fires all strings at one door. A door may refuse a string, or take it for the text that it is; the marker that
the strings would make must never appear, and what is refused is refused with the package's own errors, briefly and
without characters that a terminal obeys.
"""

from __future__ import annotations

import json
import pickle
import shutil
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.calculator import InputError
from ase.db import connect
from click import Command
from click.testing import CliRunner
from pyscf import gto
from typer.main import get_command

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.calculators import load_calculator
from ase_mlwave.cli.main import app
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.metadata import check_metadata, new_metadata
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.models import folder as zoo
from ase_mlwave.models.amons.config import AmonConfig
from ase_mlwave.models.config import checksum
from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.training.settings import TrainingSettings
from ase_mlwave.models.qdf.config import QDFConfig
from ase_mlwave.models.qdf.published.config import PublishedConfig
from ase_mlwave.models.qdf.published.importing import import_published, read_checkpoint, read_orbitals
from ase_mlwave.quantum.basis import build_mole, shells
from ase_mlwave.quantum.integrals import one_electron_integrals
from ase_mlwave.quantum.names import check_basis, check_functional
from ase_mlwave.reference.calculator import ReferenceCalculator
from ase_mlwave.reference.levels import LevelOfTheory, PyscfLevel
from benchmarks.relaxations import read_minima
from tests.calculators.morse import morse_folder
from tests.models.qdf.training.test_run import tiny_settings
from tests.security.payloads import Touch, hostile_strings

PUBLISHED = Path(__file__).parent.parent / "models" / "qdf" / "published" / "files"
REFUSALS = (InputError, ValueError, FileNotFoundError)

Door = Callable[[str, Path], Any]


def _model(name: str, folder: Path, *, sealed: bool, **settings: Any) -> Path:
    """Copy a shipped model and change its settings, as someone who can compute a checksum would."""
    target = folder / "model"
    if not target.exists():
        shutil.copytree(zoo.locate(name), target)
    path = target / "config.json"
    config = json.loads((zoo.locate(name) / "config.json").read_text())
    config["settings"] |= settings
    if sealed:
        config["checksum"] = checksum(config)
    else:  # a folder of format 1 has none
        config = {key: value for key, value in config.items() if key not in {"checksum", "limits", "defaults"}}
        config["format"] = 1
    path.write_text(json.dumps(config))
    return target


@cache
def _command() -> Command:
    """Build the tree of commands, once for all strings."""
    return get_command(app)


def _run(*words: str) -> None:
    """Run a command; turn its refusal into an error."""
    result = CliRunner().invoke(_command(), list(words))
    if isinstance(result.exception, SystemExit) and result.exit_code == 2:
        raise InputError(result.output)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    raise InputError(f"exit code {result.exit_code}")


def _yaml(basis: str, folder: Path, **entries: str) -> Path:
    path = folder / "settings.yaml"
    model = json.dumps({"elements": ["H", "O"], "basis": basis, **entries})  # JSON is YAML
    path.write_text(f'{{"data": "x.npz", "output": "run", "model": {model}}}')
    return path


def _database(level: str, folder: Path) -> Path:
    path = folder / "data.db"
    if not path.exists():
        DatasetFile.create(path, "pbe/def2-svp")
    return _with_metadata(path, level=level, level_settings={"basis": level})


def _foreign_database(level: str, folder: Path) -> Path:
    path = folder / "foreign.db"
    if not path.exists():
        with connect(path) as db:
            db.write(molecule("H2"))
            db.metadata = {"title": "mine"}
    return _with_metadata(path, level=level)


def _with_metadata(path: Path, **entries: Any) -> Path:
    with sqlite3.connect(path) as raw:
        (text,) = raw.execute("SELECT value FROM information WHERE name = 'metadata'").fetchone()
        metadata = json.loads(text) | entries
        raw.execute("PRAGMA synchronous = OFF")
        raw.execute("UPDATE information SET value = ? WHERE name = 'metadata'", (json.dumps(metadata),))
    raw.close()
    return path


def _extxyz(level: str, folder: Path) -> Path:
    path = folder / "data.extxyz"
    line = level.replace("\\", "\\\\").replace('"', '\\"')
    atoms = 'Properties=species:S:1:pos:R:3 pbc="F F F"'
    path.write_bytes(f'2\n{atoms} level="{line}"\nH 0 0 0\nH 0 0 1\n'.encode(errors="surrogatepass"))
    return path


def _npz(level: str, folder: Path) -> Path:
    path = folder / "data.npz"
    arrays = {"Z": np.array([1, 1]), "R": np.array([[[0, 0, 0], [0, 0, 1.0]]]), "E": np.array([-1.0])}
    arrays |= {"F": np.zeros((1, 2, 3)), "H_triu": np.zeros((1, 3))}
    np.savez(path, **arrays, meta=np.array(level))
    return path


def _evaluate(data: Path, folder: Path) -> None:
    if not (folder / "morse").exists():
        morse_folder().save(folder / "morse")
    _run("evaluate", str(folder / "morse"), str(data))


def _energy(model: Path) -> None:
    PhiSNetCalculator(model, energy="functional").get_potential_energy(molecule("H2O"))


def _amon_settings(**changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = zoo.read_config("amons-chno").settings
    return settings | changes


DOORS: dict[str, Door] = {
    # the functions that names reach in the end
    "check_basis": lambda s, _: check_basis(s),
    "check_functional": lambda s, _: check_functional(s),
    "shells": lambda s, _: shells(s, 1),
    "build_mole": lambda s, _: build_mole([1, 1], np.eye(3)[:2], s),
    "integrals": lambda s, _: one_electron_integrals(torch.eye(3)[:2], [1, 1], s),
    "level": lambda s, _: LevelOfTheory.parse(s),
    "level, functional": lambda s, _: LevelOfTheory.parse(f"{s}/def2-svp"),
    "level, basis": lambda s, _: LevelOfTheory.parse(f"pbe/{s}"),
    "level, setting": lambda s, _: LevelOfTheory.parse(f"pbe/def2-svp {s}"),
    "level, fields": lambda s, _: PyscfLevel(functional="pbe", basis=s),
    "reference calculator": lambda s, _: ReferenceCalculator(f"pbe/{s}"),
    # model folders
    "phisnet, basis": lambda s, d: _energy(_model("phisnet-water", d, sealed=True, basis=s)),
    "phisnet of format 1, basis": lambda s, d: _energy(_model("phisnet-water", d, sealed=False, basis=s)),
    "phisnet, level": lambda s, d: _energy(_model("phisnet-water", d, sealed=True, level=f"pbe/{s}")),
    "phisnet, elements": lambda s, d: _energy(_model("phisnet-water", d, sealed=True, elements=["H", s])),
    "qdf, level": lambda s, d: load_calculator(_model("qdf-ethanol", d, sealed=True, level=s)),
    "qdf, field": lambda s, d: load_calculator(_model("qdf-ethanol", d, sealed=True, field=s)),
    "qdf, orbitals": lambda s, d: load_calculator(_model("qdf-ethanol", d, sealed=True, orbitals={"H": [[s, 0.5]]})),
    "amons, level": lambda s, d: load_calculator(_model("amons-chno", d, sealed=True, level=s)),
    "amons, base": lambda s, d: load_calculator(_model("amons-chno", d, sealed=True, base=f"pbe/{s}")),
    "amons, molecules": lambda s, d: load_calculator(_model("amons-chno", d, sealed=True, amons=[s])),
    # settings classes, for importers and training
    "phisnet settings": lambda s, _: PhiSNetConfig(elements=("H",), basis=s),
    "qdf settings": lambda s, _: QDFConfig(elements=("H",), level=s),
    "published settings": lambda s, _: PublishedConfig(elements=("H",), level=s),
    "amons settings": lambda s, _: AmonConfig(**_amon_settings(level=s)),
    "import-qdf": lambda s, d: import_published(
        PUBLISHED / "energy.pth", PUBLISHED / "orbitaldict_3-21G.json", level=s
    ),
    # data
    "metadata": lambda s, _: check_metadata(new_metadata(s, {"basis": s}), "a server"),  # of any kind of database
    "database to label": lambda s, d: _run("label", str(_extxyz("", d)), str(_database(f"pbe/{s}", d))),
    "database of geometries": lambda s, d: _run("label", str(_database(f"pbe/{s}", d)), str(d / "new.db")),
    "database of amons": lambda s, d: _run("amons", "fit", "C", "--database", str(_database(f"pbe/{s}", d))),
    "database of minima": lambda s, d: read_minima(_database(f"pbe/{s}", d)),
    "extxyz": lambda s, d: _evaluate(_extxyz(s, d), d),
    "extxyz, basis": lambda s, d: _evaluate(_extxyz(f"pbe/{s}", d), d),
    "database": lambda s, d: _evaluate(_database(s, d), d),
    "database, basis": lambda s, d: _evaluate(_database(f"pbe/{s}", d), d),
    "database of others": lambda s, d: _evaluate(_foreign_database(f"pbe/{s}", d), d),
    "npz": lambda s, d: _evaluate(_npz(s, d), d),
    "npz, basis": lambda s, d: _evaluate(_npz(f"RKS PBE/{s}", d), d),
    # YAML and the command line
    "YAML, basis": lambda s, d: TrainingSettings.read(_yaml(s, d), []),
    "YAML, level": lambda s, d: TrainingSettings.read(_yaml("def2-svp", d, level=s), []),
    "words after YAML": lambda s, d: TrainingSettings.read(_yaml("def2-svp", d), [f"model.basis={s}"]),
    "mlwave label": lambda s, d: _run("label", str(_extxyz("", d)), str(d / "new.db"), "--level", f"pbe/{s}"),
    "mlwave sample": lambda s, d: _run("sample", "H2", str(d / "new.xyz"), "--level", f"pbe/{s}"),
    "mlwave amons fit": lambda s, d: _run(
        "amons", "fit", "C", "--reference", f"pbe/{s}", "--database", str(d / "a.db")
    ),
    "mlwave models": lambda s, _: _run("models", s),
    "mlwave predict": lambda s, d: _run("predict", s, str(_extxyz("", d))),
    "mlwave predict --set": lambda s, d: _run("predict", "phisnet-water", str(_extxyz("", d)), "--set", f"energy={s}"),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, morse_kind: None) -> Path:
    """Work where the hostile file lies, so that its bare name is a path."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("door", DOORS)
def test_no_string_is_executed(door: str, place: Path) -> None:
    marker = place / "marker"
    executed, wrong = [], []
    for name, string in hostile_strings(place, marker).items():
        try:
            DOORS[door](string, place)
        except REFUSALS as error:
            text = str(error)
            if len(text) > 3000 or not text.replace("\n", "").replace("\t", "").isprintable():
                wrong.append((name, "message", text[:200]))
        except Exception as error:
            wrong.append((name, type(error).__name__, str(error)[:200]))
        if marker.exists():
            executed.append(name)
            shutil.rmtree(marker) if marker.is_dir() else marker.unlink()
    assert executed == []
    assert wrong == []


def test_the_strings_are_live(place: Path) -> None:
    """PySCF itself executes the data and the files, so that the tests above can fail."""
    marker, executed = place / "marker", []
    for name, string in hostile_strings(place, marker).items():
        for load in (gto.basis.load, gto.basis.load_ecp):
            with suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                load(string, "H")
            if marker.exists():
                executed.append(name)
                marker.unlink()
    expected = {"data", "data with a header", "GTH data", "core potential", "path", "relative path", "contracted path"}
    assert expected <= set(executed)


#: Files whose bytes are a pickle that makes the marker, and what reads them.
FILES: dict[str, Callable[[Path], Any]] = {
    "weights": lambda path: load_calculator(path),
    "checkpoint of the published model": lambda path: read_checkpoint(path),
    "orbitals of the published model": lambda path: read_orbitals(path),
    "x.npz": lambda path: read_dataset(path),
    "x.db": lambda path: read_dataset(path),
    "x.xyz": lambda path: read_dataset(path),
    "x.traj": lambda path: _run("predict", "phisnet-water", str(path)),
    "x.pckl": lambda path: _run("predict", "phisnet-water", str(path)),
    "x.json": lambda path: _run("predict", "phisnet-water", str(path)),
    "query.cif": lambda path: _run("amons", str(path)),
    "query.sdf": lambda path: _run("amons", str(path)),
    "settings.yaml": lambda path: TrainingSettings.read(path, []),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("saved", ["pickle", "torch"])
def test_no_pickle_is_loaded(name: str, saved: str, place: Path) -> None:
    marker = place / "marker"
    content = {"state_dict": Touch(marker), "H1s0": Touch(marker)}
    path = place / name
    if name == "weights":
        shutil.copytree(zoo.locate("phisnet-water"), path)
    target = path / "model.safetensors" if path.is_dir() else path
    if saved == "torch":
        torch.save(content, target)
    else:
        target.write_bytes(pickle.dumps(content))
    if name == "weights":
        import hashlib

        config = json.loads((path / "config.json").read_text())
        config["weights_sha256"] = hashlib.sha256(target.read_bytes()).hexdigest()
        (path / "config.json").write_text(json.dumps(config | {"checksum": checksum(config)}))
    with pytest.raises(REFUSALS):
        FILES[name](path)
    assert not marker.exists()


def test_arrays_of_objects_are_not_unpickled(place: Path) -> None:
    np.savez(place / "x.npz", Z=np.array([Touch(place / "marker")], dtype=object))
    with pytest.raises(ValueError, match="no NumPy archive of plain arrays"):
        read_dataset(place / "x.npz")
    assert not (place / "marker").exists()


def test_checkpoint_of_a_run_is_loaded_as_plain_tensors(place: Path) -> None:
    """Resume a run whose checkpoint is a pickle that would make the marker."""
    from ase_mlwave.models.qdf.training.run import train

    (place / "run" / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": {}, "evil": Touch(place / "marker")}, place / "run" / "checkpoints" / "last.ckpt")
    with pytest.raises(InputError, match="is damaged"):
        train(tiny_settings(place / "run"), resume=True, progress=False)
    assert not (place / "marker").exists()
