"""The files of a model folder, which change all at once or not at all.

A save writes all files into a folder of its own inside the model's (``.saving-...``), renames that to ``.next``, which
is the moment at which the model changes, and moves the files up, one by one. Killed before that moment it leaves the
old model, killed after it the new one: whoever reads a file takes it from ``.next`` where it is still there, and the
next save moves up what was left. Other files of the folder stay, and so does the folder itself, which may be a mount
point or somebody's working directory.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from ase.calculators.calculator import InputError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has no flock; there the user takes care
    fcntl = None

__all__ = ["check_place", "file_states", "find_file", "read_file", "replace_files"]

_SAVING, _NEXT = ".saving-", ".next"


def find_file(folder: Path, name: str) -> Path | None:
    """Return where a file of a model is, also while it is being saved; None if there is none."""
    return next((path for path in (folder / _NEXT / name, folder / name) if path.exists()), None)


def file_states(folder: Path, names: Iterable[str]) -> list[tuple[int, int, int] | None]:
    """Return what changes with every save of a file: its inode, time and size; moving it up changes nothing."""
    states: list[tuple[int, int, int] | None] = []
    for name in names:
        try:
            status = (find_file(folder, name) or folder / name).stat()
            states.append((status.st_ino, status.st_mtime_ns, status.st_size))
        except OSError:
            states.append(None)
    return states


def read_file(folder: Path, name: str, largest: int) -> bytes:
    """Read a file of a model.

    Parameters
    ----------
    folder : Path
        The model's.
    name : str
        Of the file.
    largest : int
        Bytes that are read at most.

    Returns
    -------
    bytes

    Raises
    ------
    InputError
        If it is missing, a link that leaves the folder, no regular file, or larger.
    """
    for _ in range(100):  # another process may move it up between finding and reading
        path = find_file(folder, name)
        if path is None:
            inside = folder / "model"  # of the folder of a training run
            hint = f" Did you mean {inside}?" if find_file(inside, name) is not None else ""
            raise InputError(
                f"{folder} has no {name}; a model folder has README.md, config.json, model.safetensors.{hint}"
            )
        try:
            _refuse_odd_file(folder, path, largest)
            return path.read_bytes()
        except FileNotFoundError:
            continue
    raise InputError(f"{folder / name} changes all the time. Wait until nobody saves into the folder.")


def _refuse_odd_file(folder: Path, path: Path, largest: int) -> None:
    if path.resolve().parent not in {folder.resolve(), folder.resolve() / _NEXT} or not path.is_file():
        if not path.exists():
            raise FileNotFoundError(path)
        raise InputError(f"{path} must be a regular file inside the model folder, not a link or a device.")
    size = path.stat().st_size
    if size > largest:
        raise InputError(f"{path} has {size} bytes, more than the {largest} that are read.")


def check_place(folder: Path) -> None:
    """Refuse a folder that cannot be made or written in, before what it is for is computed; nothing is made.

    Parameters
    ----------
    folder : Path
        May exist.

    Raises
    ------
    InputError
        If a part of the path is a file, or the last folder that there is cannot be written in.
    """
    place = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    if not place.is_dir():
        raise InputError(f"there can be no folder {folder}: {place} is a file. Give another place.")
    if not os.access(place, os.W_OK):
        raise InputError(f"the folder {place} cannot be written in. Give another place.")


def replace_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Give a model its files, all at once; remove what killed saves have left.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    files : mapping of str to bytes
        Name -> content. Files of other names are left alone.

    Raises
    ------
    OSError
        If they cannot be written; then the model is what it was.

    Notes
    -----
    Of several processes that save at once, one follows the other, where the file system has locks
    (``test_killed_at_any_moment_a_save_leaves_the_old_model_or_the_new_one``).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder) as nobody_else:
        _finish(folder)
        if nobody_else:
            for leftover in folder.glob(f"{_SAVING}*"):
                shutil.rmtree(leftover, ignore_errors=True)
        scratch = folder / f"{_SAVING}{uuid.uuid4().hex}"
        scratch.mkdir()
        try:
            for name, content in files.items():
                _write(scratch / name, content)
            _flush(scratch)
            scratch.rename(folder / _NEXT)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        _flush(folder)
        _finish(folder)


def _finish(folder: Path) -> None:
    """Move up the files of a save that has happened."""
    saved = folder / _NEXT
    if not saved.is_dir() or saved.is_symlink():
        return
    for path in sorted(saved.iterdir()):
        path.replace(folder / path.name)
    _flush(folder)
    saved.rmdir()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    """Let the disk have the names in a folder before what comes next."""
    if fcntl is None:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # a file system that cannot; it orders its writes by itself
        pass
    finally:
        os.close(descriptor)


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Wait until nobody else saves into a folder; False where that cannot be known. A killed process lets go."""
    if fcntl is None:
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            locked = True
        except OSError:
            locked = False
        yield locked
    finally:
        os.close(descriptor)
