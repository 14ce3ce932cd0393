"""A PostgreSQL server of our own for the time of some tests, where the machine has one installed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "s3cret/x@y"
ENCODED = "s3cret%2Fx%40y"


def server_programs() -> Path | None:
    """Return the folder with ``initdb`` and ``pg_ctl``, or None."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


def can_run_server() -> bool:
    """Tell whether there is a server, and an account to run it under: it refuses the superuser's."""
    return server_programs() is not None and (os.getuid() != 0 or _account() is not None)


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """Start a server with its data in an empty folder, and give the address up to the name of the database."""
    programs = server_programs()
    assert programs is not None
    as_user = {}
    if os.getuid() == 0:
        account = _account()
        assert account is not None
        as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        os.chown(folder, account.pw_uid, account.pw_gid)

    def run(program: str, *arguments: str | Path) -> None:
        command = [str(programs / program), *map(str, arguments)]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **as_user)  # type: ignore[call-overload]

    (folder / "password").write_text(PASSWORD)
    data, port = folder / "data", _free_port()
    run("initdb", "-D", data, "-U", "ann", "-A", "scram-sha-256", "--pwfile", folder / "password", "-N", "--locale=C")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("pg_ctl", "-D", data, "-w", "-t", "120", "-l", folder / "log", "-o", options, "start")
    try:
        yield f"postgresql://ann:{ENCODED}@127.0.0.1:{port}"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")


def _account() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
