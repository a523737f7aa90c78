"""What needs a person now, found from what is known and how old it is. Pure: derived, never stored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from waa.core.entity import Task, Vm
from waa.core.incident import Concern, Severity
from waa.core.state import State, current_run
from waa.core.status import ContainerStatus, Phase, RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When waiting becomes a concern, seconds; and repeats of one action, percent of disk."""

    unreachable_after_s: float = 20.0
    stalled_after_s: float = 900.0
    idle_after_s: float = 900.0
    guest_down_after_s: float = 60.0
    loop_repeats: int = 5
    disk_percent: float = 95.0
    setup_after_s: Mapping[Phase, float] | None = None

    def setup_limit_s(self, phase: Phase) -> float | None:
        """How long a set-up phase may take before it is called slow."""
        limits = self.setup_after_s if self.setup_after_s is not None else SETUP_AFTER_S
        return limits.get(phase)


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
    """One thing to look at. ``since_at`` is when it began, ``remedy`` what the user can do."""

    vm: str
    concern: Concern
    severity: Severity
    title: str
    detail: str
    remedy: str = ""
    since_at: float | None = None


def attention_of(state: State, *, now: float, limits: Limits) -> list[Attention]:
    """Everything that needs a person, critical first, then the oldest first."""
    found = [item for vm in state.vms.values() for item in _of_vm(state, vm, now, limits)]
    return sorted(found, key=lambda item: (item.severity is not Severity.CRITICAL, item.since_at or now, item.vm))


def _of_vm(state: State, vm: Vm, now: float, limits: Limits) -> Iterator[Attention]:
    if vm.connection.connected is False:
        since_at = vm.connection.since_at or now
        failure = vm.connection.failure
        if now - since_at >= limits.unreachable_after_s and failure is not None:
            yield Attention(
                vm=vm.name,
                concern=Concern.UNREACHABLE,
                severity=Severity.CRITICAL,
                title="Cannot be reached",
                detail=failure.message,
                remedy=failure.remedy,
                since_at=since_at,
            )
        return
    yield from _of_setup(vm, now, limits)
    yield from _of_machine(vm, limits)
    yield from _of_run(state, vm, now, limits)


def _of_setup(vm: Vm, now: float, limits: Limits) -> Iterator[Attention]:
    limit_s = limits.setup_limit_s(vm.phase)
    if limit_s is None:
        return
    if vm.boot.error:
        yield Attention(
            vm=vm.name,
            concern=Concern.SETUP_FAILING,
            severity=Severity.CRITICAL,
            title="Windows set-up fails",
            detail=vm.boot.error,
            remedy=_boot_remedy(vm.boot.error),
            since_at=vm.boot.error_at,
        )
    elif vm.phase_at is not None and now - vm.phase_at > limit_s:
        yield Attention(
            vm=vm.name,
            concern=Concern.SETUP_SLOW,
            severity=Severity.WARNING,
            title=f"Still {vm.phase}",
            detail=f"{vm.phase_detail or vm.phase}: this phase usually takes less than {limit_s / 60:.0f} minutes",
            remedy=f"Look at the screen (VNC, port {vm.spec.vnc_port}) and at the container's log.",
            since_at=vm.phase_at,
        )


def _boot_remedy(error: str) -> str:
    text = error.lower()
    if "kvm" in text:
        return "Use a VM size with nested virtualisation (Azure: Dv3/Ev3 or later) and pass --device=/dev/kvm."
    if "disk full" in text or "no space" in text:
        return "Free space on the VM or attach a larger disk, then restart the container."
    if "download" in text:
        return "Check the VM's way to the internet, or put the ISO into the container's storage folder yourself."
    if "iso" in text:
        return "Put the Windows ISO into the container's storage folder and restart the container."
    return "See the container's log below."


def _of_machine(vm: Vm, limits: Limits) -> Iterator[Attention]:
    machine = vm.machine.value
    if machine is not None and machine.disk_used_percent is not None and machine.disk_used_percent >= limits.disk_percent:
        yield Attention(
            vm=vm.name,
            concern=Concern.DISK_FULL,
            severity=Severity.CRITICAL,
            title="Disk is nearly full",
            detail=f"{machine.disk_used_percent:.0f} % used",
            remedy="Windows and the result folder stop working when it is full: free space on the VM.",
            since_at=vm.machine.since_at,
        )
    if vm.container.failure is not None:
        yield Attention(
            vm=vm.name,
            concern=Concern.LOOK_FAILED,
            severity=Severity.WARNING,
            title="The container cannot be looked at",
            detail=vm.container.failure.message,
            remedy=vm.container.failure.remedy,
            since_at=vm.container.failed_at,
        )


def _of_run(state: State, vm: Vm, now: float, limits: Limits) -> Iterator[Attention]:
    run = current_run(state, vm)
    if run is not None and run.status is RunStatus.RUNNING:
        for task in state.open_tasks(run.run_id):
            yield from _of_task(vm, task, now, limits)
        yield from _of_guest(vm, now, limits)
        if not run.launcher:
            yield from _of_container(vm)
        return
    yield from _of_container(vm)
    if run is not None and run.status is RunStatus.INTERRUPTED and state.progress[run.run_id].completed < (run.total or 0):
        yield Attention(
            vm=vm.name,
            concern=Concern.RUNNER_GONE,
            severity=Severity.CRITICAL,
            title="The run stopped before its end",
            detail=f"{run.end_reason} ({state.progress[run.run_id].completed} of {run.total} tasks done)",
            remedy="Start run.py again: it goes on with the tasks that have no result.",
            since_at=run.ended_at,
        )
    elif vm.phase in (Phase.IDLE, Phase.READY) and vm.phase_at is not None and now - vm.phase_at >= limits.idle_after_s:
        yield Attention(
            vm=vm.name,
            concern=Concern.IDLE,
            severity=Severity.WARNING,
            title="Idle and costing",
            detail="The VM is up and nothing runs on it.",
            remedy="Start the next run, or deallocate the VM.",
            since_at=vm.phase_at,
        )


def _of_task(vm: Vm, task: Task, now: float, limits: Limits) -> Iterator[Attention]:
    if now - task.changed_at >= limits.stalled_after_s:
        yield Attention(
            vm=vm.name,
            concern=Concern.STALLED,
            severity=Severity.CRITICAL,
            title="The agent has stalled",
            detail=f"{task.domain}/{task.task_id}: nothing since step {task.step} ({task.activity or 'no activity known'})",
            remedy="Look at the run's log; a model call or the guest may hang.",
            since_at=task.changed_at,
        )
    if task.repeats >= limits.loop_repeats:
        yield Attention(
            vm=vm.name,
            concern=Concern.LOOPING,
            severity=Severity.WARNING,
            title="The agent repeats itself",
            detail=f"{task.domain}/{task.task_id}: the same action {task.repeats + 1} times in a row, step {task.step}",
            remedy="Look at the screen: the click may hit nothing.",
            since_at=task.changed_at,
        )


def _of_guest(vm: Vm, now: float, limits: Limits) -> Iterator[Attention]:
    probe = vm.probe
    down = probe.value is not None and not probe.value.ready and probe.since_at is not None
    if down and probe.since_at is not None and probe.value is not None and now - probe.since_at >= limits.guest_down_after_s:
        yield Attention(
            vm=vm.name,
            concern=Concern.GUEST_DOWN,
            severity=Severity.CRITICAL,
            title="The guest's server does not answer",
            detail=probe.value.status,
            remedy="Every step will fail until /probe answers: look at the screen, restart the server in the guest.",
            since_at=probe.since_at,
        )


def _of_container(vm: Vm) -> Iterator[Attention]:
    container = vm.container.value
    if container is not None and container.status is not ContainerStatus.RUNNING:
        yield Attention(
            vm=vm.name,
            concern=Concern.CONTAINER_OFF,
            severity=Severity.WARNING,
            title="The container does not run",
            detail=vm.phase_detail,
            remedy=f"Start it on the VM: docker start {vm.spec.container}",
            since_at=vm.container.since_at,
        )
