"""``decide``: which changes an observation causes. Pure; nothing changed, no changes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from waa.core.entity import Boot, Connection, Run, RunId, Task, Trouble, Vm
from waa.core.error import Failure
from waa.core.event import Change, EventType
from waa.core.logs import fact as f
from waa.core.observation import (
    AnyObservation,
    LinkFailed,
    LinkOpened,
    LogRead,
    LogSource,
    Reading,
    ScoreFound,
    StatusSeen,
    TimePassed,
    TroubleMet,
    VmForgotten,
    VmNamed,
)
from waa.core.phase import phase_of
from waa.core.state import State
from waa.core.status import BootStage, RunStatus, TaskStatus

Value = TypeVar("Value")

MERGE_WINDOW_S = 120.0
"""Parallel workers of one run that write into one file begin within this time of each other."""

ECHO_WINDOW_S = 2.0
"""Two logs that tell of the same run (a tee) carry the same times, but for rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the operator decides. ``threshold``: a score of at least this is a success. A run whose process is gone
    for ``runner_grace_s`` (``launcher_grace_s`` where a launcher restarts it per task) is interrupted."""

    threshold: float = 1.0
    runner_grace_s: float = 60.0
    launcher_grace_s: float = 1800.0


def decide(state: State, observation: AnyObservation, rules: Rules) -> list[Change]:
    """The changes, in order. The state is not touched."""
    if isinstance(observation, VmNamed):
        return _named(state, observation)
    vm = state.vms.get(observation.vm)
    if vm is None:
        return []
    draft = _Draft(state, vm, observation.at, rules)
    match observation:
        case VmForgotten():
            draft.changes.append(Change(type=EventType.VM_REMOVED, at=observation.at, entity=vm))
            return draft.changes
        case LinkOpened():
            draft.open_link()
        case LinkFailed():
            draft.fail_link(observation)
        case StatusSeen():
            draft.see(observation)
        case LogRead():
            draft.read(observation.source, observation.facts)
        case ScoreFound():
            draft.settle(observation)
        case TroubleMet():
            trouble = Trouble(vm=vm.name, at=observation.at, failure=observation.failure)
            draft.changes.append(Change(type=EventType.TROUBLE_MET, at=observation.at, entity=trouble))
        case TimePassed():
            draft.pass_time()
    draft.finish()
    return draft.changes


def _named(state: State, observation: VmNamed) -> list[Change]:
    vm = state.vms.get(observation.vm)
    if vm is None:
        return [Change(type=EventType.VM_ADDED, at=observation.at, entity=Vm(name=observation.vm, spec=observation.spec))]
    if vm.spec == observation.spec:
        return []
    return [Change(type=EventType.VM_CHANGED, at=observation.at, entity=replace(vm, spec=observation.spec))]


class _Draft:
    """The work on one observation: a view of the state with the changes so far laid over it."""

    def __init__(self, state: State, vm: Vm, at: float, rules: Rules) -> None:
        self.changes: list[Change] = []
        self._state = state
        self._before = vm
        self._vm = vm
        self._at = at
        self._rules = rules
        self._runs: dict[RunId, Run] = {}
        self._tasks: dict[RunId, dict[str, Task]] = {}
        self._log_runs: dict[str, RunId] = {}

    # --- the VM ---

    def open_link(self) -> None:
        self._vm = replace(self._vm, connection=Connection(connected=True, since_at=self._at))

    def fail_link(self, observation: LinkFailed) -> None:
        before = self._vm.connection
        since_at = before.since_at if before.connected is False else self._at
        after = Connection(connected=False, since_at=since_at, failure=observation.failure, retry_at=observation.retry_at)
        if before.connected is False and before.failure == observation.failure:
            after = replace(after, retry_at=before.retry_at)
        self._vm = replace(self._vm, connection=after)

    def see(self, seen: StatusSeen) -> None:
        vm, at = self._vm, self._at
        self._vm = replace(
            vm,
            container=_read(vm.container, seen.container, at),
            probe=_read(vm.probe, seen.probe, at),
            runner=_read(vm.runner, seen.runner, at),
            machine=_read(vm.machine, seen.machine, at),
            setup_page=_read(vm.setup_page, seen.setup_page, at),
        )
        runner = self._vm.runner.value
        run = self._current_run()
        if run is not None and run.status is RunStatus.RUNNING and runner is not None and runner.pid not in (None, run.runner_pid):
            self._put_run(EventType.RUN_CHANGED, replace(run, runner_pid=runner.pid))
        self.pass_time()

    def pass_time(self) -> None:
        """A run whose process is gone, and stays gone, is over although its log does not say so."""
        runner = self._vm.runner
        run = self._current_run()
        if run is None or run.status is not RunStatus.RUNNING or run.runner_pid is None or not self._vm.connection.connected:
            return
        if runner.value is None or runner.value.pid is not None or runner.failure is not None or runner.since_at is None:
            return
        grace_s = self._rules.launcher_grace_s if run.launcher else self._rules.runner_grace_s
        if self._at - runner.since_at >= grace_s:
            self._end_run(run, EventType.RUN_INTERRUPTED, runner.since_at, reason="the runner's process is gone; its log has no end")

    def finish(self) -> None:
        """The VM's own event, after everything else: its phase follows from the rest."""
        run = self._current_run()
        task = self._last_open_task(run.run_id) if run is not None else None
        phase, detail = phase_of(self._vm, run, task)
        vm = replace(self._vm, phase_detail=detail, run_id=run.run_id if run is not None else None)
        before = self._before
        if phase is not before.phase:
            vm = replace(vm, phase=phase, phase_at=self._at)
        if vm == before:
            return
        vm = replace(vm, seen_at=self._at if vm.connection.connected else before.seen_at)
        type_, previous = EventType.VM_CHANGED, None
        if vm.connection.connected != before.connection.connected:
            type_ = EventType.VM_CONNECTED if vm.connection.connected else EventType.VM_DISCONNECTED
        elif phase is not before.phase:
            type_, previous = EventType.VM_PHASE_CHANGED, before.phase.value
        self.changes.append(Change(type=type_, at=self._at, entity=vm, previous=previous))

    # --- logs ---

    def read(self, source: LogSource, facts: tuple[f.AnyFact, ...]) -> None:
        for fact in facts:
            self._take(source, fact, min(fact.at, self._at) if fact.at is not None else self._at)

    def _take(self, source: LogSource, fact: f.AnyFact, at: float) -> None:
        match fact:
            case f.ContainerBooted():
                boots = self._vm.boot.boots + 1
                boot = Boot(stage=BootStage.STARTING, stage_at=at, detail=f"{fact.engine} {fact.version}".strip(), boots=boots)
                self._vm = replace(self._vm, boot=boot)
            case f.BootStaged():
                self._stage(fact, at)
            case f.BootProgressed():
                self._vm = replace(self._vm, boot=replace(self._vm.boot, percent=fact.percent))
            case f.BootFailed():
                self._vm = replace(self._vm, boot=replace(self._vm.boot, error=fact.message, error_at=at))
            case f.BootStopped():
                self._vm = replace(self._vm, boot=replace(self._vm.boot, stopped=fact.detail))
            case f.BootWarned() | f.ServerWaiting() | f.ServerReady():
                pass
            case f.LauncherStarted() | f.RunStarted():
                self._start_run(source, fact, at)
            case f.TaskStarted():
                self._start_task(source, fact, at)
            case _:
                run = self._run_of(source)
                if run is not None:
                    self._tell(run, fact, at)

    def _stage(self, fact: f.BootStaged, at: float) -> None:
        boot = self._vm.boot
        if fact.stage is not boot.stage:
            boot = replace(boot, stage=fact.stage, stage_at=at, percent=None, error="", error_at=None)
        self._vm = replace(self._vm, boot=replace(boot, detail=fact.detail))

    def _start_run(self, source: LogSource, fact: f.LauncherStarted | f.RunStarted, at: float) -> None:
        dialect = fact.dialect if isinstance(fact, f.RunStarted) else f.Dialect.WAA_V2
        run = self._run_of(source)
        if run is not None and run.status is RunStatus.RUNNING:
            begins_anew = isinstance(fact, f.LauncherStarted) or not run.launcher
            is_other_worker = not run.launcher and at - run.started_at <= MERGE_WINDOW_S and not self._has_ended_task(run.run_id)
            if not begins_anew or is_other_worker:
                return
            self._end_run(run, EventType.RUN_INTERRUPTED, at, reason="the runner was started again")
        if self._is_echo(source, at):
            return
        self._open_run(source, dialect, at, launcher=isinstance(fact, f.LauncherStarted))

    def _open_run(self, source: LogSource, dialect: f.Dialect, at: float, *, launcher: bool = False) -> Run:
        stamp = datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%S")
        run_id, number = RunId(f"{self._vm.name}-{stamp}"), 1
        while run_id in self._state.runs or run_id in self._runs:
            number += 1
            run_id = RunId(f"{self._vm.name}-{stamp}-{number}")
        run = Run(
            run_id=run_id,
            vm=self._vm.name,
            log=source,
            dialect=dialect,
            started_at=at,
            first_seen_at=self._at,
            launcher=launcher,
            threshold=self._rules.threshold,
        )
        self._log_runs[source.key] = run_id
        self._put_run(EventType.RUN_STARTED, run)
        return run

    def _start_task(self, source: LogSource, fact: f.TaskStarted, at: float) -> None:
        run = self._run_of(source)
        if run is None:
            if self._is_echo(source, at, task=fact):
                return
            run = self._open_run(source, f.Dialect.WAA, at)
        if run.status is RunStatus.INTERRUPTED:
            run = replace(run, status=RunStatus.RUNNING, ended_at=None, end_reason="", runner_pid=None)
            self._put_run(EventType.RUN_CHANGED, run)
        elif run.status is RunStatus.FINISHED:
            run = self._open_run(source, run.dialect, at)
        attempts = [task for task in self._tasks_of(run.run_id) if (task.domain, task.task_id) == (fact.domain, fact.task_id)]
        for task in attempts:
            if not task.is_over:
                self._end_task(task, at, status=TaskStatus.UNKNOWN, error="started again")
        started = len({(task.domain, task.task_id) for task in self._tasks_of(run.run_id)})
        index = attempts[0].index if attempts else fact.index or started + 1
        task = Task(
            run_id=run.run_id,
            vm=self._vm.name,
            domain=fact.domain,
            task_id=fact.task_id,
            attempt=len(attempts) + 1,
            index=index,
            worker=fact.worker,
            activity=f.Activity.RESETTING,
            started_at=at,
            changed_at=at,
        )
        self._put_task(EventType.TASK_STARTED, task)

    def _tell(self, run: Run, fact: f.AnyFact, at: float) -> None:
        match fact:
            case f.RunPlanned():
                self._plan(run, fact)
            case f.RunConfigured():
                self._put_run(EventType.RUN_CHANGED, replace(run, arguments=run.arguments | fact.arguments))
            case f.RunFinished():
                is_last = self._last_open_task(run.run_id) is None
                if is_last and not run.launcher and run.status is RunStatus.RUNNING:
                    self._end_run(replace(run, average_score=fact.average_score), EventType.RUN_FINISHED, at)
            case f.RunInterrupted():
                if not run.launcher and run.status is RunStatus.RUNNING:
                    self._end_run(run, EventType.RUN_INTERRUPTED, at, reason=fact.reason)
            case f.TaskFinished():
                self._close(run, fact, at, status=None, error="")
            case f.TaskCrashed():
                self._close(run, fact, at, status=TaskStatus.ERROR, error=fact.error)
            case f.TaskCut():
                self._close(run, fact, at, status=TaskStatus.UNKNOWN, error=fact.reason)
            case _:
                task = self._open_task(run.run_id, fact.worker)
                if task is not None:
                    self._advance(task, fact, at)

    def _plan(self, run: Run, fact: f.RunPlanned) -> None:
        if run.launcher:
            return
        known = set(run.plan)
        plan = run.plan + tuple(ref for ref in fact.tasks if ref not in known)
        total = len(plan) if plan else fact.total
        self._put_run(EventType.RUN_CHANGED, replace(run, plan=plan, total=total))

    def _advance(self, task: Task, fact: f.AnyFact, at: float) -> None:
        match fact:
            case f.TaskInstructed():
                self._put_task(EventType.TASK_CHANGED, replace(task, instruction=fact.instruction))
            case f.TaskActive():
                self._put_task(EventType.TASK_CHANGED, replace(task, activity=fact.activity, changed_at=at))
            case f.StepStarted():
                is_next = fact.number != task.step
                stepped = replace(task, step=fact.number, action=fact.action, activity=f.Activity.ACTING, changed_at=at)
                self._put_task(EventType.TASK_STEPPED if is_next else EventType.TASK_CHANGED, stepped)
            case f.StepDescribed():
                self._put_task(EventType.TASK_CHANGED, replace(task, action=fact.action))
            case f.TaskScored():
                self._put_task(EventType.TASK_CHANGED, replace(task, score=fact.score, changed_at=at))
            case _:
                pass

    def _close(
        self, run: Run, fact: f.TaskFinished | f.TaskCrashed | f.TaskCut, at: float, *, status: TaskStatus | None, error: str
    ) -> None:
        named = [task for task in self._tasks_of(run.run_id) if (task.domain, task.task_id) == (fact.domain, fact.task_id)]
        task = named[-1] if named else None
        if task is None or task.is_over:
            return
        judged = status or judge(task.score, run.threshold)
        self._end_task(task, at, status=judged, error=error)

    def settle(self, found: ScoreFound) -> None:
        """``result.txt`` is the authority: it replaces the log's rounded score."""
        run = self._runs.get(RunId(found.run_id)) or self._state.runs.get(RunId(found.run_id))
        if run is None:
            return
        named = [task for task in self._tasks_of(run.run_id) if (task.domain, task.task_id) == (found.domain, found.task_id)]
        if not named or not named[-1].is_over or not named[-1].provisional or named[-1].status is TaskStatus.ERROR:
            return
        task = named[-1]
        score = task.score if found.score is None else found.score
        settled = replace(task, score=score, provisional=found.score is None, status=judge(score, run.threshold))
        self._put_task(EventType.TASK_SETTLED, settled, previous=task.status.value)

    # --- runs and tasks of the draft ---

    def _run_of(self, source: LogSource) -> Run | None:
        run_id = self._log_runs.get(source.key)
        if run_id is not None:
            return self._runs[run_id]
        run = self._state.run_of_log(self._vm.name, source.key)
        return self._runs.get(run.run_id, run) if run is not None else None

    def _current_run(self) -> Run | None:
        runs = {run.run_id: run for run in self._state.runs_of(self._vm.name)} | self._runs
        newest = sorted(runs.values(), key=lambda run: (run.status is RunStatus.RUNNING, run.started_at))
        return newest[-1] if newest else None

    def _is_echo(self, source: LogSource, at: float, task: f.TaskStarted | None = None) -> bool:
        """Whether another log of this VM told the same already: then this one is read for nothing else."""
        others = [run for run in self._state.runs_of(self._vm.name) if run.log.key != source.key]
        if task is None:
            return any(abs(run.started_at - at) <= ECHO_WINDOW_S for run in others)
        return any(
            (known.domain, known.task_id) == (task.domain, task.task_id) and abs(known.started_at - at) <= ECHO_WINDOW_S
            for run in others
            for known in self._tasks_of(run.run_id)
        )

    def _tasks_of(self, run_id: RunId) -> list[Task]:
        return list({**self._state.tasks.get(run_id, {}), **self._tasks.get(run_id, {})}.values())

    def _open_task(self, run_id: RunId, worker: str) -> Task | None:
        """The task that a worker is at; facts that do not name a task belong to it."""
        mine = [task for task in self._tasks_of(run_id) if not task.is_over and task.worker == worker]
        return mine[-1] if mine else None

    def _last_open_task(self, run_id: RunId) -> Task | None:
        return next((task for task in reversed(self._tasks_of(run_id)) if not task.is_over), None)

    def _has_ended_task(self, run_id: RunId) -> bool:
        return any(task.is_over for task in self._tasks_of(run_id))

    def _end_task(self, task: Task, at: float, *, status: TaskStatus, error: str) -> None:
        score = None if status in (TaskStatus.ERROR, TaskStatus.UNKNOWN) else task.score
        ended = replace(task, status=status, score=score, error=error, activity=None, ended_at=at, changed_at=at)
        self._put_task(EventType.TASK_COMPLETED, ended, previous=task.status.value)

    def _end_run(self, run: Run, type_: EventType, at: float, *, reason: str = "") -> None:
        for task in self._tasks_of(run.run_id):
            if not task.is_over:
                self._end_task(task, at, status=TaskStatus.UNKNOWN, error=reason or "the run ended")
        status = RunStatus.FINISHED if type_ is EventType.RUN_FINISHED else RunStatus.INTERRUPTED
        self._put_run(type_, replace(run, status=status, ended_at=at, end_reason=reason), previous=run.status.value)

    def _put_run(self, type_: EventType, run: Run, *, previous: str | None = None) -> None:
        if self._runs.get(run.run_id, self._state.runs.get(run.run_id)) == run:
            return
        self._runs[run.run_id] = run
        self._append(Change(type=type_, at=self._at, entity=run, previous=previous), lambda last: last.run_id == run.run_id)

    def _put_task(self, type_: EventType, task: Task, *, previous: str | None = None) -> None:
        known = self._tasks.get(task.run_id, {}).get(task.key, self._state.tasks.get(task.run_id, {}).get(task.key))
        if known == task:
            return
        self._tasks.setdefault(task.run_id, {})[task.key] = task
        same = (task.run_id, task.key)
        self._append(Change(type=type_, at=self._at, entity=task, previous=previous), lambda last: (last.run_id, last.key) == same)

    def _append(self, change: Change, is_same: Callable[..., bool]) -> None:
        """Two changes of detail of one entity in a row are one."""
        last = self.changes[-1] if self.changes else None
        details = (EventType.TASK_CHANGED, EventType.RUN_CHANGED)
        if last is not None and last.type is change.type and change.type in details and is_same(last.entity):
            self.changes.pop()
        self.changes.append(change)


def judge(score: float | None, threshold: float) -> TaskStatus:
    """The verdict on a score; no score, no verdict."""
    if score is None:
        return TaskStatus.UNKNOWN
    return TaskStatus.PASSED if score >= threshold else TaskStatus.FAILED


def _read(before: Reading[Value], seen: Value | Failure | None, at: float) -> Reading[Value]:
    """The reading after a look at one part: an unchanged value keeps its time, a failure keeps the last value."""
    if seen is None:
        return before
    if isinstance(seen, Failure):
        if before.failure == seen:
            return before
        return replace(before, failure=seen, failed_at=at)
    if before.value == seen:
        return replace(before, failure=None, failed_at=None) if before.failure is not None else before
    return Reading(value=seen, since_at=at)
