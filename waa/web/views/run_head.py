"""The head of a run's page: how it stands now, and what ended last."""

from dataclasses import dataclass

from waa.core.state import newest_attempts
from waa.core.verdict import judge
from waa.web.view import Look, View
from waa.web.views.cost import RunCost, cost_of_run
from waa.web.views.run import Result, RunSummary, need_run, results_of, summary_of
from waa.web.views.runs import agent_of, model_of
from waa.web.views.task import number_text

MAX_LATEST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHead(View):
    """How a run stands. ``of_planned``: percent of all planned tasks that passed, None where their number is not known.
    ``latest``: what ended last, newest first. ``cost`` None: prices are no subject here."""

    run: RunSummary
    agent: str
    model: str
    threshold_text: str
    of_planned: int | None
    latest: tuple[Result, ...]
    cost: RunCost | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejudged:
    """What another threshold does to the tasks of a run that count: how many pass now that did not, and the other way."""

    was: float
    passed: int
    failed: int


def run_head(look: Look, run_id: str | None) -> RunHead:
    """How a run stands. Raises NotFound."""
    run = need_run(look.state, run_id)
    summary = summary_of(look.state, run)
    of_planned = summary.coverage.of_planned
    return RunHead(
        now=look.now,
        run=summary,
        agent=agent_of(run),
        model=model_of(run),
        threshold_text=number_text(run.threshold),
        of_planned=round(100 * of_planned) if of_planned is not None else None,
        latest=results_of(look.state, run.run_id)[:MAX_LATEST],
        cost=cost_of_run(look, run, summary.eta),
    )


def rejudged(look: Look, run_id: str, was: float) -> Rejudged:
    """How the verdicts of a run differ from those by the threshold ``was``. Raises NotFound."""
    run = need_run(look.state, run_id)
    tasks = newest_attempts(look.state.tasks.get(run.run_id, {}).values())
    scored = [task for task in tasks if task.success is not None and task.score is not None]
    turned = [task.success for task in scored if judge(task.score, was) is not task.status]
    return Rejudged(was=was, passed=turned.count(True), failed=turned.count(False))
