"""What openadapt-evals tells of a task: ``task.json``, ``execution.json``, and its line in the run's ``summary.json``."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from waa.core.results.click import Aim, aim_of_record
from waa.core.results.folder import SCREENSHOTS_FOLDER

MAX_STEPS = 10_000
MAX_NUMBER = 1_000_000

_SCREENSHOT = re.compile(rf"(?:.*/)?({SCREENSHOTS_FOLDER}/[^/]+\.png)", re.DOTALL)
_NOT_SHOWN = frozenset({"type", "raw_action"})
_NOT_DONE = frozenset({"done", "error"})
"""Actions that end a task and are not executed; the runner does not count them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutedStep:
    """A step as recorded, ``number`` 1-based (the file counts from 0). ``screenshot`` is what the agent saw, by its file's name, "" for
    none; ``at`` is epoch seconds."""

    number: int
    action: str
    aims: tuple[Aim, ...] = ()
    thought: str | None = None
    screenshot: str = ""
    at: float | None = None
    is_last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What is told of a task. ``step_count`` is the number of executed steps as the runner counts them.

    ``is_crashed``: the task ended with an exception, so that ``score`` (which the runner gives as 0) means nothing. ``has_result`` is
    False where nothing tells an outcome. ``unreadable`` counts files that make no sense, or not yet.
    """

    task_id: str = ""
    domain: str = ""
    instruction: str = ""
    steps: tuple[ExecutedStep, ...] = ()
    step_count: int | None = None
    score: float | None = None
    has_result: bool = False
    is_crashed: bool = False
    error: str = ""
    unreadable: int = 0
    is_cut: bool = False


def read_execution(documents: Mapping[str, bytes], *, folder: str) -> Execution:
    """The meaning of a task's files; ``folder`` is the name of the task's folder, by which it is found in the summary. Texts are as
    they were written. Never fails: what cannot be read is left out."""
    read = {name: _object(data) for name, data in documents.items()}
    task = read.get("task.json") or {}
    told = read.get("execution.json")
    found = told or _of_summary(read.get("summary.json"), _text(task.get("task_id")) or folder)
    recorded = found.get("steps")
    steps = recorded if isinstance(recorded, list) else []
    success, score = found.get("success"), _number(found.get("score"))
    is_crashed = success is False and _is_crashed(found)
    return Execution(
        task_id=_text(found.get("task_id")) or _text(task.get("task_id")),
        domain=_text(task.get("domain")),
        instruction=_text(task.get("instruction")),
        steps=tuple(_step(place, step) for place, step in enumerate(steps[:MAX_STEPS]) if isinstance(step, Mapping)),
        step_count=_count(found.get("num_steps")),
        score=None if is_crashed else score,
        has_result=isinstance(success, bool) and not is_crashed,
        is_crashed=is_crashed,
        error=_text(found.get("error")) or (_text(found.get("reason")) if is_crashed else ""),
        unreadable=sum(found is None for found in read.values()),
        is_cut=len(steps) > MAX_STEPS,
    )


def _is_crashed(found: Mapping[str, object]) -> bool:
    """Whether a task without success ended with an exception, as the runner's log tells: "Error running task" instead of a score.

    The file holds that log where it was captured. Without it: after an exception its text is both the error and the reason, which
    otherwise come from different places. What the runner itself calls an infrastructure failure is one, too.
    """
    if found.get("error_type") == "infrastructure":
        return True
    logs = found.get("logs")
    if isinstance(logs, list) and logs:
        start = f"Error running task {_text(found.get('task_id'))}: "
        return any(isinstance(line, Mapping) and _text(line.get("message")).startswith(start) for line in logs)
    error = _text(found.get("error"))
    return bool(error) and error == found.get("reason")


def _of_summary(summary: Mapping[str, object] | None, task_id: str) -> Mapping[str, object]:
    tasks = (summary or {}).get("tasks")
    for found in tasks if isinstance(tasks, list) else []:
        if isinstance(found, Mapping) and found.get("task_id") == task_id:
            return found
    return {}


def _step(place: int, found: Mapping[str, object]) -> ExecutedStep:
    index = _count(found.get("step_idx"))
    given = found.get("action")
    action = given if isinstance(given, Mapping) else {}
    match = _SCREENSHOT.fullmatch(_text(found.get("screenshot_path")))
    return ExecutedStep(
        number=(index if index is not None else place) + 1,
        action=_told(action),
        aims=aim_of_record(action),
        thought=_text(found.get("reasoning")) or None,
        screenshot=match[1] if match is not None else "",
        at=_number(found.get("timestamp")),
        is_last=_text(action.get("type")) in _NOT_DONE,
    )


def _told(action: Mapping[str, object]) -> str:
    """``click(x=0.5, y=0.5)``: what is given."""
    given = ", ".join(f"{key}={value!r}" for key, value in action.items() if value is not None and key not in _NOT_SHOWN)
    kind = _text(action.get("type"))
    return f"{kind}({given})" if given else kind


def _object(data: bytes) -> Mapping[str, object] | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER else None


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
    return float(value) if is_number and isinstance(value, int | float) and math.isfinite(value) else None
