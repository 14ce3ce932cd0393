"""Integrals in memory and in a cache on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.calculators.calculator import InputError
from safetensors.torch import load_file

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.data.streamed import StoredRecord
from ase_mlwave.models.phisnet.training import run
from ase_mlwave.models.phisnet.training.module import PhiSNetModule
from ase_mlwave.models.phisnet.training.prepared import Preparation, PreparedDataset, PreparedSystem
from ase_mlwave.models.phisnet.training.run import train
from ase_mlwave.models.training import cache as module
from ase_mlwave.models.training.cache import Cache
from ase_mlwave.models.training.data import read_training_data
from tests.models.phisnet.training.runs import WATERS, tiny_settings

ALL = Preparation("def2-svp", "sap", kept=("baseline", "overlap", "core", "energy_core", "orbitals"))


@pytest.fixture(scope="module")
def records() -> tuple[Record, ...]:
    return read_dataset(WATERS).records[:3]


def _tensors(system: PreparedSystem) -> dict[str, torch.Tensor]:
    assert {*ALL.kept, "residual", "orbital_energies"} == set(system.matrices)
    return {**system.matrices, "remainder": torch.tensor(system.remainder)}


def _same(one: PreparedDataset, other: PreparedDataset) -> bool:
    pairs = [(_tensors(a), _tensors(b)) for a, b in zip(one, other, strict=True)]  # type: ignore[call-overload]
    return all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)


def _count(calls: list[Record]) -> Callable[..., Any]:
    """Note the molecules whose integrals are computed."""
    compute = Preparation.__call__

    def counted(preparation: Preparation, record: Record) -> Any:
        calls.append(record)
        return compute(preparation, record)

    return counted


def test_cache_gives_what_memory_holds(records: tuple[Record, ...], tmp_path: Path) -> None:
    """To the last bit, also of a Hamiltonian that is symmetric to rounding only."""
    crooked = np.array(records[0].matrices["hamiltonian"])
    crooked[0, 1] *= 1 + 1e-15
    mixed = (replace(records[0], matrices={"hamiltonian": crooked}), *records[1:])
    held = PreparedDataset(mixed, ALL)
    assert _same(held, PreparedDataset(mixed, ALL, Cache(tmp_path)))
    assert _same(held, PreparedDataset(mixed, ALL, Cache(tmp_path)))
    found = held[0].matrices["residual"] + held[0].matrices["baseline"]
    torch.testing.assert_close(found, torch.from_numpy(crooked), rtol=0, atol=1e-14)
    sizes = [sum(array.nbytes for array in arrays.values()) for arrays in held._in_memory]
    assert [ALL.n_bytes(record) for record in mixed] == pytest.approx(sizes, rel=0.1)


def test_interrupted_cache_goes_on_and_a_changed_molecule_is_made_anew(
    records: tuple[Record, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(n_done: int) -> None:
        if len(calls) == 2:
            raise KeyboardInterrupt

    calls: list[Record] = []
    monkeypatch.setattr(Preparation, "__call__", _count(calls))
    plain = Preparation("def2-svp", "sap")
    with pytest.raises(KeyboardInterrupt):
        PreparedDataset(records, plain, Cache(tmp_path), progress=stop)
    PreparedDataset(records, plain, Cache(tmp_path))
    assert calls == list(records)  # none twice
    calls.clear()
    changed = replace(records[1], energy=0.0)
    PreparedDataset((records[0], changed, records[2]), plain, Cache(tmp_path))
    assert calls == [changed]
    calls.clear()
    PreparedDataset(records[:1], replace(plain, baseline="none"), Cache(tmp_path))
    assert calls == [records[0]]


@pytest.mark.parametrize("damage", ["a byte", "the end", "all", "removed"])
def test_damaged_entry_is_made_again(
    records: tuple[Record, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    held, cache = PreparedDataset(records, ALL), Cache(tmp_path)
    kept = PreparedDataset(records, ALL, cache)
    path = cache.path(ALL.key(records[1]))
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    changes = {"a byte": bytes(data), "the end": bytes(data[:-9]), "all": b"\x80\x04N."}
    path.unlink() if damage == "removed" else path.write_bytes(changes[damage])
    calls: list[Record] = []
    monkeypatch.setattr(Preparation, "__call__", _count(calls))
    assert _same(held, kept)
    assert _same(held, kept)
    assert calls == [records[1]]


@pytest.mark.slow
def test_processes_fill_the_cache(records: tuple[Record, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FEW", 0)
    done: list[int] = []
    filled = PreparedDataset(records, ALL, Cache(tmp_path), n_workers=2, progress=done.append)
    assert sum(done) == 3
    monkeypatch.setattr(Preparation, "__call__", lambda *arguments: pytest.fail("computed again"))
    assert len([filled[index] for index in range(3)]) == 3


def test_hamiltonian_in_another_basis_is_refused(records: tuple[Record, ...]) -> None:
    with pytest.raises(InputError, match=r"H2O has the shape \(24, 24\), but model.basis=sto-3g needs \(7, 7\)"):
        PreparedDataset(records, Preparation("sto-3g", "sap"))


def _weights(output: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = load_file(output / "model" / "model.safetensors")
    return weights


def test_training_from_the_cache_is_training_from_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights from a folder beside the output, where memory would not do."""
    train(tiny_settings(tmp_path / "held", steps=2), progress=False)
    assert not (tmp_path / "mlwave-cache").exists()
    monkeypatch.setattr(run, "_IN_MEMORY", 0)
    train(tiny_settings(tmp_path / "large", steps=2), progress=False)
    assert len(list((tmp_path / "mlwave-cache").glob("*/*.safetensors"))) == 6
    held, large = _weights(tmp_path / "held"), _weights(tmp_path / "large")
    assert all(torch.equal(held[name], large[name]) for name in held)


def test_full_disk_is_noticed_before_the_first_integral(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_IN_MEMORY", 0)
    monkeypatch.setattr(run.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10**4}))
    monkeypatch.setattr(Preparation, "__call__", lambda *arguments: pytest.fail("an integral"))
    with pytest.raises(InputError, match=r"needs 0\.0 GB .*; give cache=FOLDER on another disk"):
        train(tiny_settings(tmp_path / "run"), progress=False)


def test_buckets_are_resumed_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"bucketing": 2, "steps": 3, "cache": str(tmp_path / "cache"), "checkpoint_minutes": 10.0}
    train(tiny_settings(tmp_path / "whole", **changes), progress=False)
    step = PhiSNetModule.training_step

    def interrupted(self: PhiSNetModule, batch: Any, number: int) -> Any:
        if number == 1:
            raise KeyboardInterrupt
        return step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(PhiSNetModule, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_settings(tmp_path / "part", **changes), progress=False)
    train(tiny_settings(tmp_path / "part", **changes), resume=True, progress=False)
    whole, part = _weights(tmp_path / "whole"), _weights(tmp_path / "part")
    assert all(torch.equal(whole[name], part[name]) for name in whole)


@pytest.mark.slow
def test_killed_run_leaves_whole_entries(tmp_path: Path) -> None:
    """After SIGKILL in the middle of a write there is no entry of that name, and the next run makes it."""
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from ase_mlwave.models.training import cache\n"
        "from ase_mlwave.models.phisnet.training import run\n"
        "from tests.models.phisnet.training.runs import tiny_settings\n"
        "save, count = cache.save_file, []\n"
        "def killed(*arguments, **options):\n"
        "    save(*arguments, **options); count.append(1)\n"
        "    if len(count) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "cache.save_file = killed\n"
        "run.train(tiny_settings(Path(sys.argv[1]) / 'run', cache=sys.argv[1] + '/cache'), progress=False)\n"
    )
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=root, check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "cache").glob("*/*.safetensors"))) == 1
    train(tiny_settings(tmp_path / "run", steps=2, cache=str(tmp_path / "cache")), progress=False)
    assert len(list((tmp_path / "cache").glob("*/*.safetensors"))) == 6


def test_training_data_leave_their_matrices_in_the_file(tmp_path: Path) -> None:
    assert all(isinstance(record, StoredRecord) for record in read_training_data(tiny_settings(tmp_path)))
