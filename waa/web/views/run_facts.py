"""What a run was started with, and where its results come from."""

from collections import Counter
from dataclasses import dataclass

from waa.core.entity import Run, Task
from waa.core.state import State
from waa.web.view import Look, View
from waa.web.views.run import need_run
from waa.web.views.task import number_text

MAX_WORKERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A name and its value. ``at``: the value is this moment."""

    name: str
    value: str = ""
    at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One of several processes that work side by side. ``ended`` and ``running`` count attempts."""

    name: str
    ended: int
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts(View):
    """Settings of a run. ``workers`` is empty where it does not name any."""

    arguments: tuple[Fact, ...]
    facts: tuple[Fact, ...]
    workers: tuple[Worker, ...]


def run_facts(look: Look, run_id: str | None) -> RunFacts:
    """Settings of a run. Raises NotFound."""
    run = need_run(look.state, run_id)
    tasks = list(look.state.tasks.get(run.run_id, {}).values())
    return RunFacts(
        now=look.now,
        arguments=tuple(Fact(name=name, value=value) for name, value in sorted(run.arguments.items())),
        facts=tuple(fact for fact in _facts(look.state, run) if fact.value or fact.at is not None),
        workers=_workers(tasks),
    )


def _facts(state: State, run: Run) -> list[Fact]:
    imported = run.imported
    domains = len({ref.domain for ref in run.plan})
    tasks = len(run.plan) or (run.total or 0)
    planned = f"{tasks} task{'s' if tasks != 1 else ''}" if tasks else "not told"
    in_domains = f" in {domains} domain{'s' if domains != 1 else ''}" if domains else ""
    return [
        Fact(name="Id", value=run.run_id),
        Fact(name="Plan", value=planned + in_domains),
        Fact(name="Passes from", value=f"score {number_text(run.threshold)}"),
        Fact(name="Mean by the run", value=number_text(run.average_score)),
        Fact(name="Began", at=run.started_at),
        Fact(name="Ended", at=run.ended_at),
        Fact(name="Log", value=run.log.path),
        Fact(name="Format", value=run.dialect.value),
        Fact(name="Process", value=str(run.runner_pid or "")),
        Fact(name="Imported from", value=imported.source if imported is not None else ""),
        Fact(name="Imported", at=imported.at if imported is not None else None),
        Fact(name="Files", value=run.files),
        Fact(name="Attempts", value=_attempts(state, run)),
    ]


def _attempts(state: State, run: Run) -> str:
    """How many tasks were tried again, "" for none."""
    again = {(task.domain, task.task_id) for task in state.tasks.get(run.run_id, {}).values() if task.attempt > 1}
    return f"{len(again)} task{'s' if len(again) != 1 else ''} tried again" if again else ""


def _workers(tasks: list[Task]) -> tuple[Worker, ...]:
    ended = Counter(task.worker for task in tasks if task.is_over)
    running = Counter(task.worker for task in tasks if not task.is_over)
    names = sorted(name for name in ended.keys() | running.keys() if name)
    return tuple(Worker(name=name, ended=ended[name], running=running[name]) for name in names[:MAX_WORKERS])
