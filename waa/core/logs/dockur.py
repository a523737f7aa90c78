"""The lines of a container that boots Windows: dockur/windows (v3 to v6) and the WAA scripts around it.

They have no header and no time of their own. "Windows started" is a timer and "Shutdown completed!" no proof of a
clean stop: only the runner's server tells that Windows is ready (ServerReady), only the way down tells how it stopped.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from waa.core.logs.fact import (
    AnyFact,
    BootFailed,
    BootProgressed,
    BootStaged,
    BootStopped,
    BootWarned,
    ContainerBooted,
    ServerReady,
    ServerWaiting,
)
from waa.core.logs.record import MAX_ERROR, shown
from waa.core.status import BootStage

MARK = "❯ "
MAX_DETAIL = 500
STARTING = "Starting WinArena..."
WAITING = "Waiting for a response from the windows server. This might take a while..."

_START = re.compile(r"Starting \S{1,40} for (\S{1,40}) v(\S{1,40}?)(?:\.\.\.)?")
_WGET = re.compile(r" *\d{1,12}K[ .]{1,120}? (\d{1,3})% ")
_WGET_BAR = re.compile(r"\S{1,300} {1,100}(\d{1,3})%\[[=>+ ]{0,500}\]")
_GROWING = re.compile(r"(?:\d{1,3}% → ){0,99}(\d{1,3})% ?")
_GAUGE = re.compile(r"\[ {0,10}(\d{1,3}(?:\.\d{1,3})?)% \| ")
_FIRMWARE = re.compile(r'BdsDxe: starting Boot[0-9A-F]{4} "([^"]{0,200})"')

_STAGES: tuple[tuple[str, BootStage], ...] = (
    ("Requesting ", BootStage.DOWNLOADING),
    ("Downloading ", BootStage.DOWNLOADING),
    ("Will retry ", BootStage.DOWNLOADING),
    ("Retrying ", BootStage.DOWNLOADING),
    ("Failed to download ", BootStage.DOWNLOADING),
    ("Verifying ", BootStage.DOWNLOADING),
    ("Succes", BootStage.DOWNLOADING),
    ("Extracting ", BootStage.EXTRACTING),
    ("Detecting ", BootStage.EXTRACTING),
    ("Detected: ", BootStage.EXTRACTING),
    ("Adding ", BootStage.CONFIGURING),
    ("Creating overlay ", BootStage.CONFIGURING),
    ("Building ", BootStage.BUILDING),
    ("Writing overlay ", BootStage.BUILDING),
    ("Creating a ", BootStage.BUILDING),
    ("Booting ", BootStage.BOOTING),
)
_SCRIPT = frozenset(
    {
        STARTING,
        "Starting VM...",
        "Starting WinArena VM...",
        "Preparing Arena image by gracefully shutting down the Windows VM...",
        "Windows VM is shutting down...",
        "Skipping image preparation...",
        "Starting client...",
        "Cleaning results directory...",
        "Keeping container alive",
    }
)
_READY = frozenset({"VM is up and running, and the Windows Arena Server is ready to use!", "VM started, server ready"})
_BROKEN = ("QEMU exited unexpectedly", "Timeout while waiting for QEMU", "Windows could not boot")
_FORCED = ("Forcefully terminating Windows", "Shutdown timeout reached")


@dataclass(slots=True)
class Boot:
    """The state of the boot grammar."""

    stage: str = ""
    is_asked: bool = False  # to shut down, by a signal
    is_unclean: bool = False  # forced, timed out or died

    def read(self, line: str, at: float | None, out: list[AnyFact]) -> bool:
        """Whether the line is one of the container's; its facts."""
        if line.startswith(MARK):
            self._marked(line[len(MARK) :].strip(), at, out)
        elif line == WAITING:
            out.append(ServerWaiting(at=at))
        elif line in _READY:
            out.append(ServerReady(at=at))
        elif line in _SCRIPT or (line.startswith("Running agent ") and line.endswith("...")):
            if line == STARTING:
                self.stage = ""
            self._tell(line, at, out)
        elif line.startswith("BdsDxe: "):
            self._firmware(line, at, out)
        elif line.startswith(("Error: ISO file not found", "Failed to shut down the Windows VM.")):
            out.append(BootFailed(at=at, message=shown(line.removeprefix("Error: "), MAX_ERROR)))
        else:
            return self.stage == BootStage.DOWNLOADING and self._progress(line, at, out)
        return True

    def state(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)

    @classmethod
    def resume(cls, state: Mapping[str, object]) -> "Boot":
        """As it was."""
        stage = state.get("stage")
        return cls(
            stage=BootStage(stage) if isinstance(stage, str) and stage in set(BootStage) else "",
            is_asked=state.get("is_asked") is True,
            is_unclean=state.get("is_unclean") is True,
        )

    def _marked(self, text: str, at: float | None, out: list[AnyFact]) -> None:
        start = _START.fullmatch(text)
        if start is not None:
            self.stage, self.is_asked, self.is_unclean = BootStage.STARTING, False, False
            out.append(ContainerBooted(at=at, engine=start[1], version=start[2]))
        elif text.startswith("ERROR: "):
            self._error(text.removeprefix("ERROR: "), at, out)
        elif text.startswith("Warning: "):
            out.append(BootWarned(at=at, message=shown(text.removeprefix("Warning: "), MAX_ERROR)))
        elif text.startswith("Shutdown completed!"):
            self._stopped(text, at, out)
        elif not text.startswith("For support visit "):
            self._inform(text, at, out)

    def _inform(self, text: str, at: float | None, out: list[AnyFact]) -> None:
        for prefix, stage in _STAGES:
            if text.startswith(prefix):
                self.stage = stage
                break
        if text.startswith("Received SIG"):
            self.is_asked = True
        elif "sending SIGTERM" in text or text.startswith(_BROKEN):
            self.is_unclean = True
        self._tell(text, at, out)

    def _error(self, text: str, at: float | None, out: list[AnyFact]) -> None:
        message = shown(text, MAX_ERROR)
        if text.startswith(_FORCED):
            self.is_unclean = True
            out.append(BootWarned(at=at, message=message))
            return
        out.append(BootFailed(at=at, message=message))
        if text.startswith(_BROKEN):
            self.is_unclean = True
        if text.startswith("QEMU exited unexpectedly"):
            self._stopped(text, at, out)

    def _stopped(self, text: str, at: float | None, out: list[AnyFact]) -> None:
        clean = False if self.is_unclean else (True if self.is_asked else None)
        out.append(BootStopped(at=at, detail=shown(text, MAX_DETAIL), clean=clean))
        self.stage, self.is_asked, self.is_unclean = "", False, False

    def _firmware(self, line: str, at: float | None, out: list[AnyFact]) -> None:
        match = _FIRMWARE.match(line)
        if match is None:
            return
        if "DVD-ROM" in match[1] or "CD-ROM" in match[1]:
            self.stage = BootStage.INSTALLING
        elif "Windows Boot Manager" in match[1] or "HARDDISK" in match[1]:
            self.stage = BootStage.WINDOWS
        else:
            return
        self._tell(line, at, out)

    def _tell(self, text: str, at: float | None, out: list[AnyFact]) -> None:
        """What the container does, in the stage it is in."""
        stage = BootStage(self.stage) if self.stage else BootStage.STARTING
        out.append(BootStaged(at=at, stage=stage, detail=shown(text, MAX_DETAIL)))

    def _progress(self, line: str, at: float | None, out: list[AnyFact]) -> bool:
        match = _WGET.match(line) or _GROWING.fullmatch(line) or _WGET_BAR.match(line) or _GAUGE.match(line)
        if match is None:
            return False
        out.append(BootProgressed(at=at, percent=min(100.0, float(match[1]))))
        return True
