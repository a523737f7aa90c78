"""One attempt at a task, step by step: what the agent saw, thought and did."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from waa.core.entity import Run, RunId, Task
from waa.core.error import Invalid, NotFound
from waa.core.logs.fact import TaskRef
from waa.core.results.click import Point
from waa.core.results.folder import Lack
from waa.core.results.record import Picture, StepRecord
from waa.core.spec import Origin
from waa.core.status import TaskStatus
from waa.services.picture import WIDTHS
from waa.services.task_record import RecordSeen
from waa.web.view import Look, View
from waa.web.views.incidents import disruption_words
from waa.web.views.run import BADGES, need_run, task_url

MAX_LISTED = 300
"""Steps that are listed around the one shown; the others are a click away."""

MAX_FRAMES = 60
"""Of the film strip, around the step shown."""
FRAME_WIDTH = 120
"""Of its pictures on the page; their files are a little larger, for fine screens."""

_MODULE = re.compile(r"^(?:computer\.[a-z]{1,20}|pyautogui)\.(?=[a-zA-Z])")
_LABEL = re.compile(r"\d{1,7}(?:\.\d{1,5})?", re.ASCII)
_ATTEMPT = re.compile(r"[1-9]\d{0,5}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSubject:
    """Which task of which run. ``attempt`` None: the newest. ``step`` is the label of the step shown, None: always the last."""

    run_id: str
    domain: str
    task_id: str
    attempt: int | None = None
    step: str | None = None

    @property
    def text(self) -> str:
        """As it stands in an address; ``parse`` reads it."""
        names = (self.run_id, self.domain, self.task_id, str(self.attempt or ""), self.step or "")
        return "/".join(quote(name, safe="") for name in names)

    @classmethod
    def parse(cls, text: str | None) -> "TaskSubject":
        """Raises Invalid."""
        names = [unquote(name) for name in (text or "").split("/")]
        if len(names) != 5 or not all(names[:3]):
            raise Invalid("task", "is run/domain/task/attempt/step, of which the last two may be empty")
        attempt, step = names[3], names[4]
        if attempt and _ATTEMPT.fullmatch(attempt) is None:
            raise Invalid("task", f"{attempt!r} is not the number of an attempt")
        return cls(run_id=names[0], domain=names[1], task_id=names[2], attempt=int(attempt) if attempt else None, step=need_step(step))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A screenshot: where it is served, and its size in pixels where that is known."""

    url: str
    width: int | None
    height: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """Where an action points, in pixels of the picture; ``number`` counts those of one action."""

    number: int
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLine:
    """A step in the list. ``label`` is unique: its number, with the action's place where it has several."""

    label: str
    summary: str
    url: str
    is_shown: bool
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A step in the film strip: the picture that is shown with it, small ("": it has none) and ``height`` pixels high, and the outcome
    where it is the last of a task that is over."""

    label: str
    url: str
    is_shown: bool
    picture_url: str
    height: int
    tone: str
    badge: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepShown:
    """The step that is shown large. ``is_before``: the picture is what the agent saw; else what came of it.
    ``radius`` is the markers', in pixels of the picture; ``trail`` connects them where there are several."""

    label: str
    picture: Shot | None
    is_before: bool
    markers: tuple[Marker, ...]
    radius: float
    trail: str
    after: Shot | None
    thought: str | None
    action: str
    at: float | None
    since_start_s: float | None
    reward: float | None
    is_done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDetail(View):
    """One attempt at a task. ``attempt`` 0: it has not begun. ``steps`` are those around the one shown, ``earlier`` and
    ``later`` lead to those that are not listed. ``wanted`` is the label of a step that was asked for and is not there.
    ``lack`` says why there are no files, or that they are as they were read last (``is_kept``). ``vm`` "": the run was imported
    from ``source``. ``log_url`` is where the log's lines of the step shown are, of the whole attempt where there is no step, "" before
    it begins."""

    run_id: str
    run_name: str
    source: str
    vm: str
    is_demo: bool
    domain: str
    task_id: str
    attempt: int
    attempts: tuple[tuple[int, str, bool], ...]
    tone: str
    badge: str
    is_running: bool
    instruction: str
    score: float | None
    score_text: str
    is_provisional: bool
    threshold: float
    threshold_text: str
    error: str
    disruptions: tuple[tuple[str, float], ...]
    traceback: str
    started_at: float | None
    ended_at: float | None
    changed_at: float | None
    log_step: int
    count: int
    steps: tuple[StepLine, ...]
    frames: tuple[Frame, ...]
    log_url: str
    specification_url: str
    earlier: StepLine | None
    later: StepLine | None
    step: StepShown | None
    previous: StepLine | None
    next: StepLine | None
    first: StepLine | None
    follow: StepLine | None
    wanted: str
    is_pinned: bool
    start: Shot | None
    lack: Lack | None
    lack_message: str
    lack_where: tuple[str, ...]
    is_kept: bool
    is_other: bool
    is_reading: bool
    is_cut: bool
    unreadable: int
    path: str


def need_step(text: str | None) -> str | None:
    """The label of a step, None where none is given. Raises Invalid."""
    if text and _LABEL.fullmatch(text) is None:
        raise Invalid("step", "is the number of a step, such as 3, or 3.2 for its second action")
    return text or None


def find_task(look: Look, subject: TaskSubject) -> tuple[Run, Task | None]:
    """The attempt that is meant, None where the task has not begun. Raises NotFound."""
    run = need_run(look.state, subject.run_id)
    attempts = attempts_of(look, subject)
    if not attempts:
        if subject.attempt is None and TaskRef(domain=subject.domain, task_id=subject.task_id) in run.plan:
            return run, None
        raise NotFound(f"There is no task {subject.domain}/{subject.task_id} in the run {run.run_id}.")
    if subject.attempt is None:
        return run, attempts[-1]
    task = next((task for task in attempts if task.attempt == subject.attempt), None)
    if task is None:
        raise NotFound(
            f"There is no attempt {subject.attempt} at {subject.domain}/{subject.task_id}; the last one is {attempts[-1].attempt}."
        )
    return run, task


def attempts_of(look: Look, subject: TaskSubject) -> list[Task]:
    """The attempts at a task, oldest first."""
    tasks = look.state.tasks.get(RunId(subject.run_id), {}).values()
    found = [task for task in tasks if (task.domain, task.task_id) == (subject.domain, subject.task_id)]
    return sorted(found, key=lambda task: task.attempt)


def task_detail(look: Look, about: str | None) -> TaskDetail:
    """One attempt at a task, from its events and from its result folder as far as that was read. Raises NotFound, Invalid."""
    subject = TaskSubject.parse(about)
    run, task = find_task(look, subject)
    seen = look.record_of(task) if task is not None else RecordSeen()
    record = seen.record
    recorded = record.steps if record is not None else ()
    place, wanted = place_of(recorded, subject.step)
    lines = _lines(recorded, place, subject)
    first = max(0, min(place - MAX_LISTED // 2, len(lines) - MAX_LISTED))
    last = first + MAX_LISTED
    vm = look.state.vms.get(run.vm)
    tone, badge = BADGES[task.status] if task is not None else ("pending", "NOT YET")
    attempts = attempts_of(look, subject)
    score, is_provisional = score_of(task, seen)
    start = record.starts.get(recorded[0].attempt if recorded else record.attempts) if record is not None else None
    return TaskDetail(
        now=look.now,
        run_id=run.run_id,
        run_name=run.name,
        source=run.imported.source if run.imported is not None else "",
        vm=run.vm,
        is_demo=vm is not None and vm.spec.origin is Origin.DEMO,
        domain=subject.domain,
        task_id=subject.task_id,
        attempt=task.attempt if task is not None else 0,
        attempts=tuple(
            (other.attempt, task_url(run.run_id, subject.domain, subject.task_id, other.attempt), other is task) for other in attempts
        )
        if len(attempts) > 1
        else (),
        tone=tone,
        badge=badge,
        is_running=task is not None and not task.is_over,
        instruction=(task.instruction if task is not None else "") or (record.instruction if record is not None else ""),
        score=score,
        score_text=number_text(score),
        is_provisional=is_provisional,
        threshold=run.threshold,
        threshold_text=number_text(run.threshold),
        disruptions=disruption_words(look.state, run.run_id, task.key) if task is not None else (),
        error=(task.error if task is not None else "")
        or (record.error if record is not None and task is not None and task.is_over else ""),
        traceback=record.traceback if record is not None else "",
        started_at=task.started_at if task is not None else None,
        ended_at=task.ended_at if task is not None else None,
        changed_at=task.changed_at if task is not None else None,
        log_step=task.step if task is not None else 0,
        count=len(lines),
        steps=tuple(lines[first:last]),
        frames=_frames(recorded, lines, place, task) if task is not None else (),
        log_url=_log_url(task, lines[place].label if lines else None) if task is not None else "",
        specification_url=f"{task_url(run.run_id, subject.domain, subject.task_id)}/spec",
        earlier=lines[first - 1] if first > 0 else None,
        later=lines[last] if last < len(lines) else None,
        step=step_shown(recorded[place], lines[place].label, task) if recorded and task is not None else None,
        previous=lines[place - 1] if place > 0 else None,
        next=lines[place + 1] if place + 1 < len(lines) else None,
        first=lines[0] if lines else None,
        follow=lines[-1] if lines else None,
        wanted=wanted,
        is_pinned=subject.step is not None and not wanted,
        start=_shot(start, task) if start is not None and task is not None else None,
        lack=seen.lacking.lack if seen.lacking is not None else None,
        lack_message=seen.lacking.message if seen.lacking is not None else "",
        lack_where=seen.lacking.where if seen.lacking is not None else (),
        is_kept=seen.lacking is not None and bool(seen.path),
        is_other=seen.is_other,
        is_reading=seen.is_reading,
        is_cut=record.is_cut if record is not None else False,
        unreadable=record.unreadable if record is not None else 0,
        path=seen.path,
    )


def picture_url(task: Task, name: str) -> str:
    """Where a screenshot of an attempt is served."""
    return f"{task_url(task.run_id, task.domain, task.task_id, task.attempt)}/files/{quote(name)}"


def labels_of(steps: Sequence[StepRecord]) -> list[str]:
    """What each action of one attempt is called: ``3``; ``3.1`` and ``3.2`` where the step has two."""
    several = {step.number for step in steps if step.part > 1}
    return [f"{step.number}.{step.part}" if step.number in several else str(step.number) for step in steps]


def _lines(steps: Sequence[StepRecord], place: int, subject: TaskSubject) -> list[StepLine]:
    base = task_url(subject.run_id, subject.domain, subject.task_id, subject.attempt)
    return [
        StepLine(
            label=label,
            summary=_summary(step.action),
            url=f"{base}?step={label}",
            is_shown=index == place,
            points=len(step.points),
        )
        for index, (step, label) in enumerate(zip(steps, labels_of(steps), strict=True))
    ]


def _frames(steps: Sequence[StepRecord], lines: Sequence[StepLine], place: int, task: Task) -> tuple[Frame, ...]:
    first = max(0, min(place - MAX_FRAMES // 2, len(lines) - MAX_FRAMES))
    tone, badge = BADGES[task.status]
    frames = []
    for index, (step, line) in enumerate(
        zip(steps[first : first + MAX_FRAMES], lines[first : first + MAX_FRAMES], strict=True), start=first
    ):
        picture = step.before or step.after
        width, height = picture.size if picture is not None and picture.size is not None else (16, 10)
        is_end = task.is_over and index == len(lines) - 1
        frames.append(
            Frame(
                label=line.label,
                url=line.url,
                is_shown=line.is_shown,
                picture_url=f"{picture_url(task, picture.name)}?width={WIDTHS[0]}" if picture is not None else "",
                height=min(FRAME_WIDTH, max(1, round(FRAME_WIDTH * height / width))),
                tone=tone if is_end else "",
                badge=badge if is_end else "",
            )
        )
    return tuple(frames)


def _log_url(task: Task, label: str | None) -> str:
    url = f"{task_url(task.run_id, task.domain, task.task_id, task.attempt)}/log"
    return f"{url}?step={label}" if label is not None else url


def place_of(steps: Sequence[StepRecord], wanted: str | None) -> tuple[int, str]:
    """Which step is shown, and the label asked for where there is none such. ``3`` is the first action of step 3."""
    last = max(0, len(steps) - 1)
    if wanted is None or not steps:
        return last, wanted or ""
    labels = labels_of(steps)
    if wanted in labels:
        return labels.index(wanted), ""
    number, _, part = wanted.partition(".")
    known = [index for index, step in enumerate(steps) if str(step.number) == number and (not part or str(step.part) == part)]
    return (known[0], "") if known else (last, wanted)


def step_shown(step: StepRecord, label: str, task: Task) -> StepShown:
    """A step as it is shown large."""
    picture = step.before or step.after
    after = step.after if step.before is not None and step.after != step.before else None
    markers = _markers(step.points, picture.size if picture is not None else None)
    width = picture.size[0] if picture is not None and picture.size is not None else 0
    return StepShown(
        label=label,
        picture=_shot(picture, task) if picture is not None else None,
        is_before=step.before is not None,
        markers=markers,
        radius=round(max(6.0, width / 55), 1),
        trail=" ".join(f"{marker.x},{marker.y}" for marker in markers) if len(markers) > 1 else "",
        after=_shot(after, task) if after is not None else None,
        thought=step.thought,
        action=step.action,
        at=step.at,
        since_start_s=max(0.0, step.at - task.started_at) if step.at is not None else None,
        reward=step.reward,
        is_done=step.done,
    )


def _markers(points: Sequence[Point], size: tuple[int, int] | None) -> tuple[Marker, ...]:
    if size is None:
        return ()
    return tuple(
        Marker(number=number, x=round(point.x * size[0], 1), y=round(point.y * size[1], 1)) for number, point in enumerate(points, start=1)
    )


def _shot(picture: Picture, task: Task) -> Shot:
    width, height = picture.size or (None, None)
    return Shot(url=picture_url(task, picture.name), width=width, height=height)


def _summary(action: str) -> str:
    """What it does in one line: its statements without the names of their modules."""
    lines = [line.strip() for line in action[:2000].splitlines()]
    told = [line for line in lines if line and not line.startswith(("#", "import ", "from "))]
    words = " · ".join(_MODULE.sub("", line) for line in told or [line for line in lines if line])
    return words[:200] or "(no action)"


def score_of(task: Task | None, seen: RecordSeen) -> tuple[float | None, bool]:
    """The exact score where a result file told it, else the log's, which is provisional."""
    if task is None or not task.is_over:
        return None, False
    if task.score is not None and not task.provisional:
        return task.score, False
    if seen.record is not None and seen.record.score is not None:
        return seen.record.score, False
    return (task.score, True) if task.score is not None and task.status is not TaskStatus.ERROR else (None, False)


def number_text(value: float | None) -> str:
    """All digits that count: 0.8571428571428571, but 1 for 1.0."""
    return "" if value is None else repr(value).removesuffix(".0")
