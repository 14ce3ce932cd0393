from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import InputError
from typer.testing import CliRunner

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.cli.main import app
from ase_mlwave.data import postgresql
from ase_mlwave.data.database import DatasetFile, write_database
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset
from ase_mlwave.data.stores import store_at
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.reference.labelling import label_geometries
from ase_mlwave.reference.levels import CalculatorLevel
from tests.data.postgres_server import ENCODED, PASSWORD, can_run_server, postgres_server
from tests.data.test_database import ENTRIES, first_format, record, told
from tests.reference import levels_for_tests
from tests.reference.scripts import finish, noted, script, wait_for_labels
from tests.reference.test_labelling import waters

pytest.importorskip("psycopg2")

needs_server = pytest.mark.skipif(not can_run_server(), reason="no PostgreSQL server is installed")


def hides(message: str) -> bool:
    return not any(text in message for text in (PASSWORD, ENCODED, "s3cret", "x@y"))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://node1/amons", "postgresql://node1/amons"),
        ("postgres://ann@node1:5433/amons", "postgres://ann@node1:5433/amons"),
        (f"postgresql://ann:{ENCODED}@node1:5433/amons", "postgresql://ann@node1:5433/amons"),
        ("postgresql://node1/amons?user=ann&password=s3cret", "postgresql://node1/amons?user=ann"),
        ("postgresql:///amons?host=/var/run", "postgresql:///amons?host=/var/run"),
        ("postgresql://ann:s3cret@[::1]:5433,node2/amons", "postgresql://ann@[::1]:5433,node2/amons"),
    ],
)
def test_address_is_shown_without_its_password(address: str, shown: str) -> None:
    parsed = postgresql.Address(address)
    assert str(parsed) == repr(parsed) == shown
    assert parsed.full == address
    assert store_at(address).name == shown
    password = PASSWORD if ENCODED in address else "s3cret"
    if password in unquote(address):
        assert hides(parsed.scrub(f"{address} failed, password {password}"))


@pytest.mark.parametrize(
    "address",
    [
        "postgresql:amons",
        "postgresql:/node1/amons",  # what pathlib makes of an address
        "postgresql://ann:s3cret/x@y@node1/amons",
        "postgresql://ann:s3cret?x@node1/amons",
        "postgresql://node1/amons?password=s3cret@x",
    ],
)
def test_malformed_addresses_are_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ValueError, match=r"write %40 for @") as caught:
        DatasetFile(address)
    assert hides(str(caught.value))


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ase_db_backends.postgresql", None)
    postgresql._backend.cache_clear()
    with pytest.raises(InputError, match=r"pip install 'ase-mlwave\[postgresql\]'"):
        DatasetFile("postgresql://ann@node1/amons")


def test_absent_server_is_one_line_without_password(tmp_path: Path) -> None:
    address = f"postgresql://ann:{ENCODED}@127.0.0.1:9/amons"
    with pytest.raises(
        ConnectionError, match=r"no connection to postgresql://ann@127.0.0.1:9/amons: .*refused"
    ) as caught:
        DatasetFile(address)
    assert hides(str(caught.value))
    ase.io.write(tmp_path / "water.xyz", molecule("H2O"))
    result = CliRunner().invoke(app, ["label", str(tmp_path / "water.xyz"), address, "--level", "hf/sto-3g"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 2  # what was read, and the error
    assert hides(result.output)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="pg") as folder, postgres_server(Path(folder)) as address:
        yield address


@pytest.fixture
def address(server: str, request: pytest.FixtureRequest) -> str:
    """Return the address of a new database."""
    import psycopg2

    connection = psycopg2.connect(f"{server}/postgres")
    connection.autocommit = True
    name = f"db_{abs(hash(request.node.name))}"
    connection.cursor().execute(f"CREATE DATABASE {name}")
    connection.close()
    return f"{server}/{name}"


@needs_server
def test_entries_of_users_are_untouched_on_a_server(address: str) -> None:
    write_database(address, Dataset((record(0, info=ENTRIES),), "pbe/def2-svp", "here"))
    assert read_dataset(address)[0].info == ENTRIES


@needs_server
def test_first_format_is_upgraded_on_a_server(address: str) -> None:
    store_at(address).create(first_format)
    before = told(DatasetFile(address))
    assert DatasetFile(address).metadata["format_version"] == 1
    assert DatasetFile(address).add([record(9, info={"status": "mine"})]) == 1
    file = DatasetFile(address)
    assert file.metadata["format_version"] == 2
    assert told(file)[1:3] == before[1:3]
    assert [r.info for r in file.read()] == [before[0][0][2], {"status": "mine"}]


@needs_server
def test_server_returns_what_was_written(address: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no dataset in postgresql://ann@127"):
        DatasetFile(address)
    info = {"split": "train", "smiles": "C=O", "name": "0068", "converged": True, "history": [1, 2.5, "three"]}
    records = (record(0, info=info), record(1, charge=-1, spin=2))
    file = write_database(address, Dataset(records, "pbe/def2-svp", "here"), {"grid_level": 3})
    with pytest.raises(FileExistsError):
        DatasetFile.create(address, "hf/sto-3g")
    on_server, in_file = read_dataset(address), tmp_path / "copy.db"
    write_database(in_file, on_server)
    assert hides(on_server.source)
    assert hides(file.path)
    assert (on_server.level, file.metadata["level_settings"]) == ("pbe/def2-svp", {"grid_level": 3})
    for before, after, copied in zip(records, on_server, read_dataset(in_file), strict=True):
        assert before.info == after.info == copied.info
        assert (before.charge, before.spin) == (after.charge, after.spin)
        assert before.matrices["hamiltonian"].tobytes() == after.matrices["hamiltonian"].tobytes()
        np.testing.assert_allclose(after.forces, before.forces, rtol=4e-16)  # type: ignore[arg-type]
        np.testing.assert_allclose(after.positions, before.positions, rtol=4e-16)


@needs_server
def test_long_texts_are_kept_and_found_on_a_server(address: str) -> None:
    """Its indices hold no texts of more than some kilobytes."""
    texts = ["C" * 300, "C" * 9000]
    file = write_database(address, Dataset(tuple(record(k, info={"long": t}) for k, t in enumerate(texts)), "hf/a", ""))
    for some in ({texts[0]}, {texts[1]}, {*texts}):
        assert {found.info["long"] for found in file.read_some("long", some)} == some


@needs_server
def test_rows_and_claims_of_a_server(address: str) -> None:
    file = DatasetFile.open_or_create(address, "emt")
    bare = [replace(r, energy=None, forces=None, matrices={}) for r in (record(0), record(1))]
    assert file.add(bare) == 2
    assert file.add(bare) == 0
    rows = list(file.pending())
    with file.claims() as mine, file.claims() as others:
        assert mine.take(rows[0])
        assert not mine.take(rows[0])
        assert not others.take(rows[0])
        assert others.take(rows[1])
        mine.release(rows[0])
        assert others.take(rows[0])
    with file.claims() as claims:
        assert claims.take(rows[0])
    file.store(rows[1], record(1))
    file.fail(rows[0], bare[0], "no")
    file.fail(rows[1], bare[1], "labels stay")
    assert file.counts() == {"labelled": 1, "failed": 1, "pending": 0}
    with pytest.raises(ValueError, match="1 labelled molecules, but 2"):
        file.assign("split", ["train", "test"])
    file.assign("split", ["test"])
    assert read_dataset(address).splits == {"test": 1}


#: Arguments: address, first and last molecule.
SCRIPT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from ase_mlwave.reference.labelling import label_geometries
from ase_mlwave.reference.levels import CalculatorLevel
from tests.reference.levels_for_tests import noted
from tests.reference.test_labelling import waters

first, last = map(int, sys.argv[2:])
with ThreadPoolExecutor(1) as executor:
    label_geometries(waters(last)[first:], sys.argv[1], CalculatorLevel("noted", noted), executor=executor)
"""


@needs_server
def test_many_processes_write_to_one_server(address: str, tmp_path: Path) -> None:
    """Three label what they partly share; one is killed, and the others take over what it had claimed."""
    with (
        script(tmp_path, SCRIPT, address, "0", "12") as one,
        script(tmp_path, SCRIPT, address, "6", "18") as other,
        script(tmp_path, SCRIPT, address, "0", "18") as victim,
    ):
        wait_for_labels(address, 4)
        victim.kill()
        victim.wait()
        finish(one)
        finish(other)
    with ThreadPoolExecutor(1) as threads:
        level = CalculatorLevel("noted", levels_for_tests.noted)
        file = label_geometries(waters(18), address, level, executor=threads)
    assert file.counts() == {"labelled": 18, "failed": 0, "pending": 0}
    assert sorted(r.info["index"] for r in file.read()) == list(range(18))
    times, _ = noted(tmp_path)
    assert times.keys() == {str(index) for index in range(18)}
    assert sum(times.values()) <= 19  # what the killed one had just computed


@needs_server
def test_wrong_password_is_not_shown(address: str) -> None:
    with pytest.raises(ConnectionError, match="password authentication failed") as caught:
        DatasetFile(address.replace(ENCODED, f"x{ENCODED}"))
    assert hides(str(caught.value))


@needs_server
def test_amons_are_learned_from_a_server(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    level = CalculatorLevel("slow", levels_for_tests.slow)
    for n_new in (3, 0):
        with ThreadPoolExecutor(1) as executor:
            options = {"reference": level, "max_heavy": 2, "settings": FitSettings(directions=0), "executor": executor}
            calc = AmonsCalculator.for_query(molecule("CH3OH"), database=address, **options)
        assert calc.study is not None
        assert calc.study.n_new >= n_new if n_new else calc.study.n_new == 0
    assert [path.parent.name for path in Path().glob("*/*") if path.is_dir()] == ["amons-models"]
    for file in Path().rglob("*.*"):
        assert b"s3cret" not in (file.read_bytes() if file.is_file() else b"")
