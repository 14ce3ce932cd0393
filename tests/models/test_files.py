"""A save is one step: at any moment a folder holds the old model or the new one."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from ase.calculators.calculator import InputError

from ase_mlwave.models import files as model_files
from ase_mlwave.models import folder as zoo
from ase_mlwave.models.files import check_place, find_file, read_file, replace_files
from ase_mlwave.models.folder import ModelFolder
from tests.calculators.morse import morse_folder

FILES = ["README.md", "config.json", "model.safetensors"]
OLD, NEW = ({name: f"{age} {name}".encode() for name in FILES} for age in ("old", "new"))

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a child process")


@pytest.fixture
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files.os, "fsync", lambda descriptor: None)


def _content(folder: Path) -> dict[str, bytes]:
    return {name: read_file(folder, name, 100) for name in FILES}


def _killed_at(line: int, folder: Path) -> bool:
    """Save in a child that kills itself before the n-th line of the module; True if it came to its end first."""
    child = os.fork()
    if child == 0:
        seen = 0

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal seen
            if frame.f_code.co_filename != model_files.__file__:
                return None
            if event == "line":
                seen += 1
                if seen > line:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        try:
            sys.settrace(trace)
            replace_files(folder, NEW)
            sys.settrace(None)
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


@posix
@pytest.mark.usefixtures("without_waiting_for_the_disk")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_at_any_moment_a_save_leaves_the_old_model_or_the_new_one(tmp_path: Path) -> None:
    found = []
    replace_files(tmp_path / "old", OLD)
    (tmp_path / "old" / "calibration.png").write_bytes(b"picture")
    for line in range(0, 1000, 3):  # every third, for time
        folder = tmp_path / str(line)
        shutil.copytree(tmp_path / "old", folder)
        done = _killed_at(line, folder)
        found.append(_content(folder))
        assert found[-1] in (OLD, NEW)
        assert (folder / "calibration.png").read_bytes() == b"picture"
        replace_files(folder, NEW if line % 2 else OLD)
        assert _content(folder) == (NEW if line % 2 else OLD)
        assert sorted(os.listdir(folder)) == sorted([*FILES, "calibration.png"])
        if done:
            break
    assert done
    assert found == sorted(found, key=lambda content: content == NEW)  # from one line on it is the new one
    assert found.count(NEW) > 2
    assert found.count(OLD) > 2


@posix
@pytest.mark.usefixtures("without_waiting_for_the_disk")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_first_save_that_is_killed_leaves_nothing_or_a_model(tmp_path: Path) -> None:
    for line in range(0, 1000, 5):
        folder = tmp_path / str(line)
        done = _killed_at(line, folder)
        there = [name for name in FILES if find_file(folder, name) is not None]
        assert there == [] or _content(folder) == NEW
        replace_files(folder, OLD)
        assert sorted(os.listdir(folder)) == FILES
        if done:
            break
    assert done


def test_what_a_killed_save_has_left_is_removed_but_not_a_save_in_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_files(tmp_path, OLD)
    (tmp_path / ".saving-dead").mkdir()
    (tmp_path / ".saving-dead" / "README.md").write_bytes(b"half")
    write, going, go_on = model_files._write, threading.Event(), threading.Event()

    def slowly(path: Path, content: bytes) -> None:
        write(path, content)
        going.set()
        assert go_on.wait(20)

    monkeypatch.setattr(model_files, "_write", slowly)
    first = threading.Thread(target=replace_files, args=(tmp_path, NEW))
    first.start()
    assert going.wait(20)
    assert not (tmp_path / ".saving-dead").exists()
    (in_progress,) = tmp_path.glob(".saving-*")
    monkeypatch.setattr(model_files, "_write", write)
    second = threading.Thread(target=replace_files, args=(tmp_path, OLD))
    second.start()
    second.join(0.2)
    assert in_progress.exists()
    assert _content(tmp_path) == OLD
    go_on.set()
    first.join(20)
    second.join(20)
    assert _content(tmp_path) == OLD
    assert sorted(os.listdir(tmp_path)) == FILES


@pytest.mark.usefixtures("morse_kind")
def test_readers_never_see_a_mixture(tmp_path: Path) -> None:
    saved = [morse_folder(depth=0.1), morse_folder(depth=0.2)]
    saved[0].save(tmp_path)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for one in saved:
                one.save(tmp_path)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        depths = {ModelFolder.load(tmp_path).weights["depth"].item() for _ in range(100)}
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert depths <= {0.1, 0.2}


def test_a_full_disk_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_files(tmp_path, OLD)
    write = model_files._write

    def full(path: Path, content: bytes) -> None:
        if path.name == "model.safetensors":
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(model_files, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        replace_files(tmp_path, NEW)
    assert _content(tmp_path) == OLD
    assert sorted(os.listdir(tmp_path)) == FILES


def test_a_model_is_saved_into_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inode = os.stat(".").st_ino
    for content in (OLD, NEW):
        replace_files(Path("."), content)
        assert _content(Path(".")) == content
    assert os.stat(".").st_ino == os.stat(tmp_path).st_ino == inode


def test_files_of_the_next_model_are_checked_as_any(tmp_path: Path) -> None:
    replace_files(tmp_path / "model", OLD)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "config.json").write_bytes(b"x")
    (tmp_path / "model" / ".next").symlink_to(outside)
    with pytest.raises(InputError, match="not a link or a device"):
        read_file(tmp_path / "model", "config.json", 100)


@pytest.mark.usefixtures("morse_kind")
def test_a_model_whose_files_still_wait_is_listed_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    morse_folder().save(tmp_path / "morse")
    (tmp_path / "morse" / ".next").mkdir()
    for name in FILES:
        (tmp_path / "morse" / name).rename(tmp_path / "morse" / ".next" / name)
    monkeypatch.setattr(zoo, "_zoo_folder", lambda: tmp_path)
    assert zoo.list_models() == ["morse"]
    assert ModelFolder.load("morse").config == morse_folder().config


def test_folder_of_a_run_leads_to_its_model(morse_kind: None, tmp_path: Path) -> None:
    morse_folder().save(tmp_path / "runs" / "model")
    with pytest.raises(InputError, match=r"runs has no config\.json.*Did you mean .*runs/model\?$"):
        ModelFolder.load(tmp_path / "runs")
    with pytest.raises(InputError, match=r"no config\.json.*model\.safetensors\.$"):
        ModelFolder.load(tmp_path)


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_place(tmp_path / "new" / "one")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        with pytest.raises(InputError, match=f"there can be no folder .*{place}: .*file is a file. Give another place"):
            check_place(tmp_path / place)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(InputError, match="cannot be written in"):
        check_place(tmp_path / "new" / "one")
