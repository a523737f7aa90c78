"""Facts from successive looks at ``benchmark_live.json``: what the file says now, against what it said before.

The file holds one moment, not a history: a task that began and ended between two looks is known only by the count.
"""

from collections.abc import Mapping

from waa.core.logs.fact import (
    AnyFact,
    Dialect,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    RunStarted,
    StepDescribed,
    StepStarted,
    TaskCut,
    TaskFinished,
    TaskInstructed,
    TaskScored,
    TaskStarted,
)
from waa.core.logs.files import LiveState, LiveTask

UNKNOWN_DOMAIN = "unknown"


class LiveReader:
    """Turns the states of the file into facts; ``state`` and ``resume`` carry it over a restart."""

    def __init__(
        self,
        *,
        is_running: bool = False,
        total: int | None = None,
        completed: int = 0,
        task_id: str = "",
        domain: str = "",
        step: int = 0,
        is_over: bool = True,
    ) -> None:
        self._is_running = is_running
        self._total = total
        self._completed = completed
        self._task_id = task_id
        self._domain = domain
        self._step = step
        self._is_over = is_over

    @classmethod
    def resume(cls, state: Mapping[str, object]) -> "LiveReader":
        """A reader that goes on; an empty state begins anew."""
        total, task_id, domain = state.get("total"), state.get("task_id"), state.get("domain")
        return cls(
            is_running=state.get("is_running") is True,
            total=total if isinstance(total, int) else None,
            completed=_number(state.get("completed")),
            task_id=task_id if isinstance(task_id, str) else "",
            domain=domain if isinstance(domain, str) else "",
            step=_number(state.get("step")),
            is_over=state.get("is_over") is not False,
        )

    def state(self) -> dict[str, object]:
        """JSON-able."""
        return {
            "is_running": self._is_running,
            "total": self._total,
            "completed": self._completed,
            "task_id": self._task_id,
            "domain": self._domain,
            "step": self._step,
            "is_over": self._is_over,
        }

    def take(self, live: LiveState) -> list[AnyFact]:
        """What is new."""
        facts: list[AnyFact] = []
        if live.status == "running":
            self._take_running(live, facts)
        elif self._is_running:
            self._take_end(live, facts)
        return facts

    def _take_running(self, live: LiveState, facts: list[AnyFact]) -> None:
        completed = live.tasks_completed if live.tasks_completed is not None else self._completed
        if not self._is_running or completed < self._completed:
            self._close_task(facts, "the run was started again")
            self._is_running, self._total, self._task_id = True, None, ""
            facts.append(RunStarted(dialect=Dialect.OPENADAPT))
        self._completed = completed
        if live.total_tasks is not None and live.total_tasks != self._total:
            self._total = live.total_tasks
            facts.append(RunPlanned(total=live.total_tasks))
        if live.current_task is not None:
            self._take_task(live.current_task, facts)

    def _take_end(self, live: LiveState, facts: list[AnyFact]) -> None:
        if live.current_task is not None and live.current_task.has_result:
            self._take_task(live.current_task, facts)
        self._close_task(facts, "the run ended")
        self._is_running, self._completed = False, 0
        is_done = live.status in ("complete", "completed")
        facts.append(RunFinished() if is_done else RunInterrupted(reason=f"benchmark_live.json says {live.status!r}"))

    def _take_task(self, task: LiveTask, facts: list[AnyFact]) -> None:
        if self._is_another(task):
            self._close_task(facts, "the next task began, no result was seen")
            self._task_id, self._domain, self._step, self._is_over = task.task_id, task.domain or UNKNOWN_DOMAIN, 0, False
            facts.append(TaskStarted(domain=self._domain, task_id=task.task_id))
            if task.instruction:
                facts.append(TaskInstructed(instruction=task.instruction))
        for step in task.steps:
            if step.number > self._step:
                self._step = step.number
                facts.append(StepStarted(number=step.number, action=step.action))
                facts.append(StepDescribed(number=step.number, action=step.action))
        if task.has_result and not self._is_over:
            facts.append(TaskScored(score=task.score if task.score is not None else _score(task.success)))
            facts.append(TaskFinished(domain=self._domain, task_id=self._task_id))
            self._is_over = True

    def _is_another(self, task: LiveTask) -> bool:
        """Another task, or another attempt at the same: its result or its steps are gone."""
        is_fresh = max((step.number for step in task.steps), default=0) < self._step
        return task.task_id != self._task_id or is_fresh or (self._is_over and not task.has_result)

    def _close_task(self, facts: list[AnyFact], reason: str) -> None:
        if not self._is_over:
            facts.append(TaskCut(domain=self._domain, task_id=self._task_id, reason=reason))
            self._is_over = True


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _score(success: bool | None) -> float | None:
    return None if success is None else float(success)
