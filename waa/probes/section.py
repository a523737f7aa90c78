"""What the sections of the status program mean: text to values, pure."""

import html
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from waa.core.error import Failure
from waa.core.logs.mask import mask
from waa.core.observation import Container, GuestProbe, SetupPage
from waa.core.status import ContainerStatus, Reason

TIMEOUT_CODES = frozenset({124, 137, 143})
"""Exit statuses of a collector that was cut off after its 3 s."""

MAX_WORD_CHARS = 200
MAX_PAGE_CHARS = 300

_STATUSES = {
    "created": ContainerStatus.CREATED,
    "configured": ContainerStatus.CREATED,
    "initialized": ContainerStatus.CREATED,
    "running": ContainerStatus.RUNNING,
    "paused": ContainerStatus.PAUSED,
    "restarting": ContainerStatus.RESTARTING,
    "exited": ContainerStatus.EXITED,
    "stopped": ContainerStatus.EXITED,
    "stopping": ContainerStatus.EXITED,
    "removing": ContainerStatus.EXITED,
    "dead": ContainerStatus.DEAD,
}
_NO_CONTAINER = re.compile(r"no such (container|object)|no container with name or id", re.IGNORECASE)
_NO_DAEMON = re.compile(r"cannot connect to the docker daemon|is the docker daemon running|unable to connect to podman", re.IGNORECASE)
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d+)?\s?(Z|[+-]\d\d:?\d\d)?")
_HIDDEN_ELEMENT = re.compile(r"(?is)<(script|style)\b.*?(</\1\s*>|\Z)")
_HTTP_STATUS = re.compile(r"HTTP/\d\S* (\d{3})")
_TAG = re.compile(r"<[^>]*>?")

_CURL_REASONS = {
    6: "its name is not known",
    7: "no connection",
    28: "no answer within 3 s",
    52: "an empty answer",
    56: "the connection broke",
}


@dataclass(frozen=True, slots=True)
class RunnerLine:
    """A running process as the program reports it; ``ticks`` is when it began, in clock ticks since boot."""

    pid: int
    ticks: int
    command: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """One log file that exists: which of the paths asked for, and what lies there."""

    place: int
    identity: str
    size: int
    modified_at: float | None


@dataclass(frozen=True, slots=True)
class MachineLine:
    """The machine's own figures. ``offset_s`` is its wall clock minus its uptime; None figures could not be read."""

    boot_id: str
    booted_at: float | None
    disk_used_percent: float | None
    disk_free_bytes: int | None
    memory_used_percent: float | None
    offset_s: float
    ticks_per_s: int


def read_container(code: int, body: str, engine: str) -> Container | Failure:
    """The answer of ``inspect``. Raises ValueError where an answer is not what was asked for."""
    if code != 0:
        if code not in TIMEOUT_CODES and _NO_CONTAINER.search(body):
            return Container(status=ContainerStatus.ABSENT)
        return engine_failure(code, body, engine)
    status, container_id, image, started_at, exit_code = body.split("\t")
    known = _STATUSES.get(status)
    if known is None:
        raise ValueError(f"unknown container state {status!r}")
    is_up = known in (ContainerStatus.RUNNING, ContainerStatus.PAUSED)
    return Container(
        status=known,
        container_id=container_id,
        image=mask(image),
        started_at=read_moment(started_at),
        exit_code=None if is_up or known is ContainerStatus.CREATED else int(exit_code),
    )


def engine_failure(code: int, text: str, engine: str) -> Failure:
    """Why a command of the container engine failed, and what helps."""
    said = text.strip()
    if code in TIMEOUT_CODES:
        return Failure(
            reason=Reason.TIMEOUT,
            message=f"{engine} did not answer within 3 s",
            remedy=f"See on the VM whether the engine hangs (systemctl status {engine}, journalctl -u {engine}).",
        )
    if _NO_DAEMON.search(said):
        return Failure(
            reason=Reason.COMMAND, message=f"the {engine} daemon does not run: {said}", remedy=f"Start it: sudo systemctl start {engine}."
        )
    if "permission denied" in said.lower() or code == 126:
        return Failure(
            reason=Reason.COMMAND,
            message=f"no permission to use {engine}: {said}",
            remedy=f"Add the SSH user to the {engine} group (sudo usermod -aG {engine} USER) and let it log in again.",
        )
    if code == 127:
        return Failure(
            reason=Reason.COMMAND,
            message=f"{engine} is not installed on the VM, or not on the PATH",
            remedy="Install it, set the VM's engine to its full path, or set container to nothing where none is used.",
        )
    return Failure(reason=Reason.COMMAND, message=f"{engine} failed with status {code}: {said}", remedy=f"Try {engine} by hand on the VM.")


def read_moment(text: str) -> float | None:
    """Epoch seconds of a moment as Docker (RFC 3339) or Podman writes it, None for one that has not come."""
    match = _MOMENT.match(text)
    if match is None or match[1].startswith("0001-"):
        return None
    zone = match[4] or "Z"
    fraction = (match[3] or ".0")[:7]
    return datetime.fromisoformat(f"{match[1]}T{match[2]}{fraction:0<7}{'+00:00' if zone == 'Z' else zone}").astimezone(UTC).timestamp()


def read_probe(code: int, body: str) -> GuestProbe | Failure:
    """The answer of ``/probe``: its own word where it is ready, why not where it is not."""
    status, _, answer = body.partition(" ")
    if code == 127:
        return Failure(
            reason=Reason.COMMAND,
            message="neither curl nor wget where /probe must be asked",
            remedy="Install curl in the container (on the VM, where no container is used).",
        )
    if status == "200":
        return GuestProbe(ready=True, status=_own_word(answer))
    if status not in ("", "000"):
        return GuestProbe(ready=False, status=f"HTTP {status}")
    return GuestProbe(ready=False, status=_why_silent(code, answer))


def _own_word(answer: str) -> str:
    try:
        said = json.loads(answer)
    except ValueError:
        return "HTTP 200"
    word = said.get("status") if isinstance(said, dict) else None
    return mask(word)[:MAX_WORD_CHARS] if isinstance(word, str) else "HTTP 200"


def _why_silent(code: int, answer: str) -> str:
    if code in _CURL_REASONS:
        return _CURL_REASONS[code]
    said = answer.lower()
    refusal = _HTTP_STATUS.search(answer)  # as wget tells it
    if refusal is not None:
        return f"HTTP {refusal[1]}"
    if code in TIMEOUT_CODES or "timed out" in said:
        return _CURL_REASONS[28]
    if "refused" in said or "no route" in said or "unreachable" in said:
        return _CURL_REASONS[7]
    return mask(answer.strip())[:MAX_WORD_CHARS] or "no answer"


def read_page(body: str) -> SetupPage:
    """The text of the status page, without its markup."""
    text = html.unescape(_TAG.sub(" ", _HIDDEN_ELEMENT.sub(" ", body)))
    return SetupPage(text=mask(" ".join(text.split()))[:MAX_PAGE_CHARS])


def read_runner(code: int, body: str, pattern: str) -> RunnerLine | Failure | None:
    """The benchmark's process, None where there is none. Raises ValueError."""
    if code in TIMEOUT_CODES:
        return Failure(
            reason=Reason.TIMEOUT, message="the search for the run process did not end within 3 s", remedy="The VM is overloaded."
        )
    if code == 127:
        return Failure(
            reason=Reason.COMMAND, message="neither pgrep nor awk where the run process must be looked for", remedy="Install procps."
        )
    if code != 0:
        return Failure(
            reason=Reason.COMMAND,
            message=f"pgrep does not accept the pattern {pattern!r} (status {code})",
            remedy="Write the VM's process as a POSIX extended regular expression.",
        )
    if not body:
        return None
    pid, ticks, command = body.split(" ", 2)
    return RunnerLine(int(pid), int(ticks), mask(command.strip()))


def read_logs(body: str) -> tuple[LogLine, ...]:
    """The log files that exist. Raises ValueError."""
    found = []
    for entry in body.split(";")[:-1]:
        place, identity, size, changed = entry.split(" ")
        found.append(LogLine(int(place), identity, int(size), None if changed == "-" else float(changed)))
    return tuple(found)


def read_machine(body: str) -> MachineLine:
    """The machine's figures. Raises ValueError."""
    boot_id, booted_at, used, free, memory, date, uptime, ticks_per_s = body.split(" ")
    used_kb, free_kb = int(used), int(free)
    size_kb = used_kb + free_kb
    seconds = re.match(r"\d+(\.\d+)?", date)
    if seconds is None:
        raise ValueError(f"not a clock: {date!r}")
    half = 0.5 if seconds[1] is None else 0.0  # a clock in whole seconds is half a second behind on average
    return MachineLine(
        boot_id=boot_id,
        booted_at=float(booted_at) if booted_at else None,
        disk_used_percent=float(round(100 * used_kb / size_kb)) if size_kb else None,
        disk_free_bytes=free_kb * 1024 if size_kb else None,
        memory_used_percent=float(5 * round(int(memory) / 5)) if memory != "-" else None,
        offset_s=float(seconds[0]) + half - float(uptime),
        ticks_per_s=int(ticks_per_s),
    )
