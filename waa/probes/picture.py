"""The newest picture of one VM, put together from what the status program says on the host and inside the container."""

from collections import deque
from dataclasses import dataclass, replace

from waa.core.error import Failure
from waa.core.observation import (
    Container,
    GuestProbe,
    LogFound,
    LogKind,
    LogSource,
    Machine,
    Runner,
    SetupPage,
    StatusSeen,
)
from waa.core.spec import LogSide, VmSpec
from waa.core.status import ContainerStatus, Reason
from waa.probes.frame import Frame
from waa.probes.section import (
    LogLine,
    MachineLine,
    RunnerLine,
    engine_failure,
    read_container,
    read_logs,
    read_machine,
    read_page,
    read_probe,
    read_runner,
)

OTHER_HOST_LOGS = ("/tmp/benchmark.log",)  # noqa: S108 - where known launchers put it on the VM
"""Run logs that are looked for on the host besides the configured one."""

INNER_SILENCE_S = 25.0
"""The look inside the container says something every 10 s at least."""

INNER_RETRY_S = 8.0
"""A look inside that ended is begun again within about 3 s, if it can be."""

SKEW_SAMPLES = 8
"""A delay on the way only makes the other clock seem late: of so many heartbeats the earliest-seeming one counts."""

MIN_SKEW_S = 2.0


@dataclass(slots=True)
class _Look:
    """What one side said. ``heard``: it has said something about the runner."""

    heard: bool = False
    runner: RunnerLine | Failure | None = None
    logs: tuple[LogLine, ...] = ()
    probe: GuestProbe | Failure | None = None
    page: SetupPage | None = None


class Picture:
    """Takes frames and gives what they change. Pure: ``at`` is epoch seconds, ``now_s`` any steady clock."""

    def __init__(self, spec: VmSpec) -> None:
        self._spec = spec
        self._engine = spec.engine.rsplit("/", 1)[-1]
        self._host = _Look()
        self._inner = _Look()
        self._container: Container | Failure | None = None
        self._container_id = ""
        self._inner_due_s: float | None = None
        self._complaint = ""
        self._machine: MachineLine | None = None
        self._skews: deque[float] = deque(maxlen=SKEW_SAMPLES)
        self._skew_s: float | None = None
        self._booted_at: float | None = None
        self._told = StatusSeen(vm=spec.name, at=0.0)
        self._pending: dict[str, object] = {}
        self.host_paths = host_log_paths(spec)
        self.inner_path = inner_log_path(spec)

    def hear(self, frame: Frame, *, at: float, now_s: float) -> StatusSeen | None:
        """The parts that this frame changes, None where it changes nothing."""
        self._pending = {}
        self._dispatch(frame.name, frame.code, frame.body, at=at, now_s=now_s)
        return self._changes(at)

    def wait(self, *, at: float, now_s: float) -> StatusSeen | None:
        """What has become wrong because nothing was heard from inside the container."""
        self._pending = {}
        if self._inner_due_s is not None and now_s > self._inner_due_s:
            self._inner_due_s = None
            self._inner = _Look(heard=True)
            if self._complaint:
                failure = engine_failure(1, f"exec: {self._complaint}", self._engine)
            else:
                failure = Failure(
                    reason=Reason.TIMEOUT,
                    message="no answer from inside the container",
                    remedy=f"See whether {self._engine} exec works on the VM and whether the container is overloaded.",
                )
            self._pending["probe"] = failure
            self._tell_runner()
        return self._changes(at)

    @property
    def logs(self) -> tuple[LogFound, ...]:
        """The logs that exist now: host, inside, the container's own."""
        found = [
            self._found(LogKind.FILE, self.host_paths[line.place], line) for line in self._host.logs if line.place < len(self.host_paths)
        ]
        found += [self._found(LogKind.INNER, self.inner_path, line) for line in self._inner.logs]
        if self._container_id:
            source = LogSource(kind=LogKind.CONTAINER, path=self._spec.container, identity=self._container_id)
            found.append(LogFound(source=source, size=0))
        return tuple(found)

    @staticmethod
    def _found(kind: LogKind, path: str, line: LogLine) -> LogFound:
        return LogFound(source=LogSource(kind=kind, path=path, identity=line.identity), size=line.size, modified_at=line.modified_at)

    def _dispatch(self, name: str, code: int, body: str, *, at: float, now_s: float) -> None:
        part = {"logs": "logs", "page": "setup_page", "beat": "machine", "inner": "probe"}.get(name, name)
        try:
            if name == "container":
                self._take_container(read_container(code, body, self._engine), now_s)
            elif name == "inner":
                self._take_inner(body, now_s)
            elif name == "machine":
                self._take_machine(read_machine(body))
            elif name == "beat":
                self._take_beat(float(body), at)
            else:
                self._take_look(self._host, name, code, body)
        except ValueError as error:
            failure = Failure(
                reason=Reason.PARSE,
                message=f"the {name} report cannot be read: {error}",
                remedy="Please report this with the VM's distribution.",
            )
            if part in ("container", "probe", "runner", "machine", "setup_page"):
                self._pending[part] = failure

    def _take_look(self, look: _Look, name: str, code: int, body: str) -> None:
        if name == "runner":
            look.runner, look.heard = read_runner(code, body, self._spec.process), True
            self._tell_runner()
        elif name == "logs":
            look.logs = read_logs(body)
        elif name == "probe":
            self._pending["probe"] = look.probe = read_probe(code, body)
        elif name == "page":
            self._pending["setup_page"] = look.page = read_page(body)

    def _take_inner(self, line: str, now_s: float) -> None:
        """A line from inside the container, or what the engine printed instead."""
        name, _, rest = line.partition(" ")
        code, _, body = rest.partition(" ")
        if name == "end":
            if self._may_run:  # it may end again and again: the first end counts
                self._inner_due_s = min(now_s + INNER_RETRY_S, now_s + INNER_SILENCE_S if self._inner_due_s is None else self._inner_due_s)
        elif name in ("hello", "beat", "runner", "logs", "probe", "page") and code.isdigit():
            self._complaint = ""
            if self._may_run:
                self._inner_due_s = None if self._is_paused else now_s + INNER_SILENCE_S
                self._take_look(self._inner, name, int(code), body)
        else:
            self._complaint = line.strip()[:300] or self._complaint

    @property
    def _is_running(self) -> bool:
        return isinstance(self._container, Container) and self._container.status is ContainerStatus.RUNNING

    @property
    def _is_paused(self) -> bool:
        return isinstance(self._container, Container) and self._container.status is ContainerStatus.PAUSED

    @property
    def _may_run(self) -> bool:
        """Not known to have ended: a line from inside may be late, or the engine may not answer."""
        return self._is_running or self._is_paused or not isinstance(self._container, Container)

    def _take_container(self, container: Container | Failure, now_s: float) -> None:
        before, self._container = self._container, container
        self._pending["container"] = container
        if isinstance(container, Failure):
            # What is inside keeps reporting where it can; without it nobody knows.
            if self._inner_due_s is None:
                self._pending["probe"] = container
                self._inner.heard = True
                self._tell_runner()
            return
        self._container_id = container.container_id
        if not self._is_running:
            self._inner_due_s = None
            if not self._is_paused:  # what is frozen is still there, and says nothing anew when it goes on
                self._inner = _Look(heard=True)
            self._pending["probe"] = GuestProbe(ready=False, status=f"the container is {container.status}")
            self._pending["setup_page"] = SetupPage()
            self._tell_runner()
        elif not isinstance(before, Container) or (before.container_id, before.started_at) != (
            container.container_id,
            container.started_at,
        ):
            if not isinstance(before, Failure) or self._inner_due_s is None:
                self._inner = _Look()
                self._inner_due_s = now_s + INNER_SILENCE_S
        elif self._inner_due_s is None:
            self._inner_due_s = now_s + INNER_SILENCE_S
            if before.status is ContainerStatus.PAUSED:
                self._pending["probe"], self._pending["setup_page"] = self._inner.probe, self._inner.page
                self._tell_runner()

    def _tell_runner(self) -> None:
        """Inside the container counts first, unless it is the very process that the host sees (the processes are not kept
        apart there); "none" is only said when both sides were looked at."""
        inner, host = self._inner, self._host
        if isinstance(inner.runner, RunnerLine) and inner.runner != host.runner:
            self._pending["runner"] = self._runner(inner.runner, "container")
        elif isinstance(host.runner, RunnerLine):
            self._pending["runner"] = self._runner(host.runner, "host")
        elif host.heard and (inner.heard or not self._spec.container):
            failure = inner.runner or host.runner
            self._pending["runner"] = failure if isinstance(failure, Failure) else Runner()

    def _runner(self, line: RunnerLine, where: str) -> Runner:
        started_at = None
        if self._booted_at is not None and self._machine is not None:
            started_at = round(self._booted_at + line.ticks / self._machine.ticks_per_s, 2)
        return Runner(pid=line.pid, command=line.command, where=where, started_at=started_at)

    def _take_machine(self, line: MachineLine) -> None:
        # The kernel derives the boot moment from a clock that is corrected all the time: it wanders by a second.
        is_same_boot = self._machine is not None and self._machine.boot_id == line.boot_id
        near = self._booted_at is not None and line.booted_at is not None and abs(self._booted_at - line.booted_at) < 5
        if not (is_same_boot and near):
            self._booted_at = line.booted_at
        if self._machine is not None and abs(self._machine.offset_s - line.offset_s) >= MIN_SKEW_S:
            self._skews.clear()
        self._machine = line
        self._tell_machine()

    def _take_beat(self, uptime_s: float, at: float) -> None:
        if self._machine is None:
            return
        self._skews.append(self._machine.offset_s + uptime_s - at)
        skew_s = max(self._skews)
        shown = self._skew_s or 0.0
        if abs(skew_s - shown) >= 1.0:
            self._skew_s = float(round(skew_s)) if abs(skew_s) >= MIN_SKEW_S else None
        self._tell_machine()

    def _tell_machine(self) -> None:
        line = self._machine
        if line is not None:
            self._pending["machine"] = Machine(
                boot_id=line.boot_id,
                booted_at=self._booted_at,
                disk_used_percent=line.disk_used_percent,
                disk_free_bytes=line.disk_free_bytes,
                memory_used_percent=line.memory_used_percent,
                clock_skew_s=self._skew_s,
            )

    def _changes(self, at: float) -> StatusSeen | None:
        news = {part: value for part, value in self._pending.items() if value is not None and getattr(self._told, part) != value}
        if not news:
            return None
        self._told = replace(self._told, **news)  # type: ignore[arg-type]  # parts by their names
        return StatusSeen(vm=self._spec.name, at=at, **news)  # type: ignore[arg-type]


def host_log_paths(spec: VmSpec) -> tuple[str, ...]:
    """The run logs that are looked for on the host."""
    if spec.log_side is LogSide.CONTAINER and spec.container:
        return ()
    return tuple(dict.fromkeys((spec.log_path, *OTHER_HOST_LOGS)))


def inner_log_path(spec: VmSpec) -> str:
    """The run log that is looked for inside the container, "" for none."""
    return spec.log_path if spec.container and spec.log_side is not LogSide.HOST else ""
