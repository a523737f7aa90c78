"""Small files that runners keep beside their logs, read whole or not at all: their writers are not atomic."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from waa.core.logs.fact import TaskRef
from waa.core.logs.record import MAX_NAME, MAX_TEXT, shown

MAX_FILE_BYTES = 8_000_000
MAX_STEPS = 500
"""Newest steps of a live task that are kept."""
MAX_TASKS = 5_000
_MAX_STATUS = 100
_NUMBER = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveProgress:
    """``benchmark_progress.json``. Counts are None where the file does not tell them."""

    status: str
    provider: str = ""
    tasks_total: int | None = None
    tasks_complete: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStep:
    """One step; ``number`` is 1-based (the file counts from 0), ``action`` its type and arguments."""

    number: int
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTask:
    """The task that runs. ``success`` and ``score`` are None until it has a result."""

    task_id: str
    instruction: str = ""
    domain: str = ""
    steps: tuple[LiveStep, ...] = ()
    has_result: bool = False
    success: bool | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveState:
    """``benchmark_live.json``. ``tasks_completed`` leaves out tasks that ended with an exception."""

    status: str
    total_tasks: int | None = None
    tasks_completed: int | None = None
    current_task: LiveTask | None = None


def read_progress(data: bytes) -> LiveProgress | None:
    """What ``benchmark_progress.json`` says; None for half-written or other content."""
    found = _object(data)
    if found is None or not isinstance(found.get("status"), str):
        return None
    return LiveProgress(
        status=_text(found, "status", _MAX_STATUS),
        provider=_text(found, "provider", _MAX_STATUS),
        tasks_total=_count(found.get("tasks_total")),
        tasks_complete=_count(found.get("tasks_complete")),
        message=_text(found, "message", MAX_TEXT),
    )


def read_live(data: bytes) -> LiveState | None:
    """What ``benchmark_live.json`` says; None for half-written or other content."""
    found = _object(data)
    if found is None or not isinstance(found.get("status"), str):
        return None
    current = found.get("current_task")
    return LiveState(
        status=_text(found, "status", _MAX_STATUS),
        total_tasks=_count(found.get("total_tasks")),
        tasks_completed=_count(found.get("tasks_completed")),
        current_task=_task(current) if isinstance(current, Mapping) else None,
    )


def read_work_list(data: bytes) -> tuple[TaskRef, ...] | None:
    """The tasks of WAA-V2's ``test_custom_<i>.json`` (all of an instance) or ``test_current_<i>.json`` (the one that
    runs), in order. An empty file is an empty list; None for half-written or other content."""
    if not data.strip():
        return ()
    found = _object(data)
    if found is None:
        return None
    tasks: list[TaskRef] = []
    for domain, ids in found.items():
        if not isinstance(ids, list) or not all(isinstance(task_id, str) for task_id in ids):
            return None
        tasks += [TaskRef(domain=domain[:MAX_NAME], task_id=task_id[:MAX_NAME]) for task_id in ids]
    return tuple(tasks[:MAX_TASKS])


def read_score(text: bytes) -> float | None:
    """The score in a ``result.txt``: True and False are 1 and 0; None for nan, infinities and other text."""
    word = text[:200].decode("utf-8", "replace").strip()
    if word in ("True", "False"):
        return float(word == "True")
    if _NUMBER.fullmatch(word) is None:
        return None
    score = float(word)
    return score if math.isfinite(score) else None


def _object(data: bytes) -> Mapping[str, object] | None:
    if len(data) > MAX_FILE_BYTES:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _task(found: Mapping[str, object]) -> LiveTask | None:
    task_id = found.get("task_id")
    if not isinstance(task_id, str) or not task_id:
        return None
    steps = found.get("steps")
    result = found.get("result")
    outcome: Mapping[str, object] = result if isinstance(result, Mapping) else {}
    success = outcome.get("success")
    return LiveTask(
        task_id=task_id[:MAX_NAME],
        instruction=_text(found, "instruction", MAX_TEXT),
        domain=_text(found, "domain", MAX_NAME),
        steps=tuple(_step(step) for step in steps[-MAX_STEPS:] if isinstance(step, Mapping)) if isinstance(steps, list) else (),
        has_result=bool(outcome),
        success=success if isinstance(success, bool) else None,
        score=_number(outcome.get("score")),
    )


def _step(found: Mapping[str, object]) -> LiveStep:
    action = found.get("action")
    index = _count(found.get("step_idx"))
    return LiveStep(number=0 if index is None else index + 1, action=_action(action if isinstance(action, Mapping) else {}))


def _action(found: Mapping[str, object]) -> str:
    """``click(x=0.5, y=0.5)``: the arguments that are given."""
    given = [f"{key}={value!r}" for key, value in found.items() if key != "type" and value is not None]
    kind = found.get("type")
    return shown(f"{kind if isinstance(kind, str) else ''}({', '.join(given)})" if given else str(kind or ""))


def _text(found: Mapping[str, object], key: str, limit: int) -> str:
    value = found.get(key)
    return shown(value, limit) if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and isinstance(value, int | float) and math.isfinite(value) else None
