"""The product as a process, as a user starts it: ``python server.py`` with its own data folder and a free port."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.wait import PATIENCE_S, wait_for

NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
"""Where it is set, each start of a server compiles the product anew."""
ROOT = Path(__file__).resolve().parent.parent.parent


class Server:
    """One server process. ``start`` waits for its URL; ``kill`` is kill -9; starting again keeps port and data."""

    def __init__(
        self, folder: Path, *, config: str = "", environment: Mapping[str, str] | None = None, python: str = sys.executable
    ) -> None:
        self.folder = folder
        self.port = 0
        self.output: list[str] = []
        self._config = folder / "waa.toml"
        self._config.write_text(config, encoding="utf-8")
        self._environment = dict(environment or {})
        self._python = python
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def write_config(self, config: str) -> None:
        """For the next start."""
        self._config.write_text(config, encoding="utf-8")

    def start(self) -> "Server":
        """Until it says where it serves."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WAA_") and name != NO_BYTECODE},
            "WAA_CONFIG": str(self._config),
            "WAA_DATA": str(self.folder / "data"),
            "WAA_PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",
            **self._environment,
        }
        process = subprocess.Popen(
            [self._python, str(ROOT / "server.py")],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._process = process
        self._reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._reader.start()
        mark = len(self.output)
        found = wait_for(lambda: self._find_url(mark), what="the server's URL")
        self.port = int(found)
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """A clean stop; gives the exit status. Shows the output where it does not end."""
        process = self._process
        if process is None:
            return 0
        self._process = None
        if process.poll() is None:
            process.send_signal(number)
        try:
            status = process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the server did not stop:\n{self.text()}") from None
        self._close(process)
        return status

    def kill(self) -> None:
        """kill -9."""
        process = self._process
        assert process is not None
        self._process = None
        process.kill()
        process.wait()
        self._close(process)

    def text(self) -> str:
        """What it has printed."""
        return "".join(self.output)

    def get(self, path: str) -> Any:
        """The JSON at a path."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def html(self, path: str) -> str:
        """The text at a path."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=PATIENCE_S) as answer:
            text: str = answer.read().decode()
            return text

    def send(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """The status and JSON (or None) of a request with a JSON body."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, _json(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _json(error.read())

    def vm(self, name: str) -> Any:
        """One VM as programs see it."""
        return self.get(f"/api/vms/{name}")

    def _find_url(self, mark: int) -> str | None:
        assert self._process is not None
        found = re.search(r"http://\S+?:(\d+)/", "".join(self.output[mark:]))
        if found is None and self._process.poll() is not None:
            raise AssertionError(f"the server ended at once:\n{self.text()}")
        return found.group(1) if found is not None else None

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.output.append(line)

    def _close(self, process: subprocess.Popen[str]) -> None:
        assert self._reader is not None
        self._reader.join(5)
        if process.stdout is not None:
            process.stdout.close()


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
