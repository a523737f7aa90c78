"""One run as programs get it: its counts, what its rate rests on, its domains, its tasks."""

from collections.abc import Sequence

from waa.core.entity import Run
from waa.core.state import Progress, State
from waa.core.statistics import Coverage
from waa.web import wire
from waa.web.payload import DomainPayload, ListedTask, RunDetail
from waa.web.view import Look
from waa.web.views.run import coverage_of
from waa.web.views.run_domains import DomainRow, domain_rows
from waa.web.views.run_table import Entry, TableSubject


def detail_payload(look: Look, run: Run, about: TableSubject, entries: Sequence[Entry]) -> RunDetail:
    """A run with these of its tasks."""
    state = look.state
    return {
        **wire.run_payload(look, run),
        "coverage": _coverage(state, run),
        "domains": [_domain(row) for row in domain_rows(state, run, about)],
        "plan": [{"domain": ref.domain, "task_id": ref.task_id} for ref in run.plan],
        "tasks": [_task(run, entry) for entry in entries],
    }


def _coverage(state: State, run: Run) -> Coverage:
    """Both denominators are named: of the scored tasks, with its interval (Wilson, 95 %), and of all planned ones."""
    return coverage_of(run, state.progress.get(run.run_id, Progress()))


def _domain(row: DomainRow) -> DomainPayload:
    progress = row.progress
    return {
        "domain": row.domain,
        "planned": row.planned,
        "completed": progress.completed,
        "passed": progress.passed,
        "failed": progress.failed,
        "error": progress.error,
        "unknown": progress.unknown,
        "success_rate": row.of_scored.rate,
        "interval": [row.of_scored.low, row.of_scored.high],
        "median_steps": row.median_steps,
        "median_seconds": row.median_took_s,
    }


def _task(run: Run, entry: Entry) -> ListedTask:
    """An attempt as its events told it; of a task to come its name alone, its ``attempt`` is null."""
    if entry.task is not None:
        return {**wire.full_task_payload(entry.task), "is_replaced": entry.is_replaced}
    return {
        "vm": run.vm,
        "run_id": run.run_id,
        "task_id": entry.ref.task_id,
        "domain": entry.ref.domain,
        "attempt": None,
        "success": None,
        "score": None,
        "status": entry.status,
        "index": entry.number,
    }
