"""What pulled the ground from under a run: another boot of the VM, another start of its container, and the tasks that were hit. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from waa.core.entity import Run, Task, Vm
from waa.core.incident import Concern, Incident, Severity
from waa.core.state import State
from waa.core.status import RunStatus, TaskStatus

DISRUPTIONS = (Concern.REBOOTED, Concern.CONTAINER_RESTARTED)

SHUTDOWN_S = 300.0
"""A task that failed so shortly before a boot failed because the machine went down."""

CLOCK_ERROR_S = 10.0
"""A moment that a log tells and one that the machine tells may differ by this."""


def disruption(
    before: Vm, after: Vm, *, run: Run | None, tasks: Iterable[Task], open_incidents: Iterable[Incident], at: float
) -> Incident | None:
    """What a look shows to have happened since the look before; it is over as soon as it is known. ``run`` is the VM's current one;
    one that came to its end is hit by nothing.

    A VM that was out of reach and came back by another boot (a spot eviction, say) has one incident: the one that was open for its
    being out of reach becomes the reboot.
    """
    if run is None or run.status is RunStatus.FINISHED:
        return None
    known = list(tasks)
    rebooted = _reboot(before, after, run, known, at)
    if rebooted is None:
        return _restart(before, after, run, known, at)
    away = next((incident for incident in open_incidents if incident.concern is Concern.UNREACHABLE), None)
    if away is None:
        return rebooted
    return replace(
        rebooted,
        incident_id=away.incident_id,
        began_at=away.began_at,
        detail="It went out of reach and came back by another boot: restarted, or evicted as a spot VM",
        tasks=tuple(dict.fromkeys((*away.tasks, *rebooted.tasks))),
    )


def disruptions_of(state: State, run_id: str, task_key: str | None = None) -> list[Incident]:
    """The reboots and container restarts that hit a task of a run (None: any), oldest first."""
    hit = [
        incident
        for incident in state.incidents.values()
        if incident.run_id == run_id and incident.concern in DISRUPTIONS and (task_key is None or task_key in incident.tasks)
    ]
    return sorted(hit, key=lambda incident: incident.began_at)


def _reboot(before: Vm, after: Vm, run: Run, tasks: list[Task], at: float) -> Incident | None:
    was, now = before.machine.value, after.machine.value
    if was is None or now is None or not was.boot_id or not now.boot_id or was.boot_id == now.boot_id:
        return None
    booted_at = now.booted_at if now.booted_at is not None else at
    hit = _hit(tasks, since_at=booted_at - SHUTDOWN_S)
    if run.status is not RunStatus.RUNNING and not hit:
        return None
    began_at = min(at, booted_at - (now.clock_skew_s or 0.0))
    return _incident(run, Concern.REBOOTED, "The VM was rebooted", hit, began_at=began_at, ended_at=at)


def _restart(before: Vm, after: Vm, run: Run, tasks: list[Task], at: float) -> Incident | None:
    was, now = before.container.value, after.container.value
    if was is None or now is None or was.started_at is None or now.started_at is None or was.started_at == now.started_at:
        return None
    booted_at = after.machine.value.booted_at if after.machine.value is not None else None
    if run.launcher or (booted_at is not None and was.started_at < booted_at <= now.started_at):
        return None
    hit = _hit(tasks, since_at=now.started_at - CLOCK_ERROR_S)
    if not hit:
        return None
    skew_s = (after.machine.value.clock_skew_s if after.machine.value is not None else None) or 0.0
    began_at = min(at, now.started_at - skew_s)
    return _incident(run, Concern.CONTAINER_RESTARTED, "The container was restarted", hit, began_at=began_at, ended_at=at)


def _hit(tasks: Iterable[Task], *, since_at: float) -> tuple[str, ...]:
    """The tasks that run, and those that ended without a verdict since."""
    return tuple(
        task.key
        for task in tasks
        if not task.is_over or (task.status in (TaskStatus.ERROR, TaskStatus.UNKNOWN) and (task.ended_at or 0.0) >= since_at)
    )


def _incident(run: Run, concern: Concern, title: str, hit: tuple[str, ...], *, began_at: float, ended_at: float) -> Incident:
    return Incident(
        incident_id=f"{run.vm}-{concern}-{round(began_at * 1000)}",
        vm=run.vm,
        concern=concern,
        severity=Severity.WARNING,
        title=title,
        detail=f"{len(hit)} task{'s' if len(hit) != 1 else ''} hit" if hit else "No task was open",
        remedy="The tasks that it hit say nothing about the agent: run them again." if hit else "",
        began_at=began_at,
        ended_at=ended_at,
        run_id=run.run_id,
        tasks=hit,
    )
