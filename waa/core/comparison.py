"""Two or more runs side by side, on the tasks that all of them scored."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from waa.core.entity import Run, RunId, Task
from waa.core.logs.fact import TaskRef
from waa.core.state import newest_attempts
from waa.core.statistics import Coverage, Share, Spread, coverage, mcnemar_exact, mean, pass_at_k, share, spread
from waa.core.status import RunStatus, TaskStatus

SCORED = (TaskStatus.PASSED, TaskStatus.FAILED)


class Absence(StrEnum):
    """Why a task has no verdict in a run. NOT_BEGUN: it may still come, or the run ended before it; ABSENT: the run has no such task."""

    ERROR = "error"
    UNKNOWN = "unknown"
    RUNNING = "running"
    NOT_BEGUN = "not begun"
    ABSENT = "not in this run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Steps and durations (seconds) of the tasks with one verdict, None of none."""

    steps: Spread | None
    duration_s: Spread | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCompared:
    """One run. ``coverage`` and ``mean_score`` are of all its tasks; what is named ``common`` and the outcomes (of all these tasks, of
    those that passed, of those that failed) are of the tasks that all runs scored."""

    run_id: RunId
    label: str
    vm: str
    status: RunStatus
    threshold: float
    started_at: float
    coverage: Coverage
    mean_score: float | None
    common: Share
    common_mean_score: float | None
    outcome: Outcome
    passed: Outcome
    failed: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A task with another verdict in the other run than in the base."""

    domain: str
    task_id: str
    base_score: float | None
    other_score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A run against the base (the first run), on the common tasks. ``gained`` failed in the base and passed in the other, ``lost`` the
    reverse. ``p`` is McNemar's, exact and two-sided, for this pair alone. Differences are other minus base, fractions; that of the
    mean score is None where a score is missing on either side everywhere."""

    other: RunId
    both_passed: int
    both_failed: int
    gained: tuple[Flip, ...]
    lost: tuple[Flip, ...]
    p: float
    rate_difference: float | None
    score_difference: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainCompared:
    """A domain with ``n`` common tasks. One value per run; ``differences`` are to the first run, fractions."""

    domain: str
    n: int
    passed: tuple[int, ...]
    rates: tuple[float, ...]
    differences: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncompared:
    """A task that not all runs scored. ``reasons``: one per run, None where it did."""

    domain: str
    task_id: str
    reasons: tuple[Absence | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassAt:
    """How likely at least one of ``k`` trials passes, the mean over the common tasks, if the runs are trials of the same."""

    k: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentCompared:
    """An argument that is not the same in all runs; None: not given."""

    name: str
    values: tuple[str | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs in the order asked for; the first is the base. ``tasks`` counts those that any run named, ``common`` those that all scored
    (``provisional`` of them with a score of the log, which rounds and which no result file confirmed, in some run).

    Verdicts are each run's own: where ``has_mixed_thresholds``, the same score may pass in one and fail in another.
    ``is_final``: no run goes on, so that nothing of this changes by itself.
    """

    runs: tuple[RunCompared, ...]
    tasks: int
    common: int
    provisional: int
    has_mixed_thresholds: bool
    is_final: bool
    pairs: tuple[Pair, ...]
    domains: tuple[DomainCompared, ...]
    pass_at: tuple[PassAt, ...]
    arguments: tuple[ArgumentCompared, ...]
    uncompared: tuple[Uncompared, ...]


@dataclass(frozen=True, slots=True)
class _Side:
    run: Run
    tasks: Mapping[TaskRef, Task]

    def has_scored(self, ref: TaskRef) -> bool:
        task = self.tasks.get(ref)
        return task is not None and task.status in SCORED

    def has_passed(self, ref: TaskRef) -> bool:
        return self.tasks[ref].status is TaskStatus.PASSED


def compare(runs: Sequence[tuple[Run, Iterable[Task]]]) -> Comparison:
    """Compare runs by the newest attempt at each of their tasks. Raises ValueError for fewer than two runs, and for one that is
    given twice."""
    if len(runs) < 2:
        raise ValueError(f"{len(runs)} runs: a comparison needs two")
    if len({run.run_id for run, _ in runs}) < len(runs):
        raise ValueError("a run is given twice")
    sides = [
        _Side(run, {TaskRef(domain=task.domain, task_id=task.task_id): task for task in newest_attempts(tasks)}) for run, tasks in runs
    ]
    named = sorted({ref for side in sides for ref in (*side.tasks, *side.run.plan)}, key=lambda ref: (ref.domain, ref.task_id))
    common = [ref for ref in named if all(side.has_scored(ref) for side in sides)]
    return Comparison(
        runs=tuple(_run(side, common) for side in sides),
        tasks=len(named),
        common=len(common),
        provisional=sum(any(side.tasks[ref].provisional for side in sides) for ref in common),
        has_mixed_thresholds=len({side.run.threshold for side in sides}) > 1,
        is_final=all(side.run.status is not RunStatus.RUNNING for side in sides),
        pairs=tuple(_pair(sides[0], other, common) for other in sides[1:]),
        domains=_domains(sides, common),
        pass_at=_pass_at(sides, common),
        arguments=_arguments(sides),
        uncompared=_uncompared(sides, named),
    )


def _run(side: _Side, common: Sequence[TaskRef]) -> RunCompared:
    run, tasks = side.run, side.tasks.values()
    counts = {status: sum(task.status is status for task in tasks) for status in TaskStatus}
    shared = [side.tasks[ref] for ref in common]
    return RunCompared(
        run_id=run.run_id,
        label=run.label,
        vm=run.vm,
        status=run.status,
        threshold=run.threshold,
        started_at=run.started_at,
        coverage=coverage(
            passed=counts[TaskStatus.PASSED],
            failed=counts[TaskStatus.FAILED],
            errors=counts[TaskStatus.ERROR],
            unknown=counts[TaskStatus.UNKNOWN],
            planned=max(run.total, len(tasks)) if run.total is not None else None,
        ),
        mean_score=_mean_score(task for task in tasks if task.status in SCORED),
        common=share(sum(task.status is TaskStatus.PASSED for task in shared), len(shared)),
        common_mean_score=_mean_score(shared),
        outcome=_outcome(shared, lambda _task: True),
        passed=_outcome(shared, lambda task: task.status is TaskStatus.PASSED),
        failed=_outcome(shared, lambda task: task.status is TaskStatus.FAILED),
    )


def _outcome(tasks: Iterable[Task], is_meant: Callable[[Task], bool]) -> Outcome:
    meant = [task for task in tasks if is_meant(task)]
    return Outcome(
        steps=spread([task.step for task in meant]),
        duration_s=spread([max(0.0, task.ended_at - task.started_at) for task in meant if task.ended_at is not None]),
    )


def _mean_score(tasks: Iterable[Task]) -> float | None:
    return mean([task.score for task in tasks if task.score is not None])


def _pair(base: _Side, other: _Side, common: Sequence[TaskRef]) -> Pair:
    gained = [ref for ref in common if other.has_passed(ref) and not base.has_passed(ref)]
    lost = [ref for ref in common if base.has_passed(ref) and not other.has_passed(ref)]
    both = sum(base.has_passed(ref) and other.has_passed(ref) for ref in common)
    scores = [(base.tasks[ref].score, other.tasks[ref].score) for ref in common]
    return Pair(
        other=other.run.run_id,
        both_passed=both,
        both_failed=len(common) - both - len(gained) - len(lost),
        gained=tuple(_flip(base, other, ref) for ref in gained),
        lost=tuple(_flip(base, other, ref) for ref in lost),
        p=mcnemar_exact(len(lost), len(gained)),
        rate_difference=(len(gained) - len(lost)) / len(common) if common else None,
        score_difference=mean([second - first for first, second in scores if first is not None and second is not None]),
    )


def _flip(base: _Side, other: _Side, ref: TaskRef) -> Flip:
    return Flip(domain=ref.domain, task_id=ref.task_id, base_score=base.tasks[ref].score, other_score=other.tasks[ref].score)


def _domains(sides: Sequence[_Side], common: Sequence[TaskRef]) -> tuple[DomainCompared, ...]:
    found = []
    for domain in dict.fromkeys(ref.domain for ref in common):
        refs = [ref for ref in common if ref.domain == domain]
        passed = [sum(side.has_passed(ref) for ref in refs) for side in sides]
        found.append(
            DomainCompared(
                domain=domain,
                n=len(refs),
                passed=tuple(passed),
                rates=tuple(count / len(refs) for count in passed),
                differences=tuple((count - passed[0]) / len(refs) for count in passed),
            )
        )
    return tuple(found)


def _pass_at(sides: Sequence[_Side], common: Sequence[TaskRef]) -> tuple[PassAt, ...]:
    if not common:
        return ()
    n = len(sides)
    passed = [sum(side.has_passed(ref) for side in sides) for ref in common]
    return tuple(PassAt(k=k, value=sum(pass_at_k(n, count, k) for count in passed) / len(passed)) for k in range(1, n + 1))


def _arguments(sides: Sequence[_Side]) -> tuple[ArgumentCompared, ...]:
    names = sorted({name for side in sides for name in side.run.arguments})
    told = [ArgumentCompared(name=name, values=tuple(side.run.arguments.get(name) for side in sides)) for name in names]
    return tuple(argument for argument in told if len(set(argument.values)) > 1)


def _uncompared(sides: Sequence[_Side], named: Sequence[TaskRef]) -> tuple[Uncompared, ...]:
    plans = [set(side.run.plan) for side in sides]
    found = []
    for ref in named:
        reasons = tuple(_absence(side, plan, ref) for side, plan in zip(sides, plans, strict=True))
        if any(reasons):
            found.append(Uncompared(domain=ref.domain, task_id=ref.task_id, reasons=reasons))
    return tuple(found)


def _absence(side: _Side, plan: set[TaskRef], ref: TaskRef) -> Absence | None:
    task = side.tasks.get(ref)
    if task is not None:
        return None if task.status in SCORED else Absence(task.status.value)
    may_come = ref in plan or (not plan and side.run.status is RunStatus.RUNNING)
    return Absence.NOT_BEGUN if may_come else Absence.ABSENT
