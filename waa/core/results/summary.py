"""What came of a task and of a run, from what was read of their folders."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from math import inf

from waa.core.logs.fact import Dialect
from waa.core.results.folder import FolderFound
from waa.core.results.record import TaskRecord, first_record
from waa.core.results.tree import RunPlace, TaskPlace
from waa.core.status import TaskStatus
from waa.core.verdict import judge

NO_RESULT = "no result was written"
_WRITTEN = ("traj.jsonl", "execution.json", "result.txt", "error.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """What came of a task: of its last attempt, where there are several.

    ``status``: PASSED and FAILED by the threshold, ERROR where the attempt ended with an exception and no result, UNKNOWN
    without an outcome (``error`` says NO_RESULT) or with one that is no number. ``steps`` is the number of the last step.
    ``started_at`` and ``ended_at`` are the first and the last moment that the runner recorded (its clock taken as UTC), else the times of
    the files, None where nothing tells. ``path`` is the folder's place in the tree. ``origin`` is a digest of the very first
    record, "" where none is whole yet, and ``origin_at`` its moment: see ``run_identity``.
    """

    path: str
    domain: str
    task_id: str
    status: TaskStatus
    score: float | None = None
    steps: int = 0
    attempts: int = 1
    instruction: str = ""
    error: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    origin: str = ""
    origin_at: float | None = None
    is_cut: bool = False


def summarise(place: TaskPlace, folder: FolderFound, record: TaskRecord, *, threshold: float = 1.0) -> TaskResult:
    """What came of a task, from its place, its folder and ``read_record(folder)``. ``threshold``: a score of at least this passes.
    Domain and id are those that the files tell, else those of the path. Never fails."""
    last = [step for step in record.steps if step.attempt == record.attempts]
    status, error = _outcome(record, threshold)
    started_at, ended_at = _span([record.resets.get(record.attempts), *(step.at for step in last)], folder)
    line, origin_at = first_record(folder)
    return TaskResult(
        path=place.path,
        domain=record.domain or place.domain,
        task_id=record.task_id or place.task_id,
        status=status,
        score=record.score,
        steps=record.step_count if record.step_count is not None else max((step.number for step in last), default=0),
        attempts=record.attempts,
        instruction=record.instruction,
        error=error,
        started_at=started_at,
        ended_at=ended_at,
        origin=sha256(line).hexdigest() if line else "",
        origin_at=origin_at,
        is_cut=record.is_cut,
    )


def run_identity(run: RunPlace, results: Iterable[TaskResult]) -> str:
    """A digest (32 hexadecimal digits) that tells this run from others, and is the same for it wherever it is read.

    It is made of the names of the run's folder (``RunPlace.names``: the last two, so model and trial or trial and agent; what lies
    above, such as the home of the VM's user, differs between copies) and of the first record of the task that was begun first.
    That record holds its time to the second and is never written again, so the digest stays while the tree grows, when attempts
    are appended, and when a copy has other file times. openadapt writes a task down when it is over, but says when the run
    itself began (``created_at``: give its ``metadata.json`` to ``with_settings`` first).

    Two runs of one name that began with the same task in the same second cannot be told apart by their files. A copy that lacks
    the names (an archive of the tasks only) counts as another run. Where no record has a time, the sorted names of the tasks
    take its place, and then the digest changes as the tree grows.
    """
    created = run.arguments.get("created_at") if run.dialect is Dialect.OPENADAPT else None
    known = sorted(results, key=lambda result: (result.origin_at if result.origin_at is not None else inf, result.task_id, result.path))
    if created:
        origin = created
    elif known and known[0].origin_at is not None:
        origin = f"{known[0].task_id}\n{known[0].origin}"
    else:
        origin = "\n".join(sorted(f"{task.domain}/{task.task_id}" for task in run.tasks))
    text = "\0".join(("run", "/".join(run.names), origin))
    return sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def _outcome(record: TaskRecord, threshold: float) -> tuple[TaskStatus, str]:
    if record.has_result:
        return judge(record.score, threshold), record.error
    if record.error:
        return TaskStatus.ERROR, record.error
    return TaskStatus.UNKNOWN, NO_RESULT


def _span(told: list[float | None], folder: FolderFound) -> tuple[float | None, float | None]:
    """The first and the last moment of an attempt."""
    moments = [at for at in told if at is not None]
    if not moments:
        moments = [file.modified_at for file in folder.files if file.name in _WRITTEN and file.modified_at > 0]
    return min(moments, default=None), max(moments, default=None)
