"""The page that plays a run again, and what it is told of where it is."""

from dataclasses import dataclass
from math import ceil

from waa.core.timeline import Mark, Source, Timeline, marks_of
from waa.services.replay import Replay
from waa.web.payload import ReplayStatus
from waa.web.views.run import BADGES
from waa.web.views.run_table import TableSubject, TaskFilter

SPEEDS = (1, 5, 10, 30, 60, 120, 300, 600, 1000)
PANELS = ("run-head", "run-incidents", "run-chart", "run-domains", "run-tasks")
"""Of the page of a run, those that change while it runs."""
ALL_TASKS = TaskFilter()
WIDTH = 1000.0
"""Of the drawn time line, in its own units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Something on the time line: ``x`` of WIDTH, ``at_s`` into the run, when it has just happened."""

    x: float
    at_s: float
    tone: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPage:
    """``at_end``: it was opened at the end of the run. ``subject`` is that of its table of tasks, ``status`` where it is, as the
    page's script gets it."""

    run_id: str
    name: str
    vm: str
    is_demo: bool
    token: str
    at_end: bool
    speeds: tuple[float, ...]
    ticks: tuple[Tick, ...]
    panels: tuple[str, ...]
    subject: str
    status: ReplayStatus


def replay_page(replay: Replay, token: str, *, is_reading: bool, at_end: bool = False, chosen: TaskFilter = ALL_TASKS) -> ReplayPage:
    """The page of one replay."""
    line = replay.timeline
    return ReplayPage(
        run_id=line.run.run_id,
        name=line.run.name,
        vm=line.run.vm,
        is_demo=line.vm.is_played,
        token=token,
        at_end=at_end,
        speeds=tuple(sorted({*map(float, SPEEDS), replay.speed})),
        ticks=tuple(_tick(mark, line) for mark in marks_of(line)),
        panels=PANELS,
        subject=TableSubject(run_id=line.run.run_id, filter=chosen).text,
        status=replay_status(replay, is_reading=is_reading),
    )


def replay_status(replay: Replay, *, is_reading: bool) -> ReplayStatus:
    """Where a replay is: ``at`` and ``duration`` in seconds, ``now`` is its own time, ``rate`` how fast that passes, ``source`` says
    what it rests on."""
    line = replay.timeline
    return {
        "at": replay.at_s,
        "duration": line.duration_s,
        "now": replay.moment,
        "rate": replay.rate,
        "speed": replay.speed,
        "playing": replay.is_playing,
        "skip_idle": replay.skips_idle,
        "source": source_words(line, is_reading=is_reading),
    }


def source_words(line: Timeline, *, is_reading: bool) -> str:
    """What a time line rests on."""
    if line.source is Source.RECORDED:
        return "As recorded."
    if is_reading:
        return "Rebuilt from results; the steps between are being read."
    if not line.stepless:
        return "Rebuilt from results, with the steps that were recorded."
    tasks = len({change.topic for change in line.changes if "/tasks/" in change.topic})
    if line.stepless < tasks:
        return f"Rebuilt from results; of {line.stepless} of {tasks} tasks the steps between are not known."
    return "Rebuilt from results; the steps between are not known."


def _tick(mark: Mark, line: Timeline) -> Tick:
    at_s = mark.at - line.began_at
    word = BADGES[mark.status][1] if mark.status is not None else "Incident"
    tone = mark.status.value if mark.status is not None else "incident"
    x = round(WIDTH * at_s / line.duration_s, 1) if line.duration_s else 0.0
    return Tick(x=x, at_s=ceil(at_s * 10) / 10, tone=tone, words=f"{word}: {mark.words}")
