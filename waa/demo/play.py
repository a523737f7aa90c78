"""The play: container, Windows, benchmark, rest; again and again, in a thread of its own."""

import contextlib
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from waa.demo.boot import first_boot, ready_lines, warm_boot
from waa.demo.engine import Engine
from waa.demo.guest import Guest
from waa.demo.process import Child, Guard
from waa.demo.screen import Scene, draw

logger = logging.getLogger(__name__)

_ABSENT_S = 2.0
_READY_S = 4.0
_IDLE_S = 30.0
_EXITED_S = 2.0
_EXIT_CODE = 137  # the container's first process ignores SIGTERM, and is killed
_TRY_AGAIN_S = 5.0
_JOIN_S = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the play is played. ``environment`` is the benchmark's; ``package_root`` the folder that holds ``waa``."""

    folder: Path
    environment: Mapping[str, str]
    engine: Engine
    guest: Guest
    guard: Guard
    speed: float
    seed: int

    @property
    def log(self) -> Path:
        """The run log."""
        return self.folder / "waa_benchmark.log"

    @property
    def results(self) -> Path:
        """The result tree."""
        return self.folder / "results"

    @property
    def screen(self) -> Path:
        """A PNG of the desktop as it is now."""
        return self.folder / "screen.png"


class _StoppedError(Exception):
    """The play was asked to end."""


class Play:
    """Runs from ``start`` to ``stop``."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._runner: Child | None = None
        self._thread = threading.Thread(target=self._repeat, name="demo-play", daemon=True)

    def start(self) -> None:
        """Begin the first cycle."""
        self._thread.start()

    def stop(self) -> None:
        """End the benchmark and the play. May be called twice."""
        self._stopping.set()
        with self._lock:
            if self._runner is not None:
                self._runner.kill()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _repeat(self) -> None:
        cycle = 1
        with contextlib.suppress(_StoppedError):
            while True:
                try:
                    self._cycle(cycle)
                except OSError as error:
                    logger.warning("the demo VM stumbled and starts again: cycle=%s error=%s", cycle, error)
                    self._power_off()
                    self._pause(_TRY_AGAIN_S)
                cycle += 1

    def _cycle(self, cycle: int) -> None:
        stage = self._stage
        rng = Random(f"boot/{stage.seed}/{cycle}")  # noqa: S311 - a play, not a secret
        self._pause(_ABSENT_S)
        stage.engine.start_container()
        stage.guest.display.up()
        for beat in first_boot(rng) if cycle == 1 else warm_boot(rng):
            self._pause(beat.delay_s)
            for line in beat.lines:
                stage.engine.log(line)
            if beat.page is not None:
                stage.guest.show_setup(beat.page)
        stage.screen.write_bytes(draw(Scene()))
        stage.guest.server.up()
        for line in ready_lines():
            stage.engine.log(line)
        self._pause(_READY_S)
        self._benchmark(cycle)
        self._pause(_IDLE_S)
        stage.guest.server.down()
        stage.guest.display.down()
        stage.engine.stop_container(_EXIT_CODE)
        self._pause(_EXITED_S)
        stage.engine.remove_container()

    def _power_off(self) -> None:
        self._stage.guest.server.down()
        self._stage.guest.display.down()
        with contextlib.suppress(OSError):
            self._stage.engine.remove_container()

    def _benchmark(self, cycle: int) -> None:
        """Run the client to its end, with a new log and, as upstream's start script does, without earlier results."""
        stage = self._stage
        shutil.rmtree(stage.results, ignore_errors=True)
        if stage.log.exists():
            stage.log.replace(stage.log.with_name(f"{stage.log.name}.1"))  # a new file, not the old one emptied: followers notice
        with stage.log.open("ab") as log, self._lock:
            if self._stopping.is_set():
                raise _StoppedError
            runner = self._runner = stage.guard.spawn(
                self._command(cycle),
                folder=stage.folder,
                environment=stage.environment,
                stdin=subprocess.PIPE,
                stdout=log.fileno(),
                stderr=log.fileno(),
            )
        runner.process.wait()
        with self._lock:
            self._runner = None
        status = runner.end()
        if status and not self._stopping.is_set():
            logger.warning("the demo's benchmark ended early: status=%s", status)

    def _command(self, cycle: int) -> list[str]:
        stage = self._stage
        options = {
            "agent_name": "navi",
            "model": "gpt-4o",
            "trial_id": "0",
            "emulator_ip": "127.0.0.1",
            "emulator_port": stage.guest.server.port,
            "diff_lvl": "normal",
            "result_dir": stage.results,
            "screen": stage.screen,
            "seed": stage.seed,
            "cycle": cycle,
            "speed": stage.speed,
        }
        script = Path(__file__).with_name("run.py")
        return [sys.executable, str(script), *(str(part) for name, value in options.items() for part in (f"--{name}", value))]

    def _pause(self, seconds: float) -> None:
        if self._stopping.wait(seconds / self._stage.speed):
            raise _StoppedError


def process_pattern(port: int) -> str:
    """What finds the benchmark of the demo whose guest has that port, among all processes of this machine."""
    return rf"python.*run\.py.*--emulator_port {port} --diff"
