"""What opens on the page of a task: the log's lines of a step, and the task's specification."""

from dataclasses import dataclass

from markupsafe import Markup

from waa.core.entity import Run, Task
from waa.core.error import Failure, NotFound
from waa.core.observation import LogKind
from waa.core.results.span import Span, span_of, span_of_task
from waa.core.results.specification import Specification
from waa.services.task_record import RecordSeen
from waa.services.task_text import LOG_AGAIN_S, LogSeen, Seen, SpecificationSeen
from waa.web.terminal import rendered
from waa.web.views.task import labels_of, place_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """Which part of a task's log is meant: ``title`` names the step, or the whole task; ``span`` None: the time was not recorded."""

    title: str
    span: Span | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLog:
    """The log's lines of a step, oldest first. ``is_missing``: the log is not there any more, or was not imported
    (``is_imported``). ``again_s``: when to ask again, None: they do not change. ``failure``: why it could not be read now; the
    lines are those of ``read_at``."""

    title: str
    span: Span | None
    where: str
    is_imported: bool
    is_missing: bool
    lines: tuple[Markup, ...]
    is_cut: bool
    is_end_only: bool
    again_s: float | None
    read_at: float | None
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecificationShown:
    """A task's specification, or why there is none to show."""

    found: Specification | None
    path: str
    searched: tuple[str, ...]
    is_imported: bool
    read_at: float | None
    failure: Failure | None


def log_part(task: Task, seen: RecordSeen, step: str | None) -> LogPart:
    """The part that belongs to a step, None: all that the log says of the task. Raises NotFound for a step that was not recorded."""
    if step is None:
        return LogPart(title="The whole task", span=span_of_task(task))
    recorded = seen.record.steps if seen.record is not None else ()
    place, missing = place_of(recorded, step)
    if missing or not recorded:
        raise NotFound(f"step: there is no step {step} of {task.domain}/{task.task_id}")
    return LogPart(title=f"Step {labels_of(recorded)[place]}", span=span_of(recorded, place, task))


def step_log(run: Run, part: LogPart, seen: Seen[LogSeen] | None) -> StepLog:
    """What is shown of the log. ``seen`` None: it was not asked for, as nobody knows the time."""
    excerpt = seen.value.excerpt if seen is not None and seen.value is not None else None
    is_open = seen is not None and (seen.failure is not None or seen.value is None or seen.value.is_open)
    return StepLog(
        title=part.title,
        span=part.span,
        where=_where(run),
        is_imported=run.imported is not None,
        is_missing=seen is not None and seen.value is not None and excerpt is None,
        lines=rendered(excerpt.data) if excerpt is not None else (),
        is_cut=excerpt.is_cut if excerpt is not None else False,
        is_end_only=excerpt.is_end_only if excerpt is not None else False,
        again_s=LOG_AGAIN_S if is_open and part.span is not None and part.span.until_at is None else None,
        read_at=seen.read_at if seen is not None else None,
        failure=seen.failure if seen is not None else None,
    )


def specification_shown(run: Run, seen: Seen[SpecificationSeen]) -> SpecificationShown:
    """What is shown of the specification."""
    value = seen.value
    return SpecificationShown(
        found=value.specification if value is not None else None,
        path=value.path if value is not None else "",
        searched=value.searched if value is not None else (),
        is_imported=run.imported is not None,
        read_at=seen.read_at,
        failure=seen.failure,
    )


def _where(run: Run) -> str:
    if run.imported is not None:
        return "the task's folder"
    return {
        LogKind.FILE: run.log.path,
        LogKind.INNER: f"{run.log.path} in the container",
        LogKind.CONTAINER: "the container's own log",
        LogKind.JOB: f"{run.log.path} of the job",
    }[run.log.kind]
