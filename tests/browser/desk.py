"""A server whose one VM does exactly what a test says: this machine, watched without SSH, with a run log of its own; nobody waits
for its guest."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.server import Server
from tests.support.wait import PATIENCE_S, wait_for

RUNNER = Path(__file__).parents[1] / "support" / "winarena_inside" / "run.py"
VM = "desk"
Task = tuple[str, str]


class Desk:
    """The server and the runner that writes the log. Methods return when the line is written."""

    def __init__(self, folder: Path, *, settings: str = "", more: Mapping[str, object] | None = None) -> None:
        """``settings`` and the ``more`` fields of the VM are those of the configuration."""
        self.folder = folder / "desk"
        self.folder.mkdir(parents=True)
        self.log = self.folder / "benchmark.log"
        self.log.touch()
        fields = {
            "name": VM,
            "transport": "local",
            "container": "",
            "guest_ip": "127.0.0.1",
            "waa_port": 1,
            "log_path": str(self.log),
            "log_side": "host",
            "results_dir": str(self.folder / "results"),
            "process": f"python.*run.py.*--log {self.log}",
            **(more or {}),
        }
        vm = "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())
        config = f'demo = "off"\nstatus_interval_s = 1\nrunner_grace_s = 3600\nguest_down_after_s = 86400\n{settings}\n[[vm]]\n{vm}'
        self.server = Server(folder, config=config)
        self._runner: subprocess.Popen[str] | None = None
        self._answers = -1

    @property
    def url(self) -> str:
        """Of the server."""
        return self.server.url

    def open(self) -> "Desk":
        """The server runs and follows the log."""
        self.server.start()
        wait_for(lambda: self.server.vm(VM)["connected"], what="the VM is watched")
        return self

    def close(self) -> None:
        """End the runner and the server. May be called twice."""
        self.end_run()
        self.server.stop()

    def start_run(self, tasks: Sequence[Task]) -> str:
        """A runner starts and opens the first task; gives the run's id as soon as the server knows it."""
        self.end_run()
        before = {run["run_id"] for run in self.server.get("/api/runs")["runs"]}
        self._answers, write_end = os.pipe()
        command = [sys.executable, str(RUNNER), "--log", str(self.log), "--answers", str(write_end), "--tasks", json.dumps(tasks)]
        self._runner = subprocess.Popen(
            command, cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[write_end], text=True
        )
        os.close(write_end)
        self._answer()

        def started() -> str | None:
            run = self.server.get(f"/api/current-run?vm={VM}")["run"]
            return str(run["run_id"]) if run is not None and run["run_id"] not in before and run["tasks"] else None

        return wait_for(started, what="the run is known")

    def step(self, action: str = 'computer.keyboard.write("x")') -> None:
        """One step of the open task; DONE ends the episode."""
        self._tell(do="step", action=action)

    def finish(self, score: float = 1.0) -> None:
        """The open task gets its score, the next one opens."""
        self._tell(do="finish", score=score)

    def crash(self, error: str) -> None:
        """The open task ends with an exception, the next one opens."""
        self._tell(do="crash", error=error)

    def write(self, text: str) -> None:
        """Log text as it is."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(text)

    def end_run(self) -> None:
        """The runner ends without a word."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        assert runner.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            runner.stdin.close()
        runner.wait(PATIENCE_S)
        os.close(self._answers)

    def current(self) -> Any:
        """The run as programs see it."""
        return self.server.get(f"/api/current-run?vm={VM}")["run"]

    def _tell(self, **command: object) -> None:
        assert self._runner is not None
        assert self._runner.stdin is not None
        self._runner.stdin.write(json.dumps(command) + "\n")
        self._runner.stdin.flush()
        self._answer()

    def _answer(self) -> None:
        line = b""
        while not line.endswith(b"\n"):
            piece = os.read(self._answers, 4096)
            assert piece, "the runner is gone"
            line += piece
