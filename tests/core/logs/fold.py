"""Folds facts into what a run or a boot amounts to, as the corpus' truth says it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from waa.core.logs import fact
from waa.core.logs.fact import AnyFact
from waa.core.logs.parser import LogParser


@dataclass
class Task:
    """One attempt at a task."""

    domain: str
    task_id: str
    worker: str
    index: int | None = None
    instruction: str | None = None
    steps: int = 0
    actions: list[str] = field(default_factory=list)
    score: float | None = None
    is_scored: bool = False
    status: str = "running"
    error: str | None = None
    activities: list[str] = field(default_factory=list)


@dataclass
class Run:
    """One runner process, or several workers of one run."""

    dialect: str
    started_at: float | None
    totals: dict[str, int] = field(default_factory=dict)
    planned: list[tuple[str, str]] = field(default_factory=list)
    state: str = "running"
    average_score: float | None = None
    earlier_score: float | None = None
    arguments: dict[str, str] = field(default_factory=dict)


@dataclass
class Log:
    """Everything that the facts of one log say."""

    runs: list[Run] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    launchers: list[str] = field(default_factory=list)
    waits: int = 0
    ready: int = 0
    boots: list[str] = field(default_factory=list)
    stages: list[tuple[str, str]] = field(default_factory=list)
    percents: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    stops: list[tuple[str, bool | None]] = field(default_factory=list)

    @property
    def run(self) -> Run:
        """The newest run; where the log begins inside one, a run of unknown origin."""
        if not self.runs:
            self.runs.append(Run(dialect="unknown", started_at=None))
        return self.runs[-1]

    def open(self, worker: str) -> Task:
        """The open task of a worker; there must be one."""
        return next(task for task in reversed(self.tasks) if task.worker == worker and task.status == "running")

    def details(self, *beginnings: str) -> list[str]:
        """The container's sentences that begin so."""
        return [detail for _, detail in self.stages if detail.startswith(beginnings)]


def fold(facts: Iterable[AnyFact]) -> Log:
    """The facts of one log, put together."""
    log = Log()
    for each in facts:
        _apply(log, each)
    return log


def parse(data: bytes) -> list[AnyFact]:
    """All facts of a complete log."""
    parser = LogParser()
    return parser.feed(data) + parser.finish()


def _apply(log: Log, each: AnyFact) -> None:
    match each:
        case fact.LauncherStarted(label=label):
            log.launchers.append(label)
        case fact.RunStarted(dialect=dialect):
            log.runs.append(Run(dialect=dialect, started_at=each.at))
        case fact.RunPlanned(total=total, tasks=tasks):
            log.run.totals[each.worker] = total
            log.run.planned += [(task.domain, task.task_id) for task in tasks]
        case fact.RunConfigured(arguments=arguments):
            log.run.arguments = arguments
        case fact.RunResumed(earlier_score=score):
            log.run.earlier_score = score
        case fact.RunFinished(average_score=score):
            log.run.state, log.run.average_score = "finished", score
        case fact.RunInterrupted():
            log.run.state = "interrupted"
        case fact.ServerWaiting():
            log.waits += 1
        case fact.ServerReady():
            log.ready += 1
        case _:
            _apply_task(log, each)


def _apply_task(log: Log, each: AnyFact) -> None:
    match each:
        case fact.TaskStarted(domain=domain, task_id=task_id, index=index):
            assert not [task for task in log.tasks if task.worker == each.worker and task.status == "running"]
            log.tasks.append(Task(domain=domain, task_id=task_id, worker=each.worker, index=index))
        case fact.TaskInstructed(instruction=instruction):
            log.open(each.worker).instruction = instruction
        case fact.TaskActive(activity=activity):
            log.open(each.worker).activities.append(activity)
        case fact.StepStarted(number=number, action=action):
            task = log.open(each.worker)
            task.steps = max(task.steps, number)
            task.actions.append(action)
        case fact.StepDescribed(action=action):
            log.open(each.worker).actions[-1] = action
        case fact.TaskScored(score=score):
            task = log.open(each.worker)
            task.score, task.is_scored = score, True
        case fact.TaskFinished(domain=domain, task_id=task_id):
            _end(log, each.worker, domain, task_id).status = "done"
        case fact.TaskCrashed(domain=domain, task_id=task_id, error=error):
            task = _end(log, each.worker, domain, task_id)
            task.status, task.error = "error", error
        case fact.TaskCut(domain=domain, task_id=task_id):
            _end(log, each.worker, domain, task_id).status = "cut"
        case _:
            _apply_boot(log, each)


def _apply_boot(log: Log, each: AnyFact) -> None:
    match each:
        case fact.ContainerBooted(engine=engine, version=version):
            log.boots.append(f"{engine} {version}")
        case fact.BootStaged(stage=stage, detail=detail):
            log.stages.append((stage, detail))
        case fact.BootProgressed(percent=percent):
            log.percents.append(percent)
        case fact.BootFailed(message=message):
            log.failures.append(message)
        case fact.BootWarned(message=message):
            log.warnings.append(message)
        case fact.BootStopped(detail=detail, clean=clean):
            log.stops.append((detail, clean))
        case _:
            raise AssertionError(f"unknown fact {each}")


def _end(log: Log, worker: str, domain: str, task_id: str) -> Task:
    task = log.open(worker)
    assert (task.domain, task.task_id) == (domain, task_id)
    return task
