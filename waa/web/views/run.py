"""A run as it is shown: progress, metrics, what runs now, results."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from waa.core.entity import Run, RunId, Task, Vm
from waa.core.error import NotFound
from waa.core.pace import expected_end
from waa.core.state import Progress, State, current_run, newest_attempts
from waa.core.statistics import MIN_DURATIONS, Coverage, Eta, Share, coverage, mean
from waa.core.status import RunStatus, TaskStatus
from waa.web.view import Look, View

MAX_RESULTS = 30
"""Newest results of a run that are listed; the page of the run has a table of all its tasks."""

MAX_TABS = 8
"""Other runs that are offered beside the one shown; the list of runs has all of them."""

BADGES = {
    TaskStatus.PASSED: ("success", "OK"),
    TaskStatus.FAILED: ("failure", "FAIL"),
    TaskStatus.UNKNOWN: ("unknown", "?"),
    TaskStatus.ERROR: ("error", "ERROR"),
    TaskStatus.RUNNING: ("running", "RUN"),
}

RUN_WORDS = {RunStatus.RUNNING: "Running", RunStatus.FINISHED: "Finished", RunStatus.INTERRUPTED: "Stopped early"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of the progress bar: ``start`` and ``length`` in tasks, or in percent for the running piece."""

    tone: str
    start: float
    length: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The progress bar. ``percent`` of the whole is filled by ``segments``, whose lengths add up to ``completed``.

    ``total`` None: the run has not said it, the fill shows only the proportions of the outcomes.
    """

    completed: int
    total: int | None
    percent: float
    segments: tuple[Segment, ...]
    running: Segment | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Share of passed tasks among ``scored`` ones, percents; ``low`` and ``high`` bound it (95 %)."""

    percent: int
    low: int
    high: int
    scored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentTask:
    """A task that runs now. ``step`` 0: preparing. ``activity`` is "" where the log does not tell."""

    task_id: str
    domain: str
    index: int
    attempt: int
    worker: str
    url: str
    instruction: str
    step: int
    action: str
    activity: str
    repeats: int
    started_at: float
    changed_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An ended attempt. ``number`` is its place in the run and names its element; ``score`` None: there is none.

    ``is_provisional``: the score is the log's, no result file confirmed it. ``is_replaced``: a later attempt counts.
    """

    number: int
    task_id: str
    domain: str
    attempt: int
    tone: str
    badge: str
    score: float | None
    is_provisional: bool
    is_replaced: bool
    error: str
    steps: int
    duration_s: float | None
    ended_at: float | None
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What is said about a run everywhere. ``vm`` "": it was imported from ``source``. ``is_in_view``: its VM is reached, so that
    this is how it stands now. ``eta`` None with a running run: too early to tell."""

    run_id: RunId
    name: str
    vm: str
    source: str
    is_demo: bool
    is_in_view: bool
    status: RunStatus
    word: str
    tone: str
    started_at: float
    ended_at: float | None
    end_reason: str
    progress: Progress
    bar: Bar
    rate: Rate | None
    coverage: Coverage
    mean_score: float | None
    eta: Eta | None
    current: tuple[CurrentTask, ...]

    @property
    def is_running(self) -> bool:
        """Whether it goes on."""
        return self.status is RunStatus.RUNNING

    @property
    def needed_for_eta(self) -> int:
        """How many more ended tasks an expected end needs."""
        return max(0, MIN_DURATIONS - self.progress.completed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """Another run to look at."""

    run_id: RunId
    name: str
    word: str
    is_shown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEvaluation(View):
    """*Live Evaluation*. ``run`` None: nothing has run yet. ``hidden_results`` are on the page of the run."""

    run: RunSummary | None
    results: tuple[Result, ...]
    hidden_results: int
    tabs: tuple[Tab, ...]
    vms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetail(View):
    """One run, with its newest results. ``run`` None: the VM has none. ``hidden_results`` are on the page of the run."""

    vm: str
    run: RunSummary | None
    results: tuple[Result, ...]
    hidden_results: int


def live_evaluation(look: Look, run_id: str | None) -> LiveEvaluation:
    """The chosen run, else the newest that runs, else the newest. Raises NotFound for an unknown ``run_id``."""
    state = look.state
    order = sorted(state.runs.values(), key=lambda run: (run.status is RunStatus.RUNNING, run.started_at), reverse=True)
    run = need_run(state, run_id) if run_id is not None else next(iter(order), None)
    if run is None:
        return LiveEvaluation(now=look.now, run=None, results=(), hidden_results=0, tabs=(), vms=len(state.vms))
    ended = results_of(state, run.run_id)
    others = [other for other in order if other.status is RunStatus.RUNNING or other.run_id == run.run_id][:MAX_TABS]
    shown = others if run in others else [*others, run]
    return LiveEvaluation(
        now=look.now,
        run=summary_of(state, run),
        results=ended[:MAX_RESULTS],
        hidden_results=max(0, len(ended) - MAX_RESULTS),
        tabs=tuple(Tab(run_id=tab.run_id, name=tab.vm or tab.name, word=RUN_WORDS[tab.status], is_shown=tab is run) for tab in shown)
        if len(shown) > 1
        else (),
        vms=len(state.vms),
    )


def run_detail(look: Look, run_id: str | None) -> RunDetail:
    """One run. Raises NotFound."""
    return _detail(look, need_run(look.state, run_id))


def run_of_vm(look: Look, name: str | None) -> RunDetail:
    """The run that a VM is shown with, if any. Raises NotFound for an unknown VM."""
    vm = need_vm(look.state, name)
    run = current_run(look.state, vm)
    if run is None:
        return RunDetail(now=look.now, vm=vm.name, run=None, results=(), hidden_results=0)
    return _detail(look, run)


def need_vm(state: State, name: str | None) -> Vm:
    """The VM of that name. Raises NotFound."""
    vm = state.vms.get(name or "")
    if vm is None:
        raise NotFound(f"There is no VM {name!r}; it may have been removed.")
    return vm


def task_url(run_id: str, domain: str, task_id: str, attempt: int | None = None) -> str:
    """The page of a task: of one attempt, or (None) always of the newest."""
    path = "/".join(quote(name, safe="") for name in (domain, task_id))
    return f"/runs/{quote(run_id, safe='')}/tasks/{path}" + (f"/{attempt}" if attempt is not None else "")


def summary_of(state: State, run: Run) -> RunSummary:
    """What is said about a run everywhere."""
    progress = state.progress.get(run.run_id, Progress())
    tasks = list(state.tasks.get(run.run_id, {}).values())
    current = [task for task in tasks if not task.is_over] if run.status is RunStatus.RUNNING else []
    vm = state.vms.get(run.vm)
    is_in_view = vm is not None and vm.connection.connected is not False
    word, tone = standing_of(state, run)
    covered = coverage_of(run, progress)
    return RunSummary(
        run_id=run.run_id,
        name=run.name,
        vm=run.vm,
        source=run.imported.source if run.imported is not None else "",
        is_demo=vm is not None and vm.is_played,
        is_in_view=is_in_view,
        status=run.status,
        word=word,
        tone=tone,
        started_at=run.started_at,
        ended_at=run.ended_at,
        end_reason=run.end_reason,
        progress=progress,
        bar=bar_of(progress, run.total, running=len(current)),
        rate=rate_of(covered.of_scored),
        coverage=covered,
        mean_score=mean_score_of(tasks),
        eta=expected_end(run, progress, tasks, current),
        current=tuple(_current(task) for task in current),
    )


def standing_of(state: State, run: Run) -> tuple[str, str]:
    """How a run stands, by word and tone. One that ran when its VM was seen last is out of view, not running."""
    vm = state.vms.get(run.vm)
    if run.status is RunStatus.RUNNING and (vm is None or vm.connection.connected is False):
        return "Out of view", "unknown"
    return RUN_WORDS[run.status], run.status.value


def coverage_of(run: Run, progress: Progress) -> Coverage:
    """What the success rate of a run rests on. More tasks than the run has announced count as planned once they have ended."""
    return coverage(
        passed=progress.passed,
        failed=progress.failed,
        errors=progress.error,
        unknown=progress.unknown,
        planned=max(run.total, progress.completed) if run.total is not None else None,
    )


def mean_score_of(tasks: Iterable[Task]) -> float | None:
    """The mean of the scores that count, as fractions; None where there is none."""
    return mean([task.score for task in newest_attempts(tasks) if task.score is not None and task.is_over])


def results_of(state: State, run_id: RunId) -> tuple[Result, ...]:
    """The ended attempts of a run, the last that ended first."""
    tasks = list(state.tasks.get(run_id, {}).values())
    counted = {task.key for task in newest_attempts(tasks)}
    ended = [(number, task) for number, task in enumerate(tasks, start=1) if task.is_over]
    ended.sort(key=lambda item: (item[1].ended_at or item[1].started_at, item[0]), reverse=True)
    return tuple(_result(number, task, is_replaced=task.key not in counted) for number, task in ended)


def need_run(state: State, run_id: str | None) -> Run:
    """The run of that id. Raises NotFound."""
    run = state.runs.get(RunId(run_id or ""))
    if run is None:
        raise NotFound(f"There is no run {run_id!r}; it may have been removed with its VM or be older than what is kept.")
    return run


def _detail(look: Look, run: Run) -> RunDetail:
    results = results_of(look.state, run.run_id)
    return RunDetail(
        now=look.now,
        vm=run.vm,
        run=summary_of(look.state, run),
        results=results[:MAX_RESULTS],
        hidden_results=max(0, len(results) - MAX_RESULTS),
    )


def bar_of(progress: Progress, total: int | None, *, running: int) -> Bar:
    """The progress bar of a run of which so many tasks run."""
    outcomes = (
        ("passed", progress.passed),
        ("failed", progress.failed),
        ("error", progress.error),
        ("unknown", progress.unknown),
    )
    segments, start = [], 0
    for tone, count in outcomes:
        if count:
            segments.append(Segment(tone=tone, start=start, length=count))
            start += count
    whole = max(total or 0, progress.completed + running)
    if total is None:
        percent, piece = (100.0 if progress.completed else 0.0), None
    else:
        percent = 100.0 * progress.completed / whole if whole else 0.0
        piece = Segment(tone="running", start=percent, length=100.0 * running / whole) if running else None
    return Bar(completed=progress.completed, total=total, percent=percent, segments=tuple(segments), running=piece)


def rate_of(of_scored: Share) -> Rate | None:
    """A share in whole percents, None of nothing."""
    if of_scored.rate is None:
        return None
    return Rate(percent=round(100 * of_scored.rate), low=round(100 * of_scored.low), high=round(100 * of_scored.high), scored=of_scored.n)


def _current(task: Task) -> CurrentTask:
    return CurrentTask(
        task_id=task.task_id,
        domain=task.domain,
        index=task.index,
        attempt=task.attempt,
        worker=task.worker,
        url=task_url(task.run_id, task.domain, task.task_id),
        instruction=task.instruction,
        step=task.step,
        action=task.action,
        activity=task.activity.value if task.activity is not None else "",
        repeats=task.repeats,
        started_at=task.started_at,
        changed_at=task.changed_at,
    )


def _result(number: int, task: Task, *, is_replaced: bool) -> Result:
    tone, badge = BADGES[task.status]
    return Result(
        number=number,
        task_id=task.task_id,
        domain=task.domain,
        attempt=task.attempt,
        tone=tone,
        badge=badge,
        score=task.score,
        is_provisional=task.provisional,
        is_replaced=is_replaced,
        error=task.error,
        steps=task.step,
        duration_s=task.ended_at - task.started_at if task.ended_at is not None else None,
        ended_at=task.ended_at,
        url=task_url(task.run_id, task.domain, task.task_id, task.attempt if is_replaced else None),
    )
