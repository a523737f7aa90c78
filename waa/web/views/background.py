"""Background tasks: set-ups, containers and runs as work that goes on by itself."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from waa.core.entity import Run, Vm
from waa.core.job import Job, JobStatus
from waa.core.spec import Origin
from waa.core.state import Progress, State, current_run
from waa.core.status import ContainerStatus, Phase, RunStatus
from waa.web.view import Look, View
from waa.web.views.vm import PHASE_WORDS

MAX_SHOWN = 12
"""The panel shows so many; those that go on and those that failed come first."""

SETUP_PHASES = frozenset({Phase.BOOTING, Phase.DOWNLOADING, Phase.EXTRACTING, Phase.CONFIGURING, Phase.BUILDING, Phase.OOBE})


class TaskType(StrEnum):
    """What kind of work it is."""

    VM_PROVISION = "vm_provision"
    DOCKER_CONTAINER = "docker_container"
    BENCHMARK_RUN = "benchmark_run"
    JOB = "job"


class TaskState(StrEnum):
    """How it stands."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundTask:
    """One piece of work. ``percent`` 0..100, None: it does not tell. Elapsed time runs from ``started_at`` to
    ``ended_at``, or to now."""

    task_id: str
    task_type: TaskType
    title: str
    description: str
    status: TaskState
    phase: str
    percent: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    vm: str = ""
    is_demo: bool = False
    metadata: dict[str, str] = field(default_factory=dict)

    def elapsed_s(self, now: float) -> float:
        """Seconds that it took so far, 0 where its start is not known."""
        return max(0.0, (self.ended_at or now) - self.started_at) if self.started_at is not None else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundTasks(View):
    """The panel. ``more`` are not listed."""

    tasks: tuple[BackgroundTask, ...]
    more: int
    vms: int


def tasks_panel(look: Look, _subject: str | None) -> BackgroundTasks:
    """What goes on by itself, what failed, and what is done."""
    tasks = background_tasks(look.state)
    return BackgroundTasks(now=look.now, tasks=tuple(tasks[:MAX_SHOWN]), more=max(0, len(tasks) - MAX_SHOWN), vms=len(look.state.vms))


def background_tasks(state: State) -> list[BackgroundTask]:
    """All background work that is known (requirement A10): running first, then failed, pending, completed; each by age,
    youngest first."""
    order = {TaskState.RUNNING: 0, TaskState.FAILED: 1, TaskState.PENDING: 2, TaskState.COMPLETED: 3}
    tasks = [task for vm in state.vms.values() for task in _of_vm(state, vm)]
    tasks += [_of_job(job) for job in state.jobs.values()]
    return sorted(tasks, key=lambda task: (order[task.status], -(task.started_at or 0.0), task.task_id))


def _of_vm(state: State, vm: Vm) -> Iterator[BackgroundTask]:
    demo = vm.spec.origin is Origin.DEMO
    if vm.phase in SETUP_PHASES:
        yield BackgroundTask(
            task_id=f"vm-{vm.name}",
            task_type=TaskType.VM_PROVISION,
            title=f"Set up Windows on {vm.name}",
            description=vm.boot.error or vm.phase_detail or PHASE_WORDS[vm.phase],
            status=TaskState.FAILED if vm.boot.error else TaskState.RUNNING,
            phase=vm.phase.value,
            percent=vm.boot.percent if vm.phase is Phase.DOWNLOADING else None,
            started_at=vm.container.value.started_at if vm.container.value is not None else vm.phase_at,
            vm=vm.name,
            is_demo=demo,
            metadata={"vm": vm.name, "stage": vm.boot.stage.value if vm.boot.stage is not None else ""},
        )
    container = vm.container.value
    if container is not None:
        yield BackgroundTask(
            task_id=f"container-{vm.name}",
            task_type=TaskType.DOCKER_CONTAINER,
            title=f"Container {vm.spec.container} on {vm.name}",
            description=container.image or "the benchmark's container",
            status=_container_state(container.status, container.exit_code),
            phase=container.status.value,
            started_at=container.started_at,
            ended_at=None if container.status is ContainerStatus.RUNNING else vm.container.since_at,
            vm=vm.name,
            is_demo=demo,
            metadata={"vm": vm.name, "container": vm.spec.container},
        )
    shown = current_run(state, vm)
    for run in state.runs_of(vm.name):
        if run is shown or run.status is RunStatus.RUNNING:
            yield _of_run(run, state.progress.get(run.run_id, Progress()), demo=demo)


def _of_job(job: Job) -> BackgroundTask:
    states = {
        JobStatus.PENDING: TaskState.PENDING,
        JobStatus.RUNNING: TaskState.RUNNING,
        JobStatus.COMPLETED: TaskState.COMPLETED,
    }
    result = job.result
    runs = result.run_ids if result is not None else ()
    counted = f"{result.tasks} tasks, {result.steps} steps" if result is not None else ""
    return BackgroundTask(
        task_id=f"job-{job.job_id}",
        task_type=TaskType.JOB,
        title=f"Import from {job.request.source}",
        description=job.error or job.detail or counted or job.status.value,
        status=states.get(job.status, TaskState.FAILED),
        phase=job.status.value,
        percent=float(job.progress),
        started_at=job.started_at,
        ended_at=job.ended_at,
        vm=job.vm,
        metadata={"job_id": job.job_id, "run_id": runs[0] if len(runs) == 1 else ""},
    )


def _container_state(status: ContainerStatus, exit_code: int | None) -> TaskState:
    if status in (ContainerStatus.ABSENT, ContainerStatus.CREATED):
        return TaskState.PENDING
    if status in (ContainerStatus.EXITED, ContainerStatus.DEAD):
        return TaskState.FAILED if exit_code else TaskState.COMPLETED
    return TaskState.RUNNING


def _of_run(run: Run, progress: Progress, *, demo: bool) -> BackgroundTask:
    states = {
        RunStatus.RUNNING: TaskState.RUNNING,
        RunStatus.FINISHED: TaskState.COMPLETED,
        RunStatus.INTERRUPTED: TaskState.FAILED,
    }
    total = run.total if run.total is not None else "?"
    return BackgroundTask(
        task_id=run.run_id,
        task_type=TaskType.BENCHMARK_RUN,
        title=f"Benchmark run on {run.vm}",
        description=run.end_reason or f"{progress.completed}/{total} tasks completed, {progress.passed} passed",
        status=states[run.status],
        phase=run.status.value,
        percent=min(100.0, 100.0 * progress.completed / run.total) if run.total else None,
        started_at=run.started_at,
        ended_at=run.ended_at,
        vm=run.vm,
        is_demo=demo,
        metadata={"vm": run.vm, "run_id": run.run_id},
    )
