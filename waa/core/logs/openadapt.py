"""The lines of openadapt-evals' own runner (``HH:MM:SS [LEVEL] text``, no date), and the plain dialect of older tools.

openadapt-evals counts steps from 0 and only those that were executed; facts count from 1.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from waa.core.logs.fact import (
    Activity,
    AnyFact,
    Dialect,
    RunFinished,
    RunPlanned,
    RunStarted,
    StepStarted,
    TaskActive,
    TaskCrashed,
    TaskCut,
    TaskFinished,
    TaskScored,
    TaskStarted,
)
from waa.core.logs.journal import text as _text
from waa.core.logs.record import MAX_ERROR, MAX_NAME, shown, whole

LINE = re.compile(r"\d\d:\d\d:\d\d \[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\] ", re.ASCII)
"""The header of a line; group 1 is the level."""

_TASK = re.compile(rf"Task (\d{{1,6}})/(\d{{1,6}}): (\S.{{0,{MAX_NAME}}})", re.ASCII)
_STEP = re.compile(r"Step (\d{1,5}): (.*)", re.ASCII | re.DOTALL)
_SCORED = re.compile(rf"Task (\S.{{0,{MAX_NAME}}}?) (?:completed successfully|failed) \(score: (\d{{1,6}}(?:\.\d{{1,6}})?|nan)\)", re.ASCII)
_OUTCOME = re.compile(rf"Task (\S.{{0,{MAX_NAME}}}?): (SUCCESS|FAIL)", re.ASCII)
_ENDED = re.compile(rf"Task (\S.{{0,{MAX_NAME}}}?) (completed successfully|failed)", re.ASCII)
_BEGUN = re.compile(r"Evaluating (\d{1,6}) tasks on ", re.ASCII)
_OVER = re.compile(r"Evaluation complete: \d{1,6}/\d{1,6} \(", re.ASCII)
_SCORE = re.compile(r"Score: (\d{1,6}(?:\.\d{1,6})?)", re.ASCII)


@dataclass(slots=True)
class _Tasks:
    """The one open task of a stream of lines."""

    total: int = 0
    task_id: str = ""
    step: int = 0
    activity: str = ""
    chosen: str = ""  # type of the action that the agent chose for the next step
    is_scored: bool = False

    def open(self, task_id: str, index: int | None, out: list[AnyFact]) -> None:
        self.cut("the runner went on without it", out)
        self.task_id, self.step, self.activity, self.chosen, self.is_scored = task_id, 0, "", "", False
        out.append(TaskStarted(domain="", task_id=task_id, index=index))

    def cut(self, reason: str, out: list[AnyFact]) -> None:
        if self.task_id:
            out.append(TaskCut(domain="", task_id=self.task_id, reason=reason))
            self.task_id = ""

    def does(self, activity: Activity, out: list[AnyFact]) -> None:
        if self.task_id and self.activity != activity:
            self.activity = activity
            out.append(TaskActive(activity=activity))

    def act(self, number: int, action: str, out: list[AnyFact]) -> None:
        if self.task_id:
            self.step = number
            out.append(StepStarted(number=number, action=shown(action)))
            self.does(Activity.ACTING, out)

    def finish(self, score: float | None, out: list[AnyFact]) -> None:
        out.append(TaskScored(score=score))
        self.end(out)

    def end(self, out: list[AnyFact]) -> None:
        out.append(TaskFinished(domain="", task_id=self.task_id))
        self.task_id = ""


@dataclass(slots=True)
class OpenadaptRun(_Tasks):
    """The grammar of openadapt-evals."""

    is_running: bool = False

    def read(self, level: str, message: str, out: list[AnyFact]) -> None:
        """One line after its header. The level is part of the grammar: a score below 1 is an ERROR."""
        if message.startswith(("Task ", "[SUCCESS] Task ")):
            self._task(level, message.removeprefix("[SUCCESS] "), out)
        elif message.startswith("Step "):
            self._step(level, message, out)
        elif message.startswith("Error running task "):
            self._crash(level, message.removeprefix("Error running task "), out)
        elif self.task_id and message == f"Resetting environment for task {self.task_id}":
            self.does(Activity.RESETTING, out)
        elif message == "Evaluating task result":
            self.does(Activity.EVALUATING, out)
        else:
            self._run(message, out)

    def state(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)

    @classmethod
    def resume(cls, state: Mapping[str, object]) -> "OpenadaptRun":
        """As it was."""
        run = cls(is_running=state.get("is_running") is True)
        _restore(run, state)
        return run

    def _run(self, message: str, out: list[AnyFact]) -> None:
        if begun := _BEGUN.match(message):
            self.cut("the runner was started again", out)
            self.total, self.is_running = int(begun[1]), True
            out.append(RunStarted(dialect=Dialect.OPENADAPT))
            out.append(RunPlanned(total=self.total))
        elif _OVER.match(message) and self.is_running:
            self.cut("the run ended", out)
            self.is_running = False
            out.append(RunFinished())

    def _task(self, level: str, message: str, out: list[AnyFact]) -> None:
        if started := _TASK.fullmatch(message):
            index, total = int(started[1]), int(started[2])
            if 0 < index <= total and self.total in (0, total):
                self.open(started[3], index, out)
        elif scored := _SCORED.fullmatch(message):
            is_due = level == ("INFO" if "completed successfully" in message else "ERROR")
            if is_due and self.task_id == scored[1]:
                self.finish(None if scored[2] == "nan" else float(scored[2]), out)
        elif (outcome := _OUTCOME.fullmatch(message)) and self.is_running and not self.task_id:
            # Parallel runs tell no more of a task than this.
            self.open(outcome[1], None, out)
            self.finish(1.0 if outcome[2] == "SUCCESS" else 0.0, out)

    def _step(self, level: str, message: str, out: list[AnyFact]) -> None:
        match = _STEP.fullmatch(message)
        if match is None or level != "INFO" or not self.task_id:
            return
        number, what = int(match[1]) + 1, match[2]
        if what == "Getting action from agent":
            self.does(Activity.THINKING, out)
        elif what.startswith("Agent chose action: "):
            self.chosen = what.removeprefix("Agent chose action: ")[:200]
        elif what == "Executing action in environment":
            self.act(number, self.chosen, out)

    def _crash(self, level: str, rest: str, out: list[AnyFact]) -> None:
        if self.task_id and level == "ERROR" and rest.startswith(f"{self.task_id}: "):
            error = rest[len(self.task_id) + 2 :]
            out.append(TaskCrashed(domain="", task_id=self.task_id, error=shown(error, MAX_ERROR)))
            self.task_id = ""


@dataclass(slots=True)
class SeedRun(_Tasks):
    """The grammar of plain lines such as ``Task 5/30: x``, ``Step 12: ...`` and ``Result: PASS``.

    No runner of today writes them, and models and instructions are full of them: they count only in a log that
    begins with a task of this dialect and holds no other one. ``Result`` ends a task; a ``Score`` before it is kept.
    """

    is_on: bool = False

    def read(self, line: str, out: list[AnyFact]) -> bool:
        """Whether the line is of this dialect; its facts."""
        if started := _TASK.fullmatch(line):
            self._begin(int(started[2]), out)
            self.open(started[3], int(started[1]), out)
        elif line.startswith("Running task: ") and 0 < len(line) - 14 <= MAX_NAME:
            self._begin(0, out)
            self.open(line[14:], None, out)
        elif self.is_on and self.task_id:
            return self._inside(line, out)
        return self.is_on

    def stop(self, out: list[AnyFact]) -> None:
        """It was another dialect after all."""
        self.cut("another runner writes to this log", out)
        self.is_on = False

    def state(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)

    @classmethod
    def resume(cls, state: Mapping[str, object]) -> "SeedRun":
        """As it was."""
        run = cls(is_on=state.get("is_on") is True)
        _restore(run, state)
        return run

    def _begin(self, total: int, out: list[AnyFact]) -> None:
        if not self.is_on:
            self.is_on = True
            out.append(RunStarted(dialect=Dialect.SEED))
        if total not in (0, self.total):
            self.total = total
            out.append(RunPlanned(total=total))

    def _inside(self, line: str, out: list[AnyFact]) -> bool:
        if step := _STEP.fullmatch(line):
            self.act(int(step[1]), step[2], out)
        elif score := _SCORE.fullmatch(line):
            self.is_scored = True
            out.append(TaskScored(score=float(score[1])))
        elif line in ("Result: PASS", "Result: FAIL"):
            if self.is_scored:
                self.end(out)
            else:
                self.finish(1.0 if line.endswith("PASS") else 0.0, out)
        else:
            return self._outcome(line, out)
        return True

    def _outcome(self, line: str, out: list[AnyFact]) -> bool:
        scored = _SCORED.fullmatch(line)
        ended = _ENDED.fullmatch(line) or _OUTCOME.fullmatch(line)
        match = scored or ended
        if match is None or match[1] != self.task_id:
            return False
        if scored is not None:
            self.finish(None if scored[2] == "nan" else float(scored[2]), out)
        elif self.is_scored:
            self.end(out)
        else:
            self.finish(0.0 if match[2] in ("failed", "FAIL") else 1.0, out)
        return True


def _restore(tasks: _Tasks, state: Mapping[str, object]) -> None:
    tasks.total = whole(state.get("total"))
    tasks.task_id = _text(state, "task_id")
    tasks.step = whole(state.get("step"))
    tasks.activity = _text(state, "activity")
    tasks.chosen = _text(state, "chosen")
    tasks.is_scored = state.get("is_scored") is True
