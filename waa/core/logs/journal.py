"""What is known about the runs of one log: the open tasks of each process, and what may come next in each.

A log holds text of models and guests, which may look like anything, even like a record. So a record changes
the state only where the runner itself could have written it: an order that each task's ``Stage`` keeps.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum

from waa.core.logs.fact import Activity, AnyFact, Dialect, TaskActive, TaskCut, TaskRef, TaskScored
from waa.core.logs.record import whole

MAX_OPEN = 256
"""Processes with an open task at a time; a log that names more is not believed."""
MAX_STEP_JUMP = 5
"""Steps count up one by one; some may be lost in unreadable lines."""


class Stage(IntEnum):
    """Where a task is between its first and its last record."""

    OPENED = 0  # announced; nothing but its instruction was read since
    READY = 1  # a step or the evaluation may begin
    ACTING = 2  # a step begins; its text may still go on
    DONE = 3  # the agent ended the episode
    EVALUATING = 4
    SCORED = 5


@dataclass(slots=True)
class Episode:
    """One open task."""

    domain: str
    task_id: str
    worker: str
    stage: Stage = Stage.OPENED
    step: int = 0
    activity: str = ""

    @property
    def name(self) -> str:
        """As the runners write it."""
        return f"{self.domain}/{self.task_id}"

    def does(self, activity: Activity, at: float | None, out: list[AnyFact]) -> None:
        """Tell the activity if it is a new one."""
        if self.activity != activity:
            self.activity = activity
            out.append(TaskActive(at=at, worker=self.worker, activity=activity))

    @property
    def is_telling(self) -> bool:
        """Whether the text of its instruction or action may still go on."""
        return self.stage in (Stage.OPENED, Stage.ACTING)

    def may_step(self, number: int) -> bool:
        """Whether step ``number`` can begin now."""
        return self.stage == Stage.READY and self.step <= number <= self.step + MAX_STEP_JUMP and number > 0


@dataclass(slots=True)
class Start:
    """A run that has announced itself and not yet printed its arguments."""

    at: float | None = None
    is_first_release: bool = False
    left: int = 0
    worker: str = ""
    tasks: list[tuple[str, str]] = field(default_factory=list)
    earlier_score: float | None = None


@dataclass(slots=True)
class Crew:
    """The workers of one parallel WAA run. Where several write to one file they all call themselves MainProcess:
    only what carries a task id can be attributed, and what comes while one task alone is open."""

    plans: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    awaiting: list[str] = field(default_factory=list)  # workers whose instruction comes next
    scores: list[float | None] = field(default_factory=list)  # results that wait for their Finished
    unknown: int = 0  # results that wait and of which it is no longer known which is which
    ended: int = 0

    @property
    def is_merged(self) -> bool:
        """Whether several workers write to this stream."""
        return len(self.plans) > 1

    def owner(self, task_id: str) -> tuple[str, str] | None:
        """Worker and domain of a task, None for one that is in no plan."""
        for worker, tasks in self.plans.items():
            for domain, planned in tasks:
                if planned == task_id:
                    return worker, domain
        return None

    def take_score(self) -> list[float | None]:
        """The score of the task that just finished, as a list of one; empty where it cannot be told from another's.

        Each task prints its Result before its Finished, so a single Result that waits belongs to this Finished.
        """
        waiting = len(self.scores) + self.unknown
        if self.scores and not self.unknown and all(score == self.scores[0] for score in self.scores):
            return [self.scores.pop()]
        self.scores = []
        self.unknown = max(0, waiting - 1)
        return []


@dataclass(slots=True)
class Journal:
    """The state of the WAA and OSWorld grammars."""

    dialect: Dialect | None = None
    is_running: bool = False
    is_launched: bool = False  # by V2's launcher: one process per task
    prints_done: bool = False  # the runner writes a Done record after each step
    is_stopping: bool = False
    start: Start | None = None
    domains: dict[str, str] = field(default_factory=dict)  # announced by [Domain], for the [Example ID] that follows
    episodes: dict[str, Episode] = field(default_factory=dict)  # by process; by worker where several write to one file
    crew: Crew | None = None

    @property
    def is_merged(self) -> bool:
        """Whether several WAA workers write to this stream."""
        return self.crew is not None and self.crew.is_merged

    @property
    def needs_done(self) -> bool:
        """Whether a step has ended only when its Done record was read."""
        return self.prints_done or self.dialect in (Dialect.WAA, Dialect.WAA_V1)

    def worker(self, process: str) -> str:
        """The ``worker`` of facts of this process."""
        if process != "MainProcess":
            return process
        return next(iter(self.crew.plans)) if self.crew is not None and not self.crew.is_merged else ""

    def current(self, process: str) -> Episode | None:
        """The task that records of this process are about."""
        if not self.episodes:
            return None
        if self.crew is not None and self.crew.is_merged:
            return next(iter(self.episodes.values())) if len(self.episodes) == 1 else None
        return self.episodes.get(process)

    def settle(self, process: str) -> None:
        """A record of another part of the runner was read: the text of the step or instruction before has ended."""
        episode = self.current(process)
        if episode is not None and (episode.stage == Stage.OPENED or (episode.stage == Stage.ACTING and not self.needs_done)):
            episode.stage = Stage.READY

    def open(self, key: str, episode: Episode) -> bool:
        """Whether there was room for it."""
        if len(self.episodes) >= MAX_OPEN:
            return False
        self.episodes[key] = episode
        return True

    def close(self, episode: Episode) -> None:
        """Forget a task that has ended."""
        for key, value in self.episodes.items():
            if value is episode:
                del self.episodes[key]
                return

    def cut(self, key: str, reason: str, at: float | None, out: list[AnyFact]) -> None:
        """End the open task of one process without an outcome, if there is one."""
        episode = self.episodes.pop(key, None)
        if episode is not None:
            out.append(TaskCut(at=at, worker=episode.worker, domain=episode.domain, task_id=episode.task_id, reason=reason))

    def cut_all(self, reason: str, at: float | None, out: list[AnyFact]) -> None:
        """End all open tasks without an outcome."""
        for key in list(self.episodes):
            self.cut(key, reason, at, out)
        self.domains.clear()

    def score(self, episode: Episode, score: float | None, at: float | None, out: list[AnyFact]) -> None:
        """Tell a score of an open task."""
        episode.stage = Stage.SCORED
        out.append(TaskScored(at=at, worker=episode.worker, score=score))

    def state(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)

    @classmethod
    def resume(cls, state: Mapping[str, object]) -> "Journal":
        """The journal as it was; what does not look like one is left out."""
        journal = cls(
            dialect=Dialect(dialect) if (dialect := text(state, "dialect")) in set(Dialect) else None,
            is_running=state.get("is_running") is True,
            is_launched=state.get("is_launched") is True,
            prints_done=state.get("prints_done") is True,
            is_stopping=state.get("is_stopping") is True,
            domains={key: str(value) for key, value in section(state, "domains").items()},
            episodes={key: _episode(value) for key, value in section(state, "episodes").items() if isinstance(value, Mapping)},
        )
        if start := section(state, "start"):
            journal.start = Start(
                at=number(start.get("at")),
                is_first_release=start.get("is_first_release") is True,
                left=whole(start.get("left")),
                worker=text(start, "worker"),
                tasks=_pairs(start.get("tasks")),
                earlier_score=number(start.get("earlier_score")),
            )
        if crew := section(state, "crew"):
            journal.crew = Crew(
                plans={worker: _pairs(tasks) for worker, tasks in section(crew, "plans").items()},
                awaiting=[str(worker) for worker in _items(crew.get("awaiting"))],
                scores=[number(score) for score in _items(crew.get("scores"))],
                unknown=whole(crew.get("unknown")),
                ended=whole(crew.get("ended")),
            )
        return journal


def refs(tasks: list[tuple[str, str]]) -> tuple[TaskRef, ...]:
    """The tasks of a plan as facts name them."""
    return tuple(TaskRef(domain=domain, task_id=task_id) for domain, task_id in tasks)


def text(state: Mapping[str, object], key: str) -> str:
    """A string of a stored state, ``""`` where there is none."""
    value = state.get(key)
    return value if isinstance(value, str) else ""


def number(value: object) -> float | None:
    """A float of a stored state."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def section(state: Mapping[str, object], key: str) -> Mapping[str, object]:
    """A part of a stored state, empty where there is none."""
    value = state.get(key)
    return value if isinstance(value, Mapping) else {}


def _items(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _pairs(value: object) -> list[tuple[str, str]]:
    pairs = (_items(pair) for pair in _items(value))
    return [(str(pair[0]), str(pair[1])) for pair in pairs if len(pair) == 2]


def _episode(state: Mapping[str, object]) -> Episode:
    stage = whole(state.get("stage"))
    return Episode(
        domain=text(state, "domain"),
        task_id=text(state, "task_id"),
        worker=text(state, "worker"),
        stage=Stage(stage) if stage in set(Stage) else Stage.OPENED,
        step=whole(state.get("step")),
        activity=text(state, "activity"),
    )
