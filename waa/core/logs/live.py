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

    def __init__(self, *, is_running: bool = False, task_id: str = "", domain: str = "", step: int = 0, is_over: bool = True) -> None:
        self._is_running = is_running
        self._task_id = task_id
        self._domain = domain
        self._step = step
        self._is_over = is_over

    @classmethod
    def resume(cls, state: Mapping[str, object]) -> "LiveReader":
        """A reader that goes on; an empty state begins anew."""
        task_id, domain, step = state.get("task_id"), state.get("domain"), state.get("step")
        return cls(
            is_running=state.get("is_running") is True,
            task_id=task_id if isinstance(task_id, str) else "",
            domain=domain if isinstance(domain, str) else "",
            step=step if isinstance(step, int) else 0,
            is_over=state.get("is_over") is not False,
        )

    def state(self) -> dict[str, object]:
        """JSON-able."""
        return {
            "is_running": self._is_running,
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
            self._close_task(facts, "the run ended")
            self._is_running = False
            is_done = live.status in ("complete", "completed")
            facts.append(RunFinished() if is_done else RunInterrupted(reason=f"benchmark_live.json says {live.status!r}"))
        return facts

    def _take_running(self, live: LiveState, facts: list[AnyFact]) -> None:
        if not self._is_running:
            self._is_running, self._task_id, self._is_over = True, "", True
            facts.append(RunStarted(dialect=Dialect.OPENADAPT))
            if live.total_tasks is not None:
                facts.append(RunPlanned(total=live.total_tasks))
        if live.current_task is not None:
            self._take_task(live.current_task, facts)

    def _take_task(self, task: LiveTask, facts: list[AnyFact]) -> None:
        if task.task_id != self._task_id:
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

    def _close_task(self, facts: list[AnyFact], reason: str) -> None:
        if not self._is_over:
            facts.append(TaskCut(domain=self._domain, task_id=self._task_id, reason=reason))
            self._is_over = True


def _score(success: bool | None) -> float | None:
    return None if success is None else float(success)
