"""The JSON that programs get: payloads of the benchmark stream and of its polling twins (requirements A2 to A11)."""

from collections.abc import Mapping

from waa.core.entity import Run, Task, Trouble, Vm
from waa.core.incident import Incident
from waa.core.results.record import Picture, StepRecord
from waa.core.spec import Transport
from waa.core.state import Progress, State, current_run
from waa.core.status import RunStatus, TaskStatus
from waa.services.task_record import RecordSeen
from waa.services.task_text import Seen, SpecificationSeen
from waa.web.cost_wire import run_cost_payload, vm_cost_payload
from waa.web.payload import (
    AgedStatus,
    BackgroundRow,
    Counts,
    FullTask,
    IncidentPayload,
    LivePayload,
    LiveTaskPayload,
    PicturePayload,
    ProgressFile,
    ProgressPayload,
    RunPayload,
    RunWithTasks,
    SpecificationPayload,
    StatusPayload,
    StepPayload,
    TaskDetail,
    TaskPayload,
    VmPayload,
)
from waa.web.view import Look
from waa.web.views.background import background_tasks
from waa.web.views.run import task_url
from waa.web.views.task import labels_of, picture_url

PROVIDER = "waa-live"


def vnc_url(vm: Vm) -> str | None:
    """Where the guest's screen should be: as configured, else the VM's address with the VNC port."""
    if vm.spec.vnc_url is not None:
        return vm.spec.vnc_url
    if not vm.spec.container:
        return None
    host = "127.0.0.1" if vm.spec.transport is Transport.LOCAL else vm.spec.ssh_host
    return f"http://{f'[{host}]' if ':' in host else host}:{vm.spec.vnc_port}/"


def status_payload(vm: Vm) -> StatusPayload:
    """``waa_ready`` is True only while the guest is known to answer."""
    probe = vm.probe.value
    is_up = bool(vm.connection.connected)
    return {
        "type": "vm_status",
        "vm": vm.name,
        "connected": is_up,
        "phase": vm.phase.value,
        "phase_detail": vm.phase_detail,
        "waa_ready": bool(is_up and probe is not None and probe.ready and vm.probe.failure is None),
        "probe": {"status": probe.status if probe is not None else None, "vnc_url": vnc_url(vm)},
    }


def aged_status(vm: Vm, seen_at: Mapping[str, float]) -> AgedStatus:
    """A VM's status with ``observed_at``: epoch seconds of its last sign of life, None: never."""
    return {**status_payload(vm), "observed_at": seen_at.get(vm.name, vm.seen_at)}


def progress_payload(state: State, run: Run) -> ProgressPayload:
    """The present task is the one begun last where several run at once."""
    task = newest_open(state, run)
    return {
        "vm": run.vm,
        "run_id": run.run_id,
        "status": run.status.value,
        "tasks_completed": state.progress[run.run_id].completed,
        "total_tasks": run.total,
        "current_task": task.task_id if task is not None else None,
        "current_step": task.step if task is not None else None,
        "current_index": task.index if task is not None else None,
    }


def task_payload(task: Task) -> TaskPayload:
    """``status`` is passed, failed, error (infrastructure) or unknown."""
    return {
        "vm": task.vm,
        "run_id": task.run_id,
        "task_id": task.task_id,
        "domain": task.domain,
        "attempt": task.attempt,
        "success": task.success,
        "score": task.score,
        "status": task.status.value,
    }


def error_payload(trouble: Trouble) -> dict[str, str]:
    """An error on the server's side (A7)."""
    return {"message": trouble.failure.message, "vm": trouble.vm, "reason": trouble.failure.reason.value}


def incident_payload(incident: Incident) -> IncidentPayload:
    """Something that went wrong; ``ended_at`` is null while it goes on. ``tasks`` are keys of tasks of the run: domain, id, attempt."""
    return {
        "incident_id": incident.incident_id,
        "vm": incident.vm,
        "run_id": incident.run_id,
        "concern": incident.concern.value,
        "severity": incident.severity.value,
        "title": incident.title,
        "detail": incident.detail or None,
        "remedy": incident.remedy or None,
        "began_at": incident.began_at,
        "ended_at": incident.ended_at,
        "tasks": list(incident.tasks),
    }


def newest_open(state: State, run: Run) -> Task | None:
    """The running task that began last."""
    return max(state.open_tasks(run.run_id), key=lambda task: (task.started_at, task.index), default=None)


def active_runs(state: State) -> list[Run]:
    """Runs that run, newest first."""
    running = (run for run in state.runs.values() if run.status is RunStatus.RUNNING)
    return sorted(running, key=lambda run: run.started_at, reverse=True)


def shown_run(state: State, vm: str | None = None) -> Run | None:
    """The run that a view without a choice shows: the newest that runs, else the newest."""
    runs = [run for run in state.runs.values() if vm is None or run.vm == vm]
    return max(runs, key=lambda run: (run.status is RunStatus.RUNNING, run.started_at), default=None)


def run_payload(look: Look, run: Run) -> RunPayload:
    """A run with its counts and what it costs."""
    progress = look.state.progress[run.run_id]
    return {
        "run_id": run.run_id,
        "label": run.label or None,
        "vm": run.vm,
        "imported": {"kind": run.imported.kind.value, "source": run.imported.source, "at": run.imported.at} if run.imported else None,
        "status": run.status.value,
        "dialect": run.dialect.value,
        "log": run.log.key,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "end_reason": run.end_reason or None,
        "threshold": run.threshold,
        "average_score": run.average_score,
        "arguments": dict(run.arguments),
        "cost": run_cost_payload(look, run),
        **counts_payload(progress, run.total),
    }


def run_with_tasks(look: Look, run: Run) -> RunWithTasks:
    """A run with its attempts."""
    return {**run_payload(look, run), "tasks": [full_task_payload(task) for task in look.state.tasks[run.run_id].values()]}


def full_task_payload(task: Task) -> FullTask:
    """All that the events told of an attempt."""
    return {
        **task_payload(task),
        "index": task.index,
        "instruction": task.instruction or None,
        "step": task.step,
        "action": task.action or None,
        "error": task.error or None,
        "provisional": task.provisional,
        "started_at": task.started_at,
        "ended_at": task.ended_at,
    }


def task_detail_payload(run: Run, task: Task, seen: RecordSeen) -> TaskDetail:
    """An attempt with the steps of its result folder; ``steps`` is null where that was not read, ``lacking`` says why."""
    record = seen.record
    lacking = seen.lacking
    return {
        **full_task_payload(task),
        "specification": f"/api{task_url(task.run_id, task.domain, task.task_id)}/spec",
        "threshold": run.threshold,
        "exact_score": record.score if record is not None else None,
        "traceback": (record.traceback or None) if record is not None else None,
        "folder": seen.path or None,
        "read_at": seen.read_at,
        "is_other_attempt": seen.is_other,
        "is_cut": record.is_cut if record is not None else False,
        "lacking": {"reason": lacking.lack.value, "message": lacking.message} if lacking is not None else None,
        "steps": [step_payload(task, step, label) for step, label in zip(record.steps, labels_of(record.steps), strict=True)]
        if record is not None
        else None,
    }


def step_payload(task: Task, step: StepRecord, label: str) -> StepPayload:
    """One step of a result folder."""
    return {
        "label": label,
        "step": step.number,
        "part": step.part,
        "action": step.action,
        "thought": step.thought,
        "before": _picture_payload(task, step.before),
        "after": _picture_payload(task, step.after),
        "points": [{"x": point.x, "y": point.y} for point in step.points],
        "at": step.at,
        "reward": step.reward,
        "done": step.done,
    }


def _picture_payload(task: Task, picture: Picture | None) -> PicturePayload | None:
    if picture is None:
        return None
    width, height = picture.size or (None, None)
    url = picture_url(task, picture.name)
    return {"name": picture.name, "url": url, "thumbnail": f"{url}?width={THUMBNAIL_WIDTH}", "width": width, "height": height}


def specification_payload(run: Run, domain: str, task_id: str, seen: Seen[SpecificationSeen]) -> SpecificationPayload:
    """A task's own file; ``document`` and what is read from it are null where it was not found, ``lacking`` says why."""
    value, failure = seen.value, seen.failure
    found = value.specification if value is not None else None
    return {
        "run_id": run.run_id,
        "domain": domain,
        "task_id": task_id,
        "path": value.path or None if value is not None else None,
        "searched": value.searched if value is not None else (),
        "read_at": seen.read_at,
        "lacking": {"reason": failure.reason.value, "message": failure.message, "remedy": failure.remedy} if failure is not None else None,
        "setup": [{"type": step.kind, "detail": step.detail} for step in found.steps] if found is not None else None,
        "evaluator": {"functions": found.functions, "result": found.asked, "expected": found.expected} if found is not None else None,
        "document": dict(found.document) if found is not None else None,
    }


def counts_payload(progress: Progress, total: int | None) -> Counts:
    """Both denominators of the success rate are named: ``scored`` and ``completed``."""
    return {
        "total_tasks": total,
        "tasks_completed": progress.completed,
        "passed": progress.passed,
        "failed": progress.failed,
        "error": progress.error,
        "unknown": progress.unknown,
        "scored": progress.scored,
        "success_rate": progress.passed / progress.scored if progress.scored else None,
    }


def live_payload(state: State, run: Run | None) -> LivePayload:
    """The shape of ``benchmark_live.json`` (A11), from what was observed: of the steps only the newest, counted from 0,
    its whole action as its ``type``."""
    if run is None:
        return {"status": "idle"}
    task = newest_open(state, run)
    current: LiveTaskPayload | None = (
        {
            "task_id": task.task_id,
            "instruction": task.instruction or None,
            "domain": task.domain,
            "steps": [{"step_idx": task.step - 1, "action": {"type": task.action}}] if task.step else [],
            "result": None,
        }
        if task is not None
        else None
    )
    return {
        "status": FILE_WORDS[run.status],
        "vm": run.vm,
        "run_id": run.run_id,
        "total_tasks": run.total,
        "tasks_completed": state.progress[run.run_id].completed,
        "current_task": current,
    }


def progress_file_payload(state: State, run: Run | None) -> ProgressFile:
    """The shape of ``benchmark_progress.json`` (A11)."""
    if run is None:
        return {"status": "idle", "provider": PROVIDER, "tasks_complete": 0, "tasks_total": None, "message": "no run was seen yet"}
    return {
        "status": FILE_WORDS[run.status],
        "provider": PROVIDER,
        "tasks_complete": state.progress[run.run_id].completed,
        "tasks_total": run.total,
        "message": run.end_reason or f"{run.vm}: {run.status}",
    }


def vm_payload(look: Look, vm: Vm) -> VmPayload:
    """A VM for programs: how it is reached, its state, each reading with its age, and what it costs."""
    failure = vm.connection.failure
    run = current_run(look.state, vm)
    return {
        "name": vm.name,
        "origin": vm.spec.origin.value,
        "ssh_host": vm.spec.ssh_host,
        "ssh_user": vm.spec.ssh_user,
        "ssh_port": vm.spec.ssh_port,
        "docker_container": vm.spec.container or None,
        "waa_port": vm.spec.waa_port,
        "vnc_port": vm.spec.vnc_port,
        "internal_ip": vm.spec.guest_ip,
        **aged_status(vm, look.seen_at),
        "phase_at": vm.phase_at,
        "failure": {"reason": failure.reason.value, "message": failure.message, "remedy": failure.remedy} if failure else None,
        "retry_at": look.retry_at.get(vm.name) if failure else None,
        "container": vm.container,
        "runner": vm.runner,
        "machine": vm.machine,
        "boot": vm.boot,
        "current_run": run.run_id if run is not None else None,
        "cost": vm_cost_payload(look, vm),
    }


def background_rows(state: State, now: float) -> list[BackgroundRow]:
    """Everything that goes on, as the panel *Background Tasks* shows it."""
    return [
        {
            "task_id": task.task_id,
            "task_type": task.task_type.value,
            "title": task.title,
            "description": task.description,
            "status": task.status.value,
            "phase": task.phase,
            "progress_percent": task.percent,
            "elapsed_seconds": round(task.elapsed_s(now)) if task.started_at is not None else None,
            "metadata": dict(task.metadata),
        }
        for task in background_tasks(state)
    ]


THUMBNAIL_WIDTH = 320
"""Of the thumbnails that steps name; ``?width=`` takes others."""
FILE_WORDS: Mapping[RunStatus, str] = {
    RunStatus.RUNNING: "running",
    RunStatus.FINISHED: "complete",
    RunStatus.INTERRUPTED: "error",
}
"""What the local files call the states of a run."""

STATUS_WORDS: Mapping[TaskStatus, str] = {
    TaskStatus.PASSED: "passed",
    TaskStatus.FAILED: "failed",
    TaskStatus.ERROR: "ended with an error",
    TaskStatus.UNKNOWN: "ended, outcome unknown",
}
