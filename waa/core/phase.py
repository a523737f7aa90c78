"""Which phase a VM is in, from everything observed of it (requirement B3)."""

from waa.core.cloud import OFF, PowerState
from waa.core.entity import Run, Task, Vm
from waa.core.status import BootStage, ContainerStatus, Phase, RunStatus

_STAGE_PHASES = {
    BootStage.STARTING: Phase.BOOTING,
    BootStage.DOWNLOADING: Phase.DOWNLOADING,
    BootStage.EXTRACTING: Phase.EXTRACTING,
    BootStage.CONFIGURING: Phase.CONFIGURING,
    BootStage.BUILDING: Phase.BUILDING,
    BootStage.BOOTING: Phase.BOOTING,
    BootStage.INSTALLING: Phase.OOBE,
    BootStage.WINDOWS: Phase.OOBE,
}


def phase_of(vm: Vm, run: Run | None, task: Task | None) -> tuple[Phase, str]:  # noqa: PLR0911 - one return per rule
    """The phase and one sentence about it. ``run`` is the VM's newest, ``task`` one that runs now.

    Order: what we cannot reach says nothing new, but its cloud may know why; what runs beats what boots; readiness is what ``/probe``
    says. A part that could not be read just now counts with its last value.
    """
    if not vm.connection.connected and (power := _power_phase(vm)) is not None:
        return power
    if vm.connection.connected is None and vm.seen_at is not None:
        return vm.phase, vm.phase_detail
    if not vm.connection.connected:
        return _unreached(vm)
    is_running = run is not None and run.status is RunStatus.RUNNING
    container = vm.container.value
    is_paused = container is not None and container.status is ContainerStatus.PAUSED
    has_runner = vm.runner.value is not None and vm.runner.value.pid is not None and not is_paused
    is_off = container is not None and container.status is not ContainerStatus.RUNNING
    if is_running and run is not None and (not is_off or has_runner or run.launcher):
        return Phase.RUNNING, _running_detail(task)
    if is_off:
        return (Phase.RUNNING, "the runner has started, no task yet") if has_runner else (Phase.OFF, _container_detail(vm))
    if _is_ready(vm) or (container is None and not vm.spec.container and vm.runner.value is not None):
        return _at_rest(run, has_runner=has_runner)
    if container is None:
        failure = vm.container.failure
        return Phase.UNKNOWN, failure.message if failure is not None else "not looked at yet"
    if vm.boot.stopped:
        return Phase.OFF, vm.boot.stopped
    return _STAGE_PHASES[vm.boot.stage] if vm.boot.stage is not None else Phase.BOOTING, _boot_detail(vm)


def _power_phase(vm: Vm) -> tuple[Phase, str] | None:
    """What its cloud says of a VM that cannot be reached, None where that explains nothing. The cloud's word can be a minute old."""
    power = vm.power.value
    if power is None:
        return None
    if power.state in OFF:
        return Phase.OFF, _OFF_WORDS[power.state] + (_EVICTED if power.is_spot and power.state is PowerState.DEALLOCATED else "")
    if power.state is PowerState.STARTING:
        return Phase.BOOTING, "Azure starts the VM"
    return None


_OFF_WORDS = {
    PowerState.STOPPING: "Azure stops the VM",
    PowerState.STOPPED: "stopped in Azure, and still billed: deallocate it to stop paying",
    PowerState.DEALLOCATING: "Azure deallocates the VM",
    PowerState.DEALLOCATED: "deallocated in Azure",
    PowerState.GONE: "no longer exists in Azure",
}
_EVICTED = "; it is a spot VM, which Azure may have evicted"


def _is_ready(vm: Vm) -> bool:
    """Whether the guest answered last; an answer of before the container's start, while it cannot be asked now, is void."""
    probe, container = vm.probe, vm.container.value
    if probe.value is None or not probe.value.ready:
        return False
    started_at = container.started_at if container is not None else None
    return probe.failure is None or started_at is None or probe.since_at is None or started_at <= probe.since_at


def _at_rest(run: Run | None, *, has_runner: bool) -> tuple[Phase, str]:
    if has_runner:
        return Phase.RUNNING, "the runner has started, no task yet"
    if run is not None:
        return Phase.IDLE, "the guest is ready and nothing runs"
    return Phase.READY, "the guest answers, nothing has run yet"


def _unreached(vm: Vm) -> tuple[Phase, str]:
    if vm.connection.failure is not None:
        return Phase.UNREACHABLE, vm.connection.failure.message
    return Phase.UNKNOWN, "not looked at yet"


def _running_detail(task: Task | None) -> str:
    if task is None:
        return "between two tasks"
    return f"a task of {task.domain}" if task.step else f"preparing a task of {task.domain}"


def _container_detail(vm: Vm) -> str:
    container = vm.container.value
    if container is None or container.status is ContainerStatus.ABSENT:
        return f"there is no container {vm.spec.container}"
    if container.status is ContainerStatus.EXITED and container.exit_code is not None:
        return f"container {vm.spec.container} exited with status {container.exit_code}"
    return f"container {vm.spec.container} is {container.status}"


def _boot_detail(vm: Vm) -> str:
    boot = vm.boot
    if boot.error:
        return boot.error
    page = vm.setup_page.value.text if vm.setup_page.value is not None else ""
    words = {BootStage.INSTALLING: "Windows installs itself from the medium", BootStage.WINDOWS: "Windows starts from its disk"}
    if boot.stage in words:
        return f"{words[boot.stage]}; the guest does not answer yet"
    return page or boot.detail or "the container runs, the guest does not answer yet"
