"""What went wrong: the incidents of a run or a VM, and the failures of a run by whose they are."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from waa.core.blame import Culprit, blame_of
from waa.core.disruption import disruptions_of
from waa.core.entity import Run, RunId, Task
from waa.core.incident import Concern, Incident, Severity
from waa.core.rerun import USUAL, Again, tasks_again
from waa.core.state import State, newest_attempts
from waa.core.status import TaskStatus
from waa.web.view import Look, View
from waa.web.views.run import need_run, need_vm, task_url

MAX_SHOWN = 50
"""Incidents of a panel; ``/api/incidents`` has all."""
MAX_TASKS = 3
"""Tasks that an incident names; the others are counted."""
MAX_GROUPS = 20
MAX_TEXT = 300

CULPRIT_WORDS = {
    Culprit.AGENT: "Agent",
    Culprit.INFRASTRUCTURE: "Infrastructure",
    Culprit.EVALUATOR: "Evaluator",
    Culprit.UNKNOWN: "Not known",
}

DISRUPTION_WORDS = {Concern.REBOOTED: "hit by a reboot", Concern.CONTAINER_RESTARTED: "hit by a container restart"}

_VARYING = re.compile(r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{8,40}|\d+")
"""What differs between two errors that are the same: addresses, ids, numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLink:
    """A task by name, and its page."""

    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentRow:
    """One incident. ``ended_at`` None: it goes on. ``hidden_tasks`` were hit too and are not named."""

    key: str
    vm: str
    run_id: RunId | None
    severity: Severity
    title: str
    detail: str
    remedy: str
    began_at: float
    ended_at: float | None
    tasks: tuple[TaskLink, ...]
    hidden_tasks: int

    @property
    def lasted_s(self) -> float | None:
        """From begin to end, None while it goes on."""
        return self.ended_at - self.began_at if self.ended_at is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Tasks that failed for the same reason: ``why`` in a few words, ``text`` as the example's log says it."""

    culprit: Culprit
    word: str
    why: str
    text: str
    count: int
    example: TaskLink


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunLink:
    """A list of tasks to run again, as a file."""

    words: str
    count: int
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIncidents(View):
    """What went wrong in a run. ``culprits``: word and number of those that failed, most first."""

    run_id: RunId
    open: tuple[IncidentRow, ...]
    past: tuple[IncidentRow, ...]
    hidden: int
    culprits: tuple[tuple[Culprit, str, int], ...]
    groups: tuple[FailureGroup, ...]
    hidden_groups: int
    reruns: tuple[RerunLink, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VmIncidents(View):
    """What went wrong with a VM."""

    name: str
    open: tuple[IncidentRow, ...]
    past: tuple[IncidentRow, ...]
    hidden: int


def run_incidents(look: Look, run_id: str | None) -> RunIncidents:
    """What went wrong in a run, newest first. Raises NotFound."""
    state = look.state
    run = need_run(state, run_id)
    incidents = [incident for incident in state.incidents.values() if incident.run_id == run.run_id]
    is_open, past, hidden = _rows(state, incidents)
    groups = failures_of(run, state.tasks.get(run.run_id, {}).values(), incidents)
    counted: Counter[Culprit] = Counter()
    for group in groups:
        counted[group.culprit] += group.count
    return RunIncidents(
        now=look.now,
        run_id=run.run_id,
        open=is_open,
        past=past,
        hidden=hidden,
        culprits=tuple((culprit, CULPRIT_WORDS[culprit], count) for culprit, count in counted.most_common()),
        groups=tuple(groups[:MAX_GROUPS]),
        hidden_groups=max(0, len(groups) - MAX_GROUPS),
        reruns=_reruns(run, list(state.tasks.get(run.run_id, {}).values())),
    )


def vm_incidents(look: Look, name: str | None) -> VmIncidents:
    """What went wrong with a VM, newest first. Raises NotFound."""
    vm = need_vm(look.state, name)
    is_open, past, hidden = _rows(look.state, [incident for incident in look.state.incidents.values() if incident.vm == vm.name])
    return VmIncidents(now=look.now, name=vm.name, open=is_open, past=past, hidden=hidden)


def failures_of(run: Run, tasks: Iterable[Task], incidents: Sequence[Incident]) -> list[FailureGroup]:
    """The failed tasks of a run, those of the same reason together, the most frequent first."""
    found: dict[tuple[Culprit, str], list[tuple[Task, str]]] = {}
    for task in newest_attempts(tasks):
        blame = blame_of(task, run, incidents)
        if blame is not None:
            reason = "" if task.status is TaskStatus.FAILED and blame.culprit is Culprit.AGENT else f"{blame.why}\n{task.error}"
            found.setdefault((blame.culprit, _VARYING.sub("#", reason)), []).append((task, blame.why))
    groups = [_group(run, culprit, together) for (culprit, _), together in found.items()]
    return sorted(groups, key=lambda group: -group.count)


def disruption_words(state: State, run_id: str, task_key: str) -> tuple[tuple[str, float], ...]:
    """What hit a task ("hit by a reboot") and when, oldest first."""
    return tuple((DISRUPTION_WORDS[met.concern], met.began_at) for met in disruptions_of(state, run_id, task_key))


def _group(run: Run, culprit: Culprit, together: Sequence[tuple[Task, str]]) -> FailureGroup:
    task, why = together[-1]
    is_scored = task.status is TaskStatus.FAILED
    return FailureGroup(
        culprit=culprit,
        word=CULPRIT_WORDS[culprit],
        why=f"scored below {run.threshold:.2f}" if is_scored and culprit is Culprit.AGENT else why,
        text=task.error[:MAX_TEXT],
        count=len(together),
        example=_link(task),
    )


def _rows(state: State, incidents: Iterable[Incident]) -> tuple[tuple[IncidentRow, ...], tuple[IncidentRow, ...], int]:
    """Those that go on and those that are over, each the newest first, and how many more there were."""
    newest = sorted(incidents, key=lambda incident: incident.began_at, reverse=True)
    is_open = [_row(state, incident) for incident in newest if not incident.is_over]
    past = [_row(state, incident) for incident in newest if incident.is_over]
    room = max(0, MAX_SHOWN - len(is_open))
    return tuple(is_open), tuple(past[:room]), max(0, len(past) - room)


def _row(state: State, incident: Incident) -> IncidentRow:
    known = state.tasks.get(RunId(incident.run_id or ""), {})
    hit = [known[key] for key in incident.tasks if key in known]
    return IncidentRow(
        key=incident.incident_id,
        vm=incident.vm,
        run_id=RunId(incident.run_id) if incident.run_id is not None else None,
        severity=incident.severity,
        title=incident.title,
        detail=incident.detail,
        remedy=incident.remedy,
        began_at=incident.began_at,
        ended_at=incident.ended_at,
        tasks=tuple(_link(task) for task in hit[:MAX_TASKS]),
        hidden_tasks=max(0, len(hit) - MAX_TASKS),
    )


def _link(task: Task) -> TaskLink:
    return TaskLink(name=f"{task.domain}/{task.task_id}", url=task_url(task.run_id, task.domain, task.task_id, task.attempt))


def _reruns(run: Run, tasks: Sequence[Task]) -> tuple[RerunLink, ...]:
    """The usual list, and the one with what the agent failed, where they hold something."""
    path = f"/runs/{quote(run.run_id, safe='')}/rerun.json"
    usual = len(tasks_again(run, tasks, USUAL))
    every = len(tasks_again(run, tasks, tuple(Again)))
    links = [RerunLink(words="without a verdict", count=usual, url=path)] if usual else []
    if every > usual:
        links.append(RerunLink(words="not passed", count=every, url=f"{path}?status={','.join(Again)}"))
    return tuple(links)
