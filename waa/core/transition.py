"""``decide``: which changes an observation causes. Pure; nothing changed, no changes."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from waa.core.disruption import disruption
from waa.core.entity import Boot, Connection, Run, RunId, Task, Trouble, Vm
from waa.core.error import Failure
from waa.core.event import Change, EventType
from waa.core.logs import fact as f
from waa.core.observation import (
    AnyObservation,
    IncidentsSeen,
    LinkFailed,
    LinkOpened,
    LinkSought,
    LogKind,
    LogRead,
    LogSource,
    PowerSeen,
    Reading,
    ScoreFound,
    ScreensCompared,
    StatusSeen,
    TimePassed,
    TroubleMet,
    VmForgotten,
    VmNamed,
)
from waa.core.outside import Outside, decide_outside
from waa.core.phase import phase_of
from waa.core.pipeline import PipelineRules
from waa.core.spec import VmSpec
from waa.core.state import State
from waa.core.status import BootStage, RunStatus, TaskStatus
from waa.core.verdict import judge

Value = TypeVar("Value")

ECHO_WINDOW_S = 2.0
"""Two logs that tell of the same run (a tee) carry the same times, but for rounding."""


_DETAILS = (EventType.TASK_CHANGED, EventType.RUN_CHANGED)
_TAKES_DETAILS = (*_DETAILS, EventType.TASK_STARTED, EventType.TASK_STEPPED, EventType.RUN_STARTED)

_PLACE = ("transport", "ssh_host", "ssh_port", "proxy_jump", "container", "engine")
"""Fields that say where to look: with another value, nothing observed so far tells of what is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the operator decides. ``threshold``: a score of at least this is a success. A run whose process is gone and
    whose log is silent for ``runner_grace_s`` is interrupted; for ``launcher_grace_s`` where a launcher restarts the
    process per task, or where no process was ever seen (the pattern may not fit)."""

    threshold: float = 1.0
    runner_grace_s: float = 60.0
    launcher_grace_s: float = 1800.0
    pipelines: PipelineRules = PipelineRules()


def decide(state: State, observation: AnyObservation | Outside, rules: Rules) -> list[Change]:
    """The changes, in order. The state is not touched."""
    if isinstance(observation, Outside):
        return decide_outside(state, observation, rules.pipelines)
    if isinstance(observation, VmNamed):
        return _named(state, observation)
    vm = state.vms.get(observation.vm)
    return _seen(state, vm, observation, rules) if vm is not None else []


def _seen(state: State, vm: Vm, observation: AnyObservation, rules: Rules) -> list[Change]:
    draft = _Draft(state, vm, observation.at, rules)
    match observation:
        case VmForgotten():
            draft.forget()
            return draft.changes
        case LinkSought():
            draft.seek_link()
        case LinkOpened():
            draft.open_link()
        case LinkFailed():
            draft.fail_link(observation)
        case StatusSeen():
            draft.see(observation)
        case PowerSeen():
            draft.see_power(observation)
        case LogRead():
            draft.read(observation.source, observation.facts)
        case ScoreFound():
            draft.settle(observation)
        case ScreensCompared():
            draft.compare(observation)
        case IncidentsSeen():
            draft.note(observation)
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
        return [Change(type=EventType.VM_ADDED, at=observation.at, entity=_unseen(observation))]
    if vm.spec == observation.spec:
        return []
    named = replace(vm, spec=observation.spec)
    if not _is_same_machine(vm.spec, observation.spec):
        named = replace(_unseen(observation), run_id=vm.run_id)
    previous = vm.phase.value if named.phase is not vm.phase else None
    return [Change(type=EventType.VM_CHANGED, at=observation.at, entity=named, previous=previous)]


def _is_same_machine(before: VmSpec, after: VmSpec) -> bool:
    """A machine of Azure is the same one at whatever address."""
    is_known_there = before.azure_id is not None and after.azure_id is not None and before.azure_id.lower() == after.azure_id.lower()
    place = [field for field in _PLACE if not (is_known_there and field == "ssh_host")]
    return all(getattr(before, field) == getattr(after, field) for field in place)


def _unseen(observation: VmNamed) -> Vm:
    vm = Vm(name=observation.vm, spec=observation.spec)
    phase, detail = phase_of(vm, None, None)
    return replace(vm, phase=phase, phase_detail=detail)


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

    def seek_link(self) -> None:
        if self._vm.connection.connected:
            self._vm = replace(self._vm, connection=Connection(since_at=self._at))

    def open_link(self) -> None:
        before = self._vm.connection
        since_at = before.since_at if before.connected else self._at
        self._vm = replace(self._vm, connection=Connection(connected=True, since_at=since_at))

    def fail_link(self, observation: LinkFailed) -> None:
        before = self._vm.connection
        since_at = before.since_at if before.connected is False else self._at
        after = Connection(connected=False, since_at=since_at, failure=observation.failure)
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
        self._disrupt(vm)
        self.pass_time()

    def see_power(self, seen: PowerSeen) -> None:
        self._vm = replace(self._vm, power=_read(self._vm.power, seen.power, self._at))

    def _disrupt(self, before: Vm) -> None:
        """Another boot, or another start of the container, is told with the tasks that it hit."""
        run = self._current_run()
        incidents = self._state.open_incidents(before.name)
        tasks = self._tasks_of(run.run_id) if run is not None else []
        met = disruption(before, self._vm, run=run, tasks=tasks, open_incidents=incidents, at=self._at)
        if met is not None and met.incident_id not in {incident.incident_id for incident in incidents}:
            self.changes.append(Change(type=EventType.INCIDENT_OPENED, at=self._at, entity=met))
        elif met is not None:
            self.changes.append(Change(type=EventType.INCIDENT_RESOLVED, at=self._at, entity=met))

    def pass_time(self) -> None:
        """A run whose process is gone, and stays gone, is over although its log does not say so."""
        runner, current = self._vm.runner, self._current_run()
        if current is None or not self._vm.connection.connected:
            return
        if runner.value is None or runner.failure is not None or runner.since_at is None:
            return
        pid = runner.value.pid
        for run in self._runs_of_vm():
            is_alive = pid is not None and (run.run_id == current.run_id or run.runner_pid == pid)
            if run.status is not RunStatus.RUNNING or is_alive:
                continue
            silent_at = max(runner.since_at, self._last_sign_at(run))
            if self._at - silent_at >= self._grace_s(run):
                self._end_run(run, EventType.RUN_INTERRUPTED, silent_at, reason="the runner's process is gone; its log has no end")

    def _grace_s(self, run: Run) -> float:
        is_slow = run.launcher or run.runner_pid is None
        return self._rules.launcher_grace_s if is_slow else self._rules.runner_grace_s

    def _last_sign_at(self, run: Run) -> float:
        return max([run.started_at, *(task.changed_at for task in self._tasks_of(run.run_id))])

    def _adopt_runner(self) -> None:
        """The process that is seen runs the current run."""
        runner, run = self._vm.runner, self._current_run()
        if run is None or run.status is not RunStatus.RUNNING or runner.value is None or runner.failure is not None:
            return
        if runner.value.pid is not None:
            self._put_run(EventType.RUN_CHANGED, replace(run, runner_pid=runner.value.pid))

    def note(self, seen: IncidentsSeen) -> None:
        """What is new is opened, what is no longer there is resolved; the tasks that it hit add up."""
        found = {incident.incident_id: incident for incident in seen.incidents}
        for incident in seen.incidents:
            known = self._state.incidents.get(incident.incident_id)
            if known is not None and known.concern is not incident.concern:
                continue  # it turned out to be something else meanwhile
            hit = dict.fromkeys((*(known.tasks if known is not None else ()), *incident.tasks))
            grown = replace(incident, tasks=tuple(hit))
            if grown != known:
                type_ = EventType.INCIDENT_OPENED if known is None else EventType.INCIDENT_CHANGED
                previous = known.severity.value if known is not None and known.severity is not grown.severity else None
                self.changes.append(Change(type=type_, at=self._at, entity=grown, previous=previous))
        for past in self._state.open_incidents(self._vm.name):
            if past.incident_id not in found:
                over = replace(past, ended_at=self._at)
                self.changes.append(Change(type=EventType.INCIDENT_RESOLVED, at=self._at, entity=over))

    def forget(self) -> None:
        """Nobody looks any more: what runs is told no further."""
        for run in self._runs_of_vm():
            if run.status is RunStatus.RUNNING and not self._vm.is_played:
                self._end_run(run, EventType.RUN_INTERRUPTED, self._at, reason="the VM is no longer watched")
        self.note(IncidentsSeen(vm=self._vm.name, at=self._at, incidents=()))
        self.changes.append(Change(type=EventType.VM_REMOVED, at=self._at, entity=self._vm))

    def finish(self) -> None:
        """The VM's own event, after everything else: its phase follows from the rest."""
        self._adopt_runner()
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
        if phase is not before.phase:
            type_, previous = EventType.VM_PHASE_CHANGED, before.phase.value
        if vm.connection.connected != before.connection.connected:
            type_ = EventType.VM_CONNECTED if vm.connection.connected else EventType.VM_DISCONNECTED
        self.changes.append(Change(type=type_, at=self._at, entity=vm, previous=previous))

    # --- logs ---

    def read(self, source: LogSource, facts: tuple[f.AnyFact, ...]) -> None:
        for fact in facts:
            self._take(source, fact, min(fact.at, self._at) if fact.at is not None else self._at)

    def _take(self, source: LogSource, fact: f.AnyFact, at: float) -> None:
        match fact:
            case f.ContainerBooted() | f.BootStaged() | f.BootProgressed() | f.BootFailed() | f.BootStopped():
                if self._vm.boot.log in ("", source.key) or source.kind is LogKind.CONTAINER:
                    self._vm = replace(self._vm, boot=_boot(self._vm.boot, source, fact, at))
            case f.BootWarned() | f.ServerWaiting() | f.ServerReady():
                pass
            case f.LauncherStarted() | f.RunStarted():
                self._start_run(source, fact, at)
            case f.TaskStarted():
                self._start_task(source, fact, at)
            case _:
                run = self._run_of(source)
                if run is not None and run.log.key == source.key:
                    self._tell(run, fact, at)

    def _start_run(self, source: LogSource, fact: f.LauncherStarted | f.RunStarted, at: float) -> None:
        run = self._run_of(source)
        if run is not None and run.log.key == source.key:
            if run.launcher and isinstance(fact, f.RunStarted):
                self._reopen(run)
                return
            if run.status is RunStatus.RUNNING:
                self._end_run(run, EventType.RUN_INTERRUPTED, at, reason="the runner was started again")
        told = self._told_by_another(source, fact, at)
        if told is not None:
            self._ignore(source, told)
            return
        if isinstance(fact, f.LauncherStarted):
            self._open_run(source, f.Dialect.WAA_V2, at, launcher=True)
        else:
            self._open_run(source, fact.dialect, at)

    def _told_by_another(self, source: LogSource, fact: f.LauncherStarted | f.RunStarted, at: float) -> Run | None:
        """The run that began in another log of this VM at the same moment, or whose launcher starts this process."""
        for run in self._runs_of_vm():
            if run.log.key == source.key:
                continue
            is_part = run.launcher and run.status is RunStatus.RUNNING and source.key in run.echoes and isinstance(fact, f.RunStarted)
            if is_part or abs(run.started_at - at) <= ECHO_WINDOW_S:
                return run
        return None

    def _give_way(self, source: LogSource, run: Run | None, told: Run, at: float) -> None:
        """Another log tells the task that this one just began with. A launcher's log goes on to tell of the next ones."""
        if run is not None and run.launcher:
            self._ignore(told.log, run)
            return
        if run is not None and run.status is RunStatus.RUNNING:
            self._end_run(run, EventType.RUN_INTERRUPTED, at, reason="another log tells of this run")
        self._ignore(source, told)

    def _ignore(self, source: LogSource, told: Run) -> None:
        """From now on this log repeats a run that another one tells."""
        if source.key not in told.echoes:
            self._put_run(EventType.RUN_CHANGED, replace(told, echoes=(*told.echoes, source.key)))
        self._log_runs[source.key] = told.run_id

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
        if run is not None and run.log.key != source.key:
            return
        told = self._told_task(source, fact, at) if run is None or run.launcher or not self._tasks_of(run.run_id) else None
        if told is not None:
            self._give_way(source, run, told, at)
            return
        if run is None or run.status is RunStatus.FINISHED:
            run = self._open_run(source, run.dialect if run is not None else f.Dialect.WAA, at)
        run = self._reopen(run)
        attempts = [task for task in self._tasks_of(run.run_id) if (task.domain, task.task_id) == (fact.domain, fact.task_id)]
        for task in attempts:
            if not task.is_over:
                self._end_task(task, at, error="started again")
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
                # A launcher's processes end all the time; a run that was given up is finished after all where its log says so.
                if not run.launcher and run.status is not RunStatus.FINISHED:
                    self._end_run(replace(run, average_score=fact.average_score), EventType.RUN_FINISHED, at)
            case f.RunInterrupted():
                if not run.launcher and run.status is RunStatus.RUNNING:
                    self._end_run(run, EventType.RUN_INTERRUPTED, at, reason=fact.reason)
            case f.TaskFinished():
                self._close(run, fact, at)
            case f.TaskCrashed():
                self._close(run, fact, at, error=fact.error)
            case f.TaskCut():
                self._close(run, fact, at, error=fact.reason)
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
                self._step(task, fact, at)
            case f.StepDescribed():
                if fact.number == task.step:
                    repeats = task.repeats if fact.action == task.previous_action else 0
                    same_screens = task.same_screens if repeats else None
                    described = replace(task, action=fact.action, repeats=repeats, same_screens=same_screens)
                    self._put_task(EventType.TASK_CHANGED, described)
            case f.TaskScored():
                self._put_task(EventType.TASK_CHANGED, replace(task, score=fact.score, changed_at=at))
            case _:
                pass

    def _step(self, task: Task, fact: f.StepStarted, at: float) -> None:
        """Only the first line of the action is known yet: a repeat counts unless the rest turns out to differ."""
        begins_alike = bool(task.step) and fact.action == task.action.partition("\n")[0]
        stepped = replace(
            task,
            step=fact.number,
            action=fact.action,
            previous_action=task.action,
            repeats=task.repeats + 1 if begins_alike else 0,
            same_screens=task.same_screens if begins_alike else None,
            activity=f.Activity.ACTING,
            changed_at=at,
        )
        self._put_task(EventType.TASK_STEPPED if fact.number != task.step else EventType.TASK_CHANGED, stepped)

    def _close(self, run: Run, fact: f.TaskFinished | f.TaskCrashed | f.TaskCut, at: float, *, error: str = "") -> None:
        task = self._newest_attempt(run, fact.domain, fact.task_id)
        if task is not None and not task.is_over:
            self._end_task(task, at, is_error=isinstance(fact, f.TaskCrashed), error=error)

    def settle(self, found: ScoreFound) -> None:
        """``result.txt`` is the authority: it replaces the log's rounded score."""
        run = self._state.runs.get(RunId(found.run_id))
        task = self._newest_attempt(run, found.domain, found.task_id) if run is not None else None
        if run is None or task is None or not task.is_over or not task.provisional or task.status is TaskStatus.ERROR:
            return
        if found.score is not None:
            status = judge(found.score, run.threshold)
            settled = replace(task, score=found.score, provisional=False, status=status, error="")
            self._put_task(EventType.TASK_SETTLED, settled, previous=task.status.value)

    def compare(self, seen: ScreensCompared) -> None:
        """What the pictures of a task that repeats itself say; it holds until the action is another one."""
        task = self._state.tasks.get(RunId(seen.run_id), {}).get(seen.task)
        if task is not None and not task.is_over and task.repeats:
            self._put_task(EventType.TASK_CHANGED, replace(task, same_screens=seen.same))

    # --- runs and tasks of the draft ---

    def _run_of(self, source: LogSource) -> Run | None:
        run_id = self._log_runs.get(source.key)
        if run_id is not None:
            return self._runs.get(run_id) or self._state.runs[run_id]
        run = self._state.run_of_log(self._vm.name, source.key)
        return self._runs.get(run.run_id, run) if run is not None else None

    def _current_run(self) -> Run | None:
        runs = self._runs_of_vm()
        return next((run for run in runs if run.status is RunStatus.RUNNING), runs[0] if runs else None)

    def _reopen(self, run: Run) -> Run:
        """The run goes on, although it had been given up."""
        if run.status is RunStatus.RUNNING:
            return run
        opened = replace(run, status=RunStatus.RUNNING, ended_at=None, end_reason="", runner_pid=None)
        self._put_run(EventType.RUN_CHANGED, opened, previous=run.status.value)
        return opened

    def _runs_of_vm(self) -> list[Run]:
        """The runs of the VM as they are in this draft, newest first."""
        runs = {run.run_id: run for run in self._state.runs_of(self._vm.name)} | self._runs
        return sorted(runs.values(), key=lambda run: run.started_at, reverse=True)

    def _told_task(self, source: LogSource, fact: f.TaskStarted, at: float) -> Run | None:
        """The run in another log of this VM in which the same task began at the same moment."""
        for run in self._runs_of_vm():
            if run.log.key == source.key:
                continue
            for known in self._tasks_of(run.run_id):
                is_same = (known.domain, known.task_id) == (fact.domain, fact.task_id)
                if is_same and abs(known.started_at - at) <= ECHO_WINDOW_S:
                    return run
        return None

    def _tasks_of(self, run_id: RunId) -> list[Task]:
        return list({**self._state.tasks.get(run_id, {}), **self._tasks.get(run_id, {})}.values())

    def _newest_attempt(self, run: Run, domain: str, task_id: str) -> Task | None:
        named = [task for task in self._tasks_of(run.run_id) if (task.domain, task.task_id) == (domain, task_id)]
        return named[-1] if named else None

    def _open_task(self, run_id: RunId, worker: str) -> Task | None:
        """The task that a worker is at; facts that do not name a task belong to it.

        None where several are open under one name (parallel workers in one file): which one is meant cannot be
        known, and a score must never go to the wrong task.
        """
        mine = [task for task in self._tasks_of(run_id) if not task.is_over and task.worker == worker]
        return mine[0] if len(mine) == 1 else None

    def _last_open_task(self, run_id: RunId) -> Task | None:
        return next((task for task in reversed(self._tasks_of(run_id)) if not task.is_over), None)

    def _end_task(self, task: Task, at: float, *, is_error: bool = False, error: str = "") -> None:
        """A score that was observed is the outcome, also where the end of the task was not."""
        run = self._runs.get(task.run_id) or self._state.runs[task.run_id]
        status = TaskStatus.ERROR if is_error else judge(task.score, run.threshold)
        ended = replace(
            task,
            status=status,
            score=None if is_error else task.score,
            error=error if status in (TaskStatus.ERROR, TaskStatus.UNKNOWN) else "",
            activity=None,
            ended_in=task.activity,
            ended_at=at,
            changed_at=at,
        )
        self._put_task(EventType.TASK_COMPLETED, ended, previous=task.status.value)

    def _end_run(self, run: Run, type_: EventType, at: float, *, reason: str = "") -> None:
        for task in self._tasks_of(run.run_id):
            if not task.is_over:
                self._end_task(task, at, error=reason or "the run ended")
        status = RunStatus.FINISHED if type_ is EventType.RUN_FINISHED else RunStatus.INTERRUPTED
        self._put_run(type_, replace(run, status=status, ended_at=at, end_reason=reason), previous=run.status.value)

    def _put_run(self, type_: EventType, run: Run, *, previous: str | None = None) -> None:
        if self._runs.get(run.run_id, self._state.runs.get(run.run_id)) == run:
            return
        self._runs[run.run_id] = run
        self._append(Change(type=type_, at=self._at, entity=run, previous=previous))

    def _put_task(self, type_: EventType, task: Task, *, previous: str | None = None) -> None:
        known = self._tasks.get(task.run_id, {}).get(task.key, self._state.tasks.get(task.run_id, {}).get(task.key))
        if known == task:
            return
        self._tasks.setdefault(task.run_id, {})[task.key] = task
        self._append(Change(type=type_, at=self._at, entity=task, previous=previous))

    def _append(self, change: Change) -> None:
        """A change of detail joins the change of the same entity right before it: an event holds the whole entity."""
        last = self.changes[-1] if self.changes else None
        if last is not None and change.type in _DETAILS and last.type in _TAKES_DETAILS and last.topic == change.topic:
            self.changes[-1] = replace(last, entity=change.entity, previous=last.previous or change.previous)
        else:
            self.changes.append(change)


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


def _boot(before: Boot, source: LogSource, fact: f.AnyFact, at: float) -> Boot:
    """How far Windows set-up is after one fact of the log that tells of it."""
    boot = before if before.log == source.key else Boot(log=source.key)
    match fact:
        case f.ContainerBooted():
            detail = f"{fact.engine} {fact.version}".strip()
            boot = Boot(
                stage=BootStage.STARTING,
                stage_at=at,
                detail=detail,
                boots=boot.boots + 1,
                failed_boots=boot.failed_boots + 1 if boot.error else 0,
                last_error=boot.error,
                log=source.key,
            )
        case f.BootStaged() if fact.stage is boot.stage:
            boot = replace(boot, detail=fact.detail)
        case f.BootStaged():
            boot = replace(boot, stage=fact.stage, stage_at=at, detail=fact.detail, percent=None, error="", error_at=None, stopped="")
        case f.BootProgressed():  # a download that goes on has overcome what failed before
            boot = replace(boot, percent=fact.percent, error="", error_at=None)
        case f.BootFailed() if boot.error and fact.message.startswith("See the FAQ"):
            pass
        case f.BootFailed():
            boot = replace(boot, error=fact.message, error_at=at)
        case f.BootStopped():
            boot = replace(boot, stopped=fact.detail)
        case _:
            pass
    return boot
