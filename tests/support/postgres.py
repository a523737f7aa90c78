"""A PostgreSQL cluster that is made for the tests and thrown away: no port, a socket in a folder of its own."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.exc import OperationalError

from tests.support.wait import PATIENCE_S, wait_for
from waa.store.engine import make_engine

INSTALLED = Path("/usr/lib/postgresql")
"""Where Debian puts its versions, outside of the PATH."""
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # the folder goes away with the tests
    "shared_buffers": "16MB",
    "max_connections": "40",
    "autovacuum": "off",
}


def program(name: str) -> str | None:
    """The path of one of PostgreSQL's programs, of the newest version; None where there is none."""
    found = sorted(INSTALLED.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0)
    return str(found[-1]) if found else shutil.which(name)


def is_installed() -> bool:
    """Whether a cluster can be made here."""
    return program("initdb") is not None and program("postgres") is not None


class Postgres:
    """The cluster: made by ``start``, gone with ``close``. PostgreSQL refuses to run as root: then it runs as its own user, or nobody."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="waa-postgres-"))
        self._user = _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)

    @property
    def url(self) -> str:
        """Of its one database, as a user would set it."""
        return f"postgresql://waa@/postgres?host={self._folder}"

    def start(self) -> "Postgres":
        """Until it takes connections. May be called again after ``stop``."""
        if not (self._folder / "data").exists():
            options = ("--auth=trust", "--username=waa", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions")
            made = self._popen([str(program("initdb")), *options, "-D", str(self._folder / "data")])
            output = made.communicate(timeout=PATIENCE_S)[0]
            assert made.returncode == 0, output.decode()
        settings = [f"--{name}={value}" for name, value in {**SETTINGS, "unix_socket_directories": str(self._folder)}.items()]
        self._process = self._popen([str(program("postgres")), "-D", str(self._folder / "data"), *settings], log=True)
        wait_for(self._answers, what="PostgreSQL takes connections")
        return self

    def stop(self) -> None:
        """It cuts its connections and ends, as when it is restarted."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_S)

    def close(self) -> None:
        """End it and remove its folder. May be called twice."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, *statements: str) -> list[tuple[object, ...]]:
        """The rows of some statements."""
        engine = make_engine(self.url)
        with engine.begin() as connection:
            results = [connection.exec_driver_sql(statement) for statement in statements]
            rows = [tuple(row) for result in results if result.returns_rows for row in result]
        engine.dispose()
        return rows

    def wipe(self) -> None:
        """Nothing is in the database."""
        self.run("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            self.run("SELECT 1")
        except OperationalError:
            return False
        return True

    def _popen(self, command: Sequence[str], *, log: bool = False) -> subprocess.Popen[bytes]:
        user = self._user
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}
        with (self._folder / "log").open("ab") as file:
            return subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file if log else subprocess.PIPE,
                stderr=subprocess.STDOUT,
                user=user.pw_uid if user is not None else None,
                group=user.pw_gid if user is not None else None,
                extra_groups=[] if user is not None else None,
                start_new_session=True,
            )


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom it runs as where this user is root; None: as this user."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]
