"""Start PostgreSQL servers for tests: in a temporary folder, on loopback, at a free port."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "pa55-never-shown"

PROGRAM_FOLDERS = (
    *Path("/usr/lib/postgresql").glob("*/bin"),
    Path("/usr/local/bin"),
    Path("/usr/bin"),
)


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server that can be stopped and started."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        return f"postgresql+psycopg://designer:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        settings = "-c fsync=off -c listen_addresses=127.0.0.1 -c max_connections=200"
        options = f"{settings} -p {self.port} -k {self.folder}"
        log = str(self.folder / "log")
        _run("pg_ctl", "start", "--wait", "-D", self.data, "-l", log, "-o", options)

    def stop(self) -> None:
        """Stop the server at once, as a crash does."""
        _run("pg_ctl", "stop", "--wait", "-m", "immediate", "-D", self.data)

    @property
    def data(self) -> str:
        """The folder of its data."""
        return str(self.folder / "data")


@contextmanager
def postgres() -> Iterator[Server]:
    """Start a server; on leaving stop it and delete its files."""
    folder = Path(tempfile.mkdtemp(prefix="designer-postgres-"))
    secret = folder / "password"
    secret.write_text(PASSWORD, encoding="utf-8")
    for path in (folder, secret):
        if (owner := _owner()) is not None:
            shutil.chown(path, owner)
    server = Server(folder, free_port())
    try:
        _run(
            "initdb", "-D", str(folder / "data"), "-U", "designer", "--no-sync",
            "--auth=scram-sha-256", f"--pwfile={secret}",
        )  # fmt: skip
        server.start()
        try:
            yield server
        finally:
            subprocess.run(_command("pg_ctl", "stop", "-m", "immediate", "-D", server.data),
                           capture_output=True, user=_owner(), cwd=folder, check=False)  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _owner() -> str | None:
    """Return the user to run as, because PostgreSQL refuses to run as root; None for this one."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _command(program: str, *arguments: str) -> list[str]:
    paths = [folder / program for folder in PROGRAM_FOLDERS if (folder / program).exists()]
    if not paths:
        raise RuntimeError(f"PostgreSQL's {program} is missing; install the package postgresql.")
    return [str(paths[-1]), *arguments]


def _run(program: str, *arguments: str) -> None:
    # A file and no pipe: the server that pg_ctl starts would hold a pipe open while it runs.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            _command(program, *arguments),
            stdout=output,
            stderr=subprocess.STDOUT,
            user=_owner(),
            cwd="/",
            check=False,
        )
        output.seek(0)
        assert done.returncode == 0, output.read().decode()
