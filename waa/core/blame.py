"""Whose failure a failed task is: the agent's, the infrastructure's, the evaluator's. Pure; texts are only compared with patterns."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from waa.core.disruption import DISRUPTIONS
from waa.core.entity import Run, Task
from waa.core.incident import Concern, Incident
from waa.core.logs.fact import Activity
from waa.core.status import TaskStatus


class Culprit(StrEnum):
    """AGENT: it was scored below the threshold, or the model gave no valid action. UNKNOWN: nothing tells."""

    AGENT = "agent"
    INFRASTRUCTURE = "infrastructure"
    EVALUATOR = "evaluator"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """Whose failure it is, and why in one sentence."""

    culprit: Culprit
    why: str


_HITS: Mapping[Concern, str] = {
    Concern.REBOOTED: "a reboot of the VM hit it",
    Concern.CONTAINER_RESTARTED: "a restart of the container hit it",
    Concern.CONTAINER_OFF: "the container went off under it",
    Concern.GUEST_OFF: "Windows went off under it",
    Concern.GUEST_DOWN: "the guest's server did not answer",
    Concern.DISK_FULL: "the disk was full",
    Concern.RUNNER_GONE: "the runner's process ended",
}
"""Incidents that spoil a task, whatever it says of its own end; those first that say most."""

_SPOILS_SCORES = DISRUPTIONS

_INFRASTRUCTURE, _AGENT, _EVALUATOR = Culprit.INFRASTRUCTURE, Culprit.AGENT, Culprit.EVALUATOR

_SILENT_GUEST = "the guest's server could not be asked"

_TEXTS: tuple[tuple[re.Pattern[str], Culprit, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), culprit, why)
    for pattern, culprit, why in (
        (r"fail(?:ed)? to get (?:a )?valid action", _AGENT, "the model gave no valid action"),
        (r"evaluat|\bmetrics?\b|getter", _EVALUATOR, "the evaluator failed"),
        (r"rate.?limit|error code: 429|insufficient_quota|too many requests", _INFRASTRUCTURE, "the model's service limits its use"),
        (r"error code: 40[13]|invalid.{0,20}api.?key|unauthorized", _INFRASTRUCTURE, "the model's service refuses the key"),
        (r"failed to get the plan|error code: 5\d\d|openai|anthropic", _INFRASTRUCTURE, "the model could not be asked"),
        (r"no space left|disk full", _INFRASTRUCTURE, "the disk was full"),
        (r"cannot access local variable 'e'", _INFRASTRUCTURE, "a download failed while the task was set up"),
        (r"connection (?:refused|reset|aborted|error)|max retries|failed to establish", _INFRASTRUCTURE, _SILENT_GUEST),
        (r"remotedisconnected|timed? ?out|unreachable|port=5000", _INFRASTRUCTURE, _SILENT_GUEST),
        (r"time limit exceeded", _INFRASTRUCTURE, "the runner ended it by an exception"),
        (r"\bset-?up\b|\bresetting\b", _INFRASTRUCTURE, "its set-up failed"),
        (r"\brun(?:ner)?\b|started again|no longer watched|live\.json says|\b(?:worker|process) ", _INFRASTRUCTURE, "it was cut off"),
    )
)
"""What the texts of errors and ends tell; the first that fits counts."""

_STAGES: Mapping[Activity, tuple[Culprit, str]] = {
    Activity.RESETTING: (_INFRASTRUCTURE, "an exception while the task was set up"),
    Activity.THINKING: (_INFRASTRUCTURE, "an exception while the model was asked"),
    Activity.ACTING: (_INFRASTRUCTURE, "an exception while an action was carried out"),
    Activity.EVALUATING: (_EVALUATOR, "an exception in the evaluator"),
}

MAX_LOOKED_AT = 4000


def blame_of(task: Task, run: Run, incidents: Iterable[Incident] = ()) -> Blame | None:
    """Whose failure it is that a task did not pass; None for one that passed, or still runs. ``incidents`` are those of its run."""
    if not task.is_over or task.status is TaskStatus.PASSED:
        return None
    met = {incident.concern for incident in incidents if task.key in incident.tasks}
    hit = next((concern for concern in _HITS if concern in met), None)
    if task.status is TaskStatus.FAILED:
        scored = f"scored {task.score or 0.0:.2f}, passes from {run.threshold:.2f}"
        return _by(_INFRASTRUCTURE, f"{scored}, but {_HITS[hit]}") if hit in _SPOILS_SCORES else _by(_AGENT, scored)
    return _by(_INFRASTRUCTURE, _HITS[hit]) if hit is not None else _unscored(task)


def _unscored(task: Task) -> Blame:
    """By the place where it ended, where that is the evaluator; else by its text; else by the place."""
    stage = task.ended_in if task.status is TaskStatus.ERROR else None
    told = [(culprit, why) for pattern, culprit, why in _TEXTS if pattern.search(task.error[:MAX_LOOKED_AT])]
    if stage is not None and (stage is Activity.EVALUATING or not told):
        return _by(*_STAGES[stage])
    if told:
        return _by(*told[0])
    if not task.error and task.status is TaskStatus.UNKNOWN:
        return _by(_INFRASTRUCTURE, "it ended without a result")
    return _by(Culprit.UNKNOWN, "neither its text nor its place tells")


def _by(culprit: Culprit, why: str) -> Blame:
    return Blame(culprit=culprit, why=why)
