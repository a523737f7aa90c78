"""A run as one file that opens offline: what its parts show, and which screenshots are in it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from waa.core.entity import Task
from waa.core.error import Invalid
from waa.core.results.record import Picture, StepRecord
from waa.core.status import TaskStatus
from waa.services.task_record import RecordSeen
from waa.web.export_rows import lacking_words
from waa.web.view import Look
from waa.web.views.incidents import RunIncidents, run_incidents
from waa.web.views.run import BADGES, need_run
from waa.web.views.run_chart import RunChart, run_chart
from waa.web.views.run_domains import RunDomains, run_domains
from waa.web.views.run_facts import RunFacts, run_facts
from waa.web.views.run_head import RunHead, run_head
from waa.web.views.run_table import Entry, entries_of, first_words
from waa.web.views.task import Marker, StepShown, number_text, score_of, step_shown

LAST_STEPS = 3
"""Of a task that did not pass: how it ended."""
TOLD = (TaskStatus.FAILED, TaskStatus.ERROR, TaskStatus.UNKNOWN)
MAX_PICTURE_BYTES = 30_000_000
"""Of all pictures of a report, as they stand in it."""


class Pictures(StrEnum):
    """Which screenshots a report has. THUMBS: the first and the last ones of tasks that did not pass."""

    NONE = "none"
    THUMBS = "thumbs"
    ALL = "all"


WIDTHS = {Pictures.THUMBS: 640, Pictures.ALL: 320}
PICTURE_WORDS = {
    Pictures.NONE: "Without screenshots.",
    Pictures.THUMBS: "Screenshots: the first and the last ones of each task that did not pass.",
    Pictures.ALL: "Screenshots: one for each step.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """One attempt in the table; ``anchor`` is where its steps stand in the file."""

    anchor: str
    number: int
    domain: str
    task_id: str
    attempt: int
    is_replaced: bool
    tone: str
    badge: str
    words: str
    score_text: str
    is_provisional: bool
    steps: int
    took_s: float | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All but the steps. ``waiting`` tasks of the plan have not begun. ``pictures`` says which screenshots are in it."""

    head: RunHead
    chart: RunChart
    domains: RunDomains
    incidents: RunIncidents
    facts: RunFacts
    rows: tuple[ReportRow, ...]
    waiting: int
    pictures: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTask:
    """One attempt before its steps. ``is_open``: they are shown at once. ``lacking`` says what is not known of them."""

    row: ReportRow
    instruction: str
    error: str
    traceback: str
    started_at: float
    ended_at: float | None
    count: int
    is_open: bool
    lacking: str


@dataclass(frozen=True, slots=True)
class Shot:
    """A screenshot that a report has. ``shown``: the step whose markers stand on it, None: none do."""

    picture: Picture
    words: str
    shown: StepShown | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A screenshot in the file: ``data`` is a data URI, "" where it could not be had (``missing`` says why). ``words`` say what it
    shows; the markers are in the pixels of the whole picture, ``width`` times ``height``."""

    data: str
    missing: str
    words: str
    width: int | None
    height: int | None
    markers: tuple[Marker, ...]
    radius: float
    trail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStep:
    """One step of an attempt."""

    label: str
    since_start_s: float | None
    at: float | None
    action: str
    thought: str
    reward: float | None
    is_done: bool


def need_pictures(text: str | None) -> Pictures:
    """What is asked for. Raises Invalid."""
    if text is not None and text not in tuple(Pictures):
        raise Invalid("pictures", f"is one of: {', '.join(Pictures)}")
    return Pictures(text) if text is not None else Pictures.THUMBS


def report_of(look: Look, run_id: str, pictures: Pictures) -> Report:
    """All but the steps. Raises NotFound."""
    entries = entries_of(look.state, need_run(look.state, run_id))
    return Report(
        head=run_head(look, run_id),
        chart=run_chart(look, run_id),
        domains=run_domains(look, run_id),
        incidents=run_incidents(look, run_id),
        facts=run_facts(look, run_id),
        rows=tuple(_row(place, entry, entry.task) for place, entry in enumerate(entries, start=1) if entry.task is not None),
        waiting=sum(entry.task is None for entry in entries),
        pictures=PICTURE_WORDS[pictures],
    )


def task_of(row: ReportRow, task: Task, seen: RecordSeen) -> ReportTask:
    """One attempt before its steps, with the exact score where a result file told it."""
    record = seen.record
    score, is_provisional = score_of(task, seen)
    return ReportTask(
        row=replace(row, score_text=number_text(score), is_provisional=is_provisional),
        instruction=task.instruction or (record.instruction if record is not None else ""),
        error=task.error or (record.error if record is not None and task.is_over else ""),
        traceback=record.traceback if record is not None else "",
        started_at=task.started_at,
        ended_at=task.ended_at,
        count=len(record.steps) if record is not None else 0,
        is_open=task.status in TOLD,
        lacking=lacking_words(seen),
    )


def step_of(step: StepRecord, label: str, task: Task) -> ReportStep:
    """One step."""
    return ReportStep(
        label=label,
        since_start_s=max(0.0, step.at - task.started_at) if step.at is not None else None,
        at=step.at,
        action=step.action,
        thought=step.thought or "",
        reward=step.reward,
        is_done=step.done,
    )


def shots_of(steps: Sequence[StepRecord], place: int, label: str, task: Task, pictures: Pictures) -> list[Shot]:
    """The screenshots that the report has of one step, the one with the markers first."""
    is_last = place == len(steps) - 1
    is_told = pictures is Pictures.ALL or (task.status in TOLD and (place == 0 or place >= len(steps) - LAST_STEPS))
    if pictures is Pictures.NONE or not is_told:
        return []
    step = steps[place]
    shots = []
    if step.before is not None:
        shots.append(Shot(step.before, f"Before step {label}"))
    if step.after is not None and (is_last or step.before is None):
        shots.append(Shot(step.after, f"After step {label}"))
    return [replace(shot, shown=step_shown(step, label, task)) if number == 0 else shot for number, shot in enumerate(shots)]


def first_shot(seen: RecordSeen, task: Task, pictures: Pictures) -> Shot | None:
    """What there is to see of an attempt without a step: the screen after its set-up."""
    record = seen.record
    if record is None or record.steps or not record.starts or pictures is Pictures.NONE or task.status not in TOLD:
        return None
    return Shot(record.starts[max(record.starts)], "After the set-up")


def figure_of(shot: Shot, thumbnail: bytes | None, missing: str) -> Figure:
    """A screenshot as it stands in the file; ``thumbnail`` is a WebP."""
    size = shot.picture.size or (None, None)
    shown = shot.shown
    return Figure(
        data=f"data:image/webp;base64,{base64.b64encode(thumbnail).decode()}" if thumbnail is not None else "",
        missing=missing,
        words=shot.words,
        width=size[0],
        height=size[1],
        markers=shown.markers if shown is not None else (),
        radius=shown.radius if shown is not None else 0.0,
        trail=shown.trail if shown is not None else "",
    )


def _row(place: int, entry: Entry, task: Task) -> ReportRow:
    tone, badge = BADGES[task.status]
    score = task.score if task.is_over else None
    return ReportRow(
        anchor=f"task-{place}",
        number=entry.number,
        domain=task.domain,
        task_id=task.task_id,
        attempt=task.attempt,
        is_replaced=entry.is_replaced,
        tone=tone,
        badge=badge,
        words=first_words(task.instruction),
        score_text=number_text(score),
        is_provisional=score is not None and task.provisional,
        steps=task.step,
        took_s=task.ended_at - task.started_at if task.ended_at is not None else None,
        error=task.error,
    )
