"""Entities and observations with everything filled in; a test names what it is about."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from waa.core.entity import Run, RunId, Task, Vm
from waa.core.logs import fact as f
from waa.core.observation import LogCursor, LogKind, LogRead, LogSource
from waa.core.spec import VmSpec

T0 = 1_770_207_151.0
"""A moment: 2026-02-04 12:12:31 UTC."""

FILE = LogSource(kind=LogKind.FILE, path="/tmp/waa_benchmark.log", identity="1-10")
INNER = LogSource(kind=LogKind.INNER, path="/tmp/waa_benchmark.log", identity="2-20")
CONTAINER = LogSource(kind=LogKind.CONTAINER, path="winarena", identity="abc")


def a_spec(name: str = "vm-1", **fields: Any) -> VmSpec:
    """A VM as an operator names it."""
    return VmSpec(name=name, **fields)


def a_vm(name: str = "vm-1", **fields: Any) -> Vm:
    """A VM of which nothing was observed yet."""
    return replace(Vm(name=name, spec=a_spec(name)), **fields)


def a_run(run_id: str = "vm-1-20260204T121231", **fields: Any) -> Run:
    """A run that runs."""
    run = Run(run_id=RunId(run_id), vm="vm-1", log=FILE, dialect=f.Dialect.WAA, started_at=T0, first_seen_at=T0)
    return replace(run, **fields)


def a_task(task_id: str = "task-1", **fields: Any) -> Task:
    """A task that runs, the first of ``a_run()``."""
    task = Task(run_id=a_run().run_id, vm="vm-1", domain="notepad", task_id=task_id, index=1, started_at=T0 + 1, changed_at=T0 + 1)
    return replace(task, **fields)


def a_cursor(vm: str = "vm-1", source: LogSource = FILE, offset: int = 0, parser: Mapping[str, object] | None = None) -> LogCursor:
    """How far a log was digested."""
    return LogCursor(vm=vm, source=source, offset=offset, parser=parser or {})


def a_log_read(*facts: f.AnyFact, at: float = T0 + 3600, vm: str = "vm-1", source: LogSource = FILE, offset: int = 0) -> LogRead:
    """Facts of a log that arrived together."""
    return LogRead(vm=vm, at=at, source=source, facts=facts, cursor=a_cursor(vm, source, offset))


def task_facts(
    task_id: str,
    *,
    at: float,
    domain: str = "notepad",
    score: float | None = 1.0,
    steps: int = 2,
    worker: str = "",
) -> list[f.AnyFact]:
    """One task from its start to its regular end; 10 s a step."""
    told: list[f.AnyFact] = [f.TaskStarted(at=at, worker=worker, domain=domain, task_id=task_id)]
    told.append(f.TaskInstructed(at=at, worker=worker, instruction=f"Do {task_id}."))
    for number in range(1, steps + 1):
        told.append(f.StepStarted(at=at + 10 * number, worker=worker, number=number, action=f"click({number})"))
    told.append(f.TaskScored(at=at + 10 * steps + 5, worker=worker, score=score))
    told.append(f.TaskFinished(at=at + 10 * steps + 6, worker=worker, domain=domain, task_id=task_id))
    return told
