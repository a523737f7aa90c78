"""How a run does in each domain."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from waa.core.entity import Run, Task
from waa.core.state import Progress, State, newest_attempts
from waa.core.statistics import Share, share, spread
from waa.web.view import Look, View
from waa.web.views.query import Order
from waa.web.views.run import Rate, need_run, rate_of
from waa.web.views.run_table import TableSubject

MAX_DOMAINS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainRow:
    """One domain. ``planned`` None: the run has not printed its plan. The medians are of the tasks that ended, None of none; ``url``
    shows its tasks."""

    domain: str
    planned: int | None
    progress: Progress
    of_scored: Share
    rate: Rate | None
    median_steps: float | None
    median_took_s: float | None
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDomains(View):
    """The domains of a run. ``is_by_rate``: the best rate first, else by name; the urls choose. ``more`` domains are left out."""

    rows: tuple[DomainRow, ...]
    is_by_rate: bool
    by_name_url: str
    by_rate_url: str
    more: int


def run_domains(look: Look, subject: str | None) -> RunDomains:
    """The domains of a run. Raises NotFound, Invalid."""
    about = TableSubject.parse(subject)
    rows = domain_rows(look.state, need_run(look.state, about.run_id), about)
    is_by_rate = about.filter.by == "rate"
    if is_by_rate:
        rows = Order(column="rate", is_descending=True).sort(rows, lambda row: row.of_scored.rate)
    page = about.filter.page
    return RunDomains(
        now=look.now,
        rows=tuple(rows[:MAX_DOMAINS]),
        is_by_rate=is_by_rate,
        by_name_url=about.with_filter(by="", page=page).url,
        by_rate_url=about.with_filter(by="rate", page=page).url,
        more=max(0, len(rows) - MAX_DOMAINS),
    )


def domain_rows(state: State, run: Run, about: TableSubject) -> list[DomainRow]:
    """One row for each domain that the plan names or a task ran in, by name."""
    own: dict[str, list[Task]] = defaultdict(list)
    for task in newest_attempts(state.tasks.get(run.run_id, {}).values()):
        own[task.domain].append(task)
    planned: dict[str, set[str]] = defaultdict(set)
    for ref in run.plan:
        planned[ref.domain].add(ref.task_id)
    names = sorted(own.keys() | planned.keys())
    return [_row(about, name, own.get(name, ()), planned.get(name, set()) if run.plan else None) for name in names]


def _row(about: TableSubject, name: str, tasks: Sequence[Task], planned: set[str] | None) -> DomainRow:
    progress = Progress()
    for task in tasks:
        progress = progress.with_task(task.status, 1)
    ended = [task for task in tasks if task.is_over]
    of_scored = share(progress.passed, progress.scored)
    steps = spread([float(task.step) for task in ended])
    took_s = spread([task.ended_at - task.started_at for task in ended if task.ended_at is not None])
    return DomainRow(
        domain=name,
        planned=len(planned | {task.task_id for task in tasks}) if planned is not None else None,
        progress=progress,
        of_scored=of_scored,
        rate=rate_of(of_scored),
        median_steps=steps.median if steps is not None else None,
        median_took_s=took_s.median if took_s is not None else None,
        url=about.with_filter(domain=name, statuses=(), q="", only="").url,
    )
