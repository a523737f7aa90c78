"""What the page of a run adds to its panels."""

from dataclasses import dataclass

from waa.web.view import Look
from waa.web.views.run import need_run
from waa.web.views.run_head import Rejudged, rejudged
from waa.web.views.run_table import ONLY, STATUS_WORDS, TableSubject, TaskFilter, domains_of, entries_of
from waa.web.views.task import number_text

MAX_DOMAINS = 200
"""Offered by the filter; the search finds the tasks of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """The page of one run. ``subject`` is that of its table. ``threshold_text`` is the score from which on tasks pass,
    ``configured_text`` the one of the configuration; ``entered`` and ``error``: what was typed for it, and what is wrong with it.
    ``rejudged`` tells what changed it last, None: nothing is told."""

    run_id: str
    name: str
    subject: str
    url: str
    filter: TaskFilter
    statuses: tuple[tuple[str, str], ...]
    domains: tuple[str, ...]
    onlys: tuple[tuple[str, str], ...]
    threshold_text: str
    configured_text: str
    entered: str
    error: str
    rejudged: Rejudged | None
    was_text: str


def run_page(
    look: Look,
    run_id: str,
    chosen: TaskFilter | None = None,
    *,
    configured: float = 1.0,
    was: float | None = None,
    entered: str = "",
    error: str = "",
) -> RunPage:
    """The page of one run. Raises NotFound."""
    run = need_run(look.state, run_id)
    about = TableSubject(run_id=run.run_id, filter=chosen or TaskFilter())
    domains = domains_of(entries_of(look.state, run))[:MAX_DOMAINS]
    domain = about.filter.domain
    return RunPage(
        run_id=run.run_id,
        name=run.name,
        subject=about.text,
        url=about.url,
        filter=about.filter,
        statuses=tuple(STATUS_WORDS.items()),
        domains=domains if not domain or domain in domains else (*domains, domain),
        onlys=tuple(ONLY.items()),
        threshold_text=number_text(run.threshold),
        configured_text=number_text(configured),
        entered=entered or number_text(run.threshold),
        error=error,
        rejudged=rejudged(look, run_id, was) if was is not None and was != run.threshold else None,
        was_text=number_text(was),
    )
