"""What needs a person now, found from what is known and how old it is. Pure: derived, never stored.

One cause is told once: what follows from it is left out. In this order: the VM is out of reach; Windows set-up fails; the container is
off; the guest is off; its server is silent; the runner is gone; a task hangs (in the evaluator, in its set-up, in the model, in an
action); the agent goes in circles.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from waa.core.cloud import PowerState
from waa.core.cost import projected, run_cost
from waa.core.dwell import UsualTime, unknown_time
from waa.core.entity import Run, RunId, Task, Vm
from waa.core.incident import Concern, Severity
from waa.core.money import money
from waa.core.observation import Container
from waa.core.pace import expected_end
from waa.core.stall import HUNG, last_sign_at, name_of, place_of, step_of, usual_task_s
from waa.core.state import State, current_run
from waa.core.status import ContainerStatus, Phase, Reason, RunStatus
from waa.core.stuck import EXIT_WORDS, WAITS, is_crash_loop, setup_error, stuck_setup, waits_for_answer

RUNNER_GONE_AFTER_S = 15.0
"""A process that ends in the regular way says so in its log by then."""

SETUP_FLOOR_S = 300.0
"""A set-up phase is not slow before, however short it usually is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When waiting becomes a concern, seconds; repeats of one action, percent of disk; and what a run, and all VMs in a month, may cost
    (0: as much as it takes)."""

    unreachable_after_s: float = 20.0
    stalled_after_s: float = 900.0
    idle_after_s: float = 900.0
    guest_down_after_s: float = 60.0
    loop_repeats: int = 5
    disk_percent: float = 95.0
    setup_after_s: Mapping[Phase, float] | None = None
    run_budget: float = 0.0
    monthly_budget: float = 0.0

    def setup_limit_s(self, phase: Phase, usual_s: float | None = None) -> float | None:
        """How long a set-up phase may take before it is called slow: twice the usual where that is known. None for other phases."""
        limits = self.setup_after_s if self.setup_after_s is not None else SETUP_AFTER_S
        fixed_s = limits.get(phase)
        return fixed_s if fixed_s is None or usual_s is None else max(2 * usual_s, SETUP_FLOOR_S)


SETUP_AFTER_S: Mapping[Phase, float] = {
    Phase.BOOTING: 900.0,
    Phase.DOWNLOADING: 3600.0,
    Phase.EXTRACTING: 900.0,
    Phase.CONFIGURING: 900.0,
    Phase.BUILDING: 900.0,
    Phase.OOBE: 3600.0,
}
"""Several times what each takes on an ordinary cloud VM (a first installation is 20 to 40 minutes in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """One thing to look at: its cause, what is held up by it, and in ``remedy`` what the user can do. ``since_at`` is when it began.

    ``subject``, ``run_id`` and ``tasks`` are those of the incident (see ``Incident``); ``tasks`` are held up now, ``where`` names them.
    """

    vm: str
    concern: Concern
    severity: Severity = Severity.CRITICAL
    title: str
    detail: str
    remedy: str = ""
    since_at: float | None = None
    subject: str = ""
    where: str = ""
    run_id: RunId | None = None
    tasks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The detail with the tasks that are held up."""
        if not self.where:
            return self.detail
        return f"{self.where}, {self.detail}" if self.subject else f"{self.detail}; holds up {self.where}"


def attention_of(state: State, *, now: float, limits: Limits, usual_s: UsualTime = unknown_time) -> list[Attention]:
    """Everything that needs a person, critical first, then the oldest first. ``usual_s`` tells how long set-up phases take."""
    found = [item for vm in state.vms.values() for item in _Look(state, vm, now, limits, usual_s).items()]
    return sorted(found, key=lambda item: (item.severity is not Severity.CRITICAL, item.since_at or now, item.vm))


_AWAY_TITLES: Mapping[Reason, str] = {
    Reason.TIMEOUT: "Out of reach: the VM does not answer",
    Reason.REFUSED: "Out of reach: SSH is refused",
    Reason.DNS: "Out of reach: its name is unknown",
    Reason.AUTH: "Out of reach: the login is refused",
    Reason.HOST_KEY: "Out of reach: its host key is not trusted",
    Reason.SILENT: "Out of reach: it fell silent",
}

_CONTAINER_REMEDIES: Mapping[ContainerStatus, str] = {
    ContainerStatus.ABSENT: "Start the benchmark's container, or correct the setting container.",
    ContainerStatus.PAUSED: "Let it go on: {engine} unpause {container}",
    ContainerStatus.RESTARTING: "See its log: {engine} logs {container}",
}


class _Look:
    """One look at one VM."""

    def __init__(self, state: State, vm: Vm, now: float, limits: Limits, usual_s: UsualTime) -> None:
        self._state = state
        self._vm = vm
        self._now = now
        self._limits = limits
        self._usual_s = usual_s
        self._last = current_run(state, vm)
        self._run = self._last if self._last is not None and self._last.status is RunStatus.RUNNING else None

    def items(self) -> Iterator[Attention]:
        vm = self._vm
        yield from self._spending()
        if vm.connection.connected is False:
            yield from self._away()
            return
        yield from self._blind()
        yield from self._disk()
        causes = (self._setup, self._container, self._guest, self._runner, self._hung)
        for cause in causes:
            found = list(cause())
            if found:
                yield from found
                return
        yield from self._rest()

    # --- causes, those first from which the others follow ---

    def _away(self) -> Iterator[Attention]:
        if self._vm.phase in (Phase.OFF, Phase.BOOTING):  # its cloud says why
            yield from self._power()
            return
        link = self._vm.connection
        since_at = link.since_at if link.since_at is not None else self._now
        if link.failure is not None and self._now - since_at >= self._limits.unreachable_after_s:
            title = _AWAY_TITLES.get(link.failure.reason, "Out of reach")
            yield self._item(Concern.UNREACHABLE, title, link.failure.message, link.failure.remedy, since_at)

    def _power(self) -> Iterator[Attention]:
        """The cloud says that it is off: no outage, but what ran there was cut, and stopped is not for free."""
        vm, power = self._vm, self._vm.power.value
        if self._run is not None and vm.phase is Phase.OFF:
            remedy = "Start it in Azure, then start run.py again: it goes on with the tasks that have no result."
            yield self._item(Concern.UNREACHABLE, "The VM is off in the middle of a run", vm.phase_detail, remedy, vm.phase_at)
        elif power is not None and power.state is PowerState.STOPPED and self._is_idle_long:
            remedy = "Deallocate it in Azure: stopped from within, it is billed like a running one."
            yield self._item(Concern.IDLE, "Stopped and costing", vm.phase_detail, remedy, vm.phase_at, severity=Severity.WARNING)

    @property
    def _is_idle_long(self) -> bool:
        return self._vm.phase_at is not None and self._now - self._vm.phase_at >= self._limits.idle_after_s

    def _blind(self) -> Iterator[Attention]:
        failure = self._vm.container.failure
        if failure is not None:
            title, severity = "The container cannot be looked at", Severity.WARNING
            yield self._item(Concern.LOOK_FAILED, title, failure.message, failure.remedy, self._vm.container.failed_at, severity=severity)

    def _disk(self) -> Iterator[Attention]:
        if self._is_disk_full:
            machine = self._vm.machine
            percent = machine.value.disk_used_percent if machine.value is not None else None
            remedy = "Windows and the result folder stop working when it is full: free space on the VM."
            yield self._item(Concern.DISK_FULL, "The disk is nearly full", f"{percent:.0f} % used", remedy, machine.since_at)

    def _setup(self) -> Iterator[Attention]:
        vm = self._vm
        usual_s = self._usual_s(vm.name, vm.phase)
        limit_s = self._limits.setup_limit_s(vm.phase, usual_s)
        is_down = vm.phase is Phase.OFF and self._run is None and (self._last is None or self._last.status is not RunStatus.FINISHED)
        if limit_s is None and not is_down:
            return
        stuck = stuck_setup(vm)
        if stuck is not None:
            title = f"{stuck.title}, again and again" if is_crash_loop(vm) else stuck.title
            if not (self._is_disk_full and "disk is full" in title):
                since_at = vm.boot.error_at if vm.boot.error_at is not None else vm.phase_at
                yield self._item(Concern.SETUP_FAILING, title, setup_error(vm), stuck.remedy, since_at)
        elif limit_s is not None and vm.phase_at is not None and self._now - vm.phase_at > limit_s:
            yield self._slow(vm, vm.phase_at, usual_s, limit_s)

    def _slow(self, vm: Vm, since_at: float, usual_s: float | None, limit_s: float) -> Attention:
        usually = minutes(usual_s) if usual_s is not None else f"less than {minutes(limit_s)}"
        title, remedy = f"Still {vm.phase}", f"Look at the screen (VNC, port {vm.spec.vnc_port}) and at the container's log."
        detail = f"{vm.phase_detail or vm.phase}: this phase usually takes {usually}"
        if waits_for_answer(vm, now=self._now):
            title, remedy, detail = WAITS.title, WAITS.remedy, f"{detail}, and nothing is written to the disk any more"
        return self._item(Concern.SETUP_SLOW, title, detail, remedy, since_at, severity=Severity.WARNING)

    def _container(self) -> Iterator[Attention]:
        container, since_at = self._vm.container.value, self._vm.container.since_at
        if container is None or container.status is ContainerStatus.RUNNING or self._vm.container.failure is not None:
            return
        if self._last is not None and self._last.status is RunStatus.FINISHED:
            return  # its process is the container's: it ends with the run
        if self._is_between_tasks(since_at):
            return
        spec = self._vm.spec
        remedy = _CONTAINER_REMEDIES.get(container.status, "Start it: {engine} start {container}")
        words = {"engine": spec.engine.rsplit("/", 1)[-1], "container": spec.container}
        is_needed = self._run is not None or self._was_cut
        yield self._item(
            Concern.CONTAINER_OFF,
            "The container does not run",
            _container_words(spec.container, container) + (f"; {self._cut_words()}" if self._was_cut else ""),
            remedy.format(**words),
            since_at,
            severity=Severity.CRITICAL if is_needed else Severity.WARNING,
        )

    def _guest(self) -> Iterator[Attention]:
        probe, value = self._vm.probe, self._vm.probe.value
        if self._run is None or value is None or value.ready or probe.failure is not None or probe.since_at is None:
            return
        if self._now - probe.since_at < self._limits.guest_down_after_s or self._is_between_tasks(probe.since_at):
            return
        if self._vm.boot.stopped:
            remedy = "Restart the container: Windows boots again."
            yield self._item(Concern.GUEST_OFF, "Windows is off", self._vm.boot.stopped, remedy, probe.since_at)
        else:
            title, remedy = "The guest's server does not answer", "Look at the screen; restart the server in the guest, or the container."
            detail = f"{value.status}: every step fails until /probe answers"
            yield self._item(Concern.GUEST_DOWN, title, detail, remedy, probe.since_at)

    def _runner(self) -> Iterator[Attention]:
        if self._run is None:
            if self._last is not None and self._was_cut:
                title, remedy = "The run stopped before its end", "Start run.py again: it goes on with the tasks that have no result."
                yield self._item(Concern.RUNNER_GONE, title, self._cut_words(), remedy, self._last.ended_at, run=self._last)
            return
        runner = self._vm.runner
        is_known = runner.value is not None and runner.failure is None and self._run.runner_pid is not None and not self._run.launcher
        if not is_known or runner.value is None or runner.value.pid is not None or not self._open:
            return
        since_at = max(runner.since_at or 0.0, *(task.changed_at for task in self._open))
        if self._now - since_at >= RUNNER_GONE_AFTER_S:
            title, remedy = "The runner is gone", "Start run.py again: it goes on with the tasks that have no result."
            detail = f"process {self._run.runner_pid} has ended, the log has no end"
            yield self._item(Concern.RUNNER_GONE, title, detail, remedy, since_at)

    def _hung(self) -> Iterator[Attention]:
        for task in self._open:
            sign_at = last_sign_at(self._state, task)
            silent_s = self._now - sign_at
            if silent_s >= self._limits.stalled_after_s and silent_s >= usual_task_s(self._state, task):
                concern, title, remedy = HUNG[task.activity]
                yield self._item(concern, title, step_of(task), remedy, sign_at, task=task)
            elif task.repeats >= self._limits.loop_repeats:
                yield from self._loop(task)

    def _loop(self, task: Task) -> Iterator[Attention]:
        """The same action is a loop where the screen stays the same too; it is not where the screen changes (scrolling, say). The
        pictures have one step's time to be compared."""
        k, is_sure = self._limits.loop_repeats, task.same_screens is not None
        if task.repeats == k if task.same_screens is None else task.same_screens < k:
            return
        title = "The agent goes in circles" if is_sure else "The agent repeats itself"
        detail = f"{step_of(task)}: the same action {task.repeats + 1} times in a row"
        detail += ", and the screen stays the same" if is_sure else ""
        remedy = "Look at the screen: the action changes nothing, and the task will use up its steps."
        severity = Severity.CRITICAL if is_sure else Severity.WARNING
        yield self._item(Concern.LOOPING, title, detail, remedy, task.changed_at, severity=severity, task=task)

    def _rest(self) -> Iterator[Attention]:
        vm = self._vm
        is_idle = self._run is None and vm.phase in (Phase.IDLE, Phase.READY, Phase.OFF)
        if is_idle and vm.phase_at is not None and self._now - vm.phase_at >= self._limits.idle_after_s:
            detail, remedy = "The VM is up and nothing runs on it.", "Start the next run, or deallocate the VM."
            yield self._item(Concern.IDLE, "Idle and costing", detail, remedy, vm.phase_at, severity=Severity.WARNING)

    def _spending(self) -> Iterator[Attention]:
        """A run that has cost its budget, or will have: by the early end that is expected, so that it is not told in vain. The words stay
        the same while the money goes on."""
        run, budget = self._run, self._limits.run_budget
        cost = run_cost(self._state, run) if run is not None and budget else None
        if run is None or cost is None:
            return
        limit = money(budget, cost.currency)
        about = Attention(
            vm=self._vm.name,
            concern=Concern.OVER_BUDGET,
            severity=Severity.WARNING,
            title="The run is over its budget",
            detail=f"It has cost more than {limit}, which is what a run may cost.",
            remedy="Stop it, or let it go on and set run_budget higher.",
            run_id=run.run_id,
        )
        if cost.spent.at(self._now) > budget:
            yield about
            return
        tasks = list(self._state.tasks.get(run.run_id, {}).values())
        ahead = projected(cost, expected_end(run, self._state.progress[run.run_id], tasks, self._open))
        if ahead is not None and ahead[0] > budget:
            detail = f"At this pace it costs more than {limit} by its end, which is what a run may cost."
            yield replace(about, title="The run will go over its budget", detail=detail)

    # --- what they are judged by ---

    @cached_property
    def _open(self) -> list[Task]:
        return list(self._state.open_tasks(self._run.run_id)) if self._run is not None else []

    @property
    def _is_disk_full(self) -> bool:
        machine = self._vm.machine.value
        return machine is not None and (machine.disk_used_percent or 0.0) >= self._limits.disk_percent

    @property
    def _was_cut(self) -> bool:
        """Whether the newest run ended before its tasks did. A launcher's log does not say its end."""
        run = self._last
        if run is None or run.launcher or run.status is not RunStatus.INTERRUPTED:
            return False
        return run.total is None or self._state.progress[run.run_id].completed < run.total

    def _cut_words(self) -> str:
        run = self._last
        if run is None:
            return ""
        total = run.total if run.total is not None else "an unknown number of"
        return f"{run.end_reason or 'it ended'} ({self._state.progress[run.run_id].completed} of {total} tasks done)"

    def _is_between_tasks(self, since_at: float | None) -> bool:
        """A launcher restarts the container for each task, and Windows boots (requirement B7): no stall, unless it lasts."""
        run = self._run
        is_expected = run is not None and run.launcher and not self._open
        return is_expected and (since_at is None or self._now - since_at < self._limits.stalled_after_s)

    def _item(
        self,
        concern: Concern,
        title: str,
        detail: str,
        remedy: str,
        since_at: float | None,
        *,
        severity: Severity = Severity.CRITICAL,
        run: Run | None = None,
        task: Task | None = None,
    ) -> Attention:
        """What is told of one cause; ``task`` None: it holds up all that run."""
        held = [task] if task is not None else self._open
        about = run or self._run
        return Attention(
            vm=self._vm.name,
            concern=concern,
            severity=severity,
            title=title,
            detail=detail,
            remedy=remedy,
            since_at=since_at,
            subject=task.key if task is not None else "",
            where=name_of(task) if task is not None else place_of(held),
            run_id=about.run_id if about is not None else None,
            tasks=tuple(each.key for each in held),
        )


def minutes(seconds: float) -> str:
    """A duration in words, to the minute."""
    whole = max(1, round(seconds / 60))
    return f"{whole} min" if whole < 120 else f"{whole / 60:.1f} h"


def _container_words(name: str, container: Container) -> str:
    if container.status is ContainerStatus.ABSENT:
        return f"there is no container {name}"
    if container.exit_code is None or container.status is not ContainerStatus.EXITED:
        return f"{name} is {container.status}"
    meaning = EXIT_WORDS.get(container.exit_code)
    return f"{name} exited with status {container.exit_code}" + (f" ({meaning})" if meaning else "")
