"""Which rows of a dataset are in work, and in which process: locks that end with the process that holds them.

A claim is a lock and nothing else: no entry in the database, no heartbeat, no clock. When a process dies, in whatever
way, the operating system frees its locks, and its rows are as unclaimed as any other.
"""

from __future__ import annotations

import errno
import os
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from ase.calculators.calculator import InputError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows, where PySCF does not run either
    fcntl = None

__all__ = ["Claims", "FileClaims"]


class Claims(ABC):
    """Claim rows of one dataset, for as long as this object is open and the process lives."""

    @abstractmethod
    def take(self, row: int) -> bool:
        """Claim a row; False if somebody has it, this object included."""

    @abstractmethod
    def release(self, row: int) -> None:
        """Give up a row that was taken."""

    @abstractmethod
    def close(self) -> None:
        """Give up all rows."""

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@dataclass
class _LockFile:
    """The lock file as this process has it open; byte 0 says that somebody is here, byte n that row n is taken."""

    descriptor: int
    n_users: int = 0
    taken: set[int] = field(default_factory=set)


#: By process, device and inode. POSIX locks belong to a process, which loses all its locks on a file when it closes any
#: descriptor of it: the process needs one descriptor per file, and keeps its own threads apart itself. The process is
#: in the key because a fork inherits this dictionary, but no locks.
_FILES: dict[tuple[int, int, int], _LockFile] = {}
_GUARD = threading.Lock()

_PRESENCE = 0
#: What a lock that somebody else holds is reported as.
_HELD = frozenset({errno.EAGAIN, errno.EACCES})


class FileClaims(Claims):
    """Claim rows by locks on the bytes of a hidden file beside the database.

    Parameters
    ----------
    path : Path
        The database. The file of the locks disappears with the last process that uses it.

    Raises
    ------
    InputError
        If the system has no POSIX locks.
    OSError
        If the file cannot be made, or the file system has no locks.

    Notes
    -----
    These are the locks that SQLite itself relies on: where it works (several machines on a network file system, say,
    if that has locks), claims do. They are not inherited by child processes.
    """

    def __init__(self, path: Path) -> None:
        if fcntl is None:
            raise InputError("labelling needs the file locks of POSIX systems; on Windows, run it in WSL.")
        self._fcntl = fcntl
        self._path = path.with_name(f".{path.name}.claims")
        self._own: set[int] = set()
        with _GUARD:
            self._key, self._file = self._open()
            self._file.n_users += 1

    def take(self, row: int) -> bool:
        """Claim a row; False if somebody has it."""
        with _GUARD:
            if row in self._file.taken or not self._lock(self._file.descriptor, row):
                return False
            self._file.taken.add(row)
            self._own.add(row)
            return True

    def release(self, row: int) -> None:
        """Give up a row that was taken."""
        with _GUARD:
            if row in self._own:
                self._fcntl.lockf(self._file.descriptor, self._fcntl.LOCK_UN, 1, row)
                self._file.taken.discard(row)
                self._own.discard(row)

    def close(self) -> None:
        """Give up all rows; the last process removes the file."""
        for row in tuple(self._own):
            self.release(row)
        with _GUARD:
            if self._key not in _FILES:  # closed before, or inherited by a fork
                return
            self._file.n_users -= 1
            if self._file.n_users == 0:
                if self._lock(self._file.descriptor, _PRESENCE):
                    self._path.unlink(missing_ok=True)
                os.close(self._file.descriptor)
                del _FILES[self._key]

    def _open(self) -> tuple[tuple[int, int, int], _LockFile]:
        """Open the lock file, or return it if this process has it open."""
        while True:
            present = self._identity(self._path)
            if present in _FILES:
                return present, _FILES[present]
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            self._fcntl.lockf(descriptor, self._fcntl.LOCK_SH, 1, _PRESENCE)
            key = self._identity(descriptor)
            if key is not None and key == self._identity(self._path):
                return key, _FILES.setdefault(key, _LockFile(descriptor))
            os.close(descriptor)  # its last user has removed the file in between

    def _identity(self, file: Path | int) -> tuple[int, int, int] | None:
        try:
            status = os.stat(file)
        except FileNotFoundError:
            return None
        return os.getpid(), status.st_dev, status.st_ino

    def _lock(self, descriptor: int, byte: int) -> bool:
        """Lock a byte for this process alone, if nobody else has it."""
        try:
            self._fcntl.lockf(descriptor, self._fcntl.LOCK_EX | self._fcntl.LOCK_NB, 1, byte)
        except OSError as error:
            if error.errno in _HELD:
                return False
            raise
        return True
