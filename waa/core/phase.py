"""Which phase a VM is in, from everything observed of it (requirement B3)."""

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

    Order: what we cannot reach says nothing new; what runs beats what boots; readiness is what ``/probe`` says.
    """
    if not vm.connection.connected:
        return _unreached(vm)
    runner_pid = vm.runner.value.pid if vm.runner.value is not None else None
    is_running = run is not None and run.status is RunStatus.RUNNING
    container = vm.container.value
    container_runs = container is None or container.status is ContainerStatus.RUNNING
    if is_running and run is not None and (container_runs or runner_pid is not None or run.launcher):
        return Phase.RUNNING, _running_detail(task)
    if container is not None and not container_runs:
        return Phase.OFF, _container_detail(vm)
    probe = vm.probe.value
    if probe is not None and probe.ready and vm.probe.failure is None:
        if runner_pid is not None:
            return Phase.RUNNING, "the runner has started, no task yet"
        if run is not None:
            return Phase.IDLE, "the guest is ready and nothing runs"
        return Phase.READY, "the guest answers, nothing has run yet"
    if vm.boot.stage is not None and container is not None:
        return _STAGE_PHASES[vm.boot.stage], _boot_detail(vm)
    if container is not None:
        return Phase.BOOTING, "the container runs, the guest does not answer yet"
    if vm.container.failure is not None:
        return Phase.UNKNOWN, vm.container.failure.message
    if not vm.spec.container and vm.runner.since_at is not None:
        return (Phase.RUNNING, "the runner has started") if runner_pid is not None else (Phase.IDLE, "nothing runs")
    return Phase.UNKNOWN, "not looked at yet"


def _unreached(vm: Vm) -> tuple[Phase, str]:
    if vm.connection.failure is not None:
        return Phase.UNREACHABLE, vm.connection.failure.message
    return Phase.UNKNOWN, "not looked at yet"


def _running_detail(task: Task | None) -> str:
    if task is None:
        return "between two tasks"
    return f"{task.domain}, step {task.step}" if task.step else f"{task.domain}, preparing"


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
    return page or boot.detail
